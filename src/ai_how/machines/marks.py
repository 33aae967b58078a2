"""Names and ids of what we make, the same at every run: how it is found again when the state file is lost. Pure.

A domain carries a mark in its metadata; networks, pools and volumes have none in older libvirt, so their UUIDs and
names are computed from the site's id, and only what bears such a name is ever ours.
"""

from __future__ import annotations

import hashlib
import uuid

METADATA_URI = "urn:ai-how:machine:1"
"""XML namespace of a domain's mark."""
DRIVERS_URI = "urn:ai-how:drivers:1"
"""XML namespace of what a domain records about its cards: the drivers that they had on the host."""
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, METADATA_URI)
_LOCAL_QEMU_PREFIX = "52:54:00"


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
