"""Own machines against a cloud: what is bought, what each month costs, and when the hardware has paid for itself.

Pure. Every figure is a range. Formulas and their sources: docs/explanation/cost.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ai_how.accelerators.catalogue import by_name
from ai_how.capacity.equipment import Equipment
from ai_how.capacity.payback import Drivers, Payback, Sensitivity, payback, saved_per_month, sensitivities
from ai_how.capacity.power import HOURS_IN_MONTH, Draw, Use, draw, energy_kwh_per_month
from ai_how.capacity.prices import Cloud, Prices
from ai_how.capacity.ranges import Range, exactly, span, total
from ai_how.capacity.types import HostCapacity
from ai_how.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Item:
    """One line of what is bought, and who says so when."""

    name: str
    kind: Literal["host", "gpu"]
    amount: Range
    source: str
    date: str


@dataclass(frozen=True, kw_only=True)
class CloudCost:
    """What a provider takes a month at the hours of use, and the payback against it alone."""

    provider: str
    per_month: Range
    payback: Payback
    source: str
    date: str


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The whole comparison; money is in ``currency``.

    ``break_even_hours_per_day`` is the least use at which the middle figures pay back within the middle lifetime; None:
    not even all day. ``by_hours`` is the payback at each whole number of hours a day. ``cautions`` say what keeps the
    comparison from being like with like.
    """

    equipment: Equipment
    use: Use
    currency: str
    prices_title: str
    hardware: tuple[Item, ...]
    hardware_total: Range
    draw: Draw
    energy_kwh_per_month: Range
    power_per_month: Range
    running_per_month: Range
    drivers: Drivers
    clouds: tuple[CloudCost, ...]
    payback: Payback
    sensitivities: tuple[Sensitivity, ...]
    lifetime_months: Range
    break_even_hours_per_day: float | None
    by_hours: tuple[tuple[int, Payback], ...]
    cautions: tuple[str, ...]


def compare(equipment: Equipment, prices: Prices, *, use: Use, staff_per_month: float = 0) -> Cost:
    """Own equipment against the price file's clouds.

    Raises:
        SpecError: a price or a power limit is missing, or staff costs less than nothing.
    """
    if not 0 <= staff_per_month < 1e9:
        raise SpecError(f"staff cannot cost {staff_per_month:g} a month", next_step="--staff takes 0 or more")

    def drivers_at(hours_per_day: float) -> Drivers:
        return _drivers(equipment, prices, replace(use, hours_per_day=hours_per_day), staff_per_month)

    hardware, drivers = hardware_items(equipment, prices), drivers_at(use.hours_per_day)
    energy = energy_kwh_per_month(drivers.watts, drivers.cooling_factor)
    power = energy * drivers.price_per_kwh
    return Cost(
        equipment=equipment,
        use=use,
        currency=prices.currency,
        prices_title=prices.title,
        hardware=hardware,
        hardware_total=total(item.amount for item in hardware),
        draw=draw(equipment, prices.power, use),
        energy_kwh_per_month=energy,
        power_per_month=power,
        running_per_month=power + drivers.maintenance_per_month + drivers.staff_per_month,
        drivers=drivers,
        clouds=tuple(
            _cloud_cost(name, cloud, cloud_per_month(cloud, equipment, use.hours_per_day), drivers)
            for name, cloud in prices.cloud.items()
        ),
        payback=payback(drivers),
        sensitivities=sensitivities(drivers),
        lifetime_months=prices.lifetime_months.range,
        break_even_hours_per_day=_break_even(drivers_at(0), drivers_at(24), prices.lifetime_months.range.mid),
        by_hours=tuple((hours, payback(drivers_at(hours))) for hours in range(1, 25)),
        cautions=_cautions(equipment, prices),
    )


def hardware_items(equipment: Equipment, prices: Prices) -> tuple[Item, ...]:
    """What is bought: the lines for each host, and each kind of GPU.

    Raises:
        SpecError: a GPU has no price.
    """
    hosts = span(len(equipment.least), len(equipment.most))
    items = [
        Item(name=name, kind="host", amount=line.range * hosts, source=line.source, date=line.date)
        for name, line in prices.hardware
    ]
    for card, count in _cards(equipment).items():
        line = prices.gpu(card)
        shown = f"{count.low:g}" if count.is_exact else f"{count.low:g}-{count.high:g}"
        items.append(
            Item(
                name=f"{shown}x {card.removeprefix('NVIDIA ')}",
                kind="gpu",
                amount=line.range * count,
                source=line.source,
                date=line.date,
            )
        )
    return tuple(items)


def cloud_per_month(cloud: Cloud, equipment: Equipment, hours_per_day: float) -> Range:
    """What a provider takes a month if its machines are stopped outside the hours of use."""
    if cloud.month is not None:
        return cloud.month.range * (hours_per_day / 24)
    gpus = total(_cards(equipment).values())
    return cloud.line.range * gpus * (HOURS_IN_MONTH * hours_per_day / 24)


def _cards(equipment: Equipment) -> dict[str, Range]:
    """How many of each kind of card there are, by the catalogue's name where it knows it."""
    few, many = _counts(equipment.least), _counts(equipment.most)
    return {card: span(few.get(card, 0), many.get(card, 0)) for card in sorted({*few, *many})}


def _counts(hosts: Sequence[HostCapacity]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for host in hosts:
        for gpu in host.gpus:
            known = by_name(gpu.name)
            name = known.name if known else gpu.name
            counts[name] = counts.get(name, 0) + 1
    return counts


def _drivers(equipment: Equipment, prices: Prices, use: Use, staff_per_month: float) -> Drivers:
    hardware = hardware_items(equipment, prices)
    clouds = [cloud_per_month(cloud, equipment, use.hours_per_day) for cloud in prices.cloud.values()]
    return Drivers(
        gpus=total(item.amount for item in hardware if item.kind == "gpu"),
        other_hardware=total(item.amount for item in hardware if item.kind == "host"),
        watts=draw(equipment, prices.power, use).average_w,
        cooling_factor=prices.power.cooling_factor.range,
        price_per_kwh=prices.power.price_per_kwh.range,
        maintenance_per_month=prices.running.maintenance_per_month.range,
        staff_per_month=exactly(staff_per_month),
        # any of the providers: from the cheapest to the dearest, between them their average
        cloud_per_month=Range(
            low=min(each.low for each in clouds),
            mid=sum(each.mid for each in clouds) / len(clouds),
            high=max(each.high for each in clouds),
        ),
    )


def _cloud_cost(provider: str, cloud: Cloud, per_month: Range, drivers: Drivers) -> CloudCost:
    return CloudCost(
        provider=provider,
        per_month=per_month,
        payback=payback(replace(drivers, cloud_per_month=per_month)),
        source=cloud.line.source,
        date=cloud.line.date,
    )


def _break_even(idle: Drivers, all_day: Drivers, lifetime_months: float) -> float | None:
    """Hours a day at which hardware is saved within the lifetime: what is saved grows in a straight line with hours."""
    needed = (idle.gpus.mid + idle.other_hardware.mid) / lifetime_months
    at_0, at_24 = saved_per_month(idle), saved_per_month(all_day)
    if at_0 >= needed:
        return 0
    return 24 * (needed - at_0) / (at_24 - at_0) if at_24 >= needed else None


def _cautions(equipment: Equipment, prices: Prices) -> tuple[str, ...]:
    said = []
    monthly = [name for name, cloud in prices.cloud.items() if cloud.month]
    if monthly and equipment.tier != "recommended":
        said.append(
            f"the monthly prices of {', '.join(monthly)} are for machines like the recommended tier; for others give "
            "prices of machines like yours, or by the GPU and hour"
        )
    if any(cloud.gpu_hour for cloud in prices.cloud.values()) and not _cards(equipment):
        said.append("there is no GPU here, so prices by the GPU and hour come to nothing")
    return tuple(said)
