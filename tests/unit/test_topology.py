"""A site's picture: what it says of places, states and conflicts, and how the command shows it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from ai_how.capacity.demand import request_of
from ai_how.capacity.sizing import solve
from ai_how.cli.app import root
from ai_how.cli.topology_text import topology_lines
from ai_how.errors import AiHowError, SpecError, TryAgainError
from ai_how.machines.topology.assemble import Seen, assemble
from ai_how.machines.topology.picture import picture
from ai_how.machines.topology.types import Topology
from ai_how.site.load import check_site_text
from tests.golden.conftest import ROOT
from tests.libvirt_test_driver import new_test_host

SITE = """name: lab
provider: libvirt
virtualization: emulated
hosts:
- {name: one, declared: {cores: 64, memory_gib: 256, disk_gib: 3000, gpus: [{model: RTX A6000, count: 1}]}}
clusters:
  ai:
    kind: hpc
    nodes: [{role: hpc-controller, vcpus: 1, memory_gib: 1, disk_gib: 8}, {role: hpc-compute, vcpus: 4, gpus: 1}]
  hand:
    kind: hpc
    start: manual
    subnet: 192.168.7.0/24
    nodes: [{role: hpc-controller, vcpus: 1, memory_gib: 1, disk_gib: 8}]
"""
TURNS = SITE.replace("clusters:", "schedule: in-turns\nclusters:").replace(
    "disk_gib: 8}]\n", "disk_gib: 8}, {role: hpc-compute, vcpus: 4, gpus: 1}]\n"
)


def picture_of(
    text: str = SITE, *, seen: dict[str, Seen] | None = None, foreign: dict[str, IPv4Network] | None = None
) -> Topology:
    site, mistakes = check_site_text(text, Path("ai-how.yaml"))
    assert site is not None, mistakes
    request = request_of(site, {})
    return assemble(
        site, request, solve(request), seen=seen, unseen="" if seen is not None else "away", foreign=foreign
    )


def ai_how(*args: str) -> Result:
    done = CliRunner().invoke(root, args)
    assert done.exception is None or isinstance(done.exception, SystemExit | AiHowError), done.exception
    return done


def test_what_is_planned_has_no_state_and_no_conflict() -> None:
    found = picture_of()
    (host,) = found.hosts
    assert [(one.node, one.state) for one in host.machines] == [
        ("ai-compute-1", "planned"),
        ("ai-controller-1", "planned"),
        ("hand-controller-1", "planned"),
    ]
    assert host.gpus[0].nodes == ("ai-compute-1",)
    assert (found.conflicts, found.unplaced, found.unseen) == ((), (), "away")


def test_a_machine_that_should_run_and_is_off_is_a_conflict() -> None:
    seen = {"ai-controller-1": Seen(host="one", state="off"), "hand-controller-1": Seen(host="one", state="off")}
    found = picture_of(seen=seen)
    assert found.conflicts == ("ai-controller-1 should run, is off",)
    states = {one.node: one.state for one in found.hosts[0].machines}
    assert states["ai-compute-1"] == "not made"


def test_nodes_that_do_not_fit_say_which_rule_binds() -> None:
    found = picture_of(SITE.replace("count: 1}", "count: 1, memory_gib: 40}").replace("cores: 64", "cores: 5"))
    assert [one.node for one in found.unplaced] == ["ai-compute-1", "ai-controller-1", "hand-controller-1"]
    assert found.conflicts[0].startswith("vcpu-overcommit: ")


def test_a_network_of_somebody_else_that_overlaps() -> None:
    taken = {"default": IPv4Network("192.168.0.0/16"), "far": IPv4Network("10.0.0.0/8")}
    found = picture_of(seen={}, foreign=taken)
    assert found.conflicts == (
        "network 192.168.100.0/24 of cluster ai overlaps 192.168.0.0/16 of network default",
        "network 192.168.7.0/24 of cluster hand overlaps 192.168.0.0/16 of network default",
    )


def test_clusters_that_take_turns_share_a_card_until_both_run() -> None:
    found = picture_of(TURNS)
    assert found.hosts[0].gpus[0].nodes == ("ai-compute-1", "hand-compute-1")
    assert found.conflicts == ()
    both = {name: Seen(host="one", state="running") for name in ("ai-compute-1", "hand-compute-1")}
    assert (
        "GPU 0 of one (NVIDIA RTX A6000) runs in ai-compute-1 and hand-compute-1 at once"
        in picture_of(TURNS, seen=both).conflicts
    )


def test_a_card_that_is_blocked_or_wanted_twice() -> None:
    site, _ = check_site_text(TURNS, Path("ai-how.yaml"))
    assert site is not None
    request = request_of(site, {})
    (offer,) = request.hosts
    gpu = replace(offer.capacity.gpus[0], blocked="the host's display runs on it", pci_address="0000:65:00.0")
    blocked = replace(request, hosts=(replace(offer, capacity=replace(offer.capacity, gpus=(gpu,))),))
    solution = solve(request)
    assert any(
        "cannot be passed through: the host's display" in conflict
        for conflict in assemble(site, blocked, solution, seen=None).conflicts
    )
    at_once = assemble(site.model_copy(update={"schedule": "side-by-side"}), request, solution, seen=None)
    assert any("is wanted by ai-compute-1 and hand-compute-1 at once" in conflict for conflict in at_once.conflicts)
    # the card that a machine has counts, not the one that a plan would give it
    seen = {"ai-compute-1": Seen(host="one", state="running", cards=("0000:65:00.0",))}
    there = assemble(site, blocked, solution, seen=seen)
    assert there.hosts[0].machines[0].gpus == (0,)
    elsewhere = {"ai-compute-1": Seen(host="one", state="running", cards=("0000:17:00.0",))}
    assert assemble(site, blocked, solution, seen=elsewhere).hosts[0].machines[0].gpus == ()


def test_conflicts_are_marked_without_colour_and_lines_fit() -> None:
    found = picture_of(seen={"ai-controller-1": Seen(host="one", state="off")})
    plain = [re.sub(r"\x1b\[[0-9]*m", "", line) for line in topology_lines(found)]
    assert any(line.startswith("├─!ai-controller-1") for line in plain)
    assert plain[-1] == "! ai-controller-1 should run, is off"
    assert max(len(line) for line in plain) <= 80


def test_the_picture_is_well_formed_and_escapes() -> None:
    found = replace(picture_of(), site="<&>")
    svg = ET.fromstring(picture(found))
    assert "<&>" in (svg.findtext("{http://www.w3.org/2000/svg}title") or "")
    assert picture(found) == picture(found)


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AI_HOW_SITE", raising=False)

    def unreachable(uri: str) -> None:
        raise TryAgainError(f"no connection to {uri}", next_step="try again")

    monkeypatch.setattr("ai_how.machines.provider.open_connection", unreachable)
    (tmp_path / "ai-how.yaml").write_text(SITE)
    return tmp_path


def test_where_libvirt_is_away_the_plan_is_shown(away: Path) -> None:
    text = ai_how("topology").stdout
    assert "As planned, not as it is: no connection to qemu:///system." in text
    data = json.loads(ai_how("topology", "-o", "json").stdout)
    assert (data["site"], data["hosts"][0]["machines"][0]["state"]) == ("lab", "planned")


def test_every_form_goes_into_a_file(away: Path) -> None:
    for form, first in (("text", "site lab"), ("json", "{"), ("svg", "<svg"), ("html", "<!doctype html>")):
        done = ai_how("topology", "-o", form, "--out", f"t.{form}")
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"written to t.{form}\n")
        assert (away / f"t.{form}").read_text().startswith(first)
    assert "No conflicts." in (away / "t.html").read_text()


def test_it_is_for_clusters(away: Path) -> None:
    (away / "ai-how.yaml").write_text("name: a\n")
    done = ai_how("topology")
    assert isinstance(done.exception, SpecError) and done.exception.next_step == "ai-how status"


def test_servers_of_an_inventory_have_no_libvirt(away: Path) -> None:
    (away / "ai-how.yaml").write_text(
        "name: a\nprovider: inventory\nhosts:\n"
        + "".join(f"- {{name: h{n}, declared: {{cores: 64, memory_gib: 256, disk_gib: 3000}}}}\n" for n in (1, 2))
        + "clusters: {c: {kind: cloud, nodes: [{role: control-plane}, {role: cpu-worker}]}}\n"
    )
    text = ai_how("topology").stdout
    assert "planned by size only: hosts without address" in " ".join(text.split()) and "h1" in text


def test_what_is_there_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    host = new_test_host(tmp_path, SITE.replace("gpus: 1", "gpus: 0"), monkeypatch, made={"ai-controller-1"})
    host.connect.networkDefineXML(
        "<network><name>other</name><ip address='192.168.100.1' prefix='26'/></network>"
    ).create()
    data = json.loads(ai_how("topology", "-o", "json").stdout)
    assert data["unseen"] == ""
    assert data["conflicts"] == [
        "ai-controller-1 should run, is off",
        "network 192.168.100.0/24 of cluster ai overlaps 192.168.100.0/26 of network other",
    ]


@pytest.mark.parametrize("file", ["libvirt.yaml", "bridge.yaml"])
def test_examples_have_a_picture_without_conflicts(away: Path, file: str) -> None:
    done = ai_how("topology", "--site", str(ROOT / "examples" / file), "-o", "json")
    assert json.loads(done.stdout)["conflicts"] == []
