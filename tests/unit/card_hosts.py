"""Hosts with cards for tests: sysfs trees that behave as a kernel's, libvirt's test driver for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ai_how.errors import MissingToolError
from ai_how.machines import domains
from ai_how.machines.library import load_libvirt
from ai_how.machines.marks import object_uuid
from ai_how.machines.passthrough.hosts import CardHost
from ai_how.machines.types import Card, Cpu, Firmware, Machine, Memory, PciAddress, Virtualization
from ai_how.site.clusters import CardSettings, Host
from tests.fake_kernel import FakeKernel
from tests.pci_tree import AUDIO, USB, PciTree, add_gpu, sound_host

A, B = "0000:65:00.0", "0000:b3:00.0"
FUNCTIONS = (A, "0000:65:00.1", "0000:65:00.2")
BEFORE = {A: "nvidia", "0000:65:00.1": "snd_hda_intel", "0000:65:00.2": ""}


def two_cards(path: Path, **changes: Any) -> PciTree:
    tree = sound_host(path)
    add_gpu(tree, A, companions=(AUDIO, USB), **changes)
    add_gpu(tree, B, port="0000:b2:00.0", group="40", port_group="39", companions=(AUDIO,))
    return tree


@pytest.fixture(name="connect")
def connect_to_test_driver() -> Iterator[Any]:
    """libvirt's own test driver: machines and their metadata without a hypervisor."""
    try:
        libvirt = load_libvirt()
    except MissingToolError as error:
        pytest.skip(error.brief)
    opened = libvirt.open("test:///default")
    yield opened
    for domain in opened.listAllDomains(0):
        if domain.name() != "test":
            if domain.isActive():
                domain.destroy()
            domain.undefine()
    opened.close()


def machine(name: str, *functions: str, cluster: str = "cloud") -> Machine:
    mark = {"site": "lab", "owner": "/lab", "cluster": cluster, "node": name.removeprefix("lab-")}
    given = Card(name="RTX A6000", functions=tuple(map(PciAddress.parse, functions)))
    return Machine(
        name=name,
        uuid=object_uuid("lab", "machine", name),
        cluster=cluster,
        node=name.removeprefix("lab-"),
        virtualization=Virtualization.KVM,
        firmware=Firmware.BIOS,
        cpu=Cpu(count=1),
        memory=Memory(size_mib=64),
        pool="default-pool",
        disks=(),
        seed="seed.iso",
        nics=(),
        serial_log="/tmp/log",
        mark=json.dumps(mark),
        cards=(given,) if functions else (),
    )


# the test driver takes no machine of type kvm, and knows no managed or other host device of qemu's
def for_test_driver(text: str) -> str:
    return text.replace('<domain type="kvm"', '<domain type="test"')


@pytest.fixture(name="host")
def card_host(connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CardHost:
    """A host whose libvirt is the test driver, and whose sysfs is a tree that behaves as a kernel's."""
    tree = two_cards(tmp_path, driver="")
    for address, driver in {A: "nvidia", "0000:65:00.1": "snd_hda_intel"}.items():
        tree.write(f"sys/bus/pci/drivers/{driver}/new_id", "")
        tree.link(f"sys/bus/pci/devices/{address}/driver", f"sys/bus/pci/drivers/{driver}")
    kernel = FakeKernel(tree, claims={A: "nvidia", "0000:65:00.1": "snd_hda_intel"})
    real = domains.domain_xml
    monkeypatch.setattr(domains, "domain_xml", lambda made: for_test_driver(real(made)))
    monkeypatch.setattr("ai_how.machines.passthrough.leases._lock_folder", lambda: tmp_path)
    settings = [CardSettings(address=A, allow_in_use=True)]
    return CardHost(Host(name="h", cards=settings), connect, sysfs=kernel, root=tree.root)
