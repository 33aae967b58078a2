"""``ai-how bench run`` against a site: its options, what it keeps, and what is left when it is broken off."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_model import write_tiny_gguf

from .site import SiteUnderTest, eventually

pytestmark = pytest.mark.slow

SERVING = "serving:\n  context_tokens: 256\n  parallel_requests: 2\n  threads: 1\n  scale_out_after_s: 0.5\n"
MANY = 40
QUICK = ("--concurrency", "2", "--duration", "0.2", "--skip-cold-start", "--skip-scale-out")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteUnderTest]:
    made = SiteUnderTest(folder=tmp_path_factory.mktemp("bench"), name="bench")
    made.write(SERVING)
    write_tiny_gguf(made.folder / "tiny.gguf")
    made.run("up", "--yes")
    made.run("deploy", "up", "--model-path", "tiny.gguf", "--name", "tiny")
    yield made
    made.run("destroy", "--yes", code=None)
    assert made.processes() == []


def endpoints(site: SiteUnderTest) -> list[str]:
    return [e["spec"]["name"] for e in site.run("deploy", "list", "-o", "json").json()]


def reports(site: SiteUnderTest) -> set[Path]:
    return set((site.root / "reports").glob("*.json"))


def started(site: SiteUnderTest, *words: str, until: str) -> subprocess.Popen[str]:
    """A benchmark that has said ``until``."""
    process = site.start("bench", "run", "tiny", *words)
    assert process.stderr is not None
    for line in process.stderr:
        if until in line:
            return process
    raise AssertionError(f"it ended without saying {until!r}")


def test_it_measures_and_does_not_guess(site: SiteUnderTest, tmp_path: Path) -> None:
    page, before = tmp_path / "report.html", reports(site)
    words = ("--duration", "1", "--concurrency", "4,1", "--seed", "5", "--prompt-tokens", "16", "--output-tokens", "4")
    result = site.run("bench", "run", "tiny", *words, "-o", "json", "--html", str(page)).json()
    assert result["planned"] == [1, 4] == [level["concurrency"] for level in result["levels"]]
    assert result["workload"] == {"chat": True, "output_tokens": 4, "prompt_words": 12, "seed": 5}
    for level in result["levels"]:
        assert level["errors"] == {}
        assert level["output_tokens"] == 4
        assert level["tokens_counted"] is True
        low, high = level["requests_per_s_interval"]
        assert low <= level["requests_per_s"] <= high
        interval = level["latency_ms"]["p50_interval"]
        # a slow machine answers too few in a second for one: then there is none, and none is guessed
        assert (interval is None and level["answered"] < MANY) or interval[0] <= level["latency_ms"]["p50"]
        assert level["client_cpu_share"] > 0
    assert {"ai-how", "xllamacpp"} == set(result["software"])
    assert "unknown" not in result["software"].values()
    outcomes = {row["metric"]: row["outcome"] for row in result["verdict"]}
    assert outcomes["throughput"] == outcomes["GPU utilization"] == "not measured"
    assert result["cold_start_s"]["value"] > 0
    assert "of it, load" in result["cold_start_s"]["stages"]
    assert "what would help: ai-how deploy coldstart tiny" in result["cold_start_s"]["note"]
    assert result["scale_out_s"]["value"] > 0
    assert page.stat().st_size > 10_000
    (kept,) = reports(site) - before
    assert json.loads(kept.read_text()) == result
    assert kept.with_suffix(".html").read_text() == page.read_text()
    assert endpoints(site) == ["tiny"]


def test_what_is_skipped_says_so(site: SiteUnderTest) -> None:
    said = site.run("bench", "run", "tiny", *QUICK).stdout
    assert "cold start: skipped as asked" in said
    assert "scale-out time: skipped as asked" in said


def test_a_missed_target_is_an_exit_code_where_that_is_asked(site: SiteUnderTest) -> None:
    site.write(SERVING + "targets:\n  latency_p95_ms: 0.001\n")
    words = ("bench", "run", "tiny", *QUICK, "--duration", "1")
    site.run(*words, code=0)
    assert "fail" in site.run(*words, "--fail-on-miss", code=3).stdout
    site.write(SERVING)
    site.run(*words, "--fail-on-miss", code=0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_broken_off_keeps_what_it_measured(site: SiteUnderTest, number: int) -> None:
    before = reports(site)
    process = started(site, "--duration", "0.5", "--concurrency", "1,2", until="cold start")
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The run was interrupted" in said
    (kept,) = reports(site) - before
    result = json.loads(kept.read_text())
    assert result["interrupted"] is True
    assert [level["answered"] > 0 for level in result["levels"]] == [True, True]
    assert result["scale_out_s"] == {"note": "the run was interrupted", "stages": {}, "value": None}
    assert endpoints(site) == ["tiny"]


def test_a_level_that_is_broken_off_is_marked(site: SiteUnderTest) -> None:
    before = reports(site)
    process = started(site, "--duration", "600", "--concurrency", "2,3", until="at once")
    eventually(lambda: is_busy(site))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    (kept,) = reports(site) - before
    (level,) = json.loads(kept.read_text())["levels"]
    assert level["interrupted"] is True
    assert level["errors"] == {}


def is_busy(site: SiteUnderTest) -> bool:
    status = site.run("deploy", "status", "tiny", "-o", "json").json()
    return any(replica["in_flight"] for replica in status["replicas"])


def test_two_benchmarks_do_not_measure_each_other(site: SiteUnderTest) -> None:
    process = started(site, "--duration", "600", "--concurrency", "1", until="at once")
    said = site.run("bench", "run", "tiny", *QUICK, code=1).stderr
    assert f"process {process.pid}" in said
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    site.run("bench", "run", "tiny", *QUICK)


def test_what_a_killed_run_left_is_removed_by_the_next(site: SiteUnderTest) -> None:
    process = started(site, "--duration", "0.2", "--concurrency", "1", until="cold start")
    # the second one, for the cold start, is there for a moment
    eventually(lambda: len(list((site.root / "endpoints").glob("*.json"))) == 2, every_s=0.02)
    process.kill()
    process.communicate()
    site.run("bench", "run", "tiny", *QUICK)
    assert endpoints(site) == ["tiny"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing",), "no endpoint 'nothing'"),
        (("tiny", "--prompt-tokens", "1000"), "context_tokens"),
    ],
)
def test_what_cannot_be_measured_is_refused(site: SiteUnderTest, words: tuple[str, ...], said: str) -> None:
    before = reports(site)
    assert said in site.run("bench", "run", *words, code=1).stderr
    assert reports(site) == before


def test_an_endpoint_that_is_stopped_is_said_and_not_measured(site: SiteUnderTest) -> None:
    site.run("deploy", "stop", "tiny")
    before = reports(site)
    error = site.run("bench", "run", "tiny", *QUICK, code=1).stderr
    assert "answers no request" in error
    assert "stopped" in error
    assert reports(site) == before
    site.run("deploy", "start", "tiny")
