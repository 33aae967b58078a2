"""What the ``deploy`` commands share: Oumi's options, names, and how an endpoint is shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ai_how.cli.next_step import for_this_site
from ai_how.cli.output import note, print_json
from ai_how.endpoints.types import OTHER_PROVIDERS, PROVIDERS, adapter_name, model_text
from ai_how.errors import ConflictError, SpecError

if TYPE_CHECKING:
    from ai_how.endpoints.interface import Endpoints
    from ai_how.endpoints.serving_site import ServingSite
    from ai_how.endpoints.types import EndpointSpec, EndpointStatus

Function = TypeVar("Function", bound=Callable[..., Any])

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def provider_option(function: Function) -> Function:
    return click.option("--provider", "-p", default=None, help="ai-how: what the site has; kserve: only on a cluster.")(
        function
    )


def endpoint_options(function: Function) -> Function:
    function = click.argument("endpoint", required=False)(function)
    return click.option("--endpoint-id", "-e", help="Name of the endpoint, as in Oumi; or give it as argument.")(
        function
    )


def wait_option(*, default: bool) -> Callable[[Function], Function]:
    return click.option("--wait/--no-wait", "-w", default=default, show_default=True, help="Wait until it is so.")


def check_name(name: str) -> str:
    """An endpoint's name, as it appears in URLs and file names.

    Raises:
        SpecError: it has other characters, with a name that would do.
    """
    if _NAME.fullmatch(name):
        return name
    near = near_name(name)
    raise SpecError(
        f"{name!r} cannot be the name of an endpoint",
        evidence="lower-case letters, digits and dashes; 40 at most",
        next_step=f"use --name {near}" if near else "use --name my-model",
    )


def near_name(name: str) -> str:
    """The nearest text that can be an endpoint's name; empty where there is none."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")


def check_provider(provider: str | None) -> None:
    if provider is not None and provider not in PROVIDERS:
        raise SpecError(
            f"provider {provider!r} is not ai-how's",
            evidence="ai-how serves on your own machines",
            next_step="leave --provider out"
            + (f", or use: oumi deploy ... --provider {provider}" if provider.lower() in OTHER_PROVIDERS else ""),
        )


def endpoint_name(option: str | None, argument: str | None) -> str:
    if option and argument and option != argument:
        raise SpecError(f"two endpoints are named: {argument} and {option}")
    name = option or argument
    if not name:
        raise SpecError("which endpoint?", next_step="name it, see them with: ai-how deploy list")
    if not _NAME.fullmatch(name):
        raise SpecError(f"{name!r} is no name of an endpoint", next_step="ai-how deploy list shows them")
    return name


def known_endpoint(endpoints: Endpoints, name: str) -> EndpointStatus:
    """One endpoint, of which is known what it serves.

    Raises:
        NotFoundError: there is none of that name.
        ConflictError: its record is broken.
    """
    found = endpoints.get(name)
    if not found.is_known:
        raise ConflictError(
            f"nobody knows what endpoint {name} serves",
            evidence=found.message,
            next_step=f"ai-how deploy up, with its model again; or: ai-how deploy delete {name}",
        )
    return found


def say_state(status: EndpointStatus) -> None:
    states = ", ".join(replica.state for replica in status.replicas) or "no replica yet"
    note(f"  {status.spec.name}: {status.state} ({states})")


def show_status(status: EndpointStatus, site: ServingSite, output: str) -> None:
    """An endpoint with what is under way: revisions beside each other, an alias that has moved."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    from ai_how.cli.rollout_text import rollout_lines
    from ai_how.endpoints.rollout.journal import Journal

    name = status.spec.name
    revisions = site.endpoints.revisions(name) if status.is_known else ()
    journal = site.endpoints.journal(name) if len(revisions) > 1 else Journal()
    if output == "json":
        print_json({**asdict(status), "revisions": revisions, "rollout": journal.rollout})
        return
    show_endpoint(status, output)
    under_way = rollout_lines(name, revisions, journal, now=datetime.now(UTC))
    for line in [*under_way, *map(for_this_site, _moved_lines(status.spec, site))]:
        click.echo(line)


def _moved_lines(spec: EndpointSpec, site: ServingSite) -> list[str]:
    """Which of the aliases that an endpoint was deployed from mean another version now."""
    from ai_how.cli.rollout_text import moved_line
    from ai_how.errors import AiHowError
    from ai_how.models.library import resolve

    lines = []
    for part in spec.served:
        if not part.model_ref:
            continue
        try:
            lines.append(moved_line(part, resolve(part.model_ref, site.stores()), endpoint=spec.name))
        except AiHowError as error:
            lines.append(f"newer      not known: {error.brief}")
    return [line for line in lines if line]


def show_endpoint(status: EndpointStatus, output: str) -> None:
    if output == "json":
        print_json(status)
        return
    spec = status.spec
    click.echo(f"endpoint   {spec.name}")
    click.echo(f"state      {status.state}")
    click.echo(f"model      {model_text(spec) if status.is_known else '-'}")
    for one in spec.adapters:
        click.echo(f"adapter    {adapter_name(spec.name, one.tag)}  {one.model_name}/{one.model_version}")
    if status.is_known:
        click.echo(f"engine     {spec.engine} on {spec.hardware.count}x {spec.hardware.accelerator}")
    click.echo(f"replicas   {spec.autoscaling.min_replicas}..{spec.autoscaling.max_replicas}")
    for replica in status.replicas:
        in_flight = "" if replica.in_flight is None else f"{replica.in_flight} in flight  "
        click.echo(f"           {replica.name}  {replica.state}  {in_flight}{replica.message}".rstrip())
    click.echo(f"url        {status.url}")
    if status.message:
        click.echo("message    " + status.message.replace("\n", "\n           "))
