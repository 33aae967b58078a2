"""A card's functions bound to vfio-pci, and given back to the host's drivers. Every write is checked by reading.

The kernel's own way: ``driver_override`` names the driver, ``unbind`` takes the old one off, ``drivers_probe`` binds.
Both ways can be gone again at any point: what is right already is left alone. Source: the kernel's ABI description of
``/sys/bus/pci/devices`` (driver_override, remove, probe) and its VFIO document (groups, viability).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ai_how.errors import AiHowError, ConflictError, ProviderError
from ai_how.machines.passthrough.sysfs import DEVICES, DRIVERS, Sysfs

VFIO = "vfio-pci"
_UNSET = ("", "(null)")
"""How the kernel shows a driver_override that is not set."""
_HARMLESS = ("", VFIO, "pci-stub", "pcieport")
"""Drivers that a group's other members may have, as VFIO sees it."""


class NotTakenBackError(ProviderError):
    """A device is the host's again, but the driver that it had does not take it: it may not be loaded any more."""


def drivers_of(sysfs: Sysfs, functions: Sequence[str]) -> dict[str, str]:
    """The driver of each function, by address; empty where it has none.

    Raises:
        ProviderError: one of them is not there.
    """
    for address in functions:
        if sysfs.text(f"{DEVICES}/{address}/vendor") is None:
            raise ProviderError(
                f"there is no PCI device {address} on the host",
                evidence=f"/{DEVICES}/{address} cannot be read",
                next_step="ai-how gpu list",
            )
    return {address: sysfs.link(f"{DEVICES}/{address}/driver") for address in functions}


def bind(sysfs: Sysfs, functions: Sequence[str]) -> list[str]:
    """Give a card's functions to vfio-pci; those that were changed. On failure they go back to the drivers they had.

    Raises:
        ProviderError: the kernel refused a step; the evidence says which, and whether the way back worked.
        ConflictError: another device of the group is in the host's hands.
    """
    before = drivers_of(sysfs, functions)
    if VFIO not in sysfs.names(DRIVERS):
        sysfs.load_module(VFIO)
    changed: list[str] = []
    try:
        for address in functions:
            if before[address] != VFIO:
                changed.append(address)
                _move(sysfs, address, VFIO)
        check_group(sysfs, functions)
    except AiHowError as error:
        back = _way_back(sysfs, {address: before[address] for address in changed})
        evidence = f"{error.evidence}\n{back}".strip()
        raise type(error)(error.brief, evidence=evidence, next_step=error.next_step) from error
    return changed


def release(sysfs: Sysfs, functions: Sequence[str], *, previous: Mapping[str, str]) -> dict[str, str]:
    """Give functions back to the host; the driver that each has then.

    Args:
        previous: The driver that each had before, as recorded; empty: none. What is not in it, the kernel chooses for.

    Raises:
        ProviderError: the kernel refused a step.
        NotTakenBackError: all was done, but another driver than the recorded one took the device, or none.
    """
    now = drivers_of(sysfs, functions)
    for address in functions:
        wanted = previous.get(address)
        if now[address] not in ("", VFIO) or (wanted == "" and now[address] == ""):
            # the host has it already; what override is left would bind it wrongly after a reload
            _override(sysfs, address, "")
            continue
        _move(sysfs, address, "", probe=wanted != "")
        _expect_previous(sysfs, address, wanted)
    return drivers_of(sysfs, functions)


def check_group(sysfs: Sysfs, functions: Sequence[str]) -> None:
    """See that the kernel would give the functions' groups to a guest.

    Raises:
        ProviderError: a function is in no group, or the group has no device file.
        ConflictError: a device in the group has a driver of the host's; all such are named.
    """
    for address in functions:
        group = sysfs.link(f"{DEVICES}/{address}/iommu_group")
        if not group:
            raise ProviderError(
                f"{address} is in no IOMMU group: no guest can get it",
                evidence=f"/{DEVICES}/{address}/iommu_group is not there",
                next_step="ai-how doctor says how to switch the IOMMU on",
            )
        members = sysfs.names(f"sys/kernel/iommu_groups/{group}/devices")
        held = {member: sysfs.link(f"{DEVICES}/{member}/driver") for member in members}
        blocking = [f"{member} ({driver})" for member, driver in held.items() if driver not in _HARMLESS]
        if blocking:
            raise ConflictError(
                f"{address} cannot be given away: the host uses another device of its IOMMU group {group}",
                evidence="in the host's hands: " + ", ".join(blocking),
                next_step="ai-how doctor shows the group and the ways out",
            )
        if group not in sysfs.names("dev/vfio"):
            raise ProviderError(
                f"the kernel offers no VFIO group {group} for {address}",
                evidence=f"/dev/vfio/{group} is not there",
                next_step="ai-how doctor says what VFIO lacks",
            )


def _move(sysfs: Sysfs, address: str, override: str, *, probe: bool = True) -> None:
    """Take a function's driver off and let the kernel bind it anew: to ``override``, or to whichever claims it."""
    _override(sysfs, address, override)
    place = f"{DEVICES}/{address}/driver"
    if sysfs.link(place):
        sysfs.write(f"{place}/unbind", address)
        left = sysfs.link(place)
        if left:
            raise ProviderError(f"the driver {left} does not let go of {address}", next_step="stop what uses it")
    if not probe:
        return
    sysfs.write("sys/bus/pci/drivers_probe", address)
    bound = sysfs.link(place)
    if override and bound != override:
        raise ProviderError(
            f"{override} does not take {address}",
            evidence=f"its driver is {bound or 'none'}",
            next_step="see what the kernel says: sudo dmesg | tail",
        )


def _override(sysfs: Sysfs, address: str, driver: str) -> None:
    place = f"{DEVICES}/{address}/driver_override"
    found = sysfs.text(place)
    if found == driver or (not driver and (found is None or found in _UNSET)):
        return
    # a line end alone clears it; nothing at all would not be written
    sysfs.write(place, f"{driver}\n")
    found = sysfs.text(place) or ""
    if found != driver and not (not driver and found in _UNSET):
        raise ProviderError(f"the kernel keeps driver_override of {address} as {found!r}, not {driver!r}")


def _expect_previous(sysfs: Sysfs, address: str, wanted: str | None) -> None:
    bound = sysfs.link(f"{DEVICES}/{address}/driver")
    if wanted and bound != wanted:
        raise NotTakenBackError(
            f"{address} had the driver {wanted}, but {bound or 'none'} has it now",
            evidence=f"{wanted} is {'loaded' if wanted in sysfs.names(DRIVERS) else 'not loaded'}",
            next_step=f"sudo modprobe {wanted}, then: ai-how gpu release {address}",
        )


def _way_back(sysfs: Sysfs, before: Mapping[str, str]) -> str:
    """Put drivers back, each by itself; says in words how that went."""
    failed = []
    for address in reversed(list(before)):
        try:
            release(sysfs, [address], previous=before)
        except AiHowError as error:
            failed.append(f"{address} is not back at {before[address] or 'no driver'}: {error.brief}")
    return "\n".join(failed) or ("every function is back at its driver" if before else "nothing was changed")
