"""Fixtures of the functional tests; each is made only for a test that asks for it, but for the one that cleans up."""

from .leftovers import nothing_stays
from .libvirt_fixtures import boot_image, dry_site, four_machines, libvirt_host
from .stores import shared_stores, stores

__all__ = ["boot_image", "dry_site", "four_machines", "libvirt_host", "nothing_stays", "shared_stores", "stores"]
