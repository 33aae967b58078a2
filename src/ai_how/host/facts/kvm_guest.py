"""A guest of some 280 bytes that does what a kernel does at its start. Run as a program: prints its report as JSON.

Real mode, protected mode, long mode with paging; then vector, string and floating-point instructions, a timed loop and
a timer interrupt. Hosts that interpret guests instead of running them stop at one of these. It runs in a process of its
own because a processor that hangs in the guest can only be ended from outside. Changes nothing: needs no more than
``/dev/kvm``, writes no file. Judges nothing.
"""

from __future__ import annotations

import json
import platform
import signal
import struct
import sys
import time
from dataclasses import asdict, dataclass, field
from mmap import mmap

from ai_how.host.facts.kvm_machine import EXIT_IO, EXIT_NAMES, KvmMachine

PORT = 0x10
# what the guest writes to PORT
REAL, PROTECTED, LONG, COMPUTED, LOOP_BEGINS, LOOP_ENDS, TICKED, WRONG = 1, 2, 3, 4, 5, 6, 7, 0xEE
STEPS = {
    REAL: "real mode",
    PROTECTED: "protected mode",
    LONG: "long mode with paging",
    COMPUTED: "vector, string and floating-point instructions",
    LOOP_ENDS: "a loop of a million instructions",
    TICKED: "a timer interrupt",
}
LOOP_INSTRUCTIONS = 1_000_000

_MEMORY_BYTES = 2 << 20
_PAGE_TABLES, _INTERRUPTS, _DESCRIPTORS, _CODE = 0x1000, 0x5000, 0x6000, 0x8000
_TICK = 0x8112
_CODE_COLUMNS = 25

# Assembled with GNU as for address 0x8000: machine code, then what it says.
_LISTING = """
fa                       cli                       # 16 bits
b0 01  e6 10             mov $1, %al; out %al, $0x10
66 0f 01 16 20 60        lgdtl 0x6020
0f 20 c0                 mov %cr0, %eax
0c 01                    or $1, %al                # protection on
0f 22 c0                 mov %eax, %cr0
66 ea 1b 80 00 00 08 00  ljmpl $0x08, $0x801b
66 b8 10 00              mov $0x10, %ax            # 32 bits
8e d8  8e c0  8e d0      mov %ax, %ds; mov %ax, %es; mov %ax, %ss
bc 00 70 00 00           mov $0x7000, %esp
b0 02  e6 10             mov $2, %al; out %al, $0x10
0f 20 e0                 mov %cr4, %eax
0d 20 06 00 00           or $0x620, %eax           # large addresses, vector registers
0f 22 e0                 mov %eax, %cr4
b8 00 10 00 00           mov $0x1000, %eax
0f 22 d8                 mov %eax, %cr3
b9 80 00 00 c0           mov $0xc0000080, %ecx     # EFER
0f 32                    rdmsr
0d 00 01 00 00           or $0x100, %eax           # long mode
0f 30                    wrmsr
0f 20 c0                 mov %cr0, %eax
83 e0 fb                 and $~4, %eax             # a floating-point unit is there
0d 02 00 00 80           or $0x80000002, %eax      # paging on
0f 22 c0                 mov %eax, %cr0
ea 64 80 00 00 18 00     ljmp $0x18, $0x8064
b0 03  e6 10             mov $3, %al; out %al, $0x10  # 64 bits
31 c0  0f a2             xor %eax, %eax; cpuid
b8 67 45 23 01           mov $0x1234567, %eax
66 0f 6e c0              movd %eax, %xmm0
66 0f fe c0              paddd %xmm0, %xmm0
66 0f 7e c3              movd %xmm0, %ebx
81 fb ce 8a 46 02        cmp $0x2468ace, %ebx
0f 85 83 00 00 00        jne 0x810c
fc                       cld
bf 00 00 01 00           mov $0x10000, %edi
b9 00 02 00 00           mov $512, %ecx
f3 48 ab                 rep stosq
39 47 f8                 cmp %eax, -8(%rdi)
75 70                    jne 0x810c
db e3  d9 e8  d8 c0      fninit; fld1; fadd %st(0)
db 1f                    fistpl (%rdi)
83 3f 02                 cmpl $2, (%rdi)
75 63                    jne 0x810c
b0 04  e6 10             mov $4, %al; out %al, $0x10
bb 03 00 00 00           mov $3, %ebx              # three times
b0 05  e6 10             mov $5, %al; out %al, $0x10
b9 20 a1 07 00           mov $500000, %ecx
ff c9  75 fc             dec %ecx; jnz
b0 06  e6 10             mov $6, %al; out %al, $0x10
ff cb  75 eb             dec %ebx; jnz
0f 01 1c 25 28 60 00 00  lidt 0x6028
b0 11  e6 20  e6 a0      mov $0x11, %al; both interrupt controllers: begin
b0 20  e6 21             vectors 0x20
b0 28  e6 a1             and 0x28
b0 04  e6 21             the second hangs on line 2
b0 02  e6 a1
b0 01  e6 21  e6 a1      8086 mode
b0 fe  e6 21             only the timer's line
b0 ff  e6 a1
b0 34  e6 43             timer: again and again
b0 a9  e6 40             every 1193 ticks of 1.19 MHz: 1 ms
b0 04  e6 40
31 db  fb                xor %ebx, %ebx; sti
f4  85 db  74 fb         hlt; test %ebx, %ebx; jz
fa                       cli
b0 07  e6 10             mov $7, %al; out %al, $0x10
b0 ee  e6 10             0x810c: mov $0xee, %al; out %al, $0x10
eb fa                    jmp 0x810c
ff c3                    0x8112, at a tick: inc %ebx
b0 20  e6 20             mov $0x20, %al; out %al, $0x20
48 cf                    iretq
"""

# Registers that QEMU sets before the first instruction (target/i386/kvm/kvm.c, kvm_put_msrs and kvm_init_msrs):
# TSC, SYSENTER, PAT, MISC_ENABLE, TSC_ADJUST, STAR, LSTAR, CSTAR, FMASK, KERNEL_GS_BASE, KVM's clock.
_SET_AT_START = frozenset({0x10, 0x174, 0x175, 0x176, 0x277, 0x1A0, 0x3B, 0xC0000081, 0xC0000082, 0xC0000083,
                           0xC0000084, 0xC0000102, 0x4B564D00, 0x4B564D01})  # fmt: skip
_ARCH_CAPABILITIES, _ARCH_CAPABILITIES_BIT = 0x10A, 1 << 29


@dataclass(kw_only=True)
class Report:
    """How far the guest came.

    ``errno`` and ``refused`` tell of a call that failed before it started; ``stopped`` why it ended early;
    ``registers`` are model-specific registers that KVM announces and would not let us set.
    """

    api_version: int | None = None
    steps: list[str] = field(default_factory=list)
    registers: list[str] = field(default_factory=list)
    instructions_per_s: int | None = None
    stopped: str = ""
    code: str = ""
    errno: int | None = None
    refused: str = ""


class _TimeIsUpError(Exception):
    pass


def _time_is_up(_signal: int, _frame: object) -> None:
    raise _TimeIsUpError


def program() -> bytes:
    """The guest's machine code."""
    return b"".join(bytes.fromhex(line[:_CODE_COLUMNS]) for line in _LISTING.strip().splitlines())


def load(memory: mmap | bytearray) -> None:
    """Put the program and the tables it relies on into the guest's memory; the first 2 MiB are mapped as they are."""
    code = program()
    memory[_CODE : _CODE + len(code)] = code
    for level, entry in enumerate((0x2003, 0x3003, 0x83)):
        struct.pack_into("=Q", memory, _PAGE_TABLES + level * 0x1000, entry)
    # no segment, 32-bit code, data, 64-bit code
    descriptors = (0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF, 0x00AF9A000000FFFF)
    struct.pack_into("=4QHI", memory, _DESCRIPTORS, *descriptors, 31, _DESCRIPTORS)
    struct.pack_into("=HQ", memory, _DESCRIPTORS + 0x28, 0x20F, _INTERRUPTS)
    struct.pack_into("=HHBBH", memory, _INTERRUPTS + 0x20 * 16, _TICK, 0x18, 0, 0x8E, 0)


def _refused_registers(machine: KvmMachine, leaves: dict[int, tuple[int, int, int, int]]) -> list[str]:
    """The registers that KVM announces and will not have written, of those that a virtual machine program sets."""
    kept = machine.guest_registers()
    values = {index: machine.read_register(index) for index in kept if index in _SET_AT_START}
    announced = leaves.get(7, (0, 0, 0, 0))[3] & _ARCH_CAPABILITIES_BIT
    if announced and _ARCH_CAPABILITIES in kept and _ARCH_CAPABILITIES in machine.feature_registers():
        values[_ARCH_CAPABILITIES] = machine.read_register(_ARCH_CAPABILITIES, feature=True)
    return [
        f"0x{index:x}"
        for index, value in sorted(values.items())
        if value is None or not machine.write_register(index, value)
    ]


def _follow(machine: KvmMachine, report: Report) -> None:
    """Run the guest and note each step, until it is through or stops."""
    began_ns = 0
    while True:
        left = machine.run()
        now_ns = time.perf_counter_ns()
        if left.reason != EXIT_IO or left.port != PORT:
            report.stopped, report.code = EXIT_NAMES.get(left.reason, f"exit {left.reason}"), left.code
            return
        if left.value == WRONG:
            report.stopped = "a wrong result"
            return
        if left.value == LOOP_ENDS and began_ns:
            speed = LOOP_INSTRUCTIONS * 1_000_000_000 // max(1, now_ns - began_ns)
            report.instructions_per_s = max(speed, report.instructions_per_s or 0)
        step = STEPS.get(left.value or 0, "")
        if step and step not in report.steps:
            report.steps.append(step)
        if left.value == TICKED:
            return
        began_ns = time.perf_counter_ns()


def probe(timeout_s: float) -> Report:
    """Run the guest for at most ``timeout_s`` and say how far it came."""
    report = Report()
    if platform.machine() != "x86_64":
        report.refused = f"there is no guest program for {platform.machine()}"
        return report
    signal.signal(signal.SIGALRM, _time_is_up)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        machine = KvmMachine(memory_bytes=_MEMORY_BYTES)
        report.api_version = machine.api_version
        report.registers = _refused_registers(machine, machine.announce_processor())
        load(machine.memory)
        machine.start_at(_CODE)
        _follow(machine, report)
    except _TimeIsUpError:
        report.stopped = f"no answer within {timeout_s:g} s"
    except OSError as error:
        report.errno, report.refused = error.errno, error.strerror or str(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return report


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(probe(float(sys.argv[1])))))
