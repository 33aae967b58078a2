"""Checks of the disk where images and volumes will lie."""

from __future__ import annotations

from ai_how.capacity.tiers import Tier
from ai_how.host.check import Check, Verdict
from ai_how.host.checks.compare import at_least
from ai_how.host.facts.storage import Medium, StorageFacts

_GB = 1e9


def check_storage(storage: StorageFacts, *, tier: Tier) -> list[Check]:
    """Free space, the disk's size where the tier names one, and what the disk is."""
    size = [_size(storage, tier)] if tier.disk_gb.least else []
    return [_free(storage, tier), *size, _medium(storage, tier)]


def _free(storage: StorageFacts, tier: Tier) -> Check:
    free = storage.free_bytes
    found = "a capture tells no free space" if free is None else f"{gb_text(free)} at {storage.existing}"
    verdict = at_least(free, tier.disk_free_gb * _GB)
    if storage.read_only:
        found, verdict = f"{storage.existing} is read-only", Verdict.FAIL
    return Check(
        id="disk.free",
        title="Free disk",
        found=found,
        wanted=f"{tier.disk_free_gb} GB",
        verdict=verdict,
        why=f"Images, the nodes' disks and volumes will lie in {storage.path}.",
        fix=f"Free space there, or mount a larger disk at {storage.path}, or name another folder: --disk DIR",
    )


def _size(storage: StorageFacts, tier: Tier) -> Check:
    # of several disks (mirrored, striped, joined) only the file system tells what can be used
    known = storage.disks[0].size_bytes if len(storage.disks) == 1 else storage.size_bytes
    return Check(
        id="disk.size",
        title="Disk size",
        found=gb_text(known) if known is not None else storage.unclear or "cannot be read",
        wanted=f"{gb_text(tier.disk_gb.least * _GB)}",
        verdict=at_least(known, tier.disk_gb.least * _GB),
        why="Models of 5 to 50 GB each, metrics and logs grow; the requirements advise twice the space for six months.",
        fix=f"Add a disk and mount it at {storage.path}",
    )


def _medium(storage: StorageFacts, tier: Tier) -> Check:
    return Check(
        id="disk.medium",
        title="Kind of disk",
        found=_medium_text(storage),
        wanted="NVMe" if tier.nvme else "NVMe or SSD",
        verdict=_medium_verdict(storage, tier),
        why="A model is read from here at every cold start, and the nodes' disks share this device.",
        fix=f"Mount an NVMe disk at {storage.path}, or name a folder on one: --disk DIR",
    )


def _medium_text(storage: StorageFacts) -> str:
    kinds = ", ".join(f"{disk.medium} ({disk.name})" for disk in storage.disks)
    return storage.unclear or kinds or "cannot be read"


def _medium_verdict(storage: StorageFacts, tier: Tier) -> Verdict:
    media = {disk.medium for disk in storage.disks}
    if media & {Medium.MEMORY}:
        return Verdict.FAIL
    if Medium.ROTATIONAL in media:
        return Verdict.FAIL if tier.nvme else Verdict.WARN
    if not media or media & {None, Medium.VIRTUAL}:
        return Verdict.UNKNOWN
    if Medium.NETWORK in media:
        return Verdict.WARN
    return Verdict.FAIL if tier.nvme and Medium.SSD in media else Verdict.PASS


def gb_text(size_bytes: float) -> str:
    """Decimal, as disk makers count: ``800 GB``, ``1.5 TB``."""
    gigabytes = size_bytes / _GB
    return f"{gigabytes / 1000:.3g} TB" if gigabytes >= 1000 else f"{gigabytes:.3g} GB"
