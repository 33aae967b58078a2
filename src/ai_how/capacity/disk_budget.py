"""How full disks become: what is set aside, what is in use after some days, the day that each is full. Pure.

A volume grows by a rate that is a range, so the day is a range too: early if it grows fast, late if slowly. Growth that
something bounds (retention, rotation) stops there. A volume that is full stops growing; the host's disk holds them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ai_how.capacity.ranges import Range, exactly, total
from ai_how.errors import SpecError

DAYS_IN_SIX_MONTHS = 365 / 2
_HORIZON_DAYS = 36_500
"""A hundred years: what is not full by then never is."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """What one component has and needs.

    ``size_gib`` is set aside for it. ``growth_gib_per_day`` is None where nobody states it: it counts as no growth, and
    is said. ``bounded_at_gib`` is where growth ends by itself; None: never. ``source`` says where the figures stand.
    """

    component: str
    size_gib: Range
    used_gib: Range = exactly(0)  # noqa: RUF009 - a frozen value
    growth_gib_per_day: Range | None = None
    bounded_at_gib: Range | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class FullDay:
    """When something is full, in days from now. None: never."""

    earliest: float | None
    latest: float | None


@dataclass(frozen=True, kw_only=True)
class VolumeForecast:
    """``wanted_gib`` is what it would use after the days if its size did not stop it."""

    volume: Volume
    wanted_gib: Range
    full: FullDay


@dataclass(frozen=True, kw_only=True)
class DiskBudget:
    """Sizes in GiB. ``promised_gib`` is the sum of all sizes: what thick disks take at once and thin disks may grow to.

    ``used_gib`` and ``used_after_gib`` are what thin disks hold now and after ``days``; ``full`` is when thin disks
    fill the host's disk. ``disk_gib`` is None where no host is known.
    """

    volumes: tuple[VolumeForecast, ...]
    days: float
    disk_gib: float | None
    promised_gib: Range
    used_gib: Range
    used_after_gib: Range
    full: FullDay | None

    @property
    def unstated(self) -> tuple[str, ...]:
        """The components whose growth nobody states: the day of the host's disk holds without them."""
        return tuple(each.volume.component for each in self.volumes if each.volume.growth_gib_per_day is None)

    @property
    def over_promised_gib(self) -> float:
        """By how much the largest reading of all sizes exceeds the host's disk; 0 where it fits or none is known."""
        return 0 if self.disk_gib is None else max(0.0, self.promised_gib.high - self.disk_gib)


@dataclass(frozen=True, kw_only=True)
class GrowthAdvice:
    """Whether ``factor`` times a volume's size holds its growth over six months.

    ``factor_needed`` is a range; ``holds`` is True or False only where the whole range says so, else None.
    """

    component: str
    factor: float
    factor_needed: Range | None
    holds: bool | None


def disk_budget(volumes: Sequence[Volume], *, days: float = DAYS_IN_SIX_MONTHS, disk_gib: float | None) -> DiskBudget:
    """The budget of all volumes on one disk.

    Raises:
        SpecError: a disk or a time that cannot be.
    """
    if not 0 <= days <= _HORIZON_DAYS:
        raise SpecError(f"{days:g} days cannot be planned", next_step=f"give 0 to {_HORIZON_DAYS} days")
    if disk_gib is not None and not 0 < disk_gib < 1e9:
        raise SpecError(f"a disk of {disk_gib:g} GiB cannot be", next_step="give its size in GiB")
    return DiskBudget(
        volumes=tuple(
            VolumeForecast(volume=volume, wanted_gib=wanted_gib(volume, days), full=volume_full(volume))
            for volume in volumes
        ),
        days=days,
        disk_gib=disk_gib,
        promised_gib=total(volume.size_gib for volume in volumes),
        used_gib=used_gib(volumes, 0),
        used_after_gib=used_gib(volumes, days),
        full=None if disk_gib is None else _disk_full(volumes, disk_gib),
    )


def wanted_gib(volume: Volume, days: float) -> Range:
    """What the volume would hold after some days if it were large enough."""
    return Range(**{end: _wanted(volume, days, end) for end in ("low", "mid", "high")})


def used_gib(volumes: Sequence[Volume], days: float) -> Range:
    """What all volumes hold after some days, none more than its size."""
    return total(
        Range(**{end: min(_wanted(volume, days, end), getattr(volume.size_gib, end)) for end in ("low", "mid", "high")})
        for volume in volumes
    )


def volume_full(volume: Volume) -> FullDay:
    """The day that a volume is full: the high growth against the smallest size, and the other way round."""
    if volume.growth_gib_per_day is None or volume.growth_gib_per_day.high == 0:
        over = volume.used_gib.high > volume.size_gib.high
        return FullDay(earliest=0 if over else None, latest=0 if over else None)
    return FullDay(
        earliest=_days_until(volume, volume.size_gib.low, "high"),
        latest=_days_until(volume, volume.size_gib.high, "low"),
    )


def growth_advice(volume: Volume, factor: float = 2) -> GrowthAdvice:
    """Check "plan for ``factor`` times the storage for growth over six months" against the volume's own growth."""
    if volume.growth_gib_per_day is None:
        return GrowthAdvice(component=volume.component, factor=factor, factor_needed=None, holds=None)
    wanted = wanted_gib(volume, DAYS_IN_SIX_MONTHS)
    needed = wanted * (1 / volume.size_gib.low)
    holds = True if needed.high <= factor else False if needed.low > factor else None
    return GrowthAdvice(component=volume.component, factor=factor, factor_needed=needed, holds=holds)


def _wanted(volume: Volume, days: float, end: str) -> float:
    used: float = getattr(volume.used_gib, end)
    if volume.growth_gib_per_day is None:
        return used
    grown: float = used + getattr(volume.growth_gib_per_day, end) * days
    # what is there already is there, whatever the bound says
    return grown if volume.bounded_at_gib is None else max(used, min(grown, getattr(volume.bounded_at_gib, end)))


def _days_until(volume: Volume, size_gib: float, end: str) -> float | None:
    used: float = getattr(volume.used_gib, end)
    rate: float = 0 if volume.growth_gib_per_day is None else getattr(volume.growth_gib_per_day, end)
    bound: float | None = None if volume.bounded_at_gib is None else getattr(volume.bounded_at_gib, end)
    if used >= size_gib:
        return 0
    # growth that ends at the size or below never goes beyond it
    if rate == 0 or (bound is not None and bound <= size_gib):
        return None
    day = (size_gib - used) / rate
    return day if day <= _HORIZON_DAYS else None


def _disk_full(volumes: Sequence[Volume], disk_gib: float) -> FullDay:
    return FullDay(earliest=_disk_full_at(volumes, disk_gib, "high"), latest=_disk_full_at(volumes, disk_gib, "low"))


def _disk_full_at(volumes: Sequence[Volume], disk_gib: float, end: str) -> float | None:
    """The first day that thin volumes hold more than the disk: use is piecewise linear, so look at each bend."""

    def used(days: float) -> float:
        held: float = getattr(used_gib(volumes, days), end)
        return held

    bends = sorted({0.0, float(_HORIZON_DAYS), *(day for volume in volumes for day in _bends(volume, end))})
    for start, stop in pairwise(bends):
        if used(start) >= disk_gib:
            return start
        if used(stop) >= disk_gib:
            return start + (disk_gib - used(start)) * (stop - start) / (used(stop) - used(start))
    return None


def _bends(volume: Volume, end: str) -> list[float]:
    """The days on which a volume stops growing, by its size or its bound."""
    rate: float = 0 if volume.growth_gib_per_day is None else getattr(volume.growth_gib_per_day, end)
    ends = [volume.size_gib] + ([volume.bounded_at_gib] if volume.bounded_at_gib is not None else [])
    room = [getattr(limit, end) - getattr(volume.used_gib, end) for limit in ends]
    return [gib / rate for gib in room if 0 < gib <= rate * _HORIZON_DAYS]
