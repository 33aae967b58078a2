"""A bare x86-64 virtual machine with one processor, through ``/dev/kvm``'s ioctls. No firmware, no devices of its own.

Owns the binary interface: request numbers and structures of ``linux/kvm.h`` and ``asm/kvm.h``. Knows no guest program
and judges nothing. Meant for a short-lived process: what it opens is given back when the process ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
from dataclasses import dataclass

_READ, _WRITE = 2 << 30, 1 << 30
_CPUID_ENTRIES, _CPUID_ENTRY_BYTES = 256, 40
_MSR_LIST_ENTRIES = 4096
_SREGS_BYTES, _REGS_BYTES, _SEGMENT_BYTES = 312, 144, 24
# three free pages that Intel processors need, outside the guest's memory and below 2 GiB
_TSS_ADDRESS = 0x7FFBD000

EXIT_IO = 2
EXIT_INTERNAL_ERROR = 17
EXIT_NAMES = {2: "port access", 5: "halt", 6: "memory access", 7: "interrupt window", 8: "shutdown (triple fault)",
              9: "entry refused by the processor", 10: "interrupted", 17: "internal error of KVM"}  # fmt: skip


def _request(number: int, size: int = 0, direction: int = 0) -> int:
    return direction | size << 16 | 0xAE << 8 | number


@dataclass(frozen=True, kw_only=True)
class Exit:
    """Why the processor came back. ``value`` was written to ``port``; ``code`` is what could not be emulated."""

    reason: int
    port: int | None = None
    value: int | None = None
    code: str = ""


class KvmMachine:
    """One virtual machine with ``memory_bytes`` from address 0, interrupt controllers, a timer and one processor.

    Raises:
        OSError: from any call: the device is missing or refused, or KVM says no.
    """

    def __init__(self, *, memory_bytes: int) -> None:
        self._kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        self.api_version = fcntl.ioctl(self._kvm, _request(0x00), 0)
        self._vm = fcntl.ioctl(self._kvm, _request(0x01), 0)
        fcntl.ioctl(self._vm, _request(0x47), _TSS_ADDRESS)
        fcntl.ioctl(self._vm, _request(0x60), 0)  # KVM_CREATE_IRQCHIP
        fcntl.ioctl(self._vm, _request(0x77, 64, _WRITE), bytes(64))  # KVM_CREATE_PIT2
        self.memory = mmap.mmap(-1, memory_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        region = struct.pack("=IIQQQ", 0, 0, 0, memory_bytes, address)
        fcntl.ioctl(self._vm, _request(0x46, 32, _WRITE), region)
        self._processor = fcntl.ioctl(self._vm, _request(0x41), 0)
        self._run = mmap.mmap(self._processor, fcntl.ioctl(self._kvm, _request(0x04), 0))

    def announce_processor(self) -> dict[int, tuple[int, int, int, int]]:
        """Give the guest every CPUID leaf that KVM offers; returns (eax, ebx, ecx, edx) of each leaf's first index."""
        table = bytearray(struct.pack("=II", _CPUID_ENTRIES, 0) + bytes(_CPUID_ENTRIES * _CPUID_ENTRY_BYTES))
        fcntl.ioctl(self._kvm, _request(0x05, 8, _READ | _WRITE), table)
        fcntl.ioctl(self._processor, _request(0x90, 8, _WRITE), table)
        count = struct.unpack_from("=I", table)[0]
        leaves: dict[int, tuple[int, int, int, int]] = {}
        for entry in range(count):
            function, _index, _flags, *registers = struct.unpack_from("=7I", table, 8 + entry * _CPUID_ENTRY_BYTES)
            leaves.setdefault(function, (registers[0], registers[1], registers[2], registers[3]))
        return leaves

    def guest_registers(self) -> tuple[int, ...]:
        """The model-specific registers that KVM keeps for a guest."""
        return self._register_list(0x02)

    def feature_registers(self) -> tuple[int, ...]:
        """The model-specific registers that say what KVM can offer."""
        return self._register_list(0x0A)

    def _register_list(self, number: int) -> tuple[int, ...]:
        table = bytearray(struct.pack("=I", _MSR_LIST_ENTRIES) + bytes(4 * _MSR_LIST_ENTRIES))
        fcntl.ioctl(self._kvm, _request(number, 4, _READ | _WRITE), table)
        count: int = struct.unpack_from("=I", table)[0]
        return struct.unpack_from(f"={count}I", table, 4)

    def read_register(self, index: int, *, feature: bool = False) -> int | None:
        """A model-specific register of the guest (or what KVM offers), or None where KVM refuses."""
        entry = bytearray(struct.pack("=IIIIQ", 1, 0, index, 0, 0))
        done = fcntl.ioctl(self._kvm if feature else self._processor, _request(0x88, 8, _READ | _WRITE), entry)
        return int(struct.unpack_from("=Q", entry, 16)[0]) if done == 1 else None

    def write_register(self, index: int, value: int) -> bool:
        """Set a model-specific register of the guest; False where KVM refuses."""
        entry = bytearray(struct.pack("=IIIIQ", 1, 0, index, 0, value))
        return bool(fcntl.ioctl(self._processor, _request(0x89, 8, _WRITE), entry) == 1)

    def start_at(self, address: int) -> None:
        """Let the processor begin in real mode with code segment 0 at ``address``."""
        special = bytearray(_SREGS_BYTES)
        fcntl.ioctl(self._processor, _request(0x83, _SREGS_BYTES, _READ), special)
        struct.pack_into("=QIH", special, 0, 0, 0xFFFF, 0)
        fcntl.ioctl(self._processor, _request(0x84, _SREGS_BYTES, _WRITE), special)
        general = bytearray(_REGS_BYTES)
        struct.pack_into("=QQ", general, 16 * 8, address, 2)  # rip, rflags
        fcntl.ioctl(self._processor, _request(0x82, _REGS_BYTES, _WRITE), general)

    def run(self) -> Exit:
        """Run the guest until it needs us."""
        fcntl.ioctl(self._processor, _request(0x80), 0)
        reason: int = struct.unpack_from("=I", self._run, 8)[0]
        if reason == EXIT_IO:
            _direction, _size, port, _count, offset = struct.unpack_from("=BBHIQ", self._run, 32)
            return Exit(reason=reason, port=port, value=self._run[offset])
        return Exit(reason=reason, code=self._failed_code() if reason == EXIT_INTERNAL_ERROR else "")

    def _failed_code(self) -> str:
        """The bytes of the instruction that KVM could not emulate, in hex; empty where it does not tell."""
        kind, _count, flags, size = struct.unpack_from("=IIQB", self._run, 32)
        if kind != 1 or not flags & 1:
            return ""
        return bytes(self._run[49 : 49 + min(size, 15)]).hex(" ")
