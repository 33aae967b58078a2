"""Fixtures of the functional tests; each is made only for a test that asks for it, but for the one that cleans up."""

from collections import Counter
from pathlib import Path

import pytest

from .leftovers import nothing_stays
from .libvirt_fixtures import boot_image, dry_site, four_machines, libvirt_host
from .stores import shared_stores, stores

__all__ = ["boot_image", "dry_site", "four_machines", "libvirt_host", "nothing_stays", "shared_stores", "stores"]

HERE = Path(__file__).parent
LONGEST = (
    "test_libvirt_machines.py",
    "test_switch.py",
    "test_vm_commands.py",
    # a process takes its next file once two tests are left: the one with the first file must find a short one here
    "test_far_hosts.py",
    "test_passthrough_guest.py",
    "test_images.py",
)
"""Files that boot machines, minutes each where they are emulated: the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, then those of most tests: side by side nobody waits for one that began last."""
    tests = Counter(item.path for item in items)

    def place(item: pytest.Item) -> tuple[int, int]:
        if item.path.parent == HERE and item.path.name in LONGEST:
            return LONGEST.index(item.path.name), 0
        return len(LONGEST), -tests[item.path]

    items.sort(key=place)
