"""``ai-how deploy update``, ``history`` and ``rollback`` against a site with real engines."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from ai_how.bench.rollout import moves
from ai_how.cli.open_site import open_serving
from tests.tiny_model import write_tiny_adapter, write_tiny_checkpoint

from .site import SiteUnderTest, eventually

pytestmark = pytest.mark.slow

SERVING = "serving:\n  context_tokens: 256\n  parallel_requests: 2\n  threads: 1\ntargets:\n  latency_p95_ms: 60000\n"
# what the noise of a busy machine makes of two models that are alike must not decide here
MILD = ("--duration", "4", "--slower-percent", "900")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteUnderTest]:
    made = SiteUnderTest(folder=tmp_path_factory.mktemp("rollout"), name="rollout")
    made.write(SERVING)
    for seed in (1, 2, 3, 4):
        write_tiny_checkpoint(made.folder / f"v{seed}", seed=seed)
    made.run("up", "--yes")
    made.run("model", "push", "v1", "--name", "tiny", "--alias", "champion")
    made.run("model", "push", "v2", "--name", "tiny")
    made.run("deploy", "up", "--model-path", "model://tiny@champion", "--name", "tiny")
    yield made
    made.run("destroy", "--yes", code=None)
    assert made.processes() == []


@pytest.fixture(autouse=True)
def nothing_under_way(site: SiteUnderTest) -> Iterator[None]:
    """What one test leaves behind must not fail the next."""
    yield
    if len(revisions(site)) > 1:
        site.run("deploy", "rollback", "tiny")


def revisions(site: SiteUnderTest) -> dict[int, int]:
    status = site.run("deploy", "status", "tiny", "-o", "json").json()
    return {one["number"]: one["share_percent"] for one in status["revisions"]}


def served(site: SiteUnderTest) -> int:
    return int(site.run("deploy", "status", "tiny", "-o", "json").json()["spec"]["model_version"])


def history(site: SiteUnderTest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.run("deploy", "history", "tiny", "-o", "json").json()
    return found


def test_an_alias_that_moves_is_told_and_rolled_out_and_back(site: SiteUnderTest) -> None:
    assert "tiny serves tiny/1 already" in site.run("deploy", "update", "tiny", "--yes").stdout
    assert "Next: ai-how deploy update tiny" in site.run("model", "promote", "tiny/2", "--alias", "champion").stderr
    assert "tiny@champion is now version 2: ai-how deploy update tiny" in site.run("deploy", "status", "tiny").stdout
    plan = site.run("deploy", "update", "tiny", "--dry-run", *MILD).stdout
    assert "model      tiny/1 -> tiny/2" in plan
    assert "steps      10 %, 50 %, 100 % of the requests, each measured for 4 s or more" in plan
    assert "wants to be confirmed" in site.run("deploy", "update", "tiny", *MILD, code=1).stderr
    assert served(site) == 1
    done = site.run("deploy", "update", "tiny", "--yes", "--steps", "50,100", *MILD, "-o", "json").json()
    assert done["result"] == "promoted"
    assert [step["share_percent"] for step in done["steps"]] == [50, 100]
    assert done["steps"][0]["new_answers"] >= 20
    assert served(site) == 2
    assert [(one["number"], one["outcome"]) for one in history(site)] == [(1, "replaced"), (2, "serving")]
    (kept,) = (site.root / "reports").glob("tiny-rollout-*.json")
    assert json.loads(kept.read_text())["result"] == "promoted"

    assert "wants to be confirmed" in site.run("deploy", "rollback", "tiny", code=1).stderr
    said = site.run("deploy", "rollback", "tiny", "--yes").stdout
    assert said == "tiny serves revision 3 (tiny/1); revision 2 (tiny/2) is removed\n"
    assert served(site) == 1
    table = site.run("deploy", "history", "tiny").stdout.splitlines()
    assert table[0].split() == ["REVISION", "STARTED", "MODEL", "SHARE", "OUTCOME"]
    assert table[-1].strip() == "went back to what revision 1 served"
    again = site.run("deploy", "rollback", "tiny", "--to", "2", "--yes", "-o", "json").json()
    assert again["serves"]["spec"]["model_version"] == 2
    assert "no revision 99" in site.run("deploy", "rollback", "tiny", "--to", "99", "--yes", code=1).stderr
    assert site.run("deploy", "test", "tiny").stdout


def test_adapters_follow_their_aliases_and_are_replaced_by_a_file(site: SiteUnderTest) -> None:
    for seed in (2, 3, 4):
        write_tiny_adapter(site.folder / f"a{seed}", seed=seed)
    site.run("model", "push", "a2", "--name", "law", "--alias", "champion")
    site.run("model", "push", "a3", "--name", "law")
    site.run(
        "deploy",
        "create-endpoint",
        "--model-id",
        "tiny/1",
        "--name",
        "both",
        "--adapter",
        "legal=law@champion",
        "--wait",
    )
    try:
        said = site.run("model", "promote", "law/2", "--alias", "champion").stderr
        assert "Next: ai-how deploy update both" in said
        assert "law@champion is now version 2: ai-how deploy update both" in site.run("deploy", "status", "both").stdout
        plan = site.run("deploy", "update", "both", "--dry-run", *MILD).stdout
        assert "model      tiny/1 with legal: law/1 -> tiny/1 with legal: law/2" in plan
        site.run("deploy", "update", "both", "--yes", "--steps", "100", *MILD)
        assert adapters(site) == {"legal": ("law", 2)}
        # another model keeps them as they are, though their alias may have moved
        site.run("model", "promote", "law/1", "--alias", "champion")
        site.run("deploy", "update", "both", "--model", "tiny/2", "--yes", "--steps", "100", *MILD)
        assert adapters(site) == {"legal": ("law", 2)}
        file = "model_source: model://tiny/2\nadapters: {sales: a4}\n"
        (site.folder / "both.yaml").write_text(file)
        site.run("deploy", "update", "both", "--config", "both.yaml", "--yes", "--steps", "100", *MILD)
        assert adapters(site) == {"sales": ("both-sales", 1)}
        again = site.run("deploy", "update", "both", "--config", "both.yaml", "--yes").stdout
        assert "both serves tiny/2 with sales: both-sales/1 already" in again
        refused = site.run("model", "delete", "both-sales/1", "--yes", code=1).stderr
        assert "Next: take sales out of adapters in the deploy file: ai-how deploy update both" in refused
        assert "with sales: both-sales/1" in site.run("deploy", "history", "both").stdout
        kept = [json.loads(file.read_text()) for file in (site.root / "reports").glob("both-rollout-*.json")]
        assert any(one["new"].endswith("(tiny/2 with sales: both-sales/1)") for one in kept)
        changed = ("--model-path", "model://tiny/2", "--name", "both", "--adapter", "legal=model://law/2")
        assert "removes adapters: sales" in site.run("deploy", "up", *changed).stderr
        assert adapters(site) == {"legal": ("law", 2)}
    finally:
        site.run("deploy", "delete", "both", "--force")


def adapters(site: SiteUnderTest) -> dict[str, tuple[str, int]]:
    spec = site.run("deploy", "status", "both", "-o", "json").json()["spec"]
    return {one["tag"]: (one["model_name"], one["model_version"]) for one in spec["adapters"]}


def test_answers_that_are_not_as_wanted_roll_back(site: SiteUnderTest) -> None:
    (site.folder / "prompts.yaml").write_text("prompts:\n  - prompt: Hello\n    contains: [no tiny model says this]\n")
    before = served(site)
    words = ("--model", "tiny/1", "--prompts", "prompts.yaml", "--yes", *MILD)
    ended = site.run("deploy", "update", "tiny", *words, code=3)
    assert "answer checks" in ended.stdout
    assert "does not contain 'no tiny model says this'" in ended.stdout
    assert served(site) == before
    assert history(site)[-1]["outcome"] == "rolled back"
    (site.folder / "prompts.jsonl").write_text('{"prompt": "Hello"}\n')
    words = ("--model", "v3", "--prompts", "prompts.jsonl", "--steps", "100", "--concurrency", "2", "--yes", *MILD)
    done = site.run("deploy", "update", "tiny", *words)
    assert "promoted: none of the targets failed at 100 %; " in done.stdout
    assert "unclear: the figure holds or noise explains it" in " ".join(done.stdout.split())
    assert "registered as tiny/3" in done.stderr
    assert served(site) == 3


def test_a_missed_target_and_what_could_not_be_measured(site: SiteUnderTest) -> None:
    before = served(site)
    strict = site.file.read_text().replace("60000", "0.001")
    site.file.write_text(strict)
    try:
        words = ("--model", "tiny/1", "--yes", "--strict", "--duration", "8", "--slower-percent", "900")
        ended = site.run("deploy", "update", "tiny", *words, code=3)
    finally:
        site.file.write_text(strict.replace("0.001", "60000"))
    assert "rolled back: latency P95" in ended.stdout
    assert served(site) == before
    words = ("--model", "tiny/1", "--yes", "--duration", "0.5", "--on-unmeasured", "hold", "--slower-percent", "900")
    ended = site.run("deploy", "update", "tiny", *words, code=None)
    assert ended.returncode in (0, 4), ended.stdout
    if ended.returncode == 4:
        assert "deploy update tiny --resume --duration 2 " in ended.stderr
        site.run("deploy", "rollback", "tiny")
        assert served(site) == before


def versions(site: SiteUnderTest) -> set[str]:
    return {f"{one['name']}/{one['version']}" for one in site.run("model", "list", "-o", "json").json()}


def test_nothing_is_pushed_before_all_is_checked_and_confirmed(site: SiteUnderTest) -> None:
    before = versions(site)
    plan = site.run("deploy", "update", "tiny", "--model", "v4", "--dry-run").stdout
    assert "-> tiny/new" in plan
    assert "wants to be confirmed" in site.run("deploy", "update", "tiny", "--model", "v4", code=1).stderr
    (site.folder / "gpu.yaml").write_text("model_source: v4\nhardware: {accelerator: nvidia_h100_80gb}\n")
    refused = site.run("deploy", "update", "tiny", "--config", "gpu.yaml", "--yes", code=1)
    assert "this machine has no 1x nvidia_h100_80gb" in refused.stderr
    write_tiny_adapter(site.folder / "adapter")
    refused = site.run("deploy", "update", "tiny", "--model", "adapter", "--yes", code=1)
    assert "the base model of tiny is not known" in refused.stderr
    refused = site.run("deploy", "up", "--name", "tiny", "--model-path", "adapter", code=1)
    assert "is an adapter and needs its base model" in refused.stderr
    assert versions(site) == before
    already = site.run("deploy", "update", "tiny", "--model", f"v{served(site)}", "--dry-run").stdout
    assert already == f"tiny serves tiny/{served(site)} already\n"


def started(site: SiteUnderTest, *, until: str) -> subprocess.Popen[str]:
    target = "tiny/1" if served(site) != 1 else "tiny/2"
    words = ("--slower-percent", "900", "--concurrency", "2", "--duration", "60")
    process = site.start("deploy", "update", "tiny", "--model", target, "--yes", *words)
    assert process.stderr is not None
    for line in process.stderr:
        if until in line:
            return process
    raise AssertionError(f"it ended without saying {until!r}")


def test_a_command_that_was_killed_leaves_a_rollout_that_can_be_seen_and_ended(site: SiteUnderTest) -> None:
    before = served(site)
    process = started(site, until="10 % of the requests")
    process.kill()
    process.wait(60)
    old, new = sorted(revisions(site))
    assert revisions(site) == {old: 90, new: 10}
    shown = site.run("deploy", "status", "tiny").stdout
    assert "10 % of the requests" in shown
    assert "rollout    step 1 of 3, " in shown
    assert "heard of" in shown
    other = f"tiny/{1 if before != 1 else 2}"
    for words in (("update", "tiny", "--model", other), ("up", "--name", "tiny", "--model-path", f"model://{other}")):
        refused = site.run("deploy", *words, *(("--yes",) if words[0] == "update" else ()), code=1)
        assert "a rollout of tiny is under way" in refused.stderr
        assert "deploy rollback tiny" in refused.stderr.partition("Next: ")[2]
    refused = site.run("model", "delete", other, "--yes", code=1)
    assert "Next: ai-how deploy rollback tiny, then delete the model" in refused.stderr
    known = versions(site)
    refused = site.run("deploy", "up", "--name", "tiny", "--model-path", "v4", code=1)
    assert "a rollout of tiny is under way" in refused.stderr
    assert versions(site) == known
    assert "is removed" in site.run("deploy", "rollback", "tiny").stdout
    assert revisions(site) == {old: 100}
    assert served(site) == before
    assert history(site)[-1]["why"] == "ended by hand"


def test_a_killed_rollout_can_be_gone_on_with(site: SiteUnderTest) -> None:
    before = served(site)
    process = started(site, until="10 % of the requests")
    process.kill()
    process.wait(60)
    wrong = site.run("deploy", "update", "tiny", "--resume", "--model", "tiny/1", code=1)
    assert "leave --model or --config out" in wrong.stderr
    assert (
        "going on with a rollout wants to be confirmed"
        in site.run("deploy", "update", "tiny", "--resume", code=1).stderr
    )
    # the one with most requests is not what it serves, as long as another one has some
    main = f"tiny/{before}"
    assert "a rollout of tiny is under way" in site.run("deploy", "update", "tiny", "--model", main, code=1).stderr
    done = site.run("deploy", "update", "tiny", "--resume", "--yes", "--duration", "4", "-o", "json").json()
    assert done["result"] == "promoted"
    assert done["load"] == {"duration_s": 4, "concurrency": 2}, "what was typed at the beginning counts, but for this"
    assert done["limits"]["slower_percent"] == 900
    assert [step["share_percent"] for step in done["steps"]] == [10, 50, 100]
    assert served(site) != before
    nothing = site.run("deploy", "update", "tiny", "--resume", "--yes", code=1)
    assert "no rollout of tiny is under way" in nothing.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_closed_terminal_roll_back(site: SiteUnderTest, number: signal.Signals) -> None:
    before = served(site)
    process = started(site, until="10 % of the requests")
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: this command was interrupted" in said
    eventually(lambda: len(revisions(site)) == 1)
    assert served(site) == before


def test_a_closed_pipe_rolls_back(site: SiteUnderTest) -> None:
    """As in ``ai-how deploy update ... 2>&1 | head -1``."""
    before = served(site)
    process = started(site, until="is started beside revision")
    for stream in (process.stderr, process.stdout):
        assert stream is not None
        stream.close()
    assert process.wait(90) == 130
    eventually(lambda: len(revisions(site)) == 1)
    assert served(site) == before
    assert history(site)[-1]["why"] == "this command was interrupted"


def test_a_report_that_cannot_be_kept_does_not_hide_the_outcome(site: SiteUnderTest) -> None:
    reports, aside = site.root / "reports", site.root / "reports-aside"
    if reports.exists():
        reports.rename(aside)
    reports.write_text("in the way")
    target = "tiny/1" if served(site) != 1 else "tiny/2"
    (site.folder / "never.yaml").write_text("prompts:\n  - prompt: Hello\n    contains: [no tiny model says this]\n")
    try:
        ended = site.run("deploy", "update", "tiny", "--model", target, "--prompts", "never.yaml", "--yes", code=3)
    finally:
        reports.unlink()
        if aside.exists():
            aside.rename(reports)
    assert "rolled back: answer checks" in ended.stdout
    assert "Warning: the report could not be kept: " in ended.stderr
    assert "/reports" in ended.stderr


def test_a_rollback_that_was_broken_off_goes_on_when_it_is_typed_again(site: SiteUnderTest) -> None:
    before = served(site)
    target = next(one for one in reversed(history(site)) if one["spec"]["model_version"] != before)
    endpoints = open_serving(site.file).endpoints
    spec = next(one.spec for one in endpoints.journal("tiny").history if one.number == target["number"])
    moves.begin(endpoints, spec, (100,), id_="back", back_to=target["number"])
    shown = site.run("deploy", "status", "tiny").stdout
    assert f"rollback   under way, to what revision {target['number']} served" in shown
    assert "--resume" not in shown
    assert "a rollback of tiny is under way" in site.run("deploy", "update", "tiny", "--resume", code=1).stderr
    assert "a rollback of tiny is under way" in site.run("deploy", "rollback", "tiny", "--to", "99", code=1).stderr
    done = site.run("deploy", "rollback", "tiny", "--yes")
    assert "going on with the rollback" in done.stderr
    assert served(site) == target["spec"]["model_version"]
    assert len(revisions(site)) == 1


def test_a_version_that_is_being_rolled_out_cannot_be_deleted(site: SiteUnderTest) -> None:
    process = started(site, until="10 % of the requests")
    process.kill()
    process.wait(60)
    status = site.run("deploy", "status", "tiny", "-o", "json").json()
    versions = {one["spec"]["model_version"] for one in status["revisions"]}
    assert len(versions) == 2
    for version in versions:
        assert "is served by tiny" in site.run("model", "delete", f"tiny/{version}", "--yes", code=1).stderr
    site.run("deploy", "rollback", "tiny")


def test_what_is_not_registered_any_more_is_not_gone_back_to(site: SiteUnderTest) -> None:
    write_tiny_checkpoint(site.folder / "v9", seed=9)
    site.run("deploy", "up", "--model-path", "v9", "--name", "gone")
    site.run("deploy", "up", "--model-path", "model://tiny/1", "--name", "gone")
    site.run("model", "delete", "gone/1", "--yes")
    refused = site.run("deploy", "rollback", "gone", "--yes", code=1)
    assert "revision 1 cannot serve again: gone/1 is not registered any more" in refused.stderr
    site.run("model", "promote", "tiny/1", "--alias", "other")
    said = site.run("deploy", "update", "gone", "--model", "model://tiny@other", "--yes").stdout
    assert "gone serves tiny/1 already" in said
    assert site.run("deploy", "status", "gone", "-o", "json").json()["spec"]["model_ref"] == "tiny@other"
    site.run("deploy", "delete", "gone", "--force")


def test_what_is_wrong_is_said(site: SiteUnderTest) -> None:
    assert "no steps of a rollout" in site.run("deploy", "update", "tiny", "--steps", "5", code=1).stderr
    assert "no such file" in site.run("deploy", "update", "tiny", "--prompts", "none.yaml", code=1).stderr
    assert "there is no endpoint 'none'" in site.run("deploy", "history", "none", code=1).stderr
    assert "there is no endpoint 'none'" in site.run("deploy", "rollback", "none", code=1).stderr
    assert "there is no endpoint 'none'" in site.run("deploy", "update", "none", "--yes", code=1).stderr
    site.run("deploy", "create-endpoint", "--model-id", "tiny/1", "--name", "fixed", "--wait")
    asked = site.run("deploy", "update", "fixed", "--yes", code=1).stderr
    assert "which version of tiny should fixed serve?" in asked
    assert "--model model://tiny@champion" in asked
    file = "model_source: model://tiny/2\nmodel_name: other\nautoscaling: {min_replicas: 0, max_replicas: 2}\n"
    (site.folder / "deploy.yaml").write_text(file)
    plan = site.run("deploy", "update", "fixed", "--config", "deploy.yaml", "--dry-run", "-o", "json").json()
    assert (plan["old"], plan["new"], plan["result"]) == ("tiny/1", "tiny/2", "dry run")
    assert plan["autoscaling"] == {"min_replicas": 0, "max_replicas": 2}
    shown = site.run("deploy", "update", "fixed", "--config", "deploy.yaml", "--dry-run")
    assert "replicas   1..1 -> 0..2" in shown.stdout
    assert "Warning: deploy.yaml:2:13: model_name: is other, and is not taken: the endpoint is fixed" in shown.stderr
    refused = site.run("deploy", "up", "--model-path", "tiny/1", "--name", "fixed", code=1).stderr
    assert "tiny/1 does not exist here" in refused
    assert "Next: write model://tiny/1" in refused
    assert "Next: leave --provider out\n" in site.run("deploy", "list", "--provider", "foo", code=1).stderr
    site.run("deploy", "stop", "fixed", "--wait")
    assert "is stopped" in site.run("deploy", "update", "fixed", "--model", "tiny/2", "--yes", code=1).stderr
    refused = site.run("deploy", "rollback", "fixed", "--to", "1", "--yes", code=1).stderr
    assert "Next: " in refused
    refused = site.run("deploy", "start", "fixed", "--min-replicas", "9", code=1).stderr
    assert "--min-replicas 9 is more than the most that endpoint fixed may have" in refused
    assert "its replicas are 1..1" in refused
    assert "replicas   0..1" in site.run("deploy", "start", "fixed", "--min-replicas", "0").stdout
    site.run("deploy", "delete", "fixed", "--force")
