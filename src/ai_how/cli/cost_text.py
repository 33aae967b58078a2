"""A cost comparison as text for 80 columns and as plain data for JSON. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ai_how.capacity.claims import Claim
from ai_how.capacity.cost import Cost
from ai_how.capacity.payback import Payback
from ai_how.capacity.prices import Prices
from ai_how.capacity.ranges import Range
from ai_how.capacity.unit_cost import UnitCost
from ai_how.cli.output import wrap

NOT_MEASURED = "not measured: keep a result of `ai-how bench run` and give it with --benchmark"


def cost_lines(cost: Cost, *, claims: Sequence[Claim] = (), unit: UnitCost | None = None) -> list[str]:
    """The whole report."""
    lines = [
        *wrap(f"own machines  {cost.equipment.name}: {machines(cost)}", hanging=" " * 14),
        f"use           {cost.use.hours_per_day:g} hours a day, busy {cost.use.utilisation:.0%} of them",
        *wrap(f"prices        {cost.prices_title}, in {cost.currency}", hanging=" " * 14),
        "",
        *_columns(_money_rows(cost)),
        *wrap(
            f"Machines draw {_span(cost.draw.average_w)} W on average: {_span(cost.energy_kwh_per_month)} kWh a month "
            "with cooling."
        ),
        "",
        *_payback_lines(cost),
        "",
        *_unit_lines(unit, cost),
    ]
    for caution in cost.cautions:
        lines += wrap(f"Mind: {caution}.")
    if claims:
        lines += ["", "What the source of the prices says of its own figures:"]
        for claim in claims:
            lines += wrap(f"- {claim_text(claim)}", hanging="  ")
    lines += ["", "Sources of all figures: -o json or -o html."]
    return lines


def cost_json(
    cost: Cost, prices: Prices, *, claims: Sequence[Claim] = (), unit: UnitCost | None = None
) -> dict[str, Any]:
    """The same as plain data; never is null, and so is a cost of tokens that was not measured."""
    return {
        "format": "ai-how/cost/v1",
        **asdict(cost),
        "prices": prices.model_dump(exclude_none=True),
        "claims": [asdict(claim) for claim in claims],
        "unit_cost": None if unit is None else asdict(unit),
    }


def machines(cost: Cost) -> str:
    """Cores, memory and cards of the equipment."""
    least, most = cost.equipment.least, cost.equipment.most
    hosts = _either(len(least), len(most))
    cores = _either(sum(host.cores for host in least), sum(host.cores for host in most))
    memory = _either(*(round(sum(host.memory_gib for host in ends), 1) for ends in (least, most)))
    gpus = ", ".join(item.name for item in cost.hardware if item.kind == "gpu") or "no GPU"
    return f"{hosts} host{'' if hosts == '1' else 's'}, {cores} cores, {memory} GiB, {gpus}"


def months(value: float | None) -> str:
    """A payback in words."""
    if value is None:
        return "never"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def claim_text(claim: Claim) -> str:
    """A claim and what is computed for it."""
    low, high = claim.computed
    ends = f"{_claimed(low)}-{_claimed(high)}" if high is not None else f"{_claimed(low)} to never"
    stated = f"{claim.stated.low:,.0f}-{claim.stated.high:,.0f}"
    return f"{claim.subject}: says {stated}; its figures give {ends} ({claim.how})"


def money(value: float) -> str:
    """An amount with as many digits as it is worth."""
    if value >= 10 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.01 else f"{value:.2g}"


def _claimed(value: float | None) -> str:
    if value is None:
        return "never"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _money_rows(cost: Cost) -> list[tuple[str, ...]]:
    staff = cost.drivers.staff_per_month
    rows: list[tuple[str, ...]] = [("BOUGHT ONCE", "LOW", "MIDDLE", "HIGH", "")]
    rows += [_row(item.name, item.amount) for item in cost.hardware]
    rows += [
        _row("all", cost.hardware_total),
        ("A MONTH", "LOW", "MIDDLE", "HIGH", ""),
        _row("power, cooling", cost.power_per_month),
        _row("maintenance", cost.drivers.maintenance_per_month),
        _row("staff", staff, "" if staff.high else "not counted: --staff"),
        _row("own, all", cost.running_per_month),
    ]
    return rows + [_row(f"cloud, {cloud.provider}", cloud.per_month) for cloud in cost.clouds]


def _row(name: str, amount: Range, remark: str = "") -> tuple[str, ...]:
    return name, money(amount.low), money(amount.mid), money(amount.high), remark


def _payback_lines(cost: Cost) -> list[str]:
    rows: list[tuple[str, ...]] = [("MONTHS TO PAY BACK", "BEST", "LIKELY", "WORST", "")]
    rows += [_payback_row(f"against {cloud.provider}", cloud.payback) for cloud in cost.clouds]
    if len(cost.clouds) > 1:
        rows.append(_payback_row("against any of them", cost.payback))
    lines = [*_columns(rows), *wrap(break_even_text(cost))]
    if cost.sensitivities:
        lines += ["", *wrap(f"What moves it most; with all figures at their middle: {_likely(cost)}.")]
        lines += _columns(
            [
                ("ONE FIGURE ALONE", "AT ITS LOW", "AT ITS HIGH", "", ""),
                *((s.input, months(s.at_low), months(s.at_high), "", "") for s in cost.sensitivities),
            ]
        )
    return lines


def _likely(cost: Cost) -> str:
    return "never" if cost.payback.likely is None else f"{months(cost.payback.likely)} months"


def break_even_text(cost: Cost) -> str:
    """From how many hours a day on own machines pay, at the middle of all figures."""
    lifetime = cost.lifetime_months.mid
    hours = cost.break_even_hours_per_day
    if hours is None:
        return f"It does not pay back within {lifetime:.0f} months of use, not even in use all day."
    return f"It pays back within {lifetime:.0f} months of use from {hours:.1f} hours a day on."


def _payback_row(name: str, payback: Payback) -> tuple[str, ...]:
    return name, months(payback.best), months(payback.likely), months(payback.worst), ""


def _unit_lines(unit: UnitCost | None, cost: Cost) -> list[str]:
    if unit is None:
        return wrap(f"Cost of a million tokens: {NOT_MEASURED}.")
    rows = [
        ("MEASURED THROUGHPUT", "LOW", "MIDDLE", "HIGH", ""),
        _row("million tokens, own", unit.million_tokens_own),
        _row("million tokens, cloud", unit.million_tokens_cloud),
        _row("1,000 requests, own", unit.request_own * 1000),
        _row("1,000 requests, cloud", unit.request_cloud * 1000),
    ]
    return [*_columns(rows), *wrap(throughput_text(unit, cost))]


def throughput_text(unit: UnitCost, cost: Cost) -> str:
    """What was measured, where, and what is assumed with it."""
    measured = unit.throughput
    return (
        f"{measured.endpoint}: {measured.output_tokens_per_s:.0f} output tokens/s and {measured.requests_per_s:.1f} "
        f"requests/s at {measured.concurrency} at once, measured {measured.started_at} on {measured.measured_on}; "
        f"holds if these machines serve as that one did. Hardware is spread over {_span(cost.lifetime_months)} months."
    )


def _either(least: float, most: float) -> str:
    return f"{least:g}" if least == most else f"{least:g}-{most:g}"


def _span(range_: Range) -> str:
    return f"{range_.low:.0f}" if range_.is_exact else f"{range_.low:.0f}-{range_.high:.0f}"


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Names to the left, three numbers to the right, a remark that may run on."""
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    widths = [max(22, widths[0]), *(max(9, width) for width in widths[1:])]
    lines = []
    for name, *numbers, remark in rows:
        cells = [name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True))]
        lines.append("  ".join([*cells, remark]).rstrip())
    return lines
