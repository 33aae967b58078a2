"""One machine taken away with all that is its own, so that the next ``up`` makes it anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_how.machines import domains, storage
from ai_how.machines.marks import DIGEST_SUFFIX, object_uuid, pool_name
from ai_how.machines.standing import Standing

if TYPE_CHECKING:
    from ai_how.machines.provider import LibvirtProvider


def owned_volumes(machine: Standing) -> list[str]:
    """The volumes that are the machine's own: disks, seed, serial log; not the image under them."""
    disks = [str(volume) for volume in machine.made_with.get("disks", [f"{machine.node}.qcow2"])]
    return [*disks, str(machine.made_with.get("seed", f"{machine.node}-seed.iso")), f"{machine.node}.log"]


def remove_node(provider: LibvirtProvider, machine: Standing) -> list[str]:
    """End and remove a machine, its snapshots and its volumes; the names of the volumes that were there.

    Its cards go back to the host's drivers.
    """
    name = provider.site.name
    domains.remove_machine(
        machine.connect,
        machine.name,
        object_uuid(name, "machine", machine.node),
        when_off=lambda: provider.card_notes.give_back(machine.node, host=machine.host),
    )
    provider.state.record(f"machine/{machine.node}", None)
    uuid = object_uuid(name, "pool", name)
    pool = storage.find_pool(machine.connect, name=pool_name(name), uuid=uuid, start=True)
    if pool is None:
        return []
    owned = owned_volumes(machine)
    for volume in owned:
        storage.remove_volume(pool, volume + DIGEST_SUFFIX)
    return [volume for volume in owned if storage.remove_volume(pool, volume)]
