"""What a command imports before it does anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden.conftest import ROOT

HEAVY = {
    "aiohttp",
    "boto3",
    "gguf",
    "matplotlib",
    "numpy",
    "pydantic",
    "rich",
    "ruamel",
    "urllib3",
    "uvloop",
    "xllamacpp",
}


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        *([name, "--help"] for name in ("deploy", "model", "bench", "doctor", "plan", "cost")),
        ["versions", "check", "--help"],
        ["model", "fit", "--help"],
    ],
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\n"
        "from ai_how.cli.app import root\n"
        f"root.main({words}, prog_name='ai-how', standalone_mode=False)\n"
        "print('imported', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Usage: ai-how" in said
    assert HEAVY.isdisjoint(said.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        # a machine is read without the site file's model, and without anything to draw, serve or send with
        (["doctor", "--only", "system"], set()),
        (["plan", "--tier", "minimum"], {"pydantic"}),
        (["plan", "--site", "examples/libvirt.yaml"], {"pydantic", "ruamel"}),
        (["versions"], {"pydantic"}),
        (["cost"], {"pydantic", "ruamel"}),
        (["model", "fit", "--list-gpus"], set()),
    ],
)
def test_a_command_imports_only_what_it_needs(words: list[str], needed: set[str]) -> None:
    code = (
        "import contextlib, io, sys\n"
        "from ai_how.cli.app import root\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as said:\n"
        f"    root.main({words}, prog_name='ai-how', standalone_mode=False)\n"
        "assert said.getvalue()\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) <= needed


def test_a_page_needs_no_home(tmp_path: Path) -> None:
    # a user without a home: a container's, a service's
    env = {"PATH": "/usr/bin", "HOME": str(tmp_path / "file" / "no-home"), "MPLCONFIGDIR": ""}
    (tmp_path / "file").write_text("")
    words = [sys.executable, "-m", "ai_how", "cost", "-o", "html"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    assert (done.stdout[:15], done.stderr) == ("<!doctype html>", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_for_our_name(shell: str) -> None:
    words = [sys.executable, "-m", "ai_how", "completion", shell]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "_AI_HOW_COMPLETE" in said


def test_the_shell_is_told_our_commands() -> None:
    env = {"_AI_HOW_COMPLETE": "bash_complete", "COMP_WORDS": "ai-how deploy st", "COMP_CWORD": "2", "PATH": "/usr/bin"}
    words = [sys.executable, "-m", "ai_how"]
    said = subprocess.run(words, env=env, capture_output=True, text=True, check=False).stdout
    assert {"plain,status", "plain,start", "plain,stop"} <= set(said.split())


def test_what_looks_at_cards_needs_the_standard_library_alone() -> None:
    """It also runs where nothing is installed: a guest that tests passthrough is such a place."""
    modules = "ai_how.host.facts.passthrough, ai_how.machines.passthrough.binding, ai_how.machines.passthrough.reset"
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import {modules}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
