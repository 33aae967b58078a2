"""``ai-how bench show`` and ``compare`` on kept results, and what ``run`` refuses before it measures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ai_how.bench.result import to_json
from ai_how.cli.app import root
from ai_how.errors import AiHowError, SpecError

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
