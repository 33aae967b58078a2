"""The start of a standard guest: QEMU, its firmware, a boot sector. The nearest to a real virtual machine in a second.

Owns the command line and what its end means. Writes no file: the boot disk lies in this process's memory. The guest
has no network and no display, and is ended after the time limit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ai_how.errors import MissingToolError, TryAgainError
from ai_how.run.process import Completed, run, which

# Fedora's and Red Hat's packages hide the program outside PATH
_PROGRAMS = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm")
_EXIT_PORT, _EXIT_VALUE = 0xF4, 0x21
# QEMU's isa-debug-exit ends the program with (value << 1) | 1
_EXIT_CODE = _EXIT_VALUE << 1 | 1
# mov $0x21, %al; out %al, $0xf4; jmp .
_BOOT_CODE = bytes((0xB0, _EXIT_VALUE, 0xE6, _EXIT_PORT, 0xEB, 0xFE))
_SECTOR_BYTES, _DISK_BYTES = 512, 1 << 20


@dataclass(frozen=True, kw_only=True)
class FirmwareFacts:
    """What became of it. ``program`` is empty where QEMU is not installed; ``booted`` is then None."""

    program: str = ""
    booted: bool | None = None
    detail: str = ""


def observe_firmware(*, timeout_s: float, acceleration: str = "kvm") -> FirmwareFacts:
    """Boot the sector under ``kvm`` (or ``tcg``, software emulation) and say what came of it."""
    program = next((found for name in _PROGRAMS if (found := which(name))), None)
    if program is None:
        return FirmwareFacts(detail="QEMU is not installed")
    with _boot_disk() as disk:
        try:
            done = run(_command(program, disk, acceleration=acceleration), timeout_s=timeout_s, check=False)
        except TryAgainError:
            detail = f"the guest did not get through its firmware in {timeout_s:g} s"
            return FirmwareFacts(program=program.name, booted=False, detail=detail)
        except MissingToolError:
            return FirmwareFacts(detail="QEMU is not installed")
    booted = done.returncode == _EXIT_CODE
    return FirmwareFacts(program=program.name, booted=booted, detail="" if booted else _complaint(done))


def _command(program: Path, disk: Path, *, acceleration: str) -> list[str | Path]:
    # "host" is what libvirt's host-passthrough gives to virtual machines with GPUs
    processor = "host" if acceleration == "kvm" else "max"
    return [
        program, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-machine", f"q35,accel={acceleration}", "-cpu", processor, "-m", "64", "-nic", "none",
        "-device", f"isa-debug-exit,iobase={_EXIT_PORT:#x},iosize=1",
        "-drive", f"if=none,id=boot,format=raw,file={disk}", "-device", "ide-hd,drive=boot",
    ]  # fmt: skip


@contextmanager
def _boot_disk() -> Iterator[Path]:
    """A disk with our boot sector, in memory; its path is good for our own user's processes while this is open."""
    file = os.memfd_create("ai-how-boot-sector")
    try:
        os.write(file, _BOOT_CODE.ljust(_SECTOR_BYTES - 2, b"\0") + b"\x55\xaa")
        os.ftruncate(file, _DISK_BYTES)
        yield Path(f"/proc/{os.getpid()}/fd/{file}")
    finally:
        os.close(file)


def _complaint(done: Completed) -> str:
    """The line of QEMU's that tells most: its error, else its last."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    text = (errors or lines[-1:] or [f"it ended with code {done.returncode}"])[0]
    return text.removeprefix("qemu-system-x86_64: ").removeprefix("qemu-kvm: ").removeprefix("error: ")
