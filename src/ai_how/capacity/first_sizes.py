"""The sizes of the first cluster that is written for a host: the usual ones, or the largest that fit it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ai_how.capacity.demand import request_of
from ai_how.capacity.fit import fit
from ai_how.capacity.types import HostCapacity
from ai_how.site.roles import DEFAULTS, Allocation, Role
from ai_how.site.spec import Site


def first_sizes(capacity: HostCapacity, *, gpus: int) -> Mapping[Role, Allocation] | None:
    """By role, what the nodes of the default cluster get on this host; None where not even the smallest fit.

    Args:
        capacity: The host, under the name that a site file without hosts gives it.
        gpus: How many there are; without one there is no GPU worker, and its usual size stays.
    """
    asked = request_of(Site(name="first", provider="libvirt"), {capacity.name: capacity})
    workers = [need for need in asked.needs if need.gpus]
    left_out = workers[gpus:]
    fitted = fit(replace(asked, needs=tuple(need for need in asked.needs if need not in left_out))).request
    if fitted is None:
        return None
    found: dict[Role, Allocation] = {}
    for need in fitted.needs:
        count = 1 + (found[need.role].count if need.role in found else 0)
        found[need.role] = Allocation(
            count=count, vcpus=need.vcpus, memory_gib=need.memory_gib, disk_gib=need.disk_gib, gpus=need.gpus
        )
    return {**DEFAULTS, **found}
