"""What machines draw: watts between idle and full load, by how busy they are and for how long. Pure.

Source of the formula, watts = idle + utilisation x (full - idle): Cloud Carbon Footprint, Methodology (after Etsy's
Cloud Jewels). Outside the hours of use the machines stay on, idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ai_how.accelerators.catalogue import by_name
from ai_how.capacity.equipment import Equipment
from ai_how.capacity.prices import Power
from ai_how.capacity.ranges import Range, span
from ai_how.capacity.types import GpuCapacity, HostCapacity
from ai_how.errors import SpecError

HOURS_IN_MONTH = 365.25 * 24 / 12


@dataclass(frozen=True, kw_only=True)
class Use:
    """``hours_per_day`` of use, 0 to 24, and how busy the machines are in them: ``utilisation``, 0 to 1.

    Raises:
        SpecError: they are outside these.
    """

    hours_per_day: float = 24
    utilisation: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.hours_per_day <= 24:
            raise SpecError(f"{self.hours_per_day:g} hours a day cannot be", next_step="--hours-per-day takes 0 to 24")
        if not 0 <= self.utilisation <= 1:
            raise SpecError(
                f"a utilisation of {self.utilisation:g} cannot be", next_step="--utilisation takes 0 to 1: 0.7 for 70 %"
            )

    @property
    def busy_share(self) -> float:
        """The share of all time at full load."""
        return self.utilisation * self.hours_per_day / 24


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Watts of all machines, without cooling: idle, at full load, and on average over all hours of a month."""

    gpu_idle_w: Range
    gpu_full_w: Range
    host_idle_w: Range
    host_full_w: Range
    average_w: Range


def draw(equipment: Equipment, rates: Power, use: Use) -> Draw:
    """The draw of equipment.

    Raises:
        SpecError: the power limit of a GPU is not known.
    """
    gpu_full = span(sum(map(_limit_w, _gpus(equipment.least))), sum(map(_limit_w, _gpus(equipment.most))))
    threads = span(sum(h.threads for h in equipment.least), sum(h.threads for h in equipment.most))
    gpu_idle = gpu_full * rates.gpu_idle_share.range
    host_idle = threads * rates.cpu_idle_w_per_thread.range
    host_full = threads * rates.cpu_busy_w_per_thread.range
    busy = use.busy_share
    return Draw(
        gpu_idle_w=gpu_idle,
        gpu_full_w=gpu_full,
        host_idle_w=host_idle,
        host_full_w=host_full,
        average_w=(gpu_idle + host_idle) * (1 - busy) + (gpu_full + host_full) * busy,
    )


def energy_kwh_per_month(watts: Range, cooling_factor: Range) -> Range:
    """What a steady draw takes from the grid in an average month."""
    return watts * cooling_factor * (HOURS_IN_MONTH / 1000)


def _gpus(hosts: Sequence[HostCapacity]) -> list[GpuCapacity]:
    return [gpu for host in hosts for gpu in host.gpus]


def _limit_w(gpu: GpuCapacity) -> int:
    if gpu.power_limit_w is not None:
        return gpu.power_limit_w
    known = by_name(gpu.name)
    if known is None:
        raise SpecError(
            f"the power limit of {gpu.name} is not known",
            evidence="neither the host says it nor the accelerator catalogue",
            next_step="declare the host in the site file, with power_limit_w of its GPUs (hosts[].declared.gpus[])",
        )
    return known.power_limit_w
