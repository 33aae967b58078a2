"""The disk budget as text for 80 columns. Decides nothing."""

from __future__ import annotations

from ai_how.capacity.disk_budget import FullDay, GrowthAdvice, VolumeForecast
from ai_how.capacity.ranges import Range
from ai_how.capacity.relief import amount
from ai_how.capacity.storage_plan import StoragePlan
from ai_how.cli.output import columns, wrap


def disk_budget_lines(plan: StoragePlan) -> list[str]:
    """The table of volumes, the hosts' disk, the advice, and what the document says against itself."""
    budget = plan.budget
    after = f"AFTER {budget.days:.0f} DAYS"
    rows = [("DISK", "SIZE GiB", "GiB A DAY", after, "FULL"), *(_row(forecast) for forecast in budget.volumes)]
    promised = _span(budget.promised_gib)
    rows.append(("all volumes", promised, "", _span(budget.used_after_gib), ""))
    lines = [*columns(rows), *_host_lines(plan)]
    if budget.unstated:
        lines += wrap(f"not counted, as nobody states how they grow: {', '.join(budget.unstated)}")
    for advised in plan.advice:
        lines += wrap(_advice_text(advised), first="- ", hanging="  ")
    if plan.contradictions:
        lines += ["", "The resource requirements against themselves:"]
        for each in plan.contradictions:
            said = f"{each.subject}: say {each.says}; computed: {each.computed}. Way out: {each.way_out}."
            lines += wrap(said, first="- ", hanging="  ")
    return lines


def _row(forecast: VolumeForecast) -> tuple[str, ...]:
    volume = forecast.volume
    rate = "not stated" if volume.growth_gib_per_day is None else _span(volume.growth_gib_per_day)
    after = "unknown" if volume.growth_gib_per_day is None and volume.used_gib.high == 0 else _span(forecast.wanted_gib)
    when = "unknown" if after == "unknown" else _when(forecast.full)
    return volume.component, _span(volume.size_gib), rate, after, when


def _host_lines(plan: StoragePlan) -> list[str]:
    budget = plan.budget
    if budget.disk_gib is None or budget.full is None:
        return ["host's disk  not known"]
    disk = "the host's disk" if plan.hosts == 1 else f"the disks of {plan.hosts} hosts"
    said = [f"{disk}: {amount(budget.disk_gib)} GiB; thin disks fill it, by the growth stated: {_when(budget.full)}"]
    if budget.over_promised_gib:
        over = f"{amount(budget.over_promised_gib)} GiB more promised than there is"
        said.append(f"{over}: with thick disks it does not fit")
    return wrap("; ".join(said))


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
