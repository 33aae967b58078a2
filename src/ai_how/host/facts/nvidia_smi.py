"""What NVIDIA's driver says about its GPUs: ``nvidia-smi -q -x``, in the schemas of several driver generations.

Owns the program's call and its XML. The parser is the standard library's: expat fetches no outside entity (the file's
DOCTYPE names one that nobody has), and a document that declares entities of its own is refused before it is parsed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from xml.etree import ElementTree

from ai_how.errors import AiHowError
from ai_how.run.process import run, which

_LIMIT_S = 10
_LONGEST = 16 << 20
# driver 530 renamed power_readings/power_limit
_POWER = (
    "gpu_power_readings/current_power_limit",
    "power_readings/enforced_power_limit",
    "power_readings/power_limit",
)


@dataclass(frozen=True, kw_only=True)
class Process:
    """A program that has the GPU open, as the driver knows it."""

    pid: int
    name: str


@dataclass(frozen=True, kw_only=True)
class SmiGpu:
    """One GPU. ``memory_mib`` is what programs may use; ``mig`` is None where the card has no Multi-Instance GPU."""

    address: str
    name: str
    uuid: str = ""
    memory_mib: int | None = None
    power_limit_w: float | None = None
    compute_capability: tuple[int, int] | None = None
    mig: bool | None = None
    mig_devices: int = 0
    display_active: bool | None = None
    virtualization: str = ""
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SmiFacts:
    """The driver's answer. ``problem`` says why there is none; empty with no driver version: not installed."""

    driver_version: str = ""
    gpus: tuple[SmiGpu, ...] = ()
    problem: str = ""
    installed: bool = False


def observe_nvidia_smi() -> SmiFacts:
    """Ask the driver of the machine that we run on."""
    program = which("nvidia-smi")
    if program is None:
        return SmiFacts()
    try:
        facts = parse_nvidia_smi(run([program, "-q", "-x"], timeout_s=_LIMIT_S).stdout)
    except AiHowError as error:
        return SmiFacts(installed=True, problem=error.evidence or error.brief)
    if not facts.gpus:
        return replace(facts, installed=True)
    # the XML does not have it; drivers before 510 do not answer, and the catalogue does instead
    query = [str(program), "--query-gpu=pci.bus_id,compute_cap", "--format=csv,noheader"]
    try:
        answer = run(query, timeout_s=_LIMIT_S).stdout
    except AiHowError:
        answer = ""
    capabilities = parse_capabilities(answer)
    gpus = tuple(replace(gpu, compute_capability=capabilities.get(gpu.address)) for gpu in facts.gpus)
    return replace(facts, gpus=gpus, installed=True)


def parse_nvidia_smi(text: str) -> SmiFacts:
    """Read the XML; what is no such document is a ``problem``, never an error."""
    if "<!ENTITY" in text or len(text) > _LONGEST:
        return SmiFacts(problem="nvidia-smi's answer is not the XML that it writes")
    try:
        top = ElementTree.fromstring(text)  # noqa: S314 - see the module's docstring
    except (ElementTree.ParseError, ValueError) as error:
        return SmiFacts(problem=f"nvidia-smi's answer is no XML: {error}")
    if top.tag != "nvidia_smi_log":
        return SmiFacts(problem=f"nvidia-smi's answer is not the XML that it writes: <{top.tag}>")
    gpus = tuple(gpu for element in top.iter("gpu") if (gpu := _gpu(element)))
    return SmiFacts(driver_version=_text(top, "driver_version"), gpus=gpus)


def parse_capabilities(text: str) -> dict[str, tuple[int, int]]:
    """``00000000:65:00.0, 8.6`` lines as compute capability by PCI address."""
    found = {}
    for line in text.splitlines():
        bus_id, _, number = line.partition(",")
        address, match = pci_address(bus_id), re.fullmatch(r"\s*([0-9]{1,2})\.([0-9]{1,2})\s*", number)
        if address and match:
            found[address] = int(match[1]), int(match[2])
    return found


def pci_address(bus_id: str) -> str:
    """The driver's ``00000000:1E:00.0`` as sysfs writes it, ``0000:1e:00.0``; empty where it is none."""
    match = re.fullmatch(r"\s*([0-9A-Fa-f]{4,8}):([0-9A-Fa-f]{2}):([0-9A-Fa-f]{2})\.([0-7])\s*", bus_id)
    if not match:
        return ""
    return f"{int(match[1], 16):04x}:{match[2].lower()}:{match[3].lower()}.{match[4]}"


def _gpu(element: ElementTree.Element) -> SmiGpu | None:
    address = pci_address(element.get("id") or _text(element, "pci/pci_bus_id"))
    if not address:
        return None
    memory = _number(_text(element, "fb_memory_usage/total"), "MiB")
    powers = (_number(_text(element, path), "W") for path in _POWER)
    return SmiGpu(
        address=address,
        name=_text(element, "product_name"),
        uuid=_text(element, "uuid"),
        memory_mib=None if memory is None else round(memory),
        power_limit_w=next((power for power in powers if power is not None), None),
        mig=_switch(_text(element, "mig_mode/current_mig")),
        mig_devices=len(element.findall("mig_devices/mig_device")),
        display_active=_switch(_text(element, "display_active")),
        virtualization=_text(element, "gpu_virtualization_mode/virtualization_mode"),
        processes=tuple(_processes(element)),
    )


def _processes(element: ElementTree.Element) -> list[Process]:
    found = []
    for entry in element.findall("processes/process_info"):
        pid = _text(entry, "pid")
        if re.fullmatch(r"[0-9]{1,10}", pid):
            found.append(Process(pid=int(pid), name=_text(entry, "process_name")))
    return found


def _text(element: ElementTree.Element, path: str) -> str:
    """The text at a path; ``N/A`` and ``[N/A]`` and nothing are all empty."""
    text = (element.findtext(path) or "").strip()
    return "" if text.strip("[]") in ("N/A", "Not Supported", "Unknown Error") else text


def _number(text: str, unit: str) -> float | None:
    match = re.fullmatch(rf"([0-9]{{1,9}}(?:\.[0-9]{{1,4}})?) {unit}", text)
    return float(match[1]) if match else None


def _switch(text: str) -> bool | None:
    return {"Enabled": True, "Yes": True, "Disabled": False, "No": False}.get(text)
