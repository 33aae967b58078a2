"""``ai-how completion``: the script that teaches a shell our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ai_how.errors import SpecError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script for SHELL.

    \b
    Example:
      ai-how completion bash > ~/.local/share/bash-completion/completions/ai-how
    """
    from ai_how.cli.app import root

    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise SpecError(f"no completion for {shell}")
    click.echo(completion_class(root, {}, "ai-how", "_AI_HOW_COMPLETE").source())
