"""What ``status`` shows of a site on libvirt hosts: its machines, networks and pools. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ai_how.apply.provider import ComponentStatus
from ai_how.machines.desired import Desired
from ai_how.machines.types import NetworkMode
from ai_how.plan.model import Condition, Observed


def components_of(wanted: Desired, observed: Mapping[str, Observed]) -> Iterator[ComponentStatus]:
    """Machines first, then what they stand on."""
    for node, wish in wanted.machines.items():
        yield _component(
            node,
            observed.get(f"machine/{node}"),
            address=wish.address,
            version=wish.image.name,
            remedy=f"ai-how logs {node}, then: ai-how {'up' if wish.start else f'vm start {node}'}",
        )
    for cluster, net in wanted.networks.items():
        if net.network.mode is not NetworkMode.BRIDGE:
            for host in net.hosts:
                name = wanted.at(f"network/{cluster}", host)
                yield _component(name, observed.get(name), address=net.network.subnet, version=str(net.network.mode))
    for host, path in wanted.pool_paths.items():
        name = wanted.at("pool", host)
        yield _component(name, observed.get(name), address=path)


def _component(
    name: str, seen: Observed | None, *, address: str, version: str = "", remedy: str = "ai-how up"
) -> ComponentStatus:
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
