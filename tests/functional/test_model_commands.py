"""``ai-how model`` as its user types it, against real stores; and models from the hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ai_how.cli import model as commands
from ai_how.cli.app import root
from ai_how.cli.transfer import TransferProgress
from ai_how.errors import AiHowError, ConflictError, MissingToolError, SpecError
from ai_how.models import hub
from ai_how.models.library import Served
from ai_how.models.types import Stores
from tests.checkpoints import write_gguf, write_leftovers
from tests.tiny_model import write_tiny_adapter, write_tiny_checkpoint

from .hub import COMMIT, running_hub

pytestmark = pytest.mark.slow

Run = Callable[..., Result]


@pytest.fixture
def in_use() -> dict[str, list[Served]]:
    return {}


@pytest.fixture
def run(stores: Stores, in_use: dict[str, list[Served]], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command of ``ai-how model`` on the tests' stores; an error of ours is raised."""
    serving = SimpleNamespace(stores=lambda: stores, endpoints=SimpleNamespace(list_endpoints=list))
    monkeypatch.setattr(commands, "open_serving", lambda _site: serving)
    monkeypatch.setattr(commands, "_served", lambda _site: in_use)

    def invoke(*words: str) -> Result:
        result = CliRunner().invoke(root, ["model", *words])
        if isinstance(result.exception, AiHowError):
            raise result.exception
        assert result.exit_code == 0, (result.output, result.exception)
        return result

    return invoke


def as_json(result: Result) -> Any:
    return json.loads(result.stdout)


def test_a_model_s_life(run: Run, tmp_path: Path, in_use: dict[str, list[Served]]) -> None:
    source = write_tiny_checkpoint(tmp_path / "m")
    write_leftovers(source)
    said = run("push", str(source), "--name", "life", "--alias", "champion", "--alias", "canary")
    assert "left out: .git, checkpoint-10/" in said.stderr
    assert "registered as life/1, " in said.stderr
    assert "deploy up --model-path model://life/1" in said.stderr
    assert "LlamaForCausalLM" in said.stdout
    again = run("push", str(source), "--name", "life")
    assert "registered already: life/1, 0 B sent" in again.stderr

    listed = [line.split() for line in run("list").stdout.splitlines()]
    assert ["life/1", "canary,", "champion", "huggingface"] in [words[:4] for words in listed]
    assert "life/1" in run("show", "life@canary").stdout
    assert run("promote", "life/1", "--alias", "best").stdout == "life@best is version 1\n"
    out = tmp_path / "out"
    assert str(out) in run("pull", "life", str(out)).stdout
    assert (out / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()

    life = as_json(run("show", "life", "-o", "json"))
    in_use["chat"] = [Served(uri=life["uri"], digest=life["digest"])]
    with pytest.raises(ConflictError, match="served by chat"):
        run("delete", "life/1", "--yes")
    # the same content under another name is another version, with files of its own
    run("push", str(source), "--name", "life2")
    run("delete", "life2/1", "--yes")
    assert "life/1" in run("show", "life").stdout
    in_use.clear()
    with pytest.raises(SpecError, match="--yes"):
        run("delete", "life/1")
    assert "life/1" in run("delete", "life/1", "--yes").stderr
    assert as_json(run("list", "--name", "life", "-o", "json")) == []
    assert run("list", "--name", "life").stdout == "no model is registered\n"


def test_json_is_all_that_is_on_stdout(run: Run, tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "m.gguf")
    first = run("push", str(source), "-n", "js", "-o", "json")
    assert first.stderr == ""
    data = as_json(first)
    assert data["registered"] is True
    assert data["sent_bytes"] == data["size_bytes"] == source.stat().st_size
    assert data["info"] | {"dtype": "Q8_0", "format": "gguf", "context_tokens": 2048} == data["info"]
    assert as_json(run("push", str(source), "-n", "js", "-o", "json"))["sent_bytes"] == 0
    assert as_json(run("promote", "js", "-o", "json"))["aliases"] == ["champion"]
    assert as_json(run("list", "-n", "js", "-o", "json"))[0]["version"] == 1
    assert as_json(run("pull", "js", str(tmp_path / "out"), "-o", "json"))["path"] == str(tmp_path / "out")


def test_tables_fit_80_columns(run: Run, tmp_path: Path) -> None:
    aliases = ("champion", "canary", "a-very-long-alias-of-a-version")
    run("push", str(write_tiny_checkpoint(tmp_path / "m")), "-n", "x" * 64, *(f"--alias={name}" for name in aliases))
    lines = run("list", "-n", "x" * 64).stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].split()[0].endswith("xxx/1")


def test_an_adapter_shows_its_base(run: Run, tmp_path: Path) -> None:
    run("push", str(write_tiny_adapter(tmp_path / "m")), "-n", "adapter")
    shown = run("show", "adapter").stdout
    assert "base model    tiny" in shown
    assert "no chat template" in shown


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with TransferProgress(quiet=False) as progress:
        for done in (0, 1 << 20, 2 << 20, 2 << 20):
            progress("upload", done, 2 << 20)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].split()[:3] == ["upload", "2.0", "MiB"]


def test_progress_is_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with TransferProgress(quiet=False) as progress:
        progress("upload", 1 << 20, 2 << 20)
        progress("upload", 2 << 20, 2 << 20)
    drawn = capsys.readouterr().err
    assert "2.0/2.0 MiB" in drawn
    assert max(len(line) for line in drawn.replace("\r", "\n").splitlines()) < 300


_FROM_HUB = """
import sys
from pathlib import Path
from ai_how.errors import AiHowError
from ai_how.models.hub import fetch
try:
    print(*fetch(sys.argv[1], Path(sys.argv[2])))
except AiHowError as error:
    print(type(error).__name__, error)
"""


def fetch(url: str, address: str, cache: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _FROM_HUB, address, str(cache)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_ENDPOINT": url, "HF_HUB_DISABLE_TELEMETRY": "1"},
    )
    assert done.stderr == ""
    return done.stdout


def test_a_model_is_fetched_from_the_hub_at_its_commit(tmp_path: Path) -> None:
    source = write_tiny_checkpoint(tmp_path / "m")
    (source / "pytorch_model.bin").write_bytes(b"a pickle")
    with running_hub(source) as (url, fetched):
        folder, recorded = fetch(url, "hf://org/tiny", tmp_path / "cache").split()
        assert recorded == f"hf://org/tiny@{COMMIT}"
        assert (Path(folder) / "config.json").read_bytes() == (source / "config.json").read_bytes()
        assert sorted(fetched) == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
        fetch(url, f"hf://org/tiny@{COMMIT}", tmp_path / "cache")
        assert len(fetched) == 4, "what is in the cache is not fetched again"
        assert fetch(url, "hf://org/none", tmp_path / "cache").startswith("NotFoundError the hub has no model")
        assert "Revision Not Found" in fetch(url, "hf://org/tiny@nope", tmp_path / "cache")
    assert fetch(url, "hf://org/other", tmp_path / "cache").startswith("TryAgainError hf://org/other could not be")


def test_a_model_from_the_hub_is_recorded_with_its_commit(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_tiny_checkpoint(tmp_path / "m")
    monkeypatch.setattr(hub, "fetch", lambda address, _cache: (source, f"{address}@{COMMIT}"))
    run("push", "hf://org/tiny", "-n", "from-hub")
    assert as_json(run("show", "from-hub", "-o", "json"))["source"] == f"hf://org/tiny@{COMMIT}"


def test_without_the_hub_s_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingToolError, match="one more package") as caught:
        hub.fetch("hf://org/tiny", tmp_path)
    assert caught.value.next_step == f"{sys.executable} -m pip install huggingface_hub"


def test_an_empty_source_is_no_folder(run: Run) -> None:
    with pytest.raises(SpecError, match="no model is named"):
        run("push", "", "--name", "none")
