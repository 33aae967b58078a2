"""Disks of machines that may be running: made, and grown without stopping them."""

from __future__ import annotations

from string import ascii_lowercase

from ai_how.errors import AiHowError
from ai_how.machines import domains, storage
from ai_how.machines.connection import Connect
from ai_how.machines.types import Disk, Machine
from ai_how.run.ssh import SshTarget, run_remote

# growpart's exit code 1 says that the partition fills the disk already
_GROW_ROOT = """set -e
part=$(findmnt -nvo SOURCE /)
name=$(basename "$(readlink -f "$part")")
disk=/dev/$(basename "$(readlink -f "/sys/class/block/$name/..")")
sudo -n growpart "$disk" "$(cat "/sys/class/block/$name/partition")" || test $? = 1
case $(findmnt -no FSTYPE /) in
ext*) sudo -n resize2fs "$part" ;;
xfs) sudo -n xfs_growfs / ;;
btrfs) sudo -n btrfs filesystem resize max / ;;
*) exit 3 ;;
esac
"""
_GROW_TIMEOUT_S = 300
_GROW_DATA = "sudo -n resize2fs {device}"


def ensure_machine_disk(
    connect: Connect, pool: storage.Pool, machine: Machine, disk: Disk, *, target: SshTarget
) -> str:
    """Have a machine's disk of at least the wanted size; that of a running machine is grown under it.

    Raises:
        As ``storage.ensure_disk``.
    """
    found = domains.observe_machine(connect, machine.name)
    there = storage.find_disk(pool, disk.volume)
    if found is None or found.state == "off" or there is None or there.size_bytes >= disk.size_bytes:
        return storage.ensure_disk(pool, disk)
    number = machine.disks.index(disk)
    device = f"vd{ascii_lowercase[number]}"
    domains.grow_disk(connect, machine.name, device, size_bytes=disk.size_bytes)
    said = f"grown from {there.size_bytes / 2**30:.0f} to {disk.size_bytes / 2**30:.0f} GiB while it runs"
    script = _GROW_DATA.format(device=f"/dev/{device}") if number else _GROW_ROOT
    try:
        run_remote(target, ["sh", "-c", script], timeout_s=_GROW_TIMEOUT_S)
    except AiHowError as error:
        why = (error.evidence.splitlines() or [error.brief])[-1]
        return f"{said}; its file system grows at the next restart ({why})"
    return f"{said}, with its file system"
