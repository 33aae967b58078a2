"""A cost comparison as one self-contained HTML page. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from ai_how.capacity.claims import Claim
from ai_how.capacity.cost import Cost
from ai_how.capacity.payback import Payback, Sensitivity
from ai_how.capacity.prices import Line, Prices
from ai_how.capacity.ranges import Range
from ai_how.capacity.unit_cost import UnitCost
from ai_how.cli.cost_text import NOT_MEASURED, break_even_text, claim_text, machines, money, months, throughput_text
from ai_how.report.page import figure, page, table
from ai_how.report.plot import BLUE, GREY, ORANGE, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def render_cost_page(cost: Cost, prices: Prices, *, claims: Sequence[Claim] = (), unit: UnitCost | None = None) -> str:
    """The whole page."""
    ends = cost.payback
    cautions = "".join(f"<li>{escape(text)}</li>" for text in cost.cautions)
    body = f"""<h1>Own machines or a cloud: {escape(cost.equipment.name)}</h1>
<p>{escape(machines(cost))}; {cost.use.hours_per_day:g} hours a day, busy {cost.use.utilisation:.0%} of them.
Prices: {escape(cost.prices_title)}, in {escape(cost.currency)}.</p>
<p><b>Pays back after {months(ends.best)} to {months(ends.worst)} months</b>, likely {months(ends.likely)}.
{escape(break_even_text(cost))}</p>{f"<ul>{cautions}</ul>" if cautions else ""}
<div class="plots">{_plots(cost)}</div>
<h2>Bought once</h2>{_hardware(cost)}
<h2>Each month</h2>{_monthly(cost)}
<h2>Months to pay back</h2>{_paybacks(cost)}
<h2>Cost of tokens</h2>{_unit(unit, cost)}
{_claims(claims)}
<h2>Rates behind it, with their sources</h2>{_rates(prices)}"""
    return page(f"Cost of {cost.equipment.name}", body)


def _hardware(cost: Cost) -> str:
    rows = [(item.name, *_ends(item.amount), item.source, item.date) for item in cost.hardware]
    return table(
        ("", "Low|", "Middle|", "High|", "Source", "Date"), [*rows, ("all", *_ends(cost.hardware_total), "", "")]
    )


def _monthly(cost: Cost) -> str:
    drivers = cost.drivers
    rows = [
        ("power, with cooling", *_ends(cost.power_per_month), "see the rates below", ""),
        ("maintenance", *_ends(drivers.maintenance_per_month), "see the rates below", ""),
        ("staff", *_ends(drivers.staff_per_month), "" if drivers.staff_per_month.high else "not counted", ""),
        ("own machines, all", *_ends(cost.running_per_month), "", ""),
        *((f"cloud, {cloud.provider}", *_ends(cloud.per_month), cloud.source, cloud.date) for cloud in cost.clouds),
    ]
    return table(("", "Low|", "Middle|", "High|", "Source", "Date"), rows)


def _paybacks(cost: Cost) -> str:
    rows = [(cloud.provider, *_months(cloud.payback)) for cloud in cost.clouds]
    return table(("Against", "Best|", "Likely|", "Worst|"), [*rows, ("any of them", *_months(cost.payback))])


def _unit(unit: UnitCost | None, cost: Cost) -> str:
    if unit is None:
        return f"<p>{escape(NOT_MEASURED)}.</p>"
    rows = [
        ("a million tokens, own machines", *_ends(unit.million_tokens_own)),
        ("a million tokens, cloud", *_ends(unit.million_tokens_cloud)),
        ("1,000 requests, own machines", *_ends(unit.request_own * 1000)),
        ("1,000 requests, cloud", *_ends(unit.request_cloud * 1000)),
    ]
    return table(("", "Low|", "Middle|", "High|"), rows) + f"<p class=note>{escape(throughput_text(unit, cost))}</p>"


def _claims(claims: Sequence[Claim]) -> str:
    if not claims:
        return ""
    said = "".join(f"<li>{escape(claim_text(claim))}</li>" for claim in claims)
    return f"<h2>What the source of the prices says of its own figures</h2><ul>{said}</ul>"


def _rates(prices: Prices) -> str:
    lines: list[tuple[str, Line]] = [*prices.power, *prices.running, ("lifetime_months", prices.lifetime_months)]
    rows = [(name.replace("_", " "), *_rate(line.range), line.source, line.date) for name, line in lines]
    return table(("", "Low|", "Middle|", "High|", "Source", "Date"), rows)


def _rate(range_: Range) -> tuple[str, str, str]:
    return f"{range_.low:.4g}", f"{range_.mid:.4g}", f"{range_.high:.4g}"


def _ends(range_: Range) -> tuple[str, str, str]:
    return money(range_.low), money(range_.mid), money(range_.high)


def _months(payback: Payback) -> tuple[str, str, str]:
    return months(payback.best), months(payback.likely), months(payback.worst)


def _plots(cost: Cost) -> str:
    plots = []
    bars, endless = _bars(cost), [each.input for each in cost.sensitivities if each.swing is None]
    if bars and cost.payback.likely is not None:
        caption = "Months to pay back with one figure at its low or high end, all others at their middle"
        caption += f"; left out, as one end never pays back: {', '.join(endless)}" if endless else ""
        plots.append(figure(svg(_draw_tornado, cost, y_from_zero=False), caption))
    if any(payback.best is not None for _, payback in cost.by_hours):
        caption = "Months to pay back against hours of use a day; where a line ends: never"
        plots.append(figure(svg(_draw_hours, cost, y_from_zero=False), caption))
    plots.append(figure(svg(_draw_spent, cost), f"Spent in all ({cost.currency}), from low to high, against months"))
    return "".join(plots)


def _bars(cost: Cost) -> list[Sensitivity]:
    """The sensitivities that have a length, the longest last: plots count from below."""
    return [each for each in reversed(cost.sensitivities) if each.swing is not None]


def _draw_tornado(axes: Axes, cost: Cost) -> None:
    bars = _bars(cost)
    middle = cost.payback.likely or 0
    for place, each in enumerate(bars):
        for end, colour in ((each.at_low, BLUE), (each.at_high, ORANGE)):
            axes.barh(place, (end or 0) - middle, left=middle, color=colour, height=0.6)
    axes.axvline(middle, color=GREY, linewidth=1)
    axes.set_yticks(range(len(bars)), [_short(each) for each in bars])
    axes.set_xlabel("months (blue: figure low, orange: high)")


def _short(each: Sensitivity) -> str:
    return each.input.removeprefix("price of ").removeprefix("the ")


def _draw_hours(axes: Axes, cost: Cost) -> None:
    for name, colour in (("worst", ORANGE), ("likely", BLUE), ("best", GREY)):
        known = [(hours, getattr(payback, name)) for hours, payback in cost.by_hours if getattr(payback, name)]
        if known:
            axes.plot(*zip(*known, strict=True), color=colour, label=name, marker=".")
    axes.axhline(cost.lifetime_months.mid, color=GREY, linestyle=":", label="lifetime")
    axes.set_yscale("log")
    axes.set_xlabel("hours a day")
    axes.set_ylabel("months")
    axes.legend(frameon=False)


def _draw_spent(axes: Axes, cost: Cost) -> None:
    span = range(int(cost.lifetime_months.mid) + 1)
    for name, colour, once, monthly in (
        ("own", BLUE, cost.hardware_total, cost.running_per_month),
        ("cloud", ORANGE, Range(low=0, mid=0, high=0), cost.drivers.cloud_per_month),
    ):
        low, mid, high = (
            [getattr(once, end) + getattr(monthly, end) * month for month in span] for end in ("low", "mid", "high")
        )
        axes.fill_between(span, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(span, mid, color=colour, label=name)
    axes.set_xlabel("months")
    axes.set_ylabel(cost.currency)
    axes.legend(frameon=False)
