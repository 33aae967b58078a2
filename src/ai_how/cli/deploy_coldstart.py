"""``ai-how deploy coldstart``: where the time of an endpoint's start goes, and what would shorten it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.confirm import confirm
from ai_how.cli.deploy_common import (
    check_provider,
    endpoint_name,
    endpoint_options,
    known_endpoint,
    provider_option,
    say_state,
)
from ai_how.cli.options import output_option, site_option, yes_option
from ai_how.cli.output import note, print_json
from ai_how.errors import NotFoundError

if TYPE_CHECKING:
    from ai_how.endpoints.cold_start.advice import Advice, Served
    from ai_how.endpoints.cold_start.waterfall import Waterfall
    from ai_how.endpoints.serving_site import ServingSite
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

    The last start from no replica at all counts, and on a cluster that of the
    newest replica that answers. What nothing tells is not measured.

    \b
    Example:
      ai-how deploy coldstart my-model
      ai-how deploy coldstart my-model --fresh --html start.html
    """
    from ai_how.apply.files import check_writable
    from ai_how.cli.open_site import open_serving
    from ai_how.endpoints.cold_start.advice import advise

    check_provider(provider)
    name = endpoint_name(endpoint_id, endpoint)
    if html_file:
        check_writable(html_file)
    serving = open_serving(site_path, provider=provider)
    status = known_endpoint(serving.endpoints, name)
    if fresh:
        if not yes:
            confirm(
                f"Stop endpoint {name} and start it again? Requests are refused until it has stopped, then they wait.",
                what="an interruption",
                otherwise=f"ai-how deploy coldstart {name} --fresh --yes",
            )
        found = _afresh(status, serving, quiet=output == "json")
    else:
        found = _last(status.spec, serving)
    advice = advise(found, _served(status.spec, serving))
    _show(found, advice, name=name, html_file=html_file, target_s=serving.site.targets.cold_start_s, output=output)


def _last(spec: EndpointSpec, serving: ServingSite) -> Waterfall:
    name = spec.name
    found = serving.endpoints.last_start(name)
    if found is None and spec.stopped:
        raise NotFoundError(
            f"no start of endpoint {name} was seen",
            evidence="it is stopped",
            next_step=f"ai-how deploy start {name} --wait, then: ai-how deploy coldstart {name}",
        )
    if found is None:
        raise NotFoundError(
            f"no start of endpoint {name} was seen",
            evidence="its gateway was started after it, or it never became ready"
            if serving.site.provider == "local"
            else "no replica of it answers now",
            next_step=f"ai-how deploy coldstart {name} --fresh",
        )
    return found


def _afresh(status: EndpointStatus, serving: ServingSite, *, quiet: bool) -> Waterfall:
    from ai_how.apply.lock import locked
    from ai_how.cli.deploy_up import ask_endpoint
    from ai_how.endpoints.cold_start.fresh import start_afresh

    # two at once, or a benchmark beside it, would measure each other
    with locked(serving.reports_dir / ".lock", what="something is being measured on this site"):
        return start_afresh(
            serving.endpoints,
            status,
            lambda: ask_endpoint(serving, status, "Hello", max_tokens=1),
            start_timeout_s=serving.start_timeout_s + _STOP_MARGIN_S,
            stop_timeout_s=serving.site.serving.drain_timeout_s + _STOP_MARGIN_S,
            on_state=(lambda _: None) if quiet else say_state,
        )


def _served(spec: EndpointSpec, serving: ServingSite) -> Served:
    from ai_how.endpoints.cold_start.advice import Served

    info, wishes = serving.info(spec), serving.site.serving
    return Served(
        name=spec.name,
        engine=spec.engine,
        cluster=serving.site.provider != "local",
        gpu=spec.hardware.accelerator != "cpu",
        min_replicas=spec.autoscaling.min_replicas,
        quantized=info.dtype.lower() not in _UNQUANTIZED,
        adapters=bool(spec.adapters or spec.adapter_base_uri),
        sleeps=wishes.when_idle == "sleep",
        streams=wishes.loader == "streamer",
        keeps_weights=wishes.node_cache_gib > 0,
        keeps_image=wishes.keep_image,
    )


def _show(
    found: Waterfall,
    advice: tuple[Advice, ...],
    *,
    name: str,
    html_file: Path | None,
    target_s: float,
    output: str,
) -> None:
    from ai_how.apply.files import write_atomic
    from ai_how.cli.next_step import for_this_site
    from ai_how.endpoints.cold_start.report import render_html, render_text

    if output == "json":
        print_json({"endpoint": name, "target_s": target_s, "start": found, "advice": advice})
    else:
        click.echo(for_this_site(render_text(found, advice, name=name, target_s=target_s)))
    if html_file:
        write_atomic(html_file, render_html(found, advice, name=name, target_s=target_s), mode=0o644)
        note(f"\nwritten: {html_file}")
