"""Runs inside a guest with an emulated IOMMU: our own code on that kernel's sysfs. Prints what it saw as JSON.

Started as the guest's first program with the standard library alone. No assertion stands here: the test that booted
the guest judges what is printed.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ai_how.errors import AiHowError
from ai_how.host.facts.passthrough import PassthroughFacts, observe_passthrough
from ai_how.host.root import Root
from ai_how.machines.passthrough import binding
from ai_how.machines.passthrough.facts import HostCard, cards_of
from ai_how.machines.passthrough.reset import verify_reset
from ai_how.machines.passthrough.sysfs import LocalSysfs

# linux/vfio.h: VFIO_GROUP_GET_STATUS, and its flag "viable"
GROUP_GET_STATUS, VIABLE = 0x3B67, 1
SYSFS = LocalSysfs()


def look() -> tuple[PassthroughFacts, tuple[HostCard, ...]]:
    """No emulated device carries an NVIDIA id: every display controller counts as a card."""
    facts = observe_passthrough(Root())
    return facts, cards_of(facts, is_card=lambda _gpu: True)


def rows(cards: tuple[HostCard, ...]) -> list[dict[str, Any]]:
    return [{"functions": c.functions, "drivers": c.drivers, "ids": c.ids, "group": c.group, "blocked": c.blocked}
            for c in cards]  # fmt: skip


def attempt(do: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"done": do()}
    except AiHowError as error:
        return {"error": type(error).__name__, "brief": error.brief, "evidence": error.evidence}


def viable(group: str) -> bool:
    """What the kernel itself says of a group when it is opened, as QEMU opens it."""
    handle = os.open(f"/dev/vfio/{group}", os.O_RDWR)
    try:
        status = fcntl.ioctl(handle, GROUP_GET_STATUS, struct.pack("II", 8, 0))
        return bool(struct.unpack("II", status)[1] & VIABLE)
    finally:
        os.close(handle)


def users_while_open(group: str, address: str) -> list[dict[str, Any]]:
    handle = os.open(f"/dev/vfio/{group}", os.O_RDWR)
    try:
        facts, _ = look()
        (gpu,) = [gpu for gpu in facts.gpus if gpu.address == address]
        return [{"program": user.program, "guest": user.guest} for user in gpu.users or ()]
    finally:
        os.close(handle)


def watch() -> dict[str, Any]:
    facts, cards = look()
    seen: dict[str, Any] = {
        "kernel": os.uname().release,
        "groups": facts.iommu.groups,
        "remapping": facts.iommu.remapping,
        "modules": facts.modules,
        "cards": rows(cards),
    }
    sound = next(c for c in cards if len(c.functions) == 3)
    shared = next(c for c in cards if len(c.functions) == 1)
    edu = next(d.address for d in facts.devices if d.id_text == "1234:11e8")
    before = binding.drivers_of(SYSFS, sound.functions)
    seen["sound"] = {
        "before": before,
        "bind": attempt(lambda: binding.bind(SYSFS, sound.functions)),
        "bound": binding.drivers_of(SYSFS, sound.functions),
        "again": attempt(lambda: binding.bind(SYSFS, sound.functions)),
        "viable": viable(sound.group),
        "users": users_while_open(sound.group, sound.address),
        "cards": rows(look()[1]),
        "reset": attempt(lambda: verify_reset(SYSFS, sound.functions)),
        "release": attempt(lambda: binding.release(SYSFS, sound.functions, previous=before)),
        "released_again": attempt(lambda: binding.release(SYSFS, sound.functions, previous=before)),
        "overrides": [SYSFS.text(f"sys/bus/pci/devices/{address}/driver_override") for address in sound.functions],
        "viable_file_gone": sound.group not in SYSFS.names("dev/vfio"),
    }
    binding.bind(SYSFS, sound.functions)
    seen["unknown_way_back"] = attempt(lambda: binding.release(SYSFS, sound.functions, previous={}))
    seen["shared"] = {
        "members": {address: SYSFS.link(f"sys/bus/pci/devices/{address}/driver")
                    for address in SYSFS.names(f"sys/kernel/iommu_groups/{shared.group}/devices")},
        "bind": attempt(lambda: binding.bind(SYSFS, shared.functions)),
        "after": binding.drivers_of(SYSFS, shared.functions),
    }  # fmt: skip
    seen["edu"] = {
        "before": binding.drivers_of(SYSFS, [edu]),
        "bind": attempt(lambda: binding.bind(SYSFS, [edu])),
        "release": attempt(lambda: binding.release(SYSFS, [edu], previous={edu: ""})),
    }
    seen["absent"] = attempt(lambda: binding.bind(SYSFS, ["0000:7f:00.0"]))
    seen["wrong_driver"] = attempt(lambda: binding.release(SYSFS, [edu], previous={edu: "nvidia"}))
    return seen


def main() -> None:
    # nothing of the distribution's has loaded the drivers that the emulated devices have on a running host
    subprocess.run(["/sbin/modprobe", "-a", "nvme", "virtio_pci"], check=False)
    try:
        text = json.dumps(watch())
    except Exception:
        text = json.dumps({"crash": traceback.format_exc()})
    Path(sys.argv[1]).write_text(text + "\n")


main()
