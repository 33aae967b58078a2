"""Machines, networks and pools as ``status`` shows them: from what is wanted and what was seen. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ai_how.apply.provider import ComponentStatus
from ai_how.machines.desired import Desired
from ai_how.machines.types import NetworkMode
from ai_how.plan.model import Condition, Observed


def components_of(wanted: Desired, observed: Mapping[str, Observed]) -> Iterator[ComponentStatus]:
    """Machines first, then what they stand on."""
    for node, wish in wanted.machines.items():
        yield component_of(
            node,
            observed.get(f"machine/{node}"),
            address=wish.address,
            version=wish.image.name,
            remedy=machine_remedy(node, start=wish.start),
        )
    for cluster, net in wanted.networks.items():
        if net.network.mode is not NetworkMode.BRIDGE:
            for host in net.hosts:
                name = wanted.at(f"network/{cluster}", host)
                yield component_of(name, observed.get(name), address=net.network.subnet, version=str(net.network.mode))
    for host, path in wanted.pool_paths.items():
        name = wanted.at("pool", host)
        yield component_of(name, observed.get(name), address=path)


def machine_remedy(node: str, *, start: bool) -> str:
    """The next command for a machine that is not well; ``start``: it shall be on."""
    return f"ai-how logs {node}, then: ai-how {'up' if start else f'vm start {node}'}"


def component_of(
    name: str, seen: Observed | None, *, address: str, version: str = "", remedy: str = "ai-how up"
) -> ComponentStatus:
    """One component as it was seen (None: it was not).

    Args:
        remedy: The next command where it is known and not well.
    """
    condition = seen.condition if seen else Condition.ABSENT
    healthy = condition is Condition.HEALTHY
    detail = seen.detail or ("" if healthy else f"is {condition}") if seen else "is not made yet"
    known = healthy or condition is Condition.FAILING
    return ComponentStatus(
        name=name,
        condition=condition,
        address=address,
        version=version,
        detail=detail,
        remedy=(remedy if known else "ai-how up") if detail else "",
    )
