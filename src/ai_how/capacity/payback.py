"""When hardware has paid for itself, as a range, and which input moves that most. Pure.

Months are hardware divided by what is saved each month: the cloud's price less power, maintenance and staff. The ends
of the range are the luckiest and the unluckiest reading of all inputs at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ai_how.capacity.power import HOURS_IN_MONTH
from ai_how.capacity.ranges import Range

_NEVER_MONTHS = 1200
"""A hundred years: what takes longer never pays back."""

INPUTS = {
    "gpus": "price of the GPUs",
    "other_hardware": "price of the other hardware",
    "watts": "power draw",
    "cooling_factor": "cooling",
    "price_per_kwh": "price of electricity",
    "maintenance_per_month": "maintenance",
    "staff_per_month": "staff",
    "cloud_per_month": "price of the cloud",
}
"""The fields of ``Drivers`` in words."""
_SHORTENS = {"cloud_per_month"}
"""Inputs whose high end shortens the payback."""


@dataclass(frozen=True, kw_only=True)
class Drivers:
    """All that the payback depends on. Money is in the price file's currency, ``watts`` without cooling."""

    gpus: Range
    other_hardware: Range
    watts: Range
    cooling_factor: Range
    price_per_kwh: Range
    maintenance_per_month: Range
    staff_per_month: Range
    cloud_per_month: Range


@dataclass(frozen=True, kw_only=True)
class Payback:
    """Months until hardware has paid for itself; None: never, because nothing is saved in a month."""

    best: float | None
    likely: float | None
    worst: float | None


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The payback with one input at its low and its high end, all others at their middle.

    ``swing`` is the difference in months; None where one end never pays back, which moves it most of all.
    """

    input: str
    at_low: float | None
    at_high: float | None
    swing: float | None


def months_to_pay_back(hardware: float, *, cloud_per_month: float, running_per_month: float) -> float | None:
    """Months until ``hardware`` is saved; 0 where none was bought, None for never."""
    saved = cloud_per_month - running_per_month
    if hardware == 0:
        return 0 if saved >= 0 else None
    return hardware / saved if saved > hardware / _NEVER_MONTHS else None


def payback(drivers: Drivers) -> Payback:
    """Best, likely and worst: ``best <= likely <= worst``, where never is later than any month."""
    lucky, unlucky = {}, {}
    for name in INPUTS:
        each: Range = getattr(drivers, name)
        low_high = (each.low, each.high)
        lucky[name], unlucky[name] = reversed(low_high) if name in _SHORTENS else low_high
    return Payback(best=_months(lucky), likely=_months(_middle(drivers)), worst=_months(unlucky))


def sensitivities(drivers: Drivers) -> tuple[Sensitivity, ...]:
    """How far each uncertain input alone moves the payback, the one that moves it most first."""
    middle = _middle(drivers)
    found = []
    for name, words in INPUTS.items():
        each: Range = getattr(drivers, name)
        if not each.is_exact:
            at_low, at_high = _months({**middle, name: each.low}), _months({**middle, name: each.high})
            swing = None if at_low is None or at_high is None else abs(at_high - at_low)
            found.append(Sensitivity(input=words, at_low=at_low, at_high=at_high, swing=swing))
    return tuple(sorted(found, key=lambda each: float("-inf") if each.swing is None else -each.swing))


def saved_per_month(drivers: Drivers) -> float:
    """What the middle figures save a month; below zero: own machines cost more."""
    return _saved(_middle(drivers))


def _middle(drivers: Drivers) -> dict[str, float]:
    return {name: getattr(drivers, name).mid for name in INPUTS}


def _running(values: Mapping[str, float]) -> float:
    kwh = values["watts"] * values["cooling_factor"] * HOURS_IN_MONTH / 1000
    return kwh * values["price_per_kwh"] + values["maintenance_per_month"] + values["staff_per_month"]


def _saved(values: Mapping[str, float]) -> float:
    return values["cloud_per_month"] - _running(values)


def _months(values: Mapping[str, float]) -> float | None:
    return months_to_pay_back(
        values["gpus"] + values["other_hardware"],
        cloud_per_month=values["cloud_per_month"],
        running_per_month=_running(values),
    )
