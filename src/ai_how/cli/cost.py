"""``ai-how cost``: own machines against a cloud, and what a token costs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ai_how.cli.options import named_site_option, tier_option
from ai_how.cli.output import note, print_json
from ai_how.errors import SpecError

if TYPE_CHECKING:
    from ai_how.capacity.equipment import Equipment
    from ai_how.capacity.prices import Prices
    from ai_how.capacity.tiers import TierName
    from ai_how.capacity.unit_cost import Throughput


class _Number(click.ParamType[float]):
    """A finite number from ``least`` to ``most``; ``hint`` says what it means."""

    name = "number"

    def __init__(self, least: float, most: float, hint: str) -> None:
        self.least, self.most, self.hint = least, most, hint

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(str(value))
        except ValueError:
            number = math.nan
        if not self.least <= number <= self.most:
            self.fail(f"{str(value)!r} is not a number from {self.least:g} to {self.most:g}: {self.hint}", param, ctx)
        return number


@click.command(epilog="What is computed, and from which sources: docs/explanation/cost.md")
@tier_option("A tier of the resource requirements instead of a site. Default: recommended.")
@click.option(
    "--hours-per-day", type=_Number(0, 24, "hours"), default=24, show_default=True, help="Hours of use; else idle."
)
@click.option(
    "--utilisation",
    type=_Number(0, 1, "0.7 means 70 %"),
    default=0.7,
    show_default=True,
    help="How busy the machines are in these hours, 0 to 1.",
)
@click.option("--price-file", type=click.Path(path_type=Path, dir_okay=False), help="Your prices, YAML.")
@click.option("--price-per-kwh", type=_Number(0, 1e6, "the price of one kWh"), help="Instead of the price file's.")
@click.option("--staff", type=_Number(0, 1e9, "an amount"), default=0, help="What staff costs a month. Default: none.")
@click.option(
    "--benchmark",
    "benchmark_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A result that `ai-how bench run` kept (JSON): gives the cost of tokens.",
)
@click.option("--show-prices", is_flag=True, help="Print the prices that come with ai-how, to begin yours with.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the result to this file.")
@click.option(
    "--output", "-o", type=click.Choice(["text", "json", "html"]), default="text", help="Format of the result."
)
@named_site_option("Site file whose hosts are meant: declared, or this machine. Default: $AI_HOW_SITE, else a tier.")
def cost(
    tier: TierName | None,
    hours_per_day: float,
    utilisation: float,
    price_file: Path | None,
    price_per_kwh: float | None,
    staff: float,
    benchmark_file: Path | None,
    show_prices: bool,
    out: Path | None,
    output: str,
    site_path: Path | None,
) -> None:
    """Compare own machines with a cloud: cost, payback as a range, cost of tokens.

    Without a site: the recommended tier of the resource requirements. The prices
    that come with ai-how are that document's own rough estimates: give yours.

    \b
    Example:
      ai-how cost
      ai-how cost --hours-per-day 4 --price-per-kwh 0.31
      ai-how cost --site ai-how.yaml
      ai-how cost --show-prices > prices.yaml
      ai-how cost --price-file prices.yaml -o html --out cost.html
    """
    from ai_how.capacity.claims import check_claims
    from ai_how.capacity.cost import compare
    from ai_how.capacity.power import Use
    from ai_how.capacity.prices import default_text
    from ai_how.capacity.unit_cost import unit_cost

    if show_prices:
        click.echo(default_text(), nl=False)
        return
    prices = _prices(price_file, price_per_kwh)
    result = compare(
        _equipment(site_path, tier),
        prices,
        use=Use(hours_per_day=hours_per_day, utilisation=utilisation),
        staff_per_month=staff,
    )
    unit = unit_cost(result, _throughput(benchmark_file)) if benchmark_file else None
    claims = check_claims(_prices(price_file, None))
    if output == "html":
        from ai_how.cli.cost_page import render_cost_page

        _write(render_cost_page(result, prices, claims=claims, unit=unit), out)
    elif output == "json":
        from ai_how.cli.cost_text import cost_json

        _write_json(cost_json(result, prices, claims=claims, unit=unit), out)
    else:
        from ai_how.cli.cost_text import cost_lines

        _write("\n".join(cost_lines(result, claims=claims, unit=unit)) + "\n", out)


def _equipment(site_path: Path | None, tier: TierName | None) -> Equipment:
    from ai_how.capacity.equipment import of_hosts, of_tier

    if tier or site_path is None:
        return of_tier(tier or "recommended")
    from ai_how.host.site_hosts import site_hosts
    from ai_how.machines.far_hosts import ask_far_host
    from ai_how.site.load import load_site

    site = load_site(site_path)
    return of_hosts(site.name, site_hosts(site, ask_far=ask_far_host))


def _prices(price_file: Path | None, price_per_kwh: float | None) -> Prices:
    from datetime import date

    from ai_how.capacity.prices import Line, default_prices, parse_prices
    from ai_how.site.mistakes import spec_error
    from ai_how.site.yaml_lines import read_text, shown_path

    prices = default_prices()
    if price_file is not None:
        name = shown_path(price_file)
        text, mistakes = read_text(price_file, where_from="write one, beginning with: ai-how cost --show-prices")
        if mistakes:
            raise spec_error(name, mistakes, next_step="ai-how cost --show-prices > prices.yaml")
        prices = parse_prices(text, name)
    if price_per_kwh is None:
        return prices
    line = Line(low=price_per_kwh, source="--price-per-kwh", date=date.today().isoformat())
    return prices.model_copy(update={"power": prices.power.model_copy(update={"price_per_kwh": line})})


def _throughput(file: Path) -> Throughput:
    """The load level of a kept result that answered most tokens a second."""
    from ai_how.bench.result import from_json, to_json
    from ai_how.capacity.unit_cost import Throughput

    try:
        result = to_json(from_json(file.read_text(encoding="utf-8", errors="replace")))
    except SpecError as error:
        raise SpecError(f"{file}: {error.brief}", evidence=error.evidence, next_step=error.next_step) from error
    if not result["levels"]:
        raise SpecError(f"{file} has no load level", next_step="measure again: ai-how bench run ENDPOINT")
    best = max(result["levels"], key=lambda level: level["output_tokens_per_s"])
    machine = result["machine"]
    return Throughput(
        endpoint=result["endpoint"]["name"],
        concurrency=best["concurrency"],
        requests_per_s=best["requests_per_s"],
        output_tokens_per_s=best["output_tokens_per_s"],
        measured_on=", ".join(machine["gpus"]) or f"{machine['cpu']}, {machine['cores']:g} cores, no GPU",
        started_at=result["started_at"],
    )


def _write(text: str, out: Path | None) -> None:
    from ai_how.apply.files import write_atomic

    if out is None:
        click.echo(text, nl=False)
        return
    write_atomic(out, text, mode=0o644)
    note(f"written: {out}")


def _write_json(data: dict[str, Any], out: Path | None) -> None:
    import json

    if out is None:
        print_json(data)
    else:
        _write(json.dumps(data, indent=2, ensure_ascii=False) + "\n", out)
