"""Commands in messages, as they have to be typed here: for the site that was given with ``--site``.

What knows no command line says ``ai-how up``; only here is known that it must be ``ai-how up --site FILE``.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from ai_how.cli.output import note

SITE_KEY = "ai_how.site"
"""Where a command's context keeps the site file that was given on the command line."""

_COMMAND = re.compile(r"(?<![\w/.-])ai-how((?: [a-z][a-z-]*){1,2})(?![\w-])(?! --site)")


def say_next(text: str) -> None:
    """Print on stderr what to type next."""
    note(f"Next: {for_this_site(text)}")


def for_this_site(text: str) -> str:
    """The text with the site of the running command in every ``ai-how`` command that takes one."""
    context = click.get_current_context(silent=True)
    site = context.meta.get(SITE_KEY) if context else None
    return with_site(text, site) if site else text


def with_site(text: str, site: Path) -> str:
    """The text with ``--site`` in every ``ai-how`` command that takes one and has none."""

    def add(match: re.Match[str]) -> str:
        words = match[1].split()
        taken = _words_of_command(words)
        if not taken:
            return match[0]
        return " ".join(["ai-how", *words[:taken], "--site", shlex.quote(str(site)), *words[taken:]])

    return _COMMAND.sub(add, text)


def _words_of_command(words: list[str]) -> int:
    """How many of the words name a command that takes ``--site``; 0 where they name none."""
    from ai_how.cli.app import root

    command: click.Command | None = root
    context = click.Context(root)
    for count, word in enumerate(words, start=1):
        command = command.get_command(context, word) if isinstance(command, click.Group) else None
        if command is None:
            return 0
        if any(param.name == "site_path" for param in command.params):
            return count
    return 0
