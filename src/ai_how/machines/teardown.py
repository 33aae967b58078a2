"""Removing a site from its hosts, and finding out whether there is anything of it: by its marks and names alone.

Needs no placement, no image and no plan: what was made can be removed although it no longer fits, or its image is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ai_how.apply.provider import Say
from ai_how.errors import AiHowError
from ai_how.machines import domains, networks, storage
from ai_how.machines.card_notes import CardNotes
from ai_how.machines.connection import Connect, explained, optional
from ai_how.machines.marks import DIGEST_SUFFIX, is_log_of, is_ours, network_name, object_uuid, pool_name
from ai_how.machines.world import check_owner


def anything_there(connections: Mapping[str, Connect], *, site: str, owner: str) -> bool:
    """Whether a host has anything of the site.

    Raises:
        ConflictError: what is there belongs to a site of the same name in another folder.
    """
    return any(_anything(connect, site, owner) for connect in connections.values())


def _anything(connect: Connect, site: str, owner: str) -> bool:
    machines = domains.observe_machines(connect, site=site)
    check_owner(machines, site=site, owner=owner)
    name, uuid = _pool_of(site)
    _, pool = storage.look_for_pool(connect, name=name, uuid=uuid)
    return bool(machines) or pool or bool(networks.observe_networks(connect, site=site))


def remove_from_hosts(
    connections: Mapping[str, Connect], say: Say, *, site: str, owner: str, cards: CardNotes
) -> list[str]:
    """Remove the site's machines, networks, volumes and pools; names what stays because we did not make it.

    Machines' cards go back to their hosts. A host that is broken off in the middle is gone on with by the next call.

    Raises:
        ConflictError: machines of a site of the same name in another folder; nothing was removed on that host.
    """
    left: list[str] = []
    for host, connect in connections.items():
        machines = domains.observe_machines(connect, site=site)
        check_owner(machines, site=site, owner=owner)
        for found in machines.values():
            node = str(found.mark.get("node", ""))
            say(f"removing {node or found.name}")
            domains.remove_machine(
                connect,
                found.name,
                object_uuid(site, "machine", node),
                when_off=partial(_say_given_back, say, cards, node, host),
            )
        for cluster in networks.observe_networks(connect, site=site):
            name = network_name(site, cluster)
            networks.remove_network(connect, name=name, uuid=object_uuid(site, "network", cluster))
        left += [f"{name} on {host}" for name in remove_pool(connect, site=site)]
    return left


def _say_given_back(say: Say, cards: CardNotes, node: str, host: str) -> None:
    said = cards.give_back(node, host=host)
    if said:
        say(f"{node}: {said}")


def delete_resource(
    connect: Connect, name: str, *, site: str, stop_timeout_s: float, give_back: Callable[[], str]
) -> str:
    """Remove one thing of a plan from the host that it is on; ``name`` is the resource's. Says how it ended.

    Args:
        give_back: Gives a machine's cards back once it is off; says what was done.
    """
    kind, _, rest = name.partition("/")
    rest = rest.partition("@")[0]
    pool_known_as, uuid = _pool_of(site)
    if kind == "network":
        networks.remove_network(connect, name=network_name(site, rest), uuid=object_uuid(site, "network", rest))
        return "removed"
    if kind.startswith("pool"):
        left = remove_pool(connect, site=site)
        return f"removed; left in its folder: {', '.join(left)}" if left else "removed"
    pool = storage.find_pool(connect, name=pool_known_as, uuid=uuid)
    if kind == "machine":
        domains.stop_machine(connect, f"{site}-{rest}", timeout_s=stop_timeout_s)
        said: list[str] = []
        uuid = object_uuid(site, "machine", rest)
        domains.remove_machine(connect, f"{site}-{rest}", uuid, when_off=lambda: said.append(give_back()))
        if pool is not None:
            for log in filter(partial(is_log_of, rest), storage.volumes(pool)):
                storage.remove_volume(pool, log)
        return "; ".join(["removed", *filter(None, said)])
    volumes = {"image": rest, "seed": f"{rest}-seed.iso", "disk": f"{rest}.qcow2"}
    if kind not in volumes or pool is None:
        return "left as it is"
    storage.remove_whole(pool, volumes[kind])
    return "removed"


def remove_pool(connect: Connect, *, site: str) -> list[str]:
    """Remove the site's pool with what we made in it; names the files that stay, and their folder with them."""
    name, uuid = _pool_of(site)
    _, there = storage.look_for_pool(connect, name=name, uuid=uuid)
    if not there:
        return []
    try:
        pool = storage.find_pool(connect, name=name, uuid=uuid, start=True)
    except AiHowError:
        # its folder is gone or was never made: there is nothing in it to remove
        with explained(f"remove storage pool {name}"):
            optional(connect.storagePoolLookupByName, name).undefine()
        return []
    if pool is None:
        return []
    for volume in sorted(storage.volumes(pool), key=_digests_first):
        if is_ours(volume):
            storage.remove_volume(pool, volume)
    return storage.remove_pool(pool)


def _digests_first(volume: str) -> tuple[bool, str]:
    """What says that a volume is whole goes before it."""
    return not volume.endswith(DIGEST_SUFFIX), volume


def _pool_of(site: str) -> tuple[str, str]:
    return pool_name(site), object_uuid(site, "pool", site)
