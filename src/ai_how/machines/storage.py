"""Pools and volumes on a libvirt host: made, filled, grown, removed. Works over any connection, also over SSH."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from ai_how.errors import ConflictError, ProviderError
from ai_how.machines.connection import Connect, explained, optional
from ai_how.machines.library import load_libvirt
from ai_how.machines.marks import DIGEST_SUFFIX
from ai_how.machines.types import Disk
from ai_how.machines.xml.storage import disk_xml, pool_xml, raw_volume_xml
from ai_how.machines.xml.tree import parse

_CHUNK_BYTES = 4 << 20
_EMPTY_DISK_BYTES = 1 << 20
"""What a disk takes that nothing was written to, generously: 0.2 MiB were seen."""
_T = TypeVar("_T")

Pool = Any
"""libvirt.virStoragePool"""


def ensure_pool(connect: Connect, *, name: str, uuid: str, path: str) -> Pool:
    """The running pool of that name; made where it is not there, started where it is stopped.

    Raises:
        ConflictError: a pool of that name is not ours.
    """
    with explained(f"make storage pool {name}"):
        pool = optional(connect.storagePoolLookupByName, name)
        if pool is None:
            pool = connect.storagePoolDefineXML(pool_xml(name=name, uuid=uuid, path=path))
        elif pool.UUIDString() != uuid:
            raise ConflictError(
                f"a storage pool {name} is there already, and it is not this site's",
                next_step="give the site another name, or remove that pool: virsh pool-undefine " + name,
            )
        if not pool.isActive():
            pool.build(0)
            pool.create(0)
        pool.setAutostart(1)
        _refresh(pool)
        return pool


def find_pool(connect: Connect, *, name: str, uuid: str, start: bool = False) -> Pool | None:
    """The site's pool, running, or None. With ``start``, one that is stopped is started."""
    with explained(f"look for storage pool {name}"):
        pool = optional(connect.storagePoolLookupByName, name)
        if pool is None or pool.UUIDString() != uuid or not (pool.isActive() or start):
            return None
        if not pool.isActive():
            pool.create(0)
        try:
            _refresh(pool)
        except load_libvirt().libvirtError:
            if pool.isActive():
                raise
            # its folder is gone, and libvirt has stopped it for that
            return None
        return pool


def look_for_pool(connect: Connect, *, name: str, uuid: str) -> tuple[Pool | None, bool]:
    """The site's pool where it runs, and whether there is one at all. Changes nothing."""
    with explained(f"look for storage pool {name}"):
        pool = optional(connect.storagePoolLookupByName, name)
        there = pool is not None and pool.UUIDString() == uuid
        return (find_pool(connect, name=name, uuid=uuid) if there else None), there


def _refresh(pool: Pool) -> None:
    """Let libvirt see what is in the folder; while it fills a volume it sees enough by itself."""
    libvirt = load_libvirt()
    try:
        pool.refresh(0)
    except libvirt.libvirtError as error:
        if "asynchronous jobs running" not in str(error):
            raise


def volumes(pool: Pool) -> dict[str, Disk]:
    """Every volume of a pool by name, with its size and the name of what it lies over."""
    return _each(pool, _disk_of)


def find_disk(pool: Pool, name: str) -> Disk | None:
    """One volume of a pool, as ``volumes`` gives it; None where it does not exist."""
    with explained(f"look for disk {name}"):
        volume = optional(pool.storageVolLookupByName, name)
        return None if volume is None else _disk_of(volume)


def _disk_of(volume: Any) -> Disk:
    root = parse(volume.XMLDesc(0))
    backing = root.findtext("backingStore/path") or ""
    size = int(root.findtext("capacity") or 0)
    return Disk(volume=volume.name(), size_bytes=size, backing=Path(backing).name)


def ensure_image(pool: Pool, name: str, source: Path, *, sha256: str, format_: str = "qcow2") -> str:
    """Have an image file in the pool, whole and checked; says whether it was sent.

    The digest is kept beside it in a volume of its own, written last: an image without it was broken off, and is sent
    again.

    Raises:
        ProviderError: the file's digest is not ``sha256``, so it is damaged; nothing of it stays in the pool.
    """
    with explained(f"put image {name} into the pool"):
        mark = optional(pool.storageVolLookupByName, name + DIGEST_SUFFIX)
        if mark is not None and optional(pool.storageVolLookupByName, name) and _read(pool, mark) == sha256.encode():
            return "was there"
        remove_volume(pool, name + DIGEST_SUFFIX)
        size = source.stat().st_size
        with source.open("rb") as file:
            digest = _upload(pool, name, file, size_bytes=size, format_=format_)
        if digest != sha256:
            remove_volume(pool, name)
            raise ProviderError(
                f"image {source} is damaged",
                evidence=f"SHA-256 {digest}\nwanted  {sha256}",
                next_step="remove it, so that it is made again: ai-how image delete " + source.parent.name,
            )
        _upload(pool, name + DIGEST_SUFFIX, io.BytesIO(sha256.encode()), size_bytes=len(sha256))
        return f"{size / 2**20:.0f} MiB sent"


def image_is_whole(pool: Pool, name: str, *, sha256: str) -> bool:
    """Whether the pool has that image, and its upload was completed."""
    with explained(f"look for image {name}"):
        mark = optional(pool.storageVolLookupByName, name + DIGEST_SUFFIX)
        there = optional(pool.storageVolLookupByName, name) is not None
        return mark is not None and there and _read(pool, mark) == sha256.encode()


def allocations(pool: Pool) -> dict[str, tuple[int, int]]:
    """Every volume of a pool by name: its size and what it takes on the host's disk, bytes."""
    return {name: (int(size), int(taken)) for name, (_, size, taken) in _each(pool, lambda one: one.info()).items()}


def _each(pool: Pool, ask: Callable[[Any], _T]) -> dict[str, _T]:
    """What each volume says, by name; one that is only just being made, or is gone since the list, is left out."""
    libvirt, said = load_libvirt(), {}
    with explained("list the volumes"):
        for volume in pool.listAllVolumes(0):
            try:
                said[volume.name()] = ask(volume)
            except libvirt.libvirtError as error:
                # libvirt lists a volume before its file exists, and does not find it then
                if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                    raise
    return said


def put_secret(pool: Pool, name: str, data: bytes) -> None:
    """Have a raw volume with exactly these bytes, which only the host's root and QEMU can read.

    What was there before is replaced. Its digest is kept beside it and written last: a volume without it was broken
    off.
    """
    with explained(f"write volume {name}"):
        remove_volume(pool, name + DIGEST_SUFFIX)
        digest = _upload(pool, name, io.BytesIO(data), size_bytes=len(data), mode="0600")
        _upload(pool, name + DIGEST_SUFFIX, io.BytesIO(digest.encode()), size_bytes=len(digest))


def get_bytes(pool: Pool, name: str) -> bytes | None:
    """A small raw volume's bytes, or None where it does not exist."""
    with explained(f"read volume {name}"):
        volume = optional(pool.storageVolLookupByName, name)
        return None if volume is None else _read(pool, volume)


def ensure_disk(pool: Pool, disk: Disk) -> str:
    """Have a disk of at least that size, made over its backing volume; it is grown, never shrunk.

    Raises:
        ConflictError: the disk that is there lies over another image.
    """
    with explained(f"make disk {disk.volume}"):
        volume = optional(pool.storageVolLookupByName, disk.volume)
        if volume is not None and _half_made(volume, disk):
            volume.delete(0)
            volume = None
        if volume is None:
            backing_path = pool.storageVolLookupByName(disk.backing).path() if disk.backing else ""
            pool.createXML(disk_xml(disk, backing_path=backing_path), 0)
            return "made"
        there = _disk_of(volume)
        if there.backing != disk.backing:
            raise ConflictError(
                f"disk {disk.volume} lies over another image",
                evidence=f"over {there.backing or 'none'}, wanted over {disk.backing or 'none'}",
                next_step="the machine must be made anew to take another image: ai-how vm delete, then ai-how up",
            )
        if there.size_bytes > disk.size_bytes:
            raise ConflictError(
                f"disk {disk.volume} is larger than wanted, and disks only grow",
                evidence=f"{there.size_bytes / 2**30:.0f} GiB, wanted {disk.size_bytes / 2**30:.0f} GiB",
                next_step="write its size as it is, or make the machine anew: ai-how vm delete, then ai-how up",
            )
        if there.size_bytes < disk.size_bytes:
            volume.resize(disk.size_bytes, 0)
            return f"grown from {there.size_bytes / 2**30:.0f} to {disk.size_bytes / 2**30:.0f} GiB"
        return "was there"


def _half_made(volume: Any, disk: Disk) -> bool:
    """Whether making a disk was broken off: it is not what it should be, and nothing was ever written to it."""
    root = parse(volume.XMLDesc(0))
    format_ = root.find("target/format")
    whole = format_ is not None and format_.get("type") == "qcow2"
    backing = Path(root.findtext("backingStore/path") or "").name
    return (not whole or backing != disk.backing) and volume.info()[2] <= _EMPTY_DISK_BYTES


def tail_bytes(pool: Pool, name: str, *, most_bytes: int = 16384) -> bytes:
    """The end of a file in the pool that something else writes, such as a serial log; empty where there is none."""
    with explained(f"read {name}"):
        _refresh(pool)
        volume = optional(pool.storageVolLookupByName, name)
        if volume is None:
            return b""
        size = volume.info()[1]
        return _read(pool, volume, offset=max(0, size - most_bytes), most_bytes=most_bytes)


def read_from(pool: Pool, name: str, offset: int, *, most_bytes: int = 1 << 20) -> bytes:
    """What a file in the pool that something else writes has after ``offset``; empty where there is no more yet."""
    with explained(f"read {name}"):
        _refresh(pool)
        volume = optional(pool.storageVolLookupByName, name)
        more = volume is not None and volume.info()[1] > offset
        return _read(pool, volume, offset=offset, most_bytes=most_bytes) if more else b""


def size_of(pool: Pool, name: str) -> int:
    """Size of a file in the pool, bytes; 0 where there is none."""
    with explained(f"look for {name}"):
        _refresh(pool)
        volume = optional(pool.storageVolLookupByName, name)
        return 0 if volume is None else int(volume.info()[1])


def remove_volume(pool: Pool, name: str) -> bool:
    """Remove a volume where it exists; whether it did."""
    with explained(f"remove volume {name}"):
        volume = optional(pool.storageVolLookupByName, name)
        if volume is None:
            return False
        volume.delete(0)
        return True


def remove_whole(pool: Pool, name: str) -> None:
    """Remove an image or a seed; the note that it is whole goes first, so that half of it is never taken for all."""
    remove_volume(pool, name + DIGEST_SUFFIX)
    remove_volume(pool, name)


def remove_pool(pool: Pool) -> list[str]:
    """Forget a pool and remove its folder; names what is in it that nobody removed, for which the folder stays."""
    libvirt = load_libvirt()
    with explained(f"remove storage pool {pool.name()}"):
        left = sorted(volume.name() for volume in pool.listAllVolumes(0))
        pool.destroy()
        if not left:
            pool.delete(libvirt.VIR_STORAGE_POOL_DELETE_NORMAL)
        pool.undefine()
        return left


def _upload(
    pool: Pool, name: str, source: BinaryIO, *, size_bytes: int, format_: str = "raw", mode: str = "0644"
) -> str:
    """Fill a new volume from a file; the SHA-256 of what was sent."""
    remove_volume(pool, name)
    volume = pool.createXML(raw_volume_xml(name=name, size_bytes=size_bytes, format_=format_, mode=mode), 0)
    digest = hashlib.sha256()
    stream = pool.connect().newStream(0)
    try:
        volume.upload(stream, 0, size_bytes, 0)
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            _send_all(stream, chunk)
        stream.finish()
    except BaseException:
        _give_up(stream)
        raise
    _refresh(pool)
    return digest.hexdigest()


def _give_up(stream: Any) -> None:
    """End a stream after an error; that it is broken already is no news then."""
    with contextlib.suppress(load_libvirt().libvirtError):
        stream.abort()


def _send_all(stream: Any, data: bytes) -> None:
    sent = 0
    while sent < len(data):
        sent += stream.send(data[sent:])


def _read(pool: Pool, volume: Any, *, offset: int = 0, most_bytes: int = 1 << 20) -> bytes:
    size = min(volume.info()[1] - offset, most_bytes)
    stream = pool.connect().newStream(0)
    parts: list[bytes] = []
    try:
        volume.download(stream, offset, size, 0)
        while part := stream.recv(_CHUNK_BYTES):
            parts.append(part)
        stream.finish()
    except BaseException:
        _give_up(stream)
        raise
    return b"".join(parts)
