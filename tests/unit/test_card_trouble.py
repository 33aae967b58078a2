"""A card that is blocked, gone or with somebody else's machine: what status, plan and placement make of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ai_how.cli.app import root
from ai_how.errors import AiHowError, ConflictError, SpecError
from ai_how.host.facts.passthrough import observe_passthrough
from ai_how.machines.images.store import Image
from ai_how.machines.passthrough.facts import cards_of
from ai_how.machines.passthrough.hosts import CardHost
from ai_how.machines.placing import passed_over, place_nodes
from ai_how.machines.provider import LibvirtProvider
from ai_how.machines.xml.domain import domain_xml
from ai_how.site.load import check_site_text
from ai_how.site.spec import Site
from tests.fake_kernel import FakeKernel
from tests.libvirt_test_driver import IMAGE, TestHost, new_test_host
from tests.unit.card_hosts import FUNCTIONS, A, B, for_test_driver, machine, two_cards

SITE = """name: lab
provider: libvirt
virtualization: emulated
hosts:
- name: one
  declared:
    {cores: 32, memory_gib: 128, disk_gib: 4000, gpus: [{model: RTX A6000, count: 2, addresses: [65:00.0, b3:00.0]}]}
clusters:
  train:
    kind: hpc
    image: IMAGE
    nodes:
    - {role: hpc-controller, vcpus: 1, memory_gib: 1, disk_gib: 8}
    - {role: hpc-compute, vcpus: 1, memory_gib: 1, disk_gib: 8, gpus: 1, WANTED}
""".replace("IMAGE", IMAGE)
CONTROLLER, GPU_NODE = "train-controller-1", "train-compute-1"
ANY, NAMED = "gpu_memory_gib: 24", "gpu_addresses: [65:00.0]"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    made = FakeKernel(two_cards(tmp_path / "kernel"))

    def on_tree(host: Any, connect: Any) -> CardHost:
        return CardHost(host, connect, sysfs=made, root=made.tree.root)

    monkeypatch.setattr("ai_how.machines.provider.CardHost", on_tree)
    return made


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: FakeKernel) -> Callable[..., TestHost]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AI_HOW_SITE", raising=False)
    monkeypatch.setattr("ai_how.machines.provider.check_capabilities", lambda *_a, **_k: None)
    disk = Image(
        name=IMAGE,
        recipe="",
        path=tmp_path,
        sha256="",
        size_bytes=1,
        virtual_size_bytes=2**30,
        created_at="",
        packages={},
    )
    monkeypatch.setattr("ai_how.machines.images.store.ImageStore.find", lambda _self, _name: disk)

    def host(wanted: str = ANY, *, made: set[str] | None = None, start: str = "") -> TestHost:
        cards = tuple(card.card for card in cards_of(observe_passthrough(kernel.tree.root)))
        text = SITE.replace("WANTED", wanted).replace("    kind: hpc\n", f"    kind: hpc\n{start}")
        return new_test_host(tmp_path, text, monkeypatch, made=made, cards=cards)

    return host


def run_elsewhere(host: TestHost, *functions: str) -> None:
    """Another site's machine that runs with a card."""
    text = for_test_driver(domain_xml(machine("far-one", *functions)))
    text = text.replace('"site": "lab"', '"site": "far"').replace("<name>lab", "<name>far")
    host.connect.defineXML(text).create()


def status() -> dict[str, dict[str, Any]]:
    done = CliRunner().invoke(root, ["status", "-o", "json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return {one["name"]: one for one in json.loads(done.stdout)["components"]}


def plan(host: TestHost) -> Any:
    return host.provider.plan()


def test_without_trouble_nothing_is_said(make: Callable[..., TestHost]) -> None:
    make()
    assert status()[GPU_NODE]["detail"] == "is off"


def test_a_blocked_card_is_said_of_its_machine_and_the_others_are_shown(
    make: Callable[..., TestHost], kernel: FakeKernel
) -> None:
    host = make(NAMED)
    kernel.tree.device("0000:66:00.0", class_code=0x010802, driver="nvme", group="30")
    found = status()
    assert set(found) == {CONTROLLER, GPU_NODE, "network/train", "pool"}
    assert f"its GPU {A} cannot be had: " in found[GPU_NODE]["detail"]
    assert "0000:66:00.0 (NVMe, nvme)" in found[GPU_NODE]["detail"]
    assert found[GPU_NODE]["remedy"] == "ai-how doctor"
    assert f"GPU {A}" not in found[CONTROLLER]["detail"]
    with pytest.raises(ConflictError, match=f"{GPU_NODE} cannot get"):
        plan(host)


def test_a_machine_that_runs_is_healthy_whatever_hinders_the_rest(
    make: Callable[..., TestHost], kernel: FakeKernel
) -> None:
    host = make(NAMED)
    kernel.tree.device("0000:66:00.0", class_code=0x010802, driver="nvme", group="30")
    domain = host.domain(CONTROLLER)
    domain.create()
    provider = host.provider
    found = provider.find(CONTROLLER).found
    provider.state.record(f"machine/{CONTROLLER}", {"run": found.run})
    shown = status()
    assert (shown[CONTROLLER]["condition"], shown[CONTROLLER]["detail"]) == ("healthy", "")
    assert shown["network/train"]["condition"] == "healthy"
    assert shown["pool"]["detail"] == ""


def test_a_card_that_is_gone(make: Callable[..., TestHost], kernel: FakeKernel) -> None:
    host = make(NAMED)
    for address in FUNCTIONS:
        (kernel.tree.path / "sys/bus/pci/devices" / address).unlink()
    found = status()
    assert f"its GPU {A} is no longer on one" in found[GPU_NODE]["detail"]
    assert found[GPU_NODE]["remedy"] == "ai-how gpu list"
    with pytest.raises(AiHowError, match="one has no NVIDIA RTX A6000"):
        plan(host)


def test_a_card_that_another_sites_machine_has(make: Callable[..., TestHost]) -> None:
    host = make(NAMED)
    run_elsewhere(host, *FUNCTIONS)
    found = status()
    who = "machine far-one of cluster cloud, site far"
    assert found[GPU_NODE]["detail"] == f"is off; its GPU {A} is in use: {who} has it"
    with pytest.raises(ConflictError, match=f"{GPU_NODE} cannot start: the NVIDIA RTX A6000 at {A}") as caught:
        plan(host)
    assert caught.value.evidence == f"{who} has it"


def test_one_that_is_started_by_hand_may_be_planned_with_it(make: Callable[..., TestHost]) -> None:
    host = make(NAMED, start="    start: manual\n")
    run_elsewhere(host, *FUNCTIONS)
    assert f"machine/{GPU_NODE}" in {resource.name for resource in plan(host).resources}


def test_any_card_means_one_that_nobody_has_and_says_which_was_passed_over(
    make: Callable[..., TestHost],
) -> None:
    host = make(ANY, made={CONTROLLER})
    run_elsewhere(host, *FUNCTIONS)
    made = plan(host)
    resource = made.resource(f"machine/{GPU_NODE}")
    assert resource is not None
    assert resource.settings["cards"][0][0] == B
    note = f"NVIDIA RTX A6000 {A} of one was passed over: machine far-one of cluster cloud, site far has it"
    assert made.notes == (note,)
    shown = CliRunner().invoke(root, ["up", "--dry-run"])
    assert f"note: {note}" in shown.stderr


def test_a_machine_whose_card_was_taken_gets_another(make: Callable[..., TestHost]) -> None:
    host = make(ANY)
    run_elsewhere(host, *FUNCTIONS)
    found = status()[GPU_NODE]
    assert f"up gives it {B}" in found["detail"]
    assert found["remedy"] == "ai-how up"


def test_nodes_that_are_not_made_say_why_they_cannot_be(make: Callable[..., TestHost], kernel: FakeKernel) -> None:
    make(ANY, made={CONTROLLER})
    for group, address in (("30", "0000:66:00.0"), ("40", "0000:b4:00.0")):
        kernel.tree.device(address, class_code=0x010802, driver="nvme", group=group)
    found = status()[GPU_NODE]
    assert found["condition"] == "absent"
    assert found["detail"].startswith("is not made yet, and cannot be: train-compute-1 cannot get")
    assert "\n" not in found["detail"]


def test_a_machine_without_cards_is_started_whatever_hinders_the_others(
    make: Callable[..., TestHost], kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make(NAMED)
    kernel.tree.device("0000:66:00.0", class_code=0x010802, driver="nvme", group="30")
    monkeypatch.setattr(LibvirtProvider, "wait_ready", lambda _self, _wish: "ready")
    done = CliRunner().invoke(root, ["vm", "start", CONTROLLER])
    assert done.exception is None, done.exception
    assert host.domain(CONTROLLER).isActive()
    refused = CliRunner().invoke(root, ["vm", "start", GPU_NODE]).exception
    assert isinstance(refused, ConflictError)
    assert refused.brief.startswith(f"{GPU_NODE} cannot get")
    assert not host.domain(GPU_NODE).isActive()


def test_the_log_of_a_machine_is_read_whatever_its_card(make: Callable[..., TestHost], kernel: FakeKernel) -> None:
    make(NAMED)
    kernel.tree.device("0000:66:00.0", class_code=0x010802, driver="nvme", group="30")
    assert CliRunner().invoke(root, ["logs", GPU_NODE]).exit_code == 0
    refused = CliRunner().invoke(root, ["logs", "nobody"]).exception
    assert isinstance(refused, AiHowError)
    assert CONTROLLER in refused.evidence


# placement alone


def site(wanted: str = ANY, *, count: int = 1) -> Site:
    text = SITE.replace("gpus: 1, WANTED", f"gpus: 1, count: {count}, {wanted}")
    found, mistakes = check_site_text(text, Path("f"))
    assert found is not None, mistakes
    return found


def placed(made: Site, **options: Any) -> dict[str, tuple[int, ...]]:
    return {node.need.name: node.gpus for node in place_nodes(made, {}, kept={}, **options) if node.gpus}


HELD = {"one": {A: "win10"}}


def test_a_held_card_is_taken_only_where_there_is_no_other() -> None:
    assert placed(site()) == {GPU_NODE: (0,)}
    assert placed(site(), held=HELD) == {GPU_NODE: (1,)}
    assert placed(site(count=2), held=HELD) == {GPU_NODE: (0,), "train-compute-2": (1,)}
    assert placed(site(NAMED), held=HELD) == {GPU_NODE: (0,)}


def test_a_machine_keeps_its_card_while_it_can() -> None:
    kept = {"kept": {GPU_NODE: "one"}, "cards": {GPU_NODE: [B]}}
    nodes = place_nodes(site(), {}, **kept)  # type: ignore[arg-type]  # by name
    assert [node.gpus for node in nodes if node.gpus] == [(1,)]
    assert all(node.need.gpu_addresses == () for node in nodes)
    named = place_nodes(site(NAMED), {}, **kept)  # type: ignore[arg-type]  # by name
    assert [node.gpus for node in named if node.gpus] == [(0,)]
    taken = place_nodes(site(), {}, held={"one": {B: "win10"}}, **kept)  # type: ignore[arg-type]  # by name
    assert [node.gpus for node in taken if node.gpus] == [(0,)]


def test_what_was_passed_over_is_said_of_cards_that_would_have_served() -> None:
    made = site()
    nodes = place_nodes(made, {}, kept={}, held=HELD)
    assert list(passed_over(made, {}, nodes, held=HELD)) == [
        f"NVIDIA RTX A6000 {A} of one was passed over: win10 has it"
    ]
    other = [replace(node, need=replace(node.need, gpu_model="T4")) for node in nodes]
    assert list(passed_over(made, {}, other, held=HELD)) == []


def test_a_refusal_is_that_of_all_cards_together() -> None:
    with pytest.raises(SpecError, match="do not fit") as caught:
        placed(site(count=3), held=HELD)
    assert "3 GPUs wanted, 2" in caught.value.evidence
