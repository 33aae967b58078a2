"""The disk budget as text for 80 columns and as plain data for JSON. Decides nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ai_how.capacity.disk_budget import DiskBudget, FullDay, GrowthAdvice, VolumeForecast
from ai_how.capacity.ranges import Range
from ai_how.capacity.storage_table import Contradiction


def disk_budget_lines(
    budget: DiskBudget,
    *,
    advice: Sequence[GrowthAdvice] = (),
    contradictions: Sequence[Contradiction] = (),
) -> list[str]:
    """The table of volumes, the host's disk, the advice, and what the document says against itself."""
    after = f"AFTER {budget.days:.0f} DAYS"
    rows = [("DISK", "SIZE GiB", "GiB A DAY", after, "FULL"), *(_row(forecast) for forecast in budget.volumes)]
    promised = _span(budget.promised_gib)
    rows.append(("all volumes", promised, "", _span(budget.used_after_gib), ""))
    lines = [*_columns(rows), *_host_lines(budget)]
    if budget.unstated:
        lines += _wrapped(f"not counted, as nobody states how they grow: {', '.join(budget.unstated)}", bullet="")
    if advice:
        lines.append("")
    for advised in advice:
        lines += _wrapped(_advice_text(advised))
    if contradictions:
        lines += ["", "The resource requirements against themselves:"]
        for each in contradictions:
            lines += _wrapped(f"{each.subject}: say {each.says}; computed: {each.computed}. Way out: {each.way_out}.")
    return lines


def disk_budget_json(
    budget: DiskBudget,
    *,
    advice: Sequence[GrowthAdvice] = (),
    contradictions: Sequence[Contradiction] = (),
) -> dict[str, Any]:
    """The same as plain data; a day that never comes is null."""
    return {
        **asdict(budget),
        "over_promised_gib": budget.over_promised_gib,
        "growth_advice": [asdict(each) for each in advice],
        "contradictions": [asdict(each) for each in contradictions],
    }


def _row(forecast: VolumeForecast) -> tuple[str, ...]:
    volume = forecast.volume
    rate = "not stated" if volume.growth_gib_per_day is None else _span(volume.growth_gib_per_day)
    after = "unknown" if volume.growth_gib_per_day is None and volume.used_gib.high == 0 else _span(forecast.wanted_gib)
    when = "unknown" if after == "unknown" else _when(forecast.full)
    return volume.component, _span(volume.size_gib), rate, after, when


def _host_lines(budget: DiskBudget) -> list[str]:
    if budget.disk_gib is None or budget.full is None:
        return ["host's disk  not known"]
    lines = [f"host's disk  {budget.disk_gib:g} GiB; thin disks fill it: {_when(budget.full)}"]
    if budget.over_promised_gib:
        lines.append(f"             {budget.over_promised_gib:g} GiB more promised than it has: thick disks do not fit")
    return lines


def _advice_text(advice: GrowthAdvice) -> str:
    name = f"{advice.factor:g} times the size for six months, {advice.component}"
    if advice.factor_needed is None:
        return f"{name}: unknown, growth is not stated"
    verdict = {True: "enough", False: "not enough", None: "enough only at the lower rate"}[advice.holds]
    return f"{name}: {verdict} (needs {_span(advice.factor_needed, digits=1)})"


def _when(full: FullDay) -> str:
    if full.earliest is None:
        return "never"
    earliest = f"day {full.earliest:.0f}"
    if full.latest is None:
        return f"{earliest}, or never"
    return earliest if round(full.latest) == round(full.earliest) else f"{earliest}-{full.latest:.0f}"


def _span(range_: Range, digits: int = 2) -> str:
    low, high = (f"{value:.{digits}f}".rstrip("0").rstrip(".") for value in (range_.low, range_.high))
    if max(range_.low, range_.high) >= 10 and digits > 1:
        low, high = f"{range_.low:.0f}", f"{range_.high:.0f}"
    return low if low == high else f"{low}-{high}"


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _wrapped(text: str, bullet: str = "- ") -> list[str]:
    return textwrap.wrap(text, 78, initial_indent=bullet, subsequent_indent=" " * len(bullet))
