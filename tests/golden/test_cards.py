"""Domain XML of machines with cards: from a site file and a host's tree to what libvirt is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ai_how.capacity.demand import hosts_of
from ai_how.errors import MissingToolError
from ai_how.machines.desired import Desired, HostSetting, ImageFile, desired_of
from ai_how.machines.library import load_libvirt
from ai_how.machines.passthrough.hosts import CardHost
from ai_how.machines.placing import place_nodes
from ai_how.machines.types import Virtualization
from ai_how.machines.xml.domain import domain_xml
from ai_how.site.load import load_site
from tests.golden.conftest import ROOT, Golden
from tests.pci_tree import AUDIO, CONTROLLER_3D, GPU_BARS, NVIDIA, UCSI, USB, PciTree, add_gpu, config_space, sound_host

CARDS = Path("tests/golden/cards")
T4 = 0x1EB8
NAMES = ["four-machines", "hpc-and-cloud"]


def a6000_and_t4(path: Path) -> PciTree:
    """A workstation card with four functions, and a data centre card with one."""
    tree = sound_host(path)
    add_gpu(tree, "0000:65:00.0", companions=(AUDIO, USB, UCSI))
    tree.device(
        "0000:b3:00.0",
        class_code=CONTROLLER_3D,
        vendor=NVIDIA,
        device=T4,
        group="40",
        config=config_space(flr=True),
        bars=GPU_BARS,
        files={"reset_method": "flr bus", "reset": "", "numa_node": "0"},
    )
    return tree


def two_a6000(path: Path) -> PciTree:
    tree = sound_host(path)
    add_gpu(tree, "0000:65:00.0")
    add_gpu(tree, "0000:b3:00.0", port="0000:b2:00.0", group="40", port_group="39")
    return tree


TREES = {"four-machines": a6000_and_t4, "hpc-and-cloud": two_a6000}


def wanted(name: str, path: Path) -> Desired:
    site = load_site(ROOT / CARDS / f"{name}.yaml")
    tree = TREES[name](path)
    placed = place_nodes(site, {}, kept={})
    settings: Mapping[str, HostSetting] = {
        host.name: HostSetting(
            name=host.name,
            uri=host.uri,
            storage_path=host.storage_path,
            virtualization=Virtualization.KVM,
            cards=CardHost(host, None, root=tree.root).given(placed, {}),
        )
        for host in hosts_of(site)
    }
    image = ImageFile(name="image", virtual_size_bytes=2**32)
    images = {node.need.name: image for node in placed}
    return desired_of(site, placed, owner="/site", hosts=settings, images=images)


def texts(name: str, path: Path) -> dict[str, str]:
    return {node: domain_xml(wish.machine) for node, wish in wanted(name, path).machines.items()}


@pytest.mark.parametrize("name", NAMES)
def test_domains(golden: Golden, name: str, tmp_path: Path) -> None:
    for node, text in texts(name, tmp_path).items():
        golden(f"{CARDS}/{name}/{node}.xml", text)


@pytest.mark.parametrize("name", NAMES)
def test_libvirts_schema_takes_every_domain(name: str, tmp_path: Path) -> None:
    try:
        libvirt = load_libvirt()
    except MissingToolError as error:
        pytest.skip(error.brief)
    connect = libvirt.open("test:///default")
    for text in texts(name, tmp_path).values():
        # the test driver takes machines of its own type alone; the schema is the same
        made = text.replace('<domain type="kvm"', '<domain type="test"').replace(' firmware="efi"', "")
        connect.defineXMLFlags(made, libvirt.VIR_DOMAIN_DEFINE_VALIDATE).undefine()


def test_each_gpu_worker_has_its_card(tmp_path: Path) -> None:
    machines = wanted("four-machines", tmp_path).machines
    cards = {node: [str(f) for card in wish.machine.cards for f in card.functions] for node, wish in machines.items()}
    assert cards == {
        "cloud-control-plane-1": [],
        "cloud-cpu-worker-1": [],
        "cloud-gpu-worker-1": [f"0000:65:00.{number}" for number in range(4)],
        "cloud-gpu-worker-2": ["0000:b3:00.0"],
    }


def test_both_clusters_name_the_same_cards(tmp_path: Path) -> None:
    machines = wanted("hpc-and-cloud", tmp_path).machines
    by_cluster: dict[str, set[str]] = {"cloud": set(), "hpc": set()}
    for wish in machines.values():
        by_cluster[wish.machine.cluster] |= {str(card.functions[0]) for card in wish.machine.cards}
    assert by_cluster["cloud"] == by_cluster["hpc"] == {"0000:65:00.0", "0000:b3:00.0"}
