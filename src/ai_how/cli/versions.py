"""``ai-how versions``: the release sets, and whether versions fit together."""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ai_how.cli.options import Function, named_site_option, output_option
from ai_how.cli.output import fail, print_json
from ai_how.errors import NotFoundError, SpecError

if TYPE_CHECKING:
    from ai_how.releases.pins import Pin

FITS, WARNS, CONFLICT = 0, 1, 2
VERDICTS = {FITS: "fits", WARNS: "warns", CONFLICT: "conflict"}


def complete_set(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of release sets, for the shell."""
    from ai_how.releases.sets import set_names

    return [name for name in set_names() if name.startswith(incomplete)]


def complete_component(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of components, for the shell."""
    from ai_how.releases.files import load_world

    return [name for name in load_world().components if name.startswith(incomplete)]


def on_option(function: Function) -> Function:
    """``--on DATE``."""
    return click.option(
        "--on",
        type=click.DateTime(["%Y-%m-%d"]),
        metavar="DATE",
        help="Judge ends of life on this date (2026-12-31). Default: today.",
    )(function)


def _day(on: datetime.datetime | None) -> datetime.date:
    return on.date() if on else datetime.datetime.now(tz=datetime.UTC).date()


@click.group(invoke_without_command=True)
@output_option
@on_option
@click.pass_context
def versions(context: click.Context, output: str, on: datetime.datetime | None) -> None:
    """Show the release sets; check whether versions fit together.

    A release set is one version of each component. The default set is `current`.

    \b
    Example:
      ai-how versions
      ai-how versions check --pin kubernetes=1.34
    """
    if context.invoked_subcommand is not None:
        if output != "text" or on:
            raise click.UsageError(
                f"write options after the command: ai-how versions {context.invoked_subcommand} -o json"
            )
        return
    from ai_how.cli import versions_text as text
    from ai_how.releases.sets import load_set, set_names

    sets = [load_set(name) for name in set_names()]
    if output == "json":
        print_json([text.set_data(release_set, _day(on)) for release_set in sets])
        return
    text.print_sets(sets)
    click.echo()
    text.print_set(sets[0], _day(on))


@versions.command()
@click.argument("name", shell_complete=complete_set)
@on_option
@output_option
def show(name: str, on: datetime.datetime | None, output: str) -> None:
    """Show the versions of the release set NAME and what had to give way.

    \b
    Example:
      ai-how versions show 2025.10
    """
    from ai_how.cli import versions_text as text
    from ai_how.releases.sets import load_set

    release_set = load_set(name)
    if output == "json":
        print_json(text.set_data(release_set, _day(on)))
    else:
        text.print_set(release_set, _day(on))


@versions.command()
@click.argument("component", shell_complete=complete_component)
@click.option(
    "--release", "name", shell_complete=complete_set, default="current", help="The release set meant. Default: current."
)
@output_option
def explain(component: str, name: str, output: str) -> None:
    """Show why COMPONENT has its version: what it needs, what needs it.

    \b
    Example:
      ai-how versions explain kubernetes
    """
    from ai_how.cli import versions_text as text
    from ai_how.releases.files import load_world
    from ai_how.releases.sets import load_set

    found = load_world().find(component)
    data = text.component_data(found, load_set(name))
    if output == "json":
        print_json(data)
    else:
        text.print_component(data)


@versions.command()
@click.option(
    "--release", "name", shell_complete=complete_set, help="Check this set; --pin replaces what it says of a component."
)
@click.option(
    "--pin",
    "pins",
    multiple=True,
    shell_complete=complete_component,
    metavar="PIN",
    help="A version that must hold, such as kubernetes=1.34.",
)
@named_site_option("Check the release set and the pins of this site file.", envvar=None)
@click.option("--document", is_flag=True, help="Add every version that the resource requirements name.")
@on_option
@output_option
def check(
    name: str | None,
    pins: tuple[str, ...],
    site_path: Path | None,
    document: bool,
    on: datetime.datetime | None,
    output: str,
) -> None:
    """Check versions against each other and against their ends of life.

    Without options it checks the set `current`. With pins it looks for the
    newest set that keeps them all, or says which pins clash, why, and what
    to change. A pin compares like `containerd>=1.7.23,<2.3`, takes a whole
    series like `kubernetes=1.34`, has alternatives like
    `guest=debian-13|ubuntu-24.04`, or asks for any version like `minio`.

    Exit code: 0 it fits, 1 it fits with warnings, 2 it does not fit or a
    pin cannot be read.

    \b
    Example:
      ai-how versions check --document
      ai-how versions check --pin kubernetes=1.28.0 --pin 'calico>=3.30.3'
      ai-how versions check --release 2025.10 --on 2025-10-27
      ai-how versions check --site ai-how.yaml
    """
    from ai_how.cli import versions_text as text

    try:
        if site_path is not None:
            name, pins = _of_site(site_path, name, pins)
        elif not pins and not document and name is None:
            name = "current"
        code, data = _answer(name, pins, document, _day(on))
    except (SpecError, NotFoundError) as error:
        fail(error, exit_code=CONFLICT)
    if output == "json":
        print_json(data | ({"elsewhere": text.elsewhere()} if document else {}))
    else:
        text.print_check(data, release=name if not pins and not document else None)
        if document:
            text.print_elsewhere()
    sys.exit(code)


def _of_site(site_path: Path, name: str | None, pins: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    from ai_how.releases.pins import make_pin
    from ai_how.site.load import load_site

    if name or pins:
        raise SpecError("--site excludes --release and --pin", next_step="write release and pins into the site file")
    site = load_site(site_path)
    return site.release, tuple(str(make_pin(component, text)) for component, text in site.pins.items())


def _answer(name: str | None, pins: tuple[str, ...], document: bool, day: datetime.date) -> tuple[int, dict[str, Any]]:
    from ai_how.cli import versions_text as text
    from ai_how.releases import Conflict, load_set, load_world, solve
    from ai_how.releases.ageing import notices

    answer = solve(_demanded(name, pins, document), wanted=load_set(name or "current").versions)
    if isinstance(answer, Conflict):
        code, data = CONFLICT, text.conflict_data(answer)
        for way in data["ways_out"]:
            way["command"] = _command(name, pins, document, way["changes"])
    else:
        found = notices(load_world(), answer.versions, day)
        code, data = WARNS if found else FITS, text.solution_data(answer, found)
    return code, {"verdict": VERDICTS[code], "on": str(day), **data}


def _command(
    name: str | None, texts: tuple[str, ...], document: bool, changes: Sequence[Mapping[str, Any]]
) -> str | None:
    """The same check once these pins give way; None where one is left out and another option still asks for it."""
    from ai_how.releases.conflict import read_pins
    from ai_how.releases.files import load_world

    changed = {change["pin"]: change for change in changes}
    pins = [str(pin) for pin in read_pins(texts, load_world())]
    if any(change["to"] is None and change["pin"] not in pins for change in changes):
        return None
    kept = [pin for pin in pins if pin not in changed]
    kept += [f"{change['component']}={change['to']}" for change in changes if change["to"]]
    options = ["--document"] * document + ([f"--release {name}"] if name else [])
    return " ".join(["ai-how versions check", *options, *(f"--pin {shlex.quote(pin)}" for pin in kept)])


def _demanded(name: str | None, texts: tuple[str, ...], document: bool) -> list[Pin]:
    """All pins: those given; then the document's and the set's, but for components that are named already."""
    from ai_how.releases.conflict import read_pins
    from ai_how.releases.files import load_world
    from ai_how.releases.sets import filled, load_document, load_set

    demanded = list(read_pins(texts, load_world()))
    if document:
        demanded = filled(demanded, [pin for pin, _ in load_document().pins])
    return filled(demanded, load_set(name).pins()) if name else demanded
