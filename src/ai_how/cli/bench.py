"""``ai-how bench``: measure an endpoint, show and compare results."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.bench_cluster import cluster
from ai_how.cli.bench_kept import complete_kept, list_kept, load_result
from ai_how.cli.deploy_common import known_endpoint
from ai_how.cli.interrupt import stop_on_signals
from ai_how.cli.open_site import open_serving
from ai_how.cli.options import Number, output_option, site_option
from ai_how.cli.output import note, print_json, print_table, teller
from ai_how.errors import SpecError

if TYPE_CHECKING:
    from ai_how.bench.result import Result
    from ai_how.bench.run import Settings
    from ai_how.endpoints.serving_site import ServingSite


@click.group()
def bench() -> None:
    """Measure an endpoint against the site's targets.

    \b
    Example:
      ai-how bench run my-model --html report.html
      ai-how bench list
      ai-how bench compare before.json after.json
    """


bench.add_command(cluster)
bench.add_command(list_kept)


@bench.command()
@click.argument("endpoint")
@click.option("--concurrency", "-c", default="1,2,4,8", show_default=True, help="Requests at once, comma-separated.")
@click.option("--duration", type=Number(0.1, 3600), default=15, show_default=True, help="Seconds a level.")
@click.option("--prompt-tokens", type=click.IntRange(4, 100_000), default=32, show_default=True, help="About.")
@click.option("--output-tokens", type=click.IntRange(1, 100_000), default=16, show_default=True, help="Exactly.")
@click.option("--seed", type=click.IntRange(0), help="Of the prompts; the clock by default, so that none comes twice.")
@click.option("--html", "html_file", type=click.Path(path_type=Path, dir_okay=False), help="Also write a page here.")
@click.option("--skip-cold-start", is_flag=True, help="Do not measure the cold start.")
@click.option("--skip-scale-out", is_flag=True, help="Do not measure the scale-out time.")
@click.option("--fail-on-miss", is_flag=True, help="End with code 3 when a target is missed; for CI.")
@site_option
@output_option
def run(
    endpoint: str,
    concurrency: str,
    duration: float,
    prompt_tokens: int,
    output_tokens: int,
    seed: int | None,
    html_file: Path | None,
    skip_cold_start: bool,
    skip_scale_out: bool,
    fail_on_miss: bool,
    site_path: Path | None,
    output: str,
) -> None:
    """Measure ENDPOINT: latency, throughput, cold start, scale-out; then the verdict.

    Cold start and scale-out run on a temporary copy of the endpoint. What cannot
    be measured here says so and never passes. Results are kept in the site's
    reports folder as JSON and HTML; Ctrl-C keeps what was measured until then.

    \b
    Example:
      ai-how bench run my-model --concurrency 1,8,32 --duration 30
    """
    import asyncio

    from ai_how.apply.files import check_writable
    from ai_how.apply.lock import locked
    from ai_how.bench.run import Settings

    settings = Settings(
        concurrencies=_levels(concurrency),
        duration_s=duration,
        measure_cold_start=not skip_cold_start,
        measure_scale_out=not skip_scale_out,
    )
    if html_file:
        check_writable(html_file)
    serving = open_serving(site_path)
    reports = serving.reports_dir
    with locked(reports / ".lock"):
        # two at once would measure each other
        result = asyncio.run(
            _measure(serving, endpoint, settings, prompt_tokens, output_tokens, seed=seed, quiet=output == "json")
        )
    if result.interrupted and not result.levels:
        raise click.Abort
    _show_and_keep(result, reports, html_file, output=output)
    if result.interrupted:
        sys.exit(130)
    if fail_on_miss and any(row.outcome == "fail" for row in result.verdict):
        sys.exit(3)


@bench.command()
@click.argument("result", required=False, shell_complete=complete_kept)
@click.option("--html", "html_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the page here.")
@site_option
@output_option
def show(result: str | None, html_file: Path | None, site_path: Path | None, output: str) -> None:
    """Print a kept RESULT again: a file, or a name of `bench list`; the newest by default.

    \b
    Example:
      ai-how bench show
      ai-how bench show my-model-20260101-120000 --html report.html
    """
    from ai_how.apply.files import write_atomic
    from ai_how.bench.report_html import render_html
    from ai_how.bench.report_text import render_text
    from ai_how.bench.result import to_json

    found = load_result(result, site_path)
    if html_file:
        write_atomic(html_file, render_html(found), mode=0o644)
    if output == "json":
        print_json(to_json(found))
    else:
        click.echo(render_text(found))


@bench.command()
@click.argument("before", shell_complete=complete_kept)
@click.argument("after", shell_complete=complete_kept)
@site_option
@output_option
def compare(before: str, after: str, site_path: Path | None, output: str) -> None:
    """Compare two kept results, level by level: ratios of AFTER to BEFORE.

    Each is a file or a name of `bench list`. A figure is better or worse only
    where the 95 % ranges of both do not overlap.

    \b
    Example:
      ai-how bench compare before.json after.json
    """
    from ai_how.bench.compare import compare_results, different_conditions

    old, new = load_result(before, site_path), load_result(after, site_path)
    rows, differences = compare_results(old, new), different_conditions(old, new)
    if output == "json":
        print_json({"figures": [asdict(row) for row in rows], "conditions": [asdict(one) for one in differences]})
        return
    for one in differences:
        note(f"not the same: {one.what}: {one.before} -> {one.after}")
    print_table(
        ("AT ONCE", "FIGURE", "BEFORE", "AFTER", "RATIO", ""),
        [(r.concurrency, r.figure, f"{r.before:.4g}", f"{r.after:.4g}", f"{r.ratio:.2f}", r.change) for r in rows],
        empty="the two results have no load level in common",
    )


def _show_and_keep(result: Result, reports: Path, html_file: Path | None, *, output: str) -> None:
    """Printed before it is kept: a disk that is full takes no figure away."""
    from ai_how.bench.report_text import render_text
    from ai_how.bench.result import to_json

    if output == "json":
        print_json(to_json(result))
    else:
        click.echo(render_text(result))
    stem = _keep(result, reports, html_file)
    if output != "json":
        note(f"\nkept: {stem}.json and .html")


def _keep(result: Result, reports: Path, html_file: Path | None) -> Path:
    """Write the result's files; their common path without an ending."""
    from ai_how.apply.files import write_atomic, write_json
    from ai_how.bench.report_html import render_html
    from ai_how.bench.result import to_json

    page = render_html(result)
    stem = reports / f"{result.endpoint.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    write_json(stem.with_suffix(".json"), to_json(result))
    write_atomic(stem.with_suffix(".html"), page)
    if html_file:
        write_atomic(html_file, page, mode=0o644)
    return stem


async def _measure(
    serving: ServingSite,
    endpoint: str,
    settings: Settings,
    prompt_tokens: int,
    output_tokens: int,
    *,
    seed: int | None,
    quiet: bool,
) -> Result:
    from ai_how.bench.load import Client
    from ai_how.bench.run import Run, run_benchmark
    from ai_how.bench.workload import Workload, words_for

    status = known_endpoint(serving.endpoints, endpoint)
    info = serving.info(status.spec)
    room = serving.site.serving.context_tokens
    if prompt_tokens + output_tokens > room * 0.8:
        raise SpecError(
            f"{prompt_tokens} prompt and {output_tokens} output tokens do not fit",
            evidence=f"serving.context_tokens is {room}, and a word may be more than one token",
            next_step="ask for fewer tokens, or raise serving.context_tokens in the site file",
        )
    workload = Workload(
        prompt_words=words_for(prompt_tokens),
        output_tokens=output_tokens,
        chat=info.chat_template,
        seed=int(time.time()) % 1_000_000 if seed is None else seed,
    )
    benchmark = Run(
        client=Client.through(serving.door(endpoint), model=endpoint, workload=workload),
        admin=serving.endpoints,
        status=status,
        settings=settings,
        serving=serving.site.serving,
        say=teller(quiet=quiet),
        stop=stop_on_signals("ending; what was measured is kept"),
        here=serving.site.provider == "local",
    )
    return await run_benchmark(benchmark, serving.site.targets)


def _levels(text: str) -> tuple[int, ...]:
    try:
        levels = sorted({int(part) for part in text.split(",")})
    except ValueError:
        levels = []
    if not levels or levels[0] < 1 or levels[-1] > 1024:
        raise SpecError(f"{text!r} is no list of load levels", next_step="for example: --concurrency 1,4,16")
    return tuple(levels)
