"""Every command teaches by its help, fits 80 columns, and starts without importing what it does not need."""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ai_how.cli.app import COMMANDS, main, root
from ai_how.cli.options import Number
from ai_how.cli.output import fail
from ai_how.errors import AiHowError


def all_commands() -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []

    def walk(words: str, command: click.Command) -> None:
        found.append((words, command))
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                walk(f"{words} {name}".strip(), child)

    walk("", root)
    return found


COMMAND_WORDS = [words for words, _ in all_commands()]


@pytest.mark.parametrize("words", COMMAND_WORDS)
def test_help_teaches_with_an_example_in_80_columns(words: str) -> None:
    result = CliRunner().invoke(root, [*words.split(), "--help"], terminal_width=80, prog_name="ai-how")
    assert result.exit_code == 0, result.output
    assert "Example:" in result.output
    assert max(len(line) for line in result.output.splitlines()) <= 80


@pytest.mark.parametrize("words", COMMAND_WORDS)
def test_every_option_says_what_it_does(words: str) -> None:
    command = dict(all_commands())[words]
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{words} {option.name}"


def test_the_list_of_commands_says_what_the_commands_say() -> None:
    assert list(COMMANDS) == root.list_commands(click.Context(root))
    result = CliRunner().invoke(root, ["--help"], prog_name="ai-how")
    for name in COMMANDS:
        assert f"  {name}" in result.output


def test_a_typo_is_answered_with_the_nearest_command() -> None:
    result = CliRunner().invoke(root, ["statsu"], prog_name="ai-how")
    assert result.exit_code == 2
    assert "Did you mean 'status'?" in result.output


@pytest.mark.parametrize("text", ["nan", "-nan", "inf", "-inf", "1e999"])
def test_no_option_takes_what_is_not_a_finite_number(text: str) -> None:
    taken = []
    for words, command in all_commands():
        for parameter in command.params:
            try:
                value = parameter.type.convert(text, parameter, None)
            except click.BadParameter:
                continue
            if isinstance(value, float):
                taken.append(f"{words} {parameter.name}")
    assert not taken


def test_a_number_within_bounds_is_taken() -> None:
    assert Number(0.1, 3600).convert("15", None, None) == 15.0
    result = CliRunner().invoke(root, ["bench", "run", "any", "--duration", "nan"])
    assert (result.exit_code, "'nan' is not a finite number" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_is_left_out_where_it_is_not_wanted(
    environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)

    @click.command()
    def red() -> None:
        click.secho("red", fg="red")

    monkeypatch.setitem(COMMANDS, "red", (f"{__name__}:red", "Red."))
    monkeypatch.setattr(sys.modules[__name__], "red", red, raising=False)
    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        root.main(["red"], standalone_mode=False)
        patch.setattr(sys, "stderr", terminal)
        with pytest.raises(SystemExit):
            fail(AiHowError("broken"))
    said = terminal.getvalue()
    assert "red" in said and "broken" in said
    assert ("\x1b[" in said) is coloured


def test_a_full_disk_without_a_name_is_told_with_what_is_free(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not" / "there"))
    monkeypatch.setattr(root, "main", full)
    with pytest.raises(SystemExit):
        main([])
    said = capsys.readouterr().err
    assert "the disk is full" in said
    for folder in (Path.cwd(), tmp_path / "not" / "there" / "ai-how"):
        assert f"MiB are free in {folder}" in said


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True
