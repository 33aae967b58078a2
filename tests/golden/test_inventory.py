"""The example of servers that exist: what Ansible is told, what would be done, and its picture, as rendered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import pytest

from ai_how.capacity.types import GpuCapacity
from ai_how.cli.topology_text import topology_lines
from ai_how.errors import TryAgainError
from ai_how.host.facts.gpus import Gpu
from ai_how.host.facts.pci import PciDevice
from ai_how.kubernetes.inventory import inventory_text
from ai_how.machines.topology.assemble import Seen, assemble
from ai_how.machines.topology.picture import picture
from ai_how.plan.compute import compute_plan
from ai_how.plan.document import plan_to_json
from ai_how.servers import desired
from ai_how.servers.capacity import server_states, servers_request
from ai_how.servers.desired import Fleet
from ai_how.servers.server import servers_of
from ai_how.site.load import load_site
from tests.golden.conftest import ROOT, Golden
from tests.servers import examine, facts, look

FILE = ROOT / "examples" / "inventory.yaml"
CARD = Gpu(
    device=PciDevice(address="0000:65:00.0", vendor=0x10DE, device=0x2230, class_code=0x030000),
    name="RTX A6000",
    memory_gib=48,
)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """The example's servers, all as they should be."""
    monkeypatch.setenv("HOME", "/home/me")
    servers = servers_of(load_site(FILE), FILE)
    looks = []
    for number, one in enumerate(servers, start=11):
        address = one.wish.cluster_address or one.reached.host
        gpus = (CARD,) if one.wish.role == "gpu-worker" else ()
        looks.append(look(one, facts(one.name, last=number, addresses=(address,), reached_at=address, gpus=gpus)))
    return Fleet(wanted=examine(*looks), leaving={}, recorded={})


def test_what_ansible_is_told(golden: Golden, fleet: Fleet) -> None:
    (cloud,) = desired.cluster_machines(
        load_site(FILE), fleet, known_hosts=Path("/site/secrets/ssh/known_hosts"), recorded_clusters={}
    )
    golden("tests/golden/inventory/hosts.yml", inventory_text(cloud.nodes))


def test_what_would_be_done(golden: Golden, fleet: Fleet) -> None:
    made = compute_plan("rack", desired.resources(fleet), desired.observed(fleet))
    document = plan_to_json(desired.explained(made, fleet))
    golden("tests/golden/inventory/plan.json", json.dumps(document, indent=2) + "\n")


def test_its_picture(golden: Golden, fleet: Fleet) -> None:
    site = load_site(FILE)
    request, solution = servers_request(site, fleet)
    assert all(isinstance(gpu, GpuCapacity) for offer in request.hosts for gpu in offer.capacity.gpus)
    seen = {name: Seen(host=name, state=state) for name, state in server_states(fleet).items()}
    found = assemble(site, request, solution, seen=seen)
    assert found.conflicts == ()
    golden("tests/golden/inventory/topology.txt", click.unstyle("\n".join(topology_lines(found))) + "\n")


def test_of_servers_that_were_not_reached_no_sizes_are_claimed(fleet: Fleet) -> None:
    away = TryAgainError("it does not answer")
    looks = [replace(one.look, facts=None, trouble=away) for one in fleet.wanted.values()]
    unreached = replace(fleet, wanted=examine(*looks))
    site = load_site(FILE)
    request, solution = servers_request(site, unreached)
    seen = {name: Seen(host=name, state=state) for name, state in server_states(unreached).items()}
    found = assemble(site, request, solution, seen=seen)
    reached = [host for host in found.hosts if not host.declared]
    assert reached and all(host.cores is None and host.memory_gib is None for host in reached)
    assert all(machine.vcpus is None and machine.state == "unreached" for host in reached for machine in host.machines)
    said = click.unstyle("\n".join(topology_lines(found)))
    assert "what it has is not known" in said and " 0 GiB" not in said
    assert "not known" in picture(found)
