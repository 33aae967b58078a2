"""Names and ids of what we make, the same at every run: how it is found again when the state file is lost. Pure.

A domain carries a mark in its metadata; networks, pools and volumes have none in older libvirt, so their UUIDs and
names are computed from the site's id, and only what bears such a name is ever ours.
"""

from __future__ import annotations

import hashlib
import re
import uuid

from ai_how.site.roles import ROLES

METADATA_URI = "urn:ai-how:machine:1"
"""XML namespace of a domain's mark."""
DRIVERS_URI = "urn:ai-how:drivers:1"
"""XML namespace of what a domain records about its cards: the drivers that they had on the host."""
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, METADATA_URI)
_LOCAL_QEMU_PREFIX = "52:54:00"
IMAGE_PREFIX = "image-"
"""Volumes that machines' disks lie over begin so."""
DIGEST_SUFFIX = ".sha256"
"""A volume with this suffix says that the volume of the name before it was written to its end."""
_NODE = f"[a-z0-9][a-z0-9-]*-(?:{'|'.join(role.removeprefix('hpc-') for role in ROLES)})-[0-9]+"
_IMAGE_FILE = re.compile(rf"{IMAGE_PREFIX}.+-[0-9a-f]{{12}}\.qcow2")
_DISK_FILE = re.compile(rf"{_NODE}(?:-models)?\.qcow2")
_SEED_FILE = re.compile(rf"{_NODE}-seed\.iso")
# virtlogd renames full logs: .log.0 is the newest of them
_LOG_FILE = re.compile(rf"{_NODE}\.log(?:\.[0-9]+)?")


def object_uuid(site_id: str, kind: str, name: str) -> str:
    """The UUID of a network, pool or machine of a site."""
    return str(uuid.uuid5(_NAMESPACE, f"{site_id}/{kind}/{name}"))


def mac_address(site_id: str, machine: str, index: int = 0) -> str:
    """A stable MAC address in QEMU's range."""
    digest = hashlib.sha256(f"{site_id}/{machine}/{index}".encode()).hexdigest()
    return f"{_LOCAL_QEMU_PREFIX}:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"


def bridge_name(site_id: str, network: str) -> str:
    """A bridge's name: 15 characters is what the kernel takes."""
    return f"ah{hashlib.sha256(f'{site_id}/{network}'.encode()).hexdigest()[:10]}"


def network_name(site_id: str, cluster: str) -> str:
    """libvirt's name of a cluster's network."""
    return f"ai-how-{site_id}-{cluster}"


def pool_name(site_id: str) -> str:
    """libvirt's name of a site's storage pool."""
    return f"ai-how-{site_id}"


def is_image(volume: str) -> bool:
    """Whether a volume of our pool has the name of an image."""
    return _IMAGE_FILE.fullmatch(volume) is not None


def is_disk(volume: str) -> bool:
    """Whether a volume of our pool has the name of a machine's disk."""
    return _DISK_FILE.fullmatch(volume) is not None


def is_seed(volume: str) -> bool:
    """Whether a volume of our pool has the name of a machine's seed."""
    return _SEED_FILE.fullmatch(volume) is not None


def is_log_of(node: str, volume: str) -> bool:
    """Whether a file of our pool is a machine's serial log, or one that virtlogd put away when it was full."""
    return _LOG_FILE.fullmatch(volume) is not None and volume.rpartition(".log")[0] == node


def is_ours(volume: str) -> bool:
    """Whether a file in our pool is one that we make: what somebody else put there is never removed."""
    name = volume.removesuffix(DIGEST_SUFFIX)
    return is_image(name) or is_disk(name) or is_seed(name) or _LOG_FILE.fullmatch(name) is not None
