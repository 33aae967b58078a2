"""From a wanted machine and the site's keys to the seed of its first start."""

from __future__ import annotations

from ai_how.machines.desired import MachineWish
from ai_how.machines.keys import Keys
from ai_how.machines.seed import Seed


def seed_of(wish: MachineWish, keys: Keys, *, user: str) -> Seed:
    """What a machine is told at its first start; holds its private host key."""
    host_key = keys.host(wish.machine.node)
    return Seed(
        hostname=wish.machine.node,
        domain=wish.domain,
        user=user,
        authorized_keys=(keys.login.public,),
        host_key=host_key.private.read_text(encoding="utf-8"),
        host_key_public=host_key.public,
        interfaces=tuple(nic.mac for nic in wish.machine.nics),
        static={nic.mac: wish.static for nic in wish.machine.nics} if wish.static else {},
        resolver=wish.resolver,
        data_disk_serial=next((disk.serial for disk in wish.machine.disks if disk.serial), ""),
    )
