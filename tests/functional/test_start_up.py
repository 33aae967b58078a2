"""What a command imports before it does anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
    ["['--help']", "['deploy', '--help']", "['model', '--help']", "['bench', '--help']", "['doctor', '--help']"],
)
def test_help_imports_nothing_heavy(words: str) -> None:
    code = (
        "import sys\n"
        "from ai_how.cli.app import root\n"
        f"root.main({words}, prog_name='ai-how', standalone_mode=False)\n"
        "print('imported', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Usage: ai-how" in said
    assert HEAVY.isdisjoint(said.splitlines()[-1].split())


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
