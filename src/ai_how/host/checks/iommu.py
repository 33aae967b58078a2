"""Checks of the IOMMU and of VFIO, and of each GPU's group.

A group is the smallest set of devices that the hardware can keep apart. It goes to one guest as a whole, so that
what shares a GPU's group decides whether the GPU can be given away.
"""

from __future__ import annotations

from ai_how.host.check import Check, Verdict
from ai_how.host.facts.config_space import Isolation, Port
from ai_how.host.facts.gpus import Gpu
from ai_how.host.facts.passthrough import PassthroughFacts
from ai_how.host.facts.pci import PciDevice
from ai_how.host.facts.vfio import ModuleState

_WHY = "Without an IOMMU no GPU can be given to a virtual machine."
_WHY_GROUP = "A group goes to one guest as a whole: what shares it must leave the host with the GPU."
# drivers that leave a device to a guest
_GUEST_DRIVERS = ("", "vfio-pci", "pci-stub")
_KINDS = {0x0106: "SATA", 0x0107: "SAS", 0x0108: "NVMe", 0x0200: "network", 0x0403: "audio", 0x0600: "host bridge",
          0x0601: "ISA bridge", 0x0604: "bridge", 0x0C03: "USB", 0x0C05: "SMBus", 0x0C80: "UCSI"}  # fmt: skip


def iommu_checks(facts: PassthroughFacts) -> list[Check]:
    """The machine's checks, then those of each NVIDIA GPU's group. Without an IOMMU only the first two say anything."""
    checks = [_firmware(facts), _groups(facts)]
    if facts.iommu.works:
        checks += [_interrupts(facts), _override(facts), _modules(facts)]
    return checks


def group_checks(gpu: Gpu, facts: PassthroughFacts) -> list[Check]:
    """The group of one GPU, and the isolation of the ports above it."""
    return [_group(gpu, facts), *([_isolation(gpu, facts)] if gpu.device.iommu_group is not None else [])]


def kind(device: PciDevice) -> str:
    """``audio``, ``USB``, ``GPU``: what a device is, in a word."""
    if device.is_display:
        return "GPU"
    code = device.class_code
    return "device" if code is None else _KINDS.get(code >> 8, f"class {code >> 8:04x}")


def short(address: str) -> str:
    """A PCI address as ``lspci`` writes it: without the domain where that is the first."""
    return address.removeprefix("0000:")


def _needed(facts: PassthroughFacts) -> Verdict:
    """A machine without NVIDIA GPUs has nothing to give away: what is missing is then no failure."""
    return Verdict.FAIL if facts.nvidia else Verdict.WARN


def _firmware(facts: PassthroughFacts) -> Check:
    iommu = facts.iommu
    if iommu.table is None:
        on = bool(iommu.units or iommu.works)
        verdict, found = (Verdict.PASS, "used by the kernel") if on else (Verdict.UNKNOWN, "no ACPI tables to read")
    else:
        verdict = Verdict.PASS if iommu.table else _needed(facts)
        found = f"{iommu.technology} ({iommu.table})" if iommu.table else "no DMAR, IVRS or IORT table"
    option = "AMD IOMMU (not Auto)" if iommu.vendor == "AuthenticAMD" else "VT-d"
    if iommu.architecture == "aarch64":
        option = "SMMU"
    return Check(
        id="iommu.firmware",
        title="IOMMU in firmware",
        found=found,
        wanted="announced",
        verdict=verdict,
        why=_WHY,
        fix=""
        if verdict is Verdict.PASS
        else f"Switch on {option} in the firmware's set-up; in a virtual machine its host must give it a virtual IOMMU",
    )


def _groups(facts: PassthroughFacts) -> Check:
    iommu = facts.iommu
    words = " ".join(word for word in iommu.options if "iommu" in word)
    found = f"{len(iommu.groups)} groups" if iommu.works else "no groups: the kernel does not use one"
    return Check(
        id="iommu.groups",
        title="IOMMU in kernel",
        found=found + (f"; {words}" if words else ""),
        wanted="device groups",
        verdict=Verdict.PASS if iommu.works else _needed(facts),
        why=_WHY,
        fix="" if iommu.works else _groups_fix(facts),
    )


def _groups_fix(facts: PassthroughFacts) -> str:
    off = [word for word in facts.iommu.options if word in ("iommu=off", "intel_iommu=off", "amd_iommu=off")]
    if off:
        return f"Take {' '.join(off)} out of GRUB_CMDLINE_LINUX in /etc/default/grub; sudo update-grub; sudo reboot"
    if facts.iommu.vendor == "GenuineIntel":
        return "Add intel_iommu=on iommu=pt to GRUB_CMDLINE_LINUX in /etc/default/grub; sudo update-grub; sudo reboot"
    return (
        "Switch on the IOMMU in the firmware's set-up, then reboot; see sudo dmesg | grep -iE 'iommu|dmar|amd-vi|smmu'"
    )


def _interrupts(facts: PassthroughFacts) -> Check:
    remapping = facts.iommu.remapping
    verdicts = {True: Verdict.PASS, False: _needed(facts), None: Verdict.UNKNOWN}
    return Check(
        id="iommu.interrupts",
        title="Interrupt remapping",
        found={True: "on", False: "off", None: "/proc/interrupts does not tell"}[remapping],
        wanted="on",
        verdict=verdicts[remapping],
        why="Without it a guest's device could send any interrupt to the host, and VFIO refuses it.",
        fix=""
        if remapping
        else "Switch on x2APIC and VT-d or AMD IOMMU in the firmware's set-up, take intremap=off "
        "out of the kernel's command line; then see sudo dmesg | grep -i remap",
    )


def _override(facts: PassthroughFacts) -> Check:
    word = facts.iommu.override
    return Check(
        id="iommu.override",
        title="ACS override",
        found=word or "not set",
        wanted="not set",
        verdict=Verdict.WARN if word else Verdict.PASS,
        why="It makes groups look smaller than the hardware can keep apart: guests may reach each other's memory.",
        fix="Take pcie_acs_override out of the kernel's command line and move cards to slots with groups of their own"
        if word
        else "",
    )


def _modules(facts: PassthroughFacts) -> Check:
    states = facts.modules
    missing = [name for name, state in states.items() if state is ModuleState.MISSING]
    unknown = all(state is ModuleState.UNKNOWN for state in states.values())
    verdict = _needed(facts) if missing else (Verdict.UNKNOWN if unknown else Verdict.PASS)
    return Check(
        id="iommu.vfio",
        title="VFIO drivers",
        found=", ".join(f"{name} {state}" for name, state in states.items()),
        wanted="loaded, built in or available",
        verdict=verdict,
        why="VFIO is how the kernel gives a device to a virtual machine.",
        fix="" if verdict is Verdict.PASS else "Boot a distribution's full kernel (sudo apt install linux-image-amd64)",
    )


def _group(gpu: Gpu, facts: PassthroughFacts) -> Check:
    verdict, found, fix = _judge_group(gpu, facts)
    return Check(
        id=f"iommu.group.{gpu.address}",
        title=f"Group of {short(gpu.address)}",
        found=found,
        wanted="the GPU's own functions only",
        verdict=verdict,
        why=_WHY_GROUP if gpu.device.iommu_group is not None else _WHY,
        fix=fix,
    )


def _judge_group(gpu: Gpu, facts: PassthroughFacts) -> tuple[Verdict, str, str]:
    name = gpu.device.iommu_group
    if name is None:
        return Verdict.FAIL, "in no IOMMU group", "See iommu.firmware and iommu.groups"
    strangers, ports = _strangers(gpu, facts)
    own = ", ".join(kind(function) for function in gpu.functions if function.iommu_group == name)
    text = f"group {name}: GPU" + (f", {own}" if own else "")
    text += f"; under {ports[0].address}, which cannot keep apart what is below it" if ports else ""
    if not strangers:
        return Verdict.PASS, text, ""
    text += "; shared with " + ", ".join(map(_named, strangers))
    held = [device for device in strangers if device.driver not in _GUEST_DRIVERS and not device.is_display]
    cards = [device for device in strangers if device.is_display]
    if not held and not cards:
        return Verdict.WARN, text, "Leave those devices without a host driver: the guest can reach them"
    move = "Move the card to a slot of the processor's own, or switch on ACS in the firmware's set-up"
    if cards and not held:
        return Verdict.FAIL, text, f"{move}; else give both GPUs to the same guest"
    release = "; ".join(f"sudo driverctl set-override {device.address} vfio-pci" for device in held)
    return Verdict.FAIL, text, f"{move}; else the host must do without it; sudo apt install driverctl; {release}"


def _strangers(gpu: Gpu, facts: PassthroughFacts) -> tuple[list[PciDevice], list[PciDevice]]:
    """(devices of other slots, bridges above the GPU) in its group. Idle host bridges count for neither."""
    members = [facts.device(address) for address in facts.iommu.groups.get(gpu.device.iommu_group or "", ())]
    others = [member for member in members if member is not None and member.slot != gpu.device.slot]
    strangers = [other for other in others if not other.is_bridge and not (other.is_host_bridge and not other.driver)]
    return strangers, [other for other in others if other.is_bridge and other.address in gpu.device.parents]


def _named(device: PciDevice) -> str:
    return f"{device.address} ({kind(device)}, {device.driver or 'no driver'})"


def _isolation(gpu: Gpu, facts: PassthroughFacts) -> Check:
    parents = [parent for address in gpu.device.parents if (parent := facts.device(address))]
    ports = [parent for parent in parents if parent.config.port in (Port.ROOT, Port.DOWNSTREAM)]
    denied = any(parent.config_denied for parent in parents)
    states = [(port, port.config.isolation) for port in ports if port.config.isolation is not None]
    weak = [f"{port.address}: ACS {state.value}" for port, state in states if state is not Isolation.ON]
    shared = bool(_strangers(gpu, facts)[0])
    if states:
        found = "; ".join(weak) or "ACS on in every port above it"
    else:
        found = "only root may read the ports' registers" if denied else "no port above it tells"
    # the kernel's groups have the last word: it knows chipsets that isolate without ACS
    verdict = Verdict.PASS if not shared else (Verdict.WARN if states else Verdict.UNKNOWN)
    return Check(
        id=f"iommu.acs.{gpu.address}",
        title=f"Isolation of {short(gpu.address)}",
        found=found + ("" if shared or (states and not weak) else "; its group is its own all the same"),
        wanted="ACS on, or a group of its own",
        verdict=verdict,
        why="Ports without Access Control Services let cards below them reach each other, so they share a group.",
        fix=""
        if verdict is Verdict.PASS
        else "Switch on ACS in the firmware's set-up, or use another slot"
        + ("; sudo ai-how doctor reads the registers" if denied else ""),
        needs_root=denied,
    )
