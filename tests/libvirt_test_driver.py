"""A site on libvirt's own ``test`` driver: real libvirt calls in this process, no daemon, no QEMU, nothing on disk.

What the driver cannot do (growing disks, uploads, undefining with firmware variables) is shown on real machines in
``tests/functional``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ai_how.errors import MissingToolError
from ai_how.machines import storage
from ai_how.machines.desired import Desired, HostSetting, ImageFile, desired_of
from ai_how.machines.library import load_libvirt
from ai_how.machines.placing import place_nodes
from ai_how.machines.provider import LibvirtProvider
from ai_how.machines.types import Card, Virtualization
from ai_how.machines.xml.domain import domain_xml
from ai_how.machines.xml.network import network_xml
from ai_how.site.load import load_site

IMAGE = "mini-0123456789ab"


@dataclass(frozen=True, kw_only=True)
class TestHost:
    """A connection to a host of this test alone, and the site that lies on it."""

    __test__ = False

    connect: Any
    site_file: Path
    wanted: Desired

    def domain(self, node: str) -> Any:
        return self.connect.lookupByName(self.wanted.machines[node].machine.name)

    @property
    def provider(self) -> LibvirtProvider:
        return LibvirtProvider(load_site(self.site_file), self.site_file)


def new_test_host(
    folder: Path,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    made: set[str] | None = None,
    cards: tuple[Card, ...] = (),
) -> TestHost:
    """A host that has the site's pool, networks, disks and machines (``made``: only these), all of them off.

    ``cards`` are those that placement counts on the first host, in its order.
    """
    try:
        libvirt = load_libvirt()
    except MissingToolError as error:
        pytest.skip(error.brief)
    (folder / "node.xml").write_text("<node/>")
    connect = libvirt.open(f"test://{folder / 'node.xml'}")
    # whatever the site file's address is, it is this host
    monkeypatch.setattr("ai_how.machines.provider.open_connection", lambda _uri: connect)
    site_file = folder / "ai-how.yaml"
    site_file.write_text(text)
    provider = LibvirtProvider(load_site(site_file), site_file)
    wanted = _wanted(provider, cards)
    pool = storage.ensure_pool(connect, name=wanted.pool, uuid=wanted.pool_uuid, path=str(folder / "pool"))
    for wish in wanted.networks.values():
        connect.networkDefineXML(network_xml(wish.network)).create()
    for node, machine in wanted.machines.items():
        if made is None or node in made:
            for disk in machine.machine.disks:
                pool.createXML(_volume(disk.volume, disk.size_bytes), 0)
            pool.createXML(_volume(machine.machine.seed, 2048), 0)
            # the driver knows one kind of guest, its own
            connect.defineXML(domain_xml(machine.machine).replace('type="qemu"', 'type="test"', 1))
    return TestHost(connect=connect, site_file=site_file, wanted=wanted)


def _wanted(provider: LibvirtProvider, cards: tuple[Card, ...]) -> Desired:
    placed = place_nodes(provider.site, {}, kept={})
    hosts = {
        name: HostSetting(
            name=name, uri=host.uri, storage_path="/pool", virtualization=Virtualization.EMULATED, cards=cards
        )
        for name, host in provider.hosts.items()
    }
    images = {node.need.name: ImageFile(name=IMAGE, virtual_size_bytes=2**30) for node in placed}
    return desired_of(provider.site, placed, owner=provider.owner, hosts=hosts, images=images)


def _volume(name: str, size_bytes: int) -> str:
    return f"<volume><name>{name}</name><capacity>{size_bytes}</capacity></volume>"
