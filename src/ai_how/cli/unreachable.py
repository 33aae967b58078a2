"""Hosts of a site that do not answer, as ``status`` says of them: names and reasons, and nothing guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from ai_how.cli.next_step import for_this_site
from ai_how.errors import AiHowError

if TYPE_CHECKING:
    from ai_how.apply.provider import ComponentStatus, Provider


def unreachable_hosts(provider: Provider) -> Mapping[str, AiHowError]:
    """By libvirt host, why it does not answer; of other providers none, as their components say so themselves."""
    if provider.site.provider != "libvirt":
        return {}
    from ai_how.machines.provider import LibvirtProvider

    return provider.opened.troubles if isinstance(provider, LibvirtProvider) else {}


def unasked(provider: Provider) -> list[ComponentStatus]:
    """What is planned, each with the condition unknown."""
    from ai_how.machines.provider import LibvirtProvider
    from ai_how.machines.status import unasked_components

    return unasked_components(provider) if isinstance(provider, LibvirtProvider) else []


def unreachable_as_json(troubles: Mapping[str, AiHowError]) -> dict[str, object]:
    """The hosts and their troubles; nothing where all answer."""
    if not troubles:
        return {}
    return {
        "unreachable": [
            {"host": name, "brief": error.brief, "evidence": error.evidence, "next_step": error.next_step}
            for name, error in troubles.items()
        ]
    }


def print_unreachable(troubles: Mapping[str, AiHowError]) -> None:
    """A paragraph for each host."""
    for name, error in troubles.items():
        evidence = f"\n  {error.evidence}" if error.evidence else ""
        click.echo(f"\nhost {name}: {error.brief}{evidence}\nNext: {for_this_site(error.next_step)}")
