"""Boots a guest with an emulated IOMMU and PCI devices from a disk image, to run one Python file in it as root.

The kernel is started directly, with a command line of its own: no boot loader, no service of the distribution. What
runs comes on a second disk, a tar archive; what it prints goes to a second serial port.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import ai_how
from ai_how.machines.images.layout import MIB, ROOT_START_MIB

_PROGRAMS = ("qemu-system-x86_64", "qemu-img", "debugfs")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# modules of ours that run in the guest need nothing but the standard library
_FOLDERS = ("accelerators", "capacity", "host", "machines", "run", "site")
_FILES = ("__init__.py", "errors.py")
BOOT_TIMEOUT_S = 600
_START = """\
mount -o remount,rw / ; modprobe vfio_iommu_type1
cd /run/test && PYTHONPATH=/run/test PYTHONDONTWRITEBYTECODE=1 python3 guest.py /dev/ttyS1
sleep 1; echo o > /proc/sysrq-trigger; sleep 60
"""

DEVICES = (
    # a card of three functions on one slot, each with a driver of its own or none
    "pcie-root-port,id=first,bus=pcie.0,addr=8,chassis=8",
    "virtio-gpu-pci,bus=first,addr=0.0,multifunction=on",
    "nvme,bus=first,addr=0.1,serial=one,drive=scratch",
    "intel-hda,bus=first,addr=0.2",
    # a display and a device that the host uses, behind one bridge: one group
    "pcie-pci-bridge,id=bridge,bus=pcie.0,addr=9",
    "secondary-vga,bus=bridge,addr=1",
    "virtio-rng-pci,bus=bridge,addr=2",
    # a device that no driver claims, in a group of its own
    "pcie-root-port,id=second,bus=pcie.0,addr=10,chassis=10",
    "edu,bus=second,addr=0",
)


def why_not() -> str:
    """Why such a guest cannot be booted here; empty where it can."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def run_in_guest(script: Path, work: Path, *, image: Path) -> dict[str, Any]:
    """Boot the image, run the script with what is printed to its first argument, end; what it printed."""
    kernel, initrd = _kernel_of(image, work)
    archive, out, log = work / "package.tar", work / "out", work / "console.log"
    _pack(archive, script)
    scratch, overlay = work / "scratch.raw", work / "root.qcow2"
    scratch.write_bytes(bytes(MIB))
    _call("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image), str(overlay))
    start = "tar xf /dev/vdb -C /run && . /run/test/start"
    words = f'root=/dev/vda3 ro intel_iommu=on no_timer_check console=ttyS0 quiet panic=-1 init=/bin/sh -- -c "{start}"'
    argv = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-smp", "2", "-m", "1024", "-nodefaults"]
    argv += ["-no-reboot", "-display", "none", "-device", "intel-iommu,intremap=on,caching-mode=on"]
    argv += ["-kernel", str(kernel), "-initrd", str(initrd), "-append", words]
    argv += ["-drive", f"file={overlay},if=none,id=root", "-device", "virtio-blk-pci,drive=root"]
    argv += ["-drive", f"file={archive},format=raw,if=none,id=package", "-device", "virtio-blk-pci,drive=package"]
    argv += ["-drive", f"file={scratch},format=raw,if=none,id=scratch"]
    argv += ["-serial", f"file:{log}", "-serial", f"file:{out}"]
    for device in DEVICES:
        argv += ["-device", device]
    try:
        subprocess.run(argv, check=True, timeout=BOOT_TIMEOUT_S, capture_output=True, env={"PATH": _PATH})
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"the guest did not end: {log.read_text(errors='replace')[-3000:]}") from error
    printed = out.read_text(errors="replace") if out.exists() else ""
    if not printed.strip():
        raise AssertionError(f"the guest printed nothing: {log.read_text(errors='replace')[-3000:]}")
    found: dict[str, Any] = json.loads(printed)
    assert "crash" not in found, found["crash"]
    return found


def _kernel_of(image: Path, work: Path) -> tuple[Path, Path]:
    """The image's newest kernel and its initial RAM disk, read out of its file system without mounting it."""
    raw = work / "image.raw"
    _call("qemu-img", "convert", "-O", "raw", str(image), str(raw))
    system = f"{raw}?offset={ROOT_START_MIB * MIB}"
    names = _call("debugfs", "-R", "ls -p /boot", system).split("/")
    version = sorted(match[1] for name in names if (match := re.fullmatch(r"vmlinuz-(.+)", name)))[-1]
    files = []
    for name in (f"vmlinuz-{version}", f"initrd.img-{version}"):
        _call("debugfs", "-R", f"dump /boot/{name} {work / name}", system)
        files.append(work / name)
    raw.unlink()
    return files[0], files[1]


def _pack(archive: Path, script: Path) -> None:
    package = Path(ai_how.__file__).parent
    with tarfile.open(archive, "w") as tar:
        for name in (*_FOLDERS, *_FILES):
            tar.add(package / name, f"test/ai_how/{name}", filter=_plain)
        tar.add(script, "test/guest.py")
        data = _START.encode()
        entry = tarfile.TarInfo("test/start")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    # a disk has whole sectors
    size = archive.stat().st_size
    with archive.open("ab") as file:
        file.write(bytes(-size % MIB))


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in entry.name else entry


def _call(*words: str) -> str:
    done = subprocess.run(words, check=True, capture_output=True, text=True, env={"PATH": _PATH}, timeout=120)
    return done.stdout
