"""What a million tokens and a request cost, from a measured throughput. Pure; without a measurement there is no figure.

Hardware is spread over its lifetime; tokens are those of the hours of use at the measured rate, times utilisation.
"""

from __future__ import annotations

from dataclasses import dataclass

from ai_how.capacity.cost import Cost
from ai_how.capacity.power import HOURS_IN_MONTH
from ai_how.capacity.ranges import Range
from ai_how.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """The best load level of a benchmark. ``measured_on`` are the machine's GPUs, or its processor, in words."""

    endpoint: str
    concurrency: int
    requests_per_s: float
    output_tokens_per_s: float
    measured_on: str
    started_at: str


@dataclass(frozen=True, kw_only=True)
class UnitCost:
    """``*_own`` is what own machines cost, ``*_cloud`` what the price file's clouds cost at the same throughput."""

    throughput: Throughput
    tokens_per_month: float
    requests_per_month: float
    million_tokens_own: Range
    million_tokens_cloud: Range
    request_own: Range
    request_cloud: Range


def unit_cost(cost: Cost, measured: Throughput) -> UnitCost:
    """Cost of a million output tokens and of a request.

    Raises:
        SpecError: nothing was answered in the measurement, or the machines are never in use.
    """
    seconds = HOURS_IN_MONTH * 3600 * cost.use.busy_share
    tokens, requests = measured.output_tokens_per_s * seconds, measured.requests_per_s * seconds
    if not (tokens > 0 and requests > 0):
        raise SpecError(
            "there is no cost of a token: nothing is answered",
            evidence=f"measured {measured.output_tokens_per_s:g} tokens/s, busy {cost.use.busy_share:.0%} of all time",
            next_step="give a benchmark with answers, and hours and a utilisation above 0",
        )
    own, cloud = _own_per_month(cost), cost.drivers.cloud_per_month
    return UnitCost(
        throughput=measured,
        tokens_per_month=tokens,
        requests_per_month=requests,
        million_tokens_own=own * (1e6 / tokens),
        million_tokens_cloud=cloud * (1e6 / tokens),
        request_own=own * (1 / requests),
        request_cloud=cloud * (1 / requests),
    )


def _own_per_month(cost: Cost) -> Range:
    """Running costs and hardware over its lifetime; the longest lifetime makes the least."""
    hardware, lifetime = cost.hardware_total, cost.lifetime_months
    spread = Range(low=hardware.low / lifetime.high, mid=hardware.mid / lifetime.mid, high=hardware.high / lifetime.low)
    return spread + cost.running_per_month
