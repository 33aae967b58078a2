"""Asking before something is changed or removed: the same everywhere."""

from __future__ import annotations

import sys

import click

from ai_how.errors import SpecError


def confirm(question: str, *, what: str, otherwise: str, default: bool = False) -> None:
    """Ask; goes on only after a yes.

    Args:
        what: What wants to be confirmed, for the message where nobody can be asked.
        otherwise: The command that does it without asking.

    Raises:
        SpecError: the answer is no, or there is no terminal to ask at.
    """
    want_terminal(what, otherwise=otherwise)
    if not click.confirm(question, default=default, err=True):
        raise SpecError("nothing was done")


def confirm_by_name(name: str, *, kind: str, what: str, otherwise: str) -> None:
    """Ask for a name to be typed: for what cannot be taken back.

    Args:
        kind: Whose name it is: ``site``.
        what, otherwise: As of ``confirm``.

    Raises:
        SpecError: another name was typed, or there is no terminal to ask at.
    """
    want_terminal(what, otherwise=otherwise)
    if click.prompt(f"Type the {kind}'s name ({name}) to go on", err=True) != name:
        raise SpecError("the name does not match: nothing was done")


def want_terminal(what: str, *, otherwise: str) -> None:
    """Make sure that somebody can be asked.

    Raises:
        SpecError: standard input is no terminal.
    """
    if not sys.stdin.isatty():
        raise SpecError(f"{what} wants to be confirmed", next_step=otherwise)
