"""Which card a node gets, what stands in the way, and who has it: facts from a tree or from libvirt's test driver."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ai_how.capacity.types import GpuCapacity, NodeNeed, PlacedNode
from ai_how.errors import ConflictError, LockedError, NotFoundError, ProviderError, SpecError
from ai_how.host.facts.passthrough import observe_passthrough
from ai_how.machines import domains
from ai_how.machines.passthrough import binding
from ai_how.machines.passthrough.facts import HostCard, Setting, cards_for, cards_of, dealt, find_card
from ai_how.machines.passthrough.guest import judge_cards_seen
from ai_how.machines.passthrough.hosts import CardHost
from ai_how.machines.passthrough.leases import cards_lock, check_free, observe_holders
from ai_how.machines.passthrough.node_devices import facts_of, observe_node_devices
from ai_how.machines.passthrough.sysfs import LocalSysfs, RemoteSysfs
from ai_how.machines.placing import place_nodes
from ai_how.site.clusters import Host
from ai_how.site.load import check_site_text
from tests.fake_kernel import FakeKernel
from tests.pci_tree import GIB, MEMORY_64, PciTree
from tests.unit.card_hosts import BEFORE, FUNCTIONS, A, B, for_test_driver, machine, two_cards


def cards(tree: PciTree, **settings: Setting) -> tuple[HostCard, ...]:
    return cards_of(observe_passthrough(tree.root), settings={A: settings["a"]} if settings else None)


class TestCards:
    def test_a_card_has_all_functions_of_its_slot(self, tmp_path: Path) -> None:
        first, second = cards(two_cards(tmp_path))
        assert first.functions == (A, "0000:65:00.1", "0000:65:00.2")
        assert (first.card.name, first.card.memory_gib, first.group, first.blocked) == (
            "NVIDIA RTX A6000",
            48,
            "30",
            "",
        )
        assert second.functions == (B, "0000:b3:00.1")

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"files": {"boot_vga": "1"}, "driver": "nouveau"}, "boot VGA"),
            ({"group": None}, "in no IOMMU group"),
            ({"bars": ((0, 64 * GIB, MEMORY_64 | 0x20000000),)}, "window without an address"),
        ],
    )
    def test_what_stands_in_the_way_is_named(self, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
        assert said in cards(two_cards(tmp_path, **changes))[0].blocked

    def test_a_program_blocks_a_card_unless_told(self, tmp_path: Path) -> None:
        tree = two_cards(tmp_path, driver="nvidia", files={"boot_vga": "1"})
        tree.write(f"proc/driver/nvidia/gpus/{A}/information", "Device Minor: \t 0\n")
        tree.open_file(77, "python3", "/dev/nvidia0")
        blocked = cards(tree)[0].blocked
        assert "python3 (pid 77)" in blocked
        assert "boot VGA" in blocked
        assert cards(tree, a=Setting(allow_in_use=True))[0].blocked == ""

    def test_what_is_allowed_does_not_excuse_a_shared_group(self, tmp_path: Path) -> None:
        tree = two_cards(tmp_path)
        tree.device("0000:66:00.0", class_code=0x010802, driver="nvme", group="30")
        assert "0000:66:00.0 (NVMe, nvme)" in cards(tree, a=Setting(allow_in_use=True))[0].blocked

    def test_settings_reach_the_card(self, tmp_path: Path) -> None:
        setting = Setting(rom_file="/roms/a.rom", rom_bar=False, hide_hypervisor=True)
        card = cards(two_cards(tmp_path), a=setting)[0].card
        assert (card.rom_file, card.rom_bar, card.hide_hypervisor) == ("/roms/a.rom", False, True)

    def test_a_card_is_found_by_any_of_its_functions(self, tmp_path: Path) -> None:
        there = cards(two_cards(tmp_path))
        assert find_card(there, "0000:65:00.1", host="h").address == A
        with pytest.raises(NotFoundError, match="h has no GPU at 0000:01:00") as caught:
            find_card(there, "0000:01:00.0", host="h")
        assert f"{A} (NVIDIA RTX A6000), {B} (NVIDIA RTX A6000)" in caught.value.evidence


def counted(*addresses: str, name: str = "RTX A6000") -> list[GpuCapacity]:
    return [GpuCapacity(name=name, memory_gib=48, pci_address=address) for address in addresses]


class TestDealing:
    def test_by_address_where_it_is_known(self, tmp_path: Path) -> None:
        there = cards(two_cards(tmp_path))
        assert [card and card.address for card in dealt(counted(B, A), there)] == [B, A]

    def test_by_model_where_it_is_not(self, tmp_path: Path) -> None:
        there = cards(two_cards(tmp_path))
        found = dealt(counted("", "", "", name="nvidia rtx a6000"), there)
        assert [card and card.address for card in found] == [A, B, None]

    def test_a_named_card_is_not_dealt_to_another(self, tmp_path: Path) -> None:
        there = cards(two_cards(tmp_path))
        assert [card and card.address for card in dealt(counted("", A), there)] == [B, A]

    def test_a_blocked_card_comes_last(self, tmp_path: Path) -> None:
        there = cards(two_cards(tmp_path, files={"boot_vga": "1"}, driver="nouveau"))
        assert [card and card.address for card in dealt(counted(""), there)] == [B]

    def test_only_what_a_node_gets_must_be_there(self, tmp_path: Path) -> None:
        there = cards(two_cards(tmp_path))
        need = NodeNeed(name="n", cluster="c", role="gpu-worker", vcpus=1, memory_gib=1, disk_gib=1, gpus=1)
        gpus = [*counted(A), *counted("", name="T4")]
        given = cards_for([PlacedNode(need=need, host="h", gpus=(0,))], gpus, there, host="h")
        assert [len(card.functions) for card in given] == [3, 0]
        with pytest.raises(NotFoundError, match="h has no T4 for n"):
            cards_for([PlacedNode(need=need, host="h", gpus=(1,))], gpus, there, host="h")

    def test_a_blocked_card_is_refused_with_the_reason(self, tmp_path: Path) -> None:
        there = cards(two_cards(tmp_path, group=None))
        need = NodeNeed(name="n", cluster="c", role="gpu-worker", vcpus=1, memory_gib=1, disk_gib=1, gpus=1)
        with pytest.raises(ConflictError, match=f"n cannot get the NVIDIA RTX A6000 at {A} of h") as caught:
            cards_for([PlacedNode(need=need, host="h", gpus=(0,))], counted(A), there, host="h")
        assert "in no IOMMU group" in caught.value.evidence
        assert "allow_in_use" not in caught.value.next_step

    def test_what_can_be_allowed_says_how(self, tmp_path: Path) -> None:
        there = cards(two_cards(tmp_path, files={"boot_vga": "1"}, driver="nouveau"))
        need = NodeNeed(name="n", cluster="c", role="gpu-worker", vcpus=1, memory_gib=1, disk_gib=1, gpus=1)
        with pytest.raises(ConflictError) as caught:
            cards_for([PlacedNode(need=need, host="h", gpus=(0,))], counted(A), there, host="h")
        assert "allow_in_use: true" in caught.value.next_step


class TestGuest:
    PRINTED = "0x8086 0x29c0 0x060000\n0x10de 0x2230 0x030000\n0x10de 0x1aef 0x040300\nnonsense\n"

    def test_a_card_on_the_bus_is_seen(self) -> None:
        assert judge_cards_seen(self.PRINTED, "n", ["10de:2230"]) == "sees 10de:2230"

    def test_each_of_two_alike_must_be_there(self) -> None:
        with pytest.raises(ProviderError, match="n runs, but does not see its GPU 10de:2230") as caught:
            judge_cards_seen(self.PRINTED, "n", ["10de:2230", "10de:2230"])
        assert caught.value.evidence == "display controllers on its bus: 10de:2230"


# libvirt's own test driver: machines, metadata and node devices without a hypervisor


def device_xml(
    address: str, code: int, ids: str, *, parent: str = "computer", driver: str = "", group: str = ""
) -> str:
    domain, bus, slot, function = (int(part, 16) for part in address.replace(".", ":").split(":"))
    vendor, product = ids.split(":")
    member = f"<address domain='0x{domain:04x}' bus='0x{bus:02x}' slot='0x{slot:02x}' function='0x{function}'/>"
    name = "GA102GL [RTX A6000]" if product == "2230" else ""
    return (
        f"<device><name>pci_{address.replace(':', '_').replace('.', '_')}</name><parent>{parent}</parent>"
        + (f"<driver><name>{driver}</name></driver>" if driver else "")
        + f"<capability type='pci'><class>0x{code:06x}</class><domain>{domain}</domain><bus>{bus}</bus>"
        f"<slot>{slot}</slot><function>{function}</function><product id='0x{product}'>{name}</product>"
        f"<vendor id='0x{vendor}'>NVIDIA Corporation</vendor>"
        + (f"<iommuGroup number='{group}'>{member}</iommuGroup>" if group else "")
        + "<numa node='1'/></capability></device>"
    )


NODE_DEVICES = [
    device_xml("0000:64:00.0", 0x060400, "8086:1234", driver="pcieport"),
    device_xml(A, 0x030000, "10de:2230", parent="pci_0000_64_00_0", driver="nvidia", group="30"),
    device_xml("0000:65:00.1", 0x040300, "10de:1aef", parent="pci_0000_64_00_0", group="30"),
]


def test_a_remote_hosts_cards_come_from_libvirt() -> None:
    facts = facts_of(NODE_DEVICES, boot_vga=lambda _address: None)
    (card,) = cards_of(facts)
    assert card.functions == (A, "0000:65:00.1")
    assert (card.card.name, card.group, card.numa_node, card.blocked) == ("NVIDIA RTX A6000", "30", 1, "")
    assert card.drivers == ("nvidia", "")
    assert facts.gpus[0].device.parents == ("0000:64:00.0",)


def test_a_remote_hosts_neighbours_and_first_display_block_too() -> None:
    devices = [*NODE_DEVICES, device_xml("0000:66:00.0", 0x010802, "144d:a80a", driver="nvme", group="30")]
    (card,) = cards_of(facts_of(devices, boot_vga=lambda _address: True))
    assert "0000:66:00.0 (NVMe, nvme)" in card.blocked
    assert "boot VGA" in card.blocked


class TestLeases:
    def test_a_start_records_binds_and_holds(self, host: CardHost) -> None:
        host.start(machine("lab-one", *FUNCTIONS))
        (holder,) = host.holders()
        assert (holder.domain, holder.running, holder.functions) == ("lab-one", True, frozenset(FUNCTIONS))
        assert holder.previous == BEFORE
        assert set(binding.drivers_of(host.sysfs, FUNCTIONS).values()) == {"vfio-pci"}

    def test_another_machine_is_refused_and_nothing_is_made_of_it(self, host: CardHost) -> None:
        host.start(machine("lab-one", *FUNCTIONS))
        with pytest.raises(ConflictError, match="lab-two cannot start: the RTX A6000") as caught:
            host.start(machine("lab-two", *FUNCTIONS, cluster="hpc"))
        assert caught.value.evidence == "machine one of cluster cloud, site lab has it"
        assert "ai-how switch" in caught.value.next_step
        assert [holder.domain for holder in host.holders()] == ["lab-one"]

    def test_sharing_one_function_is_sharing_the_card(self, host: CardHost) -> None:
        host.start(machine("lab-one", *FUNCTIONS))
        with pytest.raises(ConflictError):
            host.start(machine("lab-two", "0000:65:00.1"))

    def test_a_machine_that_is_not_ours_holds_a_card_too(self, host: CardHost, connect: Any) -> None:
        foreign = for_test_driver(domains.domain_xml(replace(machine("win10", *FUNCTIONS), mark="")))
        connect.defineXML(foreign).create()
        with pytest.raises(ConflictError) as caught:
            host.start(machine("lab-one", *FUNCTIONS))
        assert caught.value.evidence == "virtual machine win10, which ai-how did not make has it"
        assert caught.value.next_step == "shut it down: virsh shutdown win10"

    def test_the_next_machine_keeps_the_record_of_the_drivers(self, host: CardHost, connect: Any) -> None:
        host.start(machine("lab-one", *FUNCTIONS))
        connect.lookupByName("lab-one").destroy()
        connect.lookupByName("lab-one").undefine()
        host.start(machine("lab-two", *FUNCTIONS))
        # the first machine took its record with it: what is not known is not made up
        assert {holder.domain: holder.previous for holder in host.holders()} == {"lab-two": {}}

    def test_a_new_definition_keeps_the_record(self, host: CardHost, connect: Any) -> None:
        made = machine("lab-one", *FUNCTIONS)
        host.start(made)
        domains.define_machine(connect, made)
        connect.lookupByName("lab-one").destroy()
        assert host.release(A) == BEFORE

    def test_a_failed_binding_starts_nothing_and_restores_the_drivers(self, host: CardHost) -> None:
        assert isinstance(host.sysfs, FakeKernel)
        host.sysfs.fail_at = 5
        with pytest.raises(ProviderError, match="the kernel does not take"):
            host.start(machine("lab-one", *FUNCTIONS))
        assert binding.drivers_of(host.sysfs, FUNCTIONS) == BEFORE
        (holder,) = host.holders()
        assert not holder.running
        assert holder.previous == BEFORE

    def test_a_card_of_a_running_machine_is_not_released(self, host: CardHost, connect: Any) -> None:
        host.start(machine("lab-one", *FUNCTIONS))
        with pytest.raises(ConflictError, match="is in use") as caught:
            host.release(A)
        assert caught.value.next_step == "ai-how vm stop one"
        connect.lookupByName("lab-one").destroy()
        assert host.release("0000:65:00.1") == BEFORE

    def test_nobody_else_may_have_it(self, host: CardHost) -> None:
        host.start(machine("lab-one", *FUNCTIONS))
        check_free(host.holders(), FUNCTIONS, domain="lab-one", card="the card")
        check_free(host.holders(), [B], domain="lab-two", card="the card")

    def test_machines_without_cards_are_no_holders(self, connect: Any) -> None:
        assert observe_holders(connect) == []

    def test_node_devices_of_the_test_driver_have_no_gpu(self, connect: Any) -> None:
        assert observe_node_devices(connect, boot_vga=lambda _address: None).nvidia == ()


class TestLock:
    def test_one_command_at_a_time(self, tmp_path: Path) -> None:
        with (
            cards_lock(local=True, folder=tmp_path),
            pytest.raises(LockedError, match="giving out this host's GPUs"),
            cards_lock(local=True, folder=tmp_path, wait_s=0),
        ):
            pass
        with cards_lock(local=True, folder=tmp_path, wait_s=0):
            pass

    def test_a_remote_host_has_none(self, tmp_path: Path) -> None:
        with cards_lock(local=False, folder=tmp_path), cards_lock(local=False, folder=tmp_path):
            assert list(tmp_path.iterdir()) == []


class TestPlacing:
    """Cards that are named by address."""

    def placed(self, text: str) -> dict[str, tuple[int, ...]]:
        site, mistakes = check_site_text(text, Path("f"))
        assert site is not None, mistakes
        return {node.need.name: node.gpus for node in place_nodes(site, {}, kept={})}

    def site(self, *nodes: str) -> str:
        return (
            "name: lab\nprovider: libvirt\nhosts:\n  - name: h\n    declared:\n      {cores: 64, memory_gib: 256, "
            "disk_gib: 4000, gpus: [{model: T4, count: 2, addresses: [65:00.0, b3:00.0]}]}\nclusters:\n  cloud:\n"
            "    nodes:\n      - {role: control-plane}\n" + "".join(f"      - {{{node}}}\n" for node in nodes)
        )

    def test_a_named_card_goes_to_the_node_that_names_it(self) -> None:
        found = self.placed(self.site("role: gpu-worker", "role: gpu-worker, gpu_addresses: [65:00.0]"))
        assert found == {"cloud-control-plane-1": (), "cloud-gpu-worker-1": (1,), "cloud-gpu-worker-2": (0,)}

    def test_two_named_cards_are_two_gpus(self) -> None:
        found = self.placed(self.site("role: gpu-worker, gpu_addresses: ['0000:B3:00.0', 65:00.0]"))
        assert found["cloud-gpu-worker-1"] == (0, 1)

    def test_a_named_card_that_is_not_there_is_named_in_the_refusal(self) -> None:
        with pytest.raises(SpecError, match="do not fit") as caught:
            self.placed(self.site("role: gpu-worker, gpu_addresses: [01:00.0]"))
        assert "0000:01:00.0" in caught.value.evidence


class TestHost:
    def test_the_files_of_a_host_are_reached_as_its_address_says(self) -> None:
        assert CardHost(Host(name="h"), None).sysfs == LocalSysfs()
        remote = CardHost(Host(name="h", uri="qemu+ssh://admin@server/system"), None)
        assert remote.sysfs == RemoteSysfs(host="admin@server")
        with pytest.raises(ProviderError, match="cannot be changed from here") as caught:
            CardHost(Host(name="h", uri="qemu+tls://server/system"), None).sysfs  # noqa: B018
        assert "qemu+ssh://" in caught.value.next_step

    def test_settings_of_a_card_reach_libvirts_xml(self) -> None:
        made = machine("lab-one", A, "0000:65:00.1")
        plain = domains.domain_xml(made)
        assert "<rom" not in plain
        assert "hidden" not in plain
        card = replace(made.cards[0], rom_file="/srv/card.rom", rom_bar=False, hide_hypervisor=True)
        text = domains.domain_xml(replace(made, cards=(card,)))
        assert text.count('<rom bar="off" file="/srv/card.rom" />') == 1
        assert '<hidden state="on" />' in text
