"""``ai-how bench show`` and ``compare`` on kept results, and what ``run`` refuses before it measures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ai_how.bench.result import to_json
from ai_how.bench.rollout.report import FORMAT as ROLLOUT
from ai_how.cli.app import root
from ai_how.errors import AiHowError, NotFoundError, SpecError

from .test_bench import judged


def invoke(*words: str) -> str:
    done = CliRunner().invoke(root, ["bench", *words])
    if isinstance(done.exception, AiHowError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    file = tmp_path / "before.json"
    file.write_text(json.dumps(to_json(judged())))
    return file


def test_a_kept_result_is_shown_again(kept: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert "closed loop, seed 77" in invoke("show", str(kept), "--html", str(page))
    assert "<svg" in page.read_text()
    assert json.loads(invoke("show", str(kept), "-o", "json")) == json.loads(kept.read_text())


def test_two_kept_results_are_compared(kept: Path, tmp_path: Path) -> None:
    after = tmp_path / "after.json"
    after.write_text(json.dumps(to_json(replace(judged(), software={"ai-how": "9"}))))
    said = invoke("compare", str(kept), str(after))
    assert "not the same: version of ai-how: 1.2.3 -> 9" in said
    assert "within noise" in said
    data = json.loads(CliRunner().invoke(root, ["bench", "compare", str(kept), str(after), "-o", "json"]).stdout)
    assert [one["what"] for one in data["conditions"]] == ["version of ai-how"]
    assert {one["concurrency"] for one in data["figures"]} == {1, 8}
    other = tmp_path / "other.json"
    other.write_text(json.dumps(to_json(replace(judged(), levels=()))))
    assert "no load level in common" in invoke("compare", str(kept), str(other))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Three results kept, two of ``chat``, their names against their times; and a roll-out's report."""
    reports = tmp_path / ".ai-how" / "lab" / "reports"
    reports.mkdir(parents=True)
    for name, endpoint, day in (("chat-2", "chat", 2), ("chat-1", "chat", 3), ("other-1", "other", 1)):
        measured = replace(judged().endpoint, name=endpoint)
        one = replace(judged(), endpoint=measured, started_at=f"2026-01-0{day}T10:00:00+00:00")
        (reports / f"{name}.json").write_text(json.dumps(to_json(one)))
    (reports / "chat-rollout-1.json").write_text(json.dumps({"format": ROLLOUT}))
    file = tmp_path / "ai-how.yaml"
    file.write_text("name: lab\n")
    return file


def names(site: Path, *words: str) -> list[str]:
    return [one["name"] for one in json.loads(invoke("list", *words, "--site", str(site), "-o", "json"))]


def test_kept_results_are_listed_and_found_by_name(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(site) == ["chat-1", "chat-2", "other-1"]
    assert names(site, "chat") == ["chat-1", "chat-2"]
    text = invoke("list", "--site", str(site))
    assert "chat-1   2026-01-03 10:00  1,8" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    monkeypatch.chdir(site.parent)
    assert json.loads(invoke("show", "-o", "json"))["started_at"] == "2026-01-03T10:00:00+00:00"
    assert json.loads(invoke("show", "other-1", "-o", "json"))["endpoint"]["name"] == "other"
    assert "within noise" in invoke("compare", "chat-1", "other-1.json")
    ended = replace(judged(), interrupted=True, started_at="2026-01-04T10:00:00+00:00")
    (site.parent / ".ai-how" / "lab" / "reports" / "ended.json").write_text(json.dumps(to_json(ended)))
    assert "interrupted" in next(line for line in invoke("list").splitlines() if line.startswith("ended"))
    assert "not the same: run: interrupted -> whole" in invoke("compare", "ended", "chat-1")
    asked = {"COMP_WORDS": "ai-how bench show chat", "COMP_CWORD": "3", "_AI_HOW_COMPLETE": "bash_complete"}
    assert CliRunner().invoke(root, env=asked, prog_name="ai-how").output.split() == ["plain,chat-1", "plain,chat-2"]


def test_a_result_that_is_not_kept_or_not_readable_is_told(site: Path) -> None:
    for name in ("nope", "../reports/chat-1"):
        with pytest.raises(NotFoundError, match="no result") as caught:
            invoke("show", name, "--site", str(site))
        assert "ai-how bench list" in caught.value.next_step
    reports = site.parent / ".ai-how" / "lab" / "reports"
    (reports / "torn.json").write_text("{")
    assert names(site)[-1] == "torn"
    torn = next(line for line in invoke("list", "--site", str(site)).splitlines() if line.startswith("torn"))
    assert "not readable: the file is not a benchmark result: it is not JSON" in torn
    for file in reports.iterdir():
        file.unlink()
    assert "no result is kept of chat; measure: ai-how bench run" in invoke("list", "chat", "--site", str(site))
    with pytest.raises(NotFoundError, match="no result is kept") as caught:
        invoke("show", "--site", str(site))
    assert "bench run" in caught.value.next_step


def test_another_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "picture.json"
    file.write_bytes(b"\x89PNG\xff")
    for words in (("show", str(file)), ("compare", str(file), str(file))):
        with pytest.raises(SpecError, match="not a benchmark result"):
            invoke(*words)


@pytest.mark.parametrize("levels", ["", "a", "1,,2", "0", "-1", "2000", "1.5"])
def test_a_list_of_load_levels_has_to_be_one(levels: str) -> None:
    with pytest.raises(SpecError, match="load levels"):
        invoke("run", "any", f"--concurrency={levels}")
