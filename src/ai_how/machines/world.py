"""What of a site is on its libvirt hosts now, as resources that a plan can compare."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ai_how.errors import ConflictError
from ai_how.machines import domains, networks, storage
from ai_how.machines.connection import Connect
from ai_how.machines.desired import Desired
from ai_how.machines.types import Disk
from ai_how.plan.model import Condition, Observed

_SEED = "-seed.iso"
_DISK = ".qcow2"


@dataclass(frozen=True, kw_only=True)
class HostWorld:
    """One host: whether our pool runs, its volumes, our machines, our networks by cluster."""

    pool: bool
    volumes: Mapping[str, Disk] = field(default_factory=dict)
    machines: Mapping[str, domains.Found] = field(default_factory=dict)
    networks: Mapping[str, tuple[dict[str, Any], bool]] = field(default_factory=dict)


def observe_host(connect: Connect, wanted: Desired, *, site: str, owner: str) -> HostWorld:
    """Everything of the site on one host.

    Raises:
        ConflictError: machines of a site of the same name, but from another folder.
    """
    machines = domains.observe_machines(connect, site=site)
    for found in machines.values():
        if found.mark.get("owner") not in (owner, None):
            raise ConflictError(
                f"machine {found.name} belongs to another site {site!r}",
                evidence=f"made from {found.mark.get('owner')}, this one is {owner}",
                next_step="give this site another name",
            )
    pool = storage.find_pool(connect, name=wanted.pool, uuid=wanted.pool_uuid)
    return HostWorld(
        pool=pool is not None,
        volumes=storage.volumes(pool) if pool is not None else {},
        machines={str(found.mark.get("node")): found for found in machines.values()},
        networks=networks.observe_networks(connect, site=site),
    )


def observe_all(connections: Mapping[str, Connect], wanted: Desired, *, site: str, owner: str) -> dict[str, HostWorld]:
    """Every host, side by side."""
    with ThreadPoolExecutor(max_workers=max(1, len(connections))) as pool:
        seen = pool.map(lambda one: observe_host(one, wanted, site=site, owner=owner), connections.values())
        return dict(zip(connections, seen, strict=True))


def observed_resources(
    worlds: Mapping[str, HostWorld], wanted: Desired, *, ready: Mapping[str, Any]
) -> dict[str, Observed]:
    """The hosts' worlds as what was observed of each resource.

    Args:
        ready: Machines that were seen ready, by resource name, as the state file has them.
    """
    found: dict[str, Observed] = {}
    for host, world in worlds.items():
        for observed in _on_host(host, world, wanted, ready):
            found[observed.name] = observed
    return found


def _on_host(host: str, world: HostWorld, wanted: Desired, ready: Mapping[str, Any]) -> list[Observed]:
    pool = wanted.at("pool", host)
    made = [
        Observed(
            name=pool,
            condition=Condition.HEALTHY if world.pool else Condition.ABSENT,
            settings={"path": wanted.pool_paths.get(host, ""), "host": host} if world.pool else None,
        )
    ]
    made += [_volume(host, disk, world, wanted) for disk in world.volumes.values() if _is_resource(disk.volume)]
    for cluster, (settings, active) in world.networks.items():
        made.append(
            Observed(
                name=wanted.at(f"network/{cluster}", host),
                condition=Condition.HEALTHY if active else Condition.STOPPED,
                settings={**settings, "host": host},
                detail="" if active else "is not active",
            )
        )
    made += [_machine(host, node, found, wanted, ready) for node, found in world.machines.items()]
    return made


def _is_resource(volume: str) -> bool:
    return volume.endswith((_SEED, _DISK))


def ours(volume: str) -> bool:
    """Whether a file in the site's own pool is of a kind that we make."""
    return volume.endswith((_SEED, _DISK, storage.DIGEST_SUFFIX, ".log"))


def _volume(host: str, disk: Disk, world: HostWorld, wanted: Desired) -> Observed:
    pool = wanted.at("pool", host)
    if disk.volume.endswith(_SEED):
        return Observed(
            name=f"seed/{disk.volume.removesuffix(_SEED)}",
            condition=Condition.HEALTHY,
            settings={"host": host, "volume": disk.volume},
            needs=(pool,),
        )
    if disk.volume + storage.DIGEST_SUFFIX in world.volumes or any(
        other.backing == disk.volume for other in world.volumes.values()
    ):
        whole = disk.volume + storage.DIGEST_SUFFIX in world.volumes
        return Observed(
            name=wanted.at(f"image/{disk.volume}", host),
            condition=Condition.HEALTHY if whole else Condition.FAILING,
            settings={"host": host, "volume": disk.volume},
            detail="" if whole else "its upload was broken off",
            needs=(pool,),
        )
    settings = {"host": host, "size_bytes": disk.size_bytes, "backing": disk.backing}
    gone = bool(disk.backing) and disk.backing not in world.volumes
    return Observed(
        name=f"disk/{disk.volume.removesuffix(_DISK)}",
        condition=Condition.FAILING if gone else Condition.HEALTHY,
        settings=settings,
        detail=f"the image {disk.backing} that it lies over is gone" if gone else "",
        needs=(wanted.at(f"image/{disk.backing}", host) if disk.backing else pool,),
    )


def _machine(host: str, node: str, found: domains.Found, wanted: Desired, ready: Mapping[str, Any]) -> Observed:
    name = f"machine/{node}"
    settings = found.mark.get("settings")
    wish = wanted.machines.get(node)
    condition, detail = Condition.HEALTHY, ""
    if not found.running:
        off = found.state == "off"
        condition, detail = Condition.STOPPED, found.reason or f"is {found.state}"
        if off and wish is not None and not wish.start:
            # nothing to repair, but worth a word where it did not go off by itself
            condition, detail = Condition.HEALTHY, found.reason
    elif name not in ready:
        condition, detail = Condition.FAILING, "has not been seen ready"
    needs = [f"disk/{str(volume).removesuffix(_DISK)}" for volume in (settings or {}).get("disks", [])]
    cluster = str(found.mark.get("cluster", ""))
    return Observed(
        name=name,
        condition=condition,
        settings=settings if isinstance(settings, dict) else {"host": host},
        detail=detail,
        needs=(*needs, f"seed/{node}", wanted.at(f"network/{cluster}", host)),
    )
