"""``ai-how deploy coldstart``: where the time of an endpoint's start goes, and what would shorten it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.confirm import confirm
from ai_how.cli.deploy_common import check_provider, endpoint_name, endpoint_options, provider_option, say_state
from ai_how.cli.options import output_option, site_option, yes_option
from ai_how.cli.output import note, print_json
from ai_how.errors import NotFoundError

if TYPE_CHECKING:
    from ai_how.endpoints.cold_start.advice import Advice, Served
    from ai_how.endpoints.cold_start.waterfall import Waterfall
    from ai_how.endpoints.types import EndpointSpec, EndpointStatus

_UNQUANTIZED = ("float64", "float32", "float16", "bfloat16", "f64", "f32", "f16", "bf16")
_STOP_MARGIN_S = 60.0


@click.command()
@endpoint_options
@provider_option
@click.option("--fresh", is_flag=True, help="Stop the endpoint, start it and ask one token; it is away meanwhile.")
@click.option("--html", "html_file", type=click.Path(path_type=Path, dir_okay=False), help="Also write a page here.")
@yes_option
@site_option
@output_option
def coldstart(
    endpoint_id: str | None,
    endpoint: str | None,
    provider: str | None,
    fresh: bool,
    html_file: Path | None,
    yes: bool,
    site_path: Path | None,
    output: str,
) -> None:
    """Show where the time of the last start went, and what would shorten it.

    The last start from no replica at all counts; the gateway remembers it until
    it is started anew itself. What nothing tells is not measured.

    \b
    Example:
      ai-how deploy coldstart my-model
      ai-how deploy coldstart my-model --fresh --html start.html
    """
    from ai_how.cli.deploy_up import open_client
    from ai_how.endpoints.cold_start.advice import advise

    check_provider(provider)
    name = endpoint_name(endpoint_id, endpoint)
    status = open_client(site_path).get(name)
    if fresh:
        if not yes:
            confirm(
                f"Stop endpoint {name} and start it again? Requests are refused until it has stopped, then they wait.",
                what="an interruption",
                otherwise=f"ai-how deploy coldstart {name} --fresh --yes",
            )
        found = _afresh(status, site_path, quiet=output == "json")
    else:
        found = _last(name, site_path)
    advice = advise(found, _served(status.spec, site_path))
    _show(found, advice, name=name, html_file=html_file, site_path=site_path, output=output)


def _last(name: str, site_path: Path | None) -> Waterfall:
    from ai_how.cli.deploy_up import open_client

    found = open_client(site_path).last_start(name)
    if found is None:
        raise NotFoundError(
            f"no start of endpoint {name} was seen",
            evidence="it was running before its gateway, or it never became ready",
            next_step=f"ai-how deploy coldstart {name} --fresh",
        )
    return found


def _afresh(status: EndpointStatus, site_path: Path | None, *, quiet: bool) -> Waterfall:
    from ai_how.cli.deploy_up import ask_endpoint, open_client
    from ai_how.endpoints.cold_start.fresh import start_afresh
    from ai_how.local.site_access import open_gateway

    serving = open_gateway(site_path).site.serving
    return start_afresh(
        open_client(site_path),
        status,
        lambda: ask_endpoint(status, "Hello", max_tokens=1, site_path=site_path),
        start_timeout_s=serving.start_timeout_s + _STOP_MARGIN_S,
        stop_timeout_s=serving.drain_timeout_s + _STOP_MARGIN_S,
        on_state=(lambda _: None) if quiet else say_state,
    )


def _served(spec: EndpointSpec, site_path: Path | None) -> Served:
    from ai_how.endpoints.cold_start.advice import Served
    from ai_how.local.site_access import open_stores
    from ai_how.models.library import resolve

    info = resolve(f"{spec.model_name}/{spec.model_version}", open_stores(site_path)).info
    return Served(
        name=spec.name,
        engine=spec.engine,
        cluster=False,
        min_replicas=spec.autoscaling.min_replicas,
        quantized=info.dtype.lower() not in _UNQUANTIZED,
    )


def _show(
    found: Waterfall,
    advice: tuple[Advice, ...],
    *,
    name: str,
    html_file: Path | None,
    site_path: Path | None,
    output: str,
) -> None:
    from ai_how.apply.files import write_atomic
    from ai_how.cli.next_step import for_this_site
    from ai_how.endpoints.cold_start.report import render_html, render_text
    from ai_how.local.site_access import open_gateway

    target_s = open_gateway(site_path).site.targets.cold_start_s
    if html_file:
        write_atomic(html_file, render_html(found, advice, name=name, target_s=target_s), mode=0o644)
    if output == "json":
        print_json({"endpoint": name, "target_s": target_s, "start": found, "advice": advice})
        return
    click.echo(for_this_site(render_text(found, advice, name=name, target_s=target_s)))
    if html_file:
        note(f"\nwritten: {html_file}")
