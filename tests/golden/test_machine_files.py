"""What is rendered for sites of virtual machines: networks, storage, seeds, marks, known hosts, domains.

Domains with cards are tested elsewhere; everything else of their machines is here. All XML is held against libvirt's
own schemas where they are installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ai_how.capacity.demand import hosts_of
from ai_how.machines.desired import Desired, HostSetting, ImageFile, desired_of, image_name_of, resources
from ai_how.machines.keys import known_hosts_text
from ai_how.machines.placing import place_nodes
from ai_how.machines.seed import Seed, meta_data, network_config, user_data
from ai_how.machines.types import Card, NetworkMode, PciAddress, Virtualization
from ai_how.machines.xml.domain import domain_xml
from ai_how.machines.xml.network import network_xml, settings_of
from ai_how.machines.xml.storage import disk_xml, pool_xml, raw_volume_xml
from ai_how.site.load import load_site
from ai_how.site.spec import Site
from tests.golden.conftest import ROOT, Golden

SCHEMAS = Path("/usr/share/libvirt/schemas")
HOST = """hosts:
  - name: one
    declared: {cores: 64, memory_gib: 512, disk_gib: 8000, gpus: [{model: RTX A6000}, {model: T4}]}
"""
BOTH = """
clusters:
  cloud: {}
  hpc: {kind: hpc, START, nodes: [{role: hpc-controller}, {role: hpc-compute, gpus: 0, models_disk_gib: 50}]}
"""
WRITTEN = {
    "four-machines": f"name: lab\nprovider: libvirt\n{HOST}\n",
    "side-by-side": f"name: lab\nprovider: libvirt\n{HOST}\n{BOTH.replace('START', 'start: always')}",
    "in-turns": f"name: lab\nprovider: libvirt\nschedule: in-turns\n{HOST}\n{BOTH.replace('START', 'start: manual')}",
}
EXAMPLES = {f"example-{path.stem}": path for path in sorted((ROOT / "examples").glob("*.yaml"))}
OWNER = "/home/user/lab/.ai-how/lab"


def sites(folder: Path) -> dict[str, Site]:
    """Every site of machines: those of the examples, and those written here."""
    found = {}
    for name, text in WRITTEN.items():
        path = folder / f"{name}.yaml"
        path.write_text(text)
        found[name] = load_site(path)
    for name, path in EXAMPLES.items():
        if "provider: libvirt" in path.read_text():
            found[name] = load_site(path)
    return found


NAMES = (*WRITTEN, *(name for name, path in EXAMPLES.items() if "provider: libvirt" in path.read_text()))


@pytest.fixture(scope="module")
def all_wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Desired]:
    return {name: wanted_of(site) for name, site in sites(tmp_path_factory.mktemp("sites")).items()}


def wanted_of(site: Site) -> Desired:
    placed = place_nodes(site, {}, kept={})
    image = {node.need.name: ImageFile(name=image_name_of(site, node.need), virtual_size_bytes=0) for node in placed}
    cards = tuple(Card(name=f"card {n}", functions=(PciAddress(bus=0x40 + n, slot=0, function=0),)) for n in range(8))
    hosts = {
        host.name: HostSetting(
            name=host.name, uri=host.uri, storage_path=host.storage_path, virtualization=Virtualization.KVM, cards=cards
        )
        for host in hosts_of(site)
    }
    return desired_of(site, placed, owner=OWNER, hosts=hosts, images=image)


def network_documents(wanted: Desired) -> Iterator[str]:
    for wish in wanted.networks.values():
        if wish.network.mode is not NetworkMode.BRIDGE:
            yield network_xml(wish.network)


def domain_documents(wanted: Desired) -> Iterator[str]:
    for wish in wanted.machines.values():
        if not wish.machine.cards:
            yield domain_xml(wish.machine)


def volume_documents(wanted: Desired) -> Iterator[str]:
    for wish in wanted.machines.values():
        for disk in wish.machine.disks:
            yield disk_xml(disk, backing_path=f"/pool/{disk.backing}" if disk.backing else "")
        yield raw_volume_xml(name=wish.machine.seed, size_bytes=69632, mode="0600")


def pool_documents(wanted: Desired) -> Iterator[str]:
    for path in wanted.pool_paths.values():
        yield pool_xml(name=wanted.pool, uuid=wanted.pool_uuid, path=path)


def seeds(wanted: Desired) -> Iterator[str]:
    for node, wish in wanted.machines.items():
        seed = Seed(
            hostname=node,
            domain=wish.domain,
            user="ai-how",
            authorized_keys=("ssh-ed25519 LOGIN",),
            host_key=f"PRIVATE KEY OF {node}\n",
            host_key_public=f"ssh-ed25519 {node}",
            interfaces=tuple(nic.mac for nic in wish.machine.nics),
            static={nic.mac: wish.static for nic in wish.machine.nics} if wish.static else {},
            resolver=wish.resolver,
            data_disk_serial=next((disk.serial for disk in wish.machine.disks if disk.serial), ""),
        )
        for file, text in (("user", user_data(seed)), ("meta", meta_data(seed)), ("network", network_config(seed))):
            yield f"==== {node}: {file}\n{text}"


def marks(wanted: Desired) -> str:
    plain = [wish for wish in wanted.machines.values() if not wish.machine.cards]
    return json.dumps([json.loads(wish.machine.mark) for wish in plain], indent=1) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_rendered(golden: Golden, all_wanted: dict[str, Desired], name: str) -> None:
    wanted, folder = all_wanted[name], f"tests/golden/machines/{name}"
    golden(f"{folder}/networks.xml", "\n".join(network_documents(wanted)))
    golden(f"{folder}/domains.xml", "\n".join(domain_documents(wanted)))
    golden(f"{folder}/storage.xml", "\n".join([*pool_documents(wanted), *volume_documents(wanted)]))
    golden(f"{folder}/seeds.txt", "\n".join(seeds(wanted)))
    golden(f"{folder}/marks.json", marks(wanted))
    addresses = {node: wish.address for node, wish in wanted.machines.items()}
    golden(f"{folder}/known_hosts", known_hosts_text(addresses, {node: f"ssh-ed25519 {node}" for node in addresses}))
    order = [f"{one.name}: {', '.join(one.needs) or '-'}" for one in resources(wanted)]
    golden(f"{folder}/resources.txt", "\n".join(order) + "\n")


@pytest.mark.parametrize("name", NAMES)
def test_libvirts_schemas_accept_it(all_wanted: dict[str, Desired], name: str) -> None:
    wanted = all_wanted[name]
    for kind, documents in (
        ("network", network_documents(wanted)),
        ("domain", domain_documents(wanted)),
        ("storagepool", pool_documents(wanted)),
        ("storagevol", volume_documents(wanted)),
    ):
        for text in documents:
            assert complaints(kind, text) == []


def test_the_schemas_do_refuse() -> None:
    assert complaints("network", "<network><name>a</name><bridge nome='b'/></network>")


@pytest.mark.parametrize("name", NAMES)
def test_a_networks_settings_are_read_back_as_they_were_written(all_wanted: dict[str, Desired], name: str) -> None:
    for wish in all_wanted[name].networks.values():
        read = settings_of(network_xml(wish.network))
        assert read["hosts"] == {one.name: [one.mac, one.address] for one in wish.network.reservations}
        assert (read["bridge"], read["domain"]) == (wish.network.bridge, wish.network.domain)


def complaints(kind: str, text: str) -> list[str]:
    """What libvirt's schema of a kind has against a document."""
    from lxml import etree

    schema = _schema(kind)
    schema.validate(etree.fromstring(text))
    return [str(error) for error in schema.error_log]


@cache
def _schema(kind: str):  # type: ignore[no-untyped-def]
    from lxml import etree

    path = SCHEMAS / f"{kind}.rng"
    if not path.exists():
        pytest.skip(f"libvirt's schemas are not installed: {path}")
    return etree.RelaxNG(etree.parse(path))
