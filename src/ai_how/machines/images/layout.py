"""How an image's disk is laid out and booted: partitions, GRUB's configuration, BIOS boot sectors. Pure.

GPT with a BIOS boot partition, an EFI system partition, and the root file system last, so that it can grow. One disk
that boots by BIOS and by UEFI.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

SECTOR_BYTES = 512
MIB = 2**20
BIOS_BOOT_START_MIB, BIOS_BOOT_SIZE_MIB = 1, 1
EFI_START_MIB, EFI_SIZE_MIB = 2, 64
ROOT_START_MIB = EFI_START_MIB + EFI_SIZE_MIB
_GPT_TAIL_MIB = 1

# type ids: UEFI specification; Discoverable Partitions Specification
_BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
_EFI_SYSTEM = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_ROOT_X86_64 = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"

# where GRUB's boot.img keeps the sector of the core image, and how long the part of it is that may hold code
_BOOT_IMAGE_CODE_BYTES = 440
_BOOT_IMAGE_KERNEL_SECTOR = 0x5C
# the last entry of the block list in the core image's first sector: 8 bytes start, 2 bytes length, 2 bytes segment
_CORE_IMAGE_BLOCK_LIST = SECTOR_BYTES - 12

# No mount of the EFI partition and no SSH over vsock, which systemd would set up by itself. The rest is for guests
# that are emulated on a busy host: there the kernel's test of its timer fails ("IO-APIC + timer doesn't work"), and
# devices take longer than systemd's 90 s to be seen.
_KERNEL_OPTIONS = (
    "console=tty0 console=ttyS0,115200n8 quiet systemd.gpt_auto=no systemd.ssh_auto=no "
    "no_timer_check systemd.default_device_timeout_sec=300"
)


def partition_script(*, size_mib: int) -> str:
    """sfdisk's input for a disk of ``size_mib``."""
    root_mib = size_mib - ROOT_START_MIB - _GPT_TAIL_MIB
    return (
        "label: gpt\nunit: sectors\n"
        f"start={_sectors(BIOS_BOOT_START_MIB)}, size={_sectors(BIOS_BOOT_SIZE_MIB)}, type={_BIOS_BOOT}\n"
        f"start={_sectors(EFI_START_MIB)}, size={_sectors(EFI_SIZE_MIB)}, type={_EFI_SYSTEM}, name=efi\n"
        f"start={_sectors(ROOT_START_MIB)}, size={_sectors(root_mib)}, type={_ROOT_X86_64}, name=root\n"
    )


def root_size_mib(*, size_mib: int) -> int:
    """Size of the root file system on a disk of ``size_mib``."""
    return size_mib - ROOT_START_MIB - _GPT_TAIL_MIB


def grub_config(root_uuid: str, *, options: Sequence[str] = ()) -> str:
    """GRUB's menu: always the newest kernel, through the links that Debian keeps; output on screen and serial line.

    ``options`` are the kernel's, after those of all images.
    """
    words = " ".join([_KERNEL_OPTIONS, *options])

    def start(protocol: str) -> str:
        kernel = f"    linux{protocol} /vmlinuz root=UUID={root_uuid} ro {words}\n"
        return f"{kernel}    initrd{protocol} /initrd.img\n"

    # By BIOS through the kernel's 16-bit entry: for the other one GRUB moves all that the kernel reserves, 60 MB, byte
    # by byte, which takes seconds under emulation.
    return (
        "serial --unit=0 --speed=115200\nterminal_input console serial\nterminal_output console serial\n"
        "set timeout=0\n"
        "menuentry 'Debian' {\n"
        f'  if [ "$grub_platform" = pc ]; then\n{start("16")}  else\n{start("")}  fi\n'
        "}\n"
    )


def grub_start(root_uuid: str) -> str:
    """What GRUB's core does first: find the root file system, whatever disk it is on, and read the menu there."""
    return f"search.fs_uuid {root_uuid} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"


def boot_sector(boot_image: bytes, sector_now: bytes) -> bytes:
    """The disk's first sector: GRUB's boot code in front of the partition table that is there.

    Raises:
        ValueError: ``boot_image`` or ``sector_now`` is no 512-byte sector.
    """
    if len(boot_image) != SECTOR_BYTES or len(sector_now) != SECTOR_BYTES:
        raise ValueError(f"a boot sector has {SECTOR_BYTES} bytes, not {len(boot_image)} and {len(sector_now)}")
    code = bytearray(boot_image[:_BOOT_IMAGE_CODE_BYTES])
    struct.pack_into("<Q", code, _BOOT_IMAGE_KERNEL_SECTOR, _sectors(BIOS_BOOT_START_MIB))
    return bytes(code) + sector_now[_BOOT_IMAGE_CODE_BYTES:]


def core_image(core: bytes) -> bytes:
    """GRUB's core image for the BIOS boot partition: its first sector says where the rest lies.

    Raises:
        ValueError: it does not fit the partition.
    """
    size_max = BIOS_BOOT_SIZE_MIB * MIB
    if not SECTOR_BYTES < len(core) <= size_max:
        raise ValueError(f"GRUB's core image has {len(core)} bytes, wanted at most {size_max}")
    placed = bytearray(core)
    struct.pack_into("<Q", placed, _CORE_IMAGE_BLOCK_LIST, _sectors(BIOS_BOOT_START_MIB) + 1)
    return bytes(placed)


def _sectors(mib: int) -> int:
    return mib * MIB // SECTOR_BYTES
