"""What the source of the prices says of their sum, against what its own lines give. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ai_how.capacity.cost import compare
from ai_how.capacity.equipment import of_tier
from ai_how.capacity.payback import months_to_pay_back
from ai_how.capacity.power import Use
from ai_how.capacity.prices import Claims, Prices
from ai_how.capacity.ranges import Range


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sum that is stated and what is computed for it; the ends of ``computed`` are None for never."""

    subject: str
    stated: Range
    computed: tuple[float | None, float | None]
    how: str


def check_claims(prices: Prices) -> tuple[Claim, ...]:
    """The claims of a price file, against its lines for the recommended tier, always in use; none where there is none.

    Raises:
        SpecError: the file has no price for the tier's GPU.
    """
    claims = prices.claims
    if claims == Claims():
        return ()
    cost = compare(of_tier("recommended"), prices, use=Use())
    found = []
    if claims.hardware:
        ends = (cost.hardware_total.low, cost.hardware_total.high)
        found.append(
            Claim(subject="hardware", stated=claims.hardware.range, computed=ends, how="the sum of the lines above it")
        )
    if claims.power_per_month:
        kwh, price = cost.energy_kwh_per_month, cost.drivers.price_per_kwh
        found.append(
            Claim(
                subject="power a month",
                stated=claims.power_per_month.range,
                computed=(cost.power_per_month.low, cost.power_per_month.high),
                how=f"{kwh.low:.0f}-{kwh.high:.0f} kWh at {price.low:g}-{price.high:g} {cost.currency}: "
                f"GPUs alone draw up to {cost.draw.gpu_full_w.low:g}-{cost.draw.gpu_full_w.high:g} W",
            )
        )
    if claims.payback_months and claims.hardware and claims.power_per_month:
        found.append(_payback_claim(prices, claims.payback_months.range))
    return tuple(found)


def _payback_claim(prices: Prices, stated: Range) -> Claim:
    """The stated months against stated hardware, power and monthly cloud prices: only what the source itself says."""
    hardware, power = prices.claims.hardware, prices.claims.power_per_month
    monthly = [cloud.month.range for cloud in prices.cloud.values() if cloud.month]
    ends: tuple[float | None, float | None] = (None, None)
    if hardware and power and monthly:
        ends = (
            months_to_pay_back(
                hardware.range.low,
                cloud_per_month=max(each.high for each in monthly),
                running_per_month=power.range.low,
            ),
            months_to_pay_back(
                hardware.range.high,
                cloud_per_month=min(each.low for each in monthly),
                running_per_month=power.range.high,
            ),
        )
    return Claim(
        subject="months to pay back",
        stated=stated,
        computed=ends,
        how="its own hardware total over its own cloud price less its own power, best and worst",
    )
