"""The system: kernel, distribution, what it runs on, other hypervisors, clock and name resolution."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ai_how.host.facts.clock import clock_synchronised
from ai_how.host.facts.mounts import mount_of
from ai_how.host.facts.parse import settings, version
from ai_how.host.root import Root

# kernel modules of other hypervisors -> their names
_OTHER_HYPERVISORS = {"vboxdrv": "VirtualBox", "vmmon": "VMware", "mshv_root": "Hyper-V root partition"}
_HYPERVISOR_FIRMWARE = {
    "qemu": "QEMU",
    "kvm": "KVM",
    "vmware": "VMware",
    "virtualbox": "VirtualBox",
    "innotek": "VirtualBox",
    "xen": "Xen",
    "amazon ec2": "Amazon EC2",
    "google compute engine": "Google Compute Engine",
    "microsoft corporation virtual machine": "Hyper-V",
}


@dataclass(frozen=True, kw_only=True)
class SystemFacts:
    """The running system; None or empty where it cannot be told.

    Args:
        os_id: As os-release says it: ``debian``, ``ubuntu``.
        machine: What firmware calls the machine: vendor and product.
        virtual_machine: The hypervisor that this machine runs under, ``unnamed`` where only the processor's flag
            tells; empty on hardware.
        container: What contains this process (``docker``, ``lxc``, ``WSL``), or empty.
        other_hypervisors: Hypervisors beside KVM whose modules are loaded, or that this kernel runs under as dom0.
        clock_synchronised: Whether the kernel's clock follows a time source.
        nameservers: Of ``/etc/resolv.conf``, with those behind systemd-resolved's stub instead of the stub.
    """

    kernel: str = ""
    kernel_version: tuple[int, ...] | None = None
    os_id: str = ""
    os_version: tuple[int, ...] | None = None
    os_name: str = ""
    machine: str = ""
    virtual_machine: str = ""
    container: str = ""
    other_hypervisors: tuple[str, ...] | None = None
    clock_synchronised: bool | None = None
    nameservers: tuple[str, ...] | None = None


def observe_system(root: Root) -> SystemFacts:
    """Read procfs, sysfs and /etc; ask the kernel for its clock on the live machine."""
    release = settings(root.text("etc/os-release") or root.text("usr/lib/os-release"))
    kernel = root.text("proc/sys/kernel/osrelease") or _kernel_of_version(root.text("proc/version"))
    machine = " ".join(filter(None, (root.text(f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name"))))
    return SystemFacts(
        kernel=kernel,
        kernel_version=version(kernel),
        os_id=release.get("ID", "").lower(),
        os_version=_os_version(release.get("VERSION_ID", "")),
        os_name=release.get("PRETTY_NAME", ""),
        machine=machine,
        virtual_machine=_virtual_machine(root, machine),
        container=_container(root, kernel),
        other_hypervisors=_other_hypervisors(root),
        clock_synchronised=clock_synchronised(root),
        nameservers=_nameservers(root),
    )


def _kernel_of_version(text: str | None) -> str:
    match = re.match(r"Linux version (\S+)", text or "")
    return match[1] if match else ""


def _os_version(text: str) -> tuple[int, ...] | None:
    """``13`` and ``22.04``."""
    match = re.fullmatch(r"([0-9]{1,6})(?:\.([0-9]{1,6}))*", text)
    return tuple(int(part) for part in text.split(".")) if match else None


def _virtual_machine(root: Root, machine: str) -> str:
    if root.text("sys/hypervisor/type") == "xen" and not _is_dom0(root):
        return "Xen"
    named = next((name for word, name in _HYPERVISOR_FIRMWARE.items() if word in machine.lower()), "")
    flags = re.search(r"^flags\s*:.*\bhypervisor\b", root.text("proc/cpuinfo") or "", re.MULTILINE)
    return named or ("unnamed" if flags and not _is_dom0(root) else "")


def _is_dom0(root: Root) -> bool:
    return "control_d" in (root.text("proc/xen/capabilities") or "")


def _container(root: Root, kernel: str) -> str:
    if "microsoft" in kernel.lower():
        return "WSL"
    named = re.search(r"^container=(\S+)$", root.text("proc/1/environ") or "", re.MULTILINE)
    if named or root.text("run/systemd/container"):
        return named[1] if named else root.text("run/systemd/container") or ""
    files = {".dockerenv": "docker", "run/.containerenv": "podman"}
    # a virtual machine's disk that was made from a container's image keeps such a file: layers tell the two apart
    base = mount_of(root, "/")
    layered = base is not None and base.filesystem in ("overlay", "fuse.fuse-overlayfs")
    found = next((name for path, name in files.items() if layered and root.exists(path)), "")
    group = re.search(r"\b(docker|lxc|kubepods|libpod)\b", root.text("proc/1/cgroup") or "")
    return found or (group[1] if group else "")


def _other_hypervisors(root: Root) -> tuple[str, ...] | None:
    loaded = {line.split(" ")[0] for line in (root.text("proc/modules") or "").splitlines()}
    loaded |= set(root.names("sys/module"))
    dom0 = ("Xen dom0",) if _is_dom0(root) else ()
    if not loaded and not dom0:
        return None
    return (*dom0, *(name for module, name in _OTHER_HYPERVISORS.items() if module in loaded))


def _nameservers(root: Root) -> tuple[str, ...] | None:
    texts = [root.text("etc/resolv.conf"), root.text("run/systemd/resolve/resolv.conf")]
    if texts[0] is None:
        return None
    servers, upstream = (tuple(re.findall(r"^\s*nameserver\s+(\S+)", text or "", re.MULTILINE)) for text in texts)
    only_stub = bool(servers) and set(servers) <= {"127.0.0.53", "127.0.0.54"}
    return upstream if only_stub and texts[1] is not None else servers
