"""``ai-how deploy coldstart`` on a real site: a start that happened, one on purpose, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ai_how.apply.lock import locked
from tests.tiny_model import write_tiny_checkpoint

from .site import SiteUnderTest, eventually

pytestmark = pytest.mark.slow

SERVING = "serving:\n  context_tokens: 256\n  parallel_requests: 2\n  threads: 1\n"
STAGES = ["start process", "fetch weights", "convert", "load", "first token"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteUnderTest]:
    made = SiteUnderTest(folder=tmp_path_factory.mktemp("cold"), name="cold")
    made.write(SERVING)
    write_tiny_checkpoint(made.folder / "checkpoint")
    made.run("up", "--yes")
    made.run("deploy", "up", "--model-path", "checkpoint", "--name", "tiny")
    yield made
    made.run("destroy", "--yes", code=None)
    assert made.processes() == []


def test_the_first_start_fetches_and_converts_and_the_next_one_does_not(site: SiteUnderTest) -> None:
    first = site.run("deploy", "coldstart", "tiny", "-o", "json").json()["start"]
    assert [stage["name"] for stage in first["stages"]] == STAGES
    notes = {stage["name"]: stage["note"] for stage in first["stages"]}
    assert (notes["fetch weights"], notes["convert"]) == ("from the object store", "converted")
    again = site.run("deploy", "coldstart", "tiny", "--fresh", "--yes", "-o", "json").json()
    start = again["start"]
    assert [stage["name"] for stage in start["stages"]] == [*STAGES, "first answer"]
    notes = {stage["name"]: stage["note"] for stage in start["stages"]}
    assert (notes["fetch weights"], notes["convert"]) == ("in the cache", "kept from an earlier start")
    assert start["replica"] != first["replica"]
    clock = 0.0
    for stage in start["stages"]:
        assert clock <= stage["begin_s"] <= stage["end_s"] <= start["total_s"]
        clock = stage["end_s"]
    assert again["target_s"] == 10
    assert not list((site.root / "run").glob(f"{first['replica']}*")), "marks go with their replica"


def test_it_leaves_the_endpoint_as_it_was(site: SiteUnderTest) -> None:
    before = site.run("deploy", "status", "tiny", "-o", "json").json()
    page = site.folder / "start.html"
    said = site.run("deploy", "coldstart", "tiny", "--fresh", "-y", "--html", str(page))
    assert "to the first answer, within the target of 10 s" in said.stdout
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert "<svg" in page.read_text()
    after = site.run("deploy", "status", "tiny", "-o", "json").json()
    assert (after["spec"], after["state"]) == (before["spec"], "running")


def test_an_interruption_wants_a_yes(site: SiteUnderTest) -> None:
    refused = site.run("deploy", "coldstart", "tiny", "--fresh", code=1)
    assert "an interruption wants to be confirmed" in refused.stderr
    assert "ai-how deploy coldstart tiny --fresh --yes" in refused.stderr


def test_a_page_that_cannot_be_written_is_told_before_the_endpoint_is_stopped(site: SiteUnderTest) -> None:
    before = site.run("deploy", "status", "tiny", "-o", "json").json()["replicas"]
    for words in (("deploy", "coldstart", "tiny", "--fresh", "--yes"), ("bench", "run", "tiny")):
        refused = site.run(*words, "--html", "/proc/x.html", code=1)
        assert "/proc/x.html cannot be written" in refused.stderr
        assert "/proc/.x.html" not in refused.stderr
    after = site.run("deploy", "status", "tiny", "-o", "json").json()["replicas"]
    assert [one["name"] for one in after] == [one["name"] for one in before]


def test_two_at_once_do_not_measure_each_other(site: SiteUnderTest) -> None:
    before = site.run("deploy", "status", "tiny", "-o", "json").json()["replicas"]
    with locked(site.root / "reports" / ".lock"):
        refused = site.run("deploy", "coldstart", "tiny", "--fresh", "--yes", code=1)
    assert "something is being measured on this site" in refused.stderr
    after = site.run("deploy", "status", "tiny", "-o", "json").json()["replicas"]
    assert [one["name"] for one in after] == [one["name"] for one in before]


def test_one_that_is_stopped_is_not_started(site: SiteUnderTest) -> None:
    site.run("deploy", "stop", "tiny", "--wait")
    wrong = site.run("deploy", "coldstart", "../x", code=1).stderr
    assert "'../x' is no name of an endpoint" in wrong
    assert "Next: ai-how deploy list" in wrong
    refused = site.run("deploy", "coldstart", "tiny", "--fresh", "--yes", code=None)
    assert refused.returncode != 0
    assert "endpoint tiny is stopped" in refused.stderr
    assert "ai-how deploy start tiny" in refused.stderr
    site.run("deploy", "start", "tiny", "--wait")


def test_a_start_that_was_not_seen_is_said_and_not_guessed(site: SiteUnderTest) -> None:
    gone = site.run("deploy", "coldstart", "nobody", code=None)
    assert "there is no endpoint 'nobody'" in gone.stderr
    (gateway,) = (process for process in site.processes() if "ai_how.local.gateway_main" in process.cmdline())
    gateway.kill()
    eventually(
        lambda: "no start of endpoint tiny was seen" in site.run("deploy", "coldstart", "tiny", code=None).stderr
    )
    assert "ai-how deploy coldstart tiny --fresh" in site.run("deploy", "coldstart", "tiny", code=None).stderr
    site.run("deploy", "coldstart", "tiny", "--fresh", "--yes")
