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
from ai_how.machines.marks import DIGEST_SUFFIX, is_disk, is_image, is_seed, object_uuid, pool_name
from ai_how.machines.types import Disk
from ai_how.plan.model import Condition, Observed

_SEED = "-seed.iso"
_DISK = ".qcow2"
_POOL_CONDITIONS = {True: Condition.HEALTHY, False: Condition.STOPPED, None: Condition.ABSENT}


@dataclass(frozen=True, kw_only=True)
class HostWorld:
    """One host: whether our pool runs, its volumes, our machines, our networks by cluster, their ports.

    ``pool`` None: there is none. The volumes of one that does not run are not known. ``ports`` None: not told.
    """

    pool: bool | None
    volumes: Mapping[str, Disk] = field(default_factory=dict)
    machines: Mapping[str, domains.Found] = field(default_factory=dict)
    networks: Mapping[str, tuple[dict[str, Any], bool]] = field(default_factory=dict)
    ports: frozenset[str] | None = None

    def lost_disks(self, found: domains.Found) -> tuple[str, ...]:
        """The disks of a running machine that were removed under it: it goes on writing into nothing."""
        settings = found.mark.get("settings")
        disks = settings.get("disks", []) if isinstance(settings, dict) else []
        known = bool(self.pool) and found.run != ""
        return tuple(str(volume) for volume in disks if str(volume) not in self.volumes) if known else ()

    def lost_link(self, found: domains.Found) -> bool:
        """Whether a running machine is cut off from its network, because that was made anew under it."""
        return self.ports is not None and any(port not in self.ports for port in found.ports)


def observe_host(connect: Connect, *, site: str, owner: str) -> HostWorld:
    """Everything of the site on one host.

    Raises:
        ConflictError: machines of a site of the same name, but from another folder.
    """
    machines = domains.observe_machines(connect, site=site)
    check_owner(machines, site=site, owner=owner)
    pool, there = storage.look_for_pool(connect, name=pool_name(site), uuid=object_uuid(site, "pool", site))
    return HostWorld(
        pool=pool is not None if there else None,
        volumes=storage.volumes(pool) if pool is not None else {},
        machines={str(found.mark.get("node")): found for found in machines.values()},
        networks=networks.observe_networks(connect, site=site),
        ports=networks.observe_ports(connect, site=site),
    )


def check_owner(machines: Mapping[str, domains.Found], *, site: str, owner: str) -> None:
    """Refuse to go on where a site of the same name, but from another folder, has machines on the host.

    Raises:
        ConflictError: it has; the evidence names its folder.
    """
    for found in machines.values():
        if found.mark.get("owner") not in (owner, None):
            raise ConflictError(
                f"machine {found.name} belongs to another site {site!r}",
                evidence=f"made from {found.mark.get('owner')}, this one is {owner}",
                next_step="give this site another name; where its folder was moved, move it back",
            )


def observe_all(connections: Mapping[str, Connect], *, site: str, owner: str) -> dict[str, HostWorld]:
    """Every host, side by side."""
    with ThreadPoolExecutor(max_workers=max(1, len(connections))) as pool:
        seen = pool.map(lambda one: observe_host(one, site=site, owner=owner), connections.values())
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
            condition=_POOL_CONDITIONS[world.pool],
            settings=None if world.pool is None else {"path": wanted.pool_paths.get(host, ""), "host": host},
            detail="is not active" if world.pool is False else "",
        )
    ]
    made += [_volume(host, disk, world, wanted) for disk in world.volumes.values() if is_resource(disk.volume)]
    for cluster, (settings, active) in world.networks.items():
        made.append(
            Observed(
                name=wanted.at(f"network/{cluster}", host),
                condition=Condition.HEALTHY if active else Condition.STOPPED,
                settings={**settings, "host": host},
                detail="" if active else "is not active",
            )
        )
    made += [_machine(host, world, found, wanted, ready) for found in world.machines.values()]
    return made


def is_resource(volume: str) -> bool:
    """Whether plans speak of a volume: not of logs, of digests, and of what somebody else put into the pool."""
    return is_image(volume) or is_disk(volume) or is_seed(volume)


def _volume(host: str, disk: Disk, world: HostWorld, wanted: Desired) -> Observed:
    pool = wanted.at("pool", host)
    if not is_disk(disk.volume):
        seed = is_seed(disk.volume)
        whole = disk.volume + DIGEST_SUFFIX in world.volumes
        return Observed(
            name=f"seed/{disk.volume.removesuffix(_SEED)}" if seed else wanted.at(f"image/{disk.volume}", host),
            condition=Condition.HEALTHY if whole else Condition.FAILING,
            settings={"host": host, "volume": disk.volume},
            detail="" if whole else "was not written to its end",
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


def _machine(host: str, world: HostWorld, found: domains.Found, wanted: Desired, ready: Mapping[str, Any]) -> Observed:
    node = str(found.mark.get("node"))
    name = f"machine/{node}"
    settings = found.mark.get("settings")
    wish = wanted.machines.get(node)
    condition, detail = state_of(world, found, start=wish is None or wish.start, ready=ready.get(name) or {})
    needs = [f"disk/{str(volume).removesuffix(_DISK)}" for volume in (settings or {}).get("disks", [])]
    cluster = str(found.mark.get("cluster", ""))
    return Observed(
        name=name,
        condition=condition,
        settings=settings if isinstance(settings, dict) else {"host": host},
        detail=detail,
        needs=(*needs, f"seed/{node}", wanted.at(f"network/{cluster}", host)),
    )


def state_of(world: HostWorld, found: domains.Found, *, start: bool, ready: Mapping[str, Any]) -> tuple[Condition, str]:
    """How a machine is doing, and why.

    Args:
        start: Whether it shall be on.
        ready: What was noted when it was last seen ready: which run that was.
    """
    if not found.running:
        if found.state == "off" and not start:
            # nothing to repair, but worth a word where it did not go off by itself
            return Condition.HEALTHY, found.reason
        return Condition.STOPPED, found.reason or f"is {found.state}"
    lost = world.lost_disks(found)
    if lost:
        return Condition.FAILING, f"its disk {lost[0]} was removed while it runs"
    if world.lost_link(found):
        return Condition.FAILING, "lost its link when its network was stopped"
    if ready.get("run") != found.run:
        return Condition.FAILING, "has not been seen ready since it started"
    return Condition.HEALTHY, ""
