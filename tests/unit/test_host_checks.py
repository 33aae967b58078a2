"""Verdicts: what passes, warns, fails and stays unknown, and the tier that a host is."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.capacity.tiers import TIER_NAMES
from ai_how.host.check import Check, Verdict
from ai_how.host.checks.cpu import check_cpu
from ai_how.host.checks.memory import check_memory
from ai_how.host.checks.network import check_network
from ai_how.host.checks.ports import check_ports
from ai_how.host.checks.software import check_software
from ai_how.host.checks.storage import check_storage
from ai_how.host.checks.system import check_system
from ai_how.host.doctor import HostFacts, Wanted, judge, matters_for, readiness
from ai_how.host.facts.cpu import CpuFacts
from ai_how.host.facts.gpus import NVIDIA, Gpu
from ai_how.host.facts.kvm import Device, KvmFacts
from ai_how.host.facts.limits import Limits
from ai_how.host.facts.memory import HugePages, MemoryFacts
from ai_how.host.facts.network import Bond, NetworkFacts, Nic
from ai_how.host.facts.numa import NumaNode
from ai_how.host.facts.passthrough import observe_passthrough
from ai_how.host.facts.pci import PciDevice
from ai_how.host.facts.routes import Route
from ai_how.host.facts.sockets import Listener
from ai_how.host.facts.storage import Disk, Medium, StorageFacts
from ai_how.host.facts.system import SystemFacts
from ai_how.host.facts.tools import Tool, ToolFacts
from ai_how.host.requirements import load_requirements
from ai_how.host.root import Root
from ai_how.host.tier_answer import Hardware, assess, check_gpu_count

from ..host_trees import good_facts

ASKED = load_requirements()
MINIMUM, RECOMMENDED, PRODUCTION = ASKED.tiers
SUBNET = ip_network("192.168.200.0/24")
PASS, WARN, FAIL, UNKNOWN = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.UNKNOWN


def by_id(checks: list[Check]) -> dict[str, Check]:
    assert len({check.id for check in checks}) == len(checks)
    return {check.id: check for check in checks}


def test_the_requirements_figures() -> None:
    assert tuple(tier.name for tier in ASKED.tiers) == TIER_NAMES
    assert [(tier.cores.least, tier.memory_gib.least, tier.gpus.least, tier.network_mbps) for tier in ASKED.tiers] == [
        (16, 64, 2, 1000),
        (24, 128, 2, 10000),
        (32, 256, 4, 10000),
    ]
    assert [(tier.disk_gb.least, tier.nvme, tier.bonding) for tier in ASKED.tiers] == [
        (0, False, False),
        (1500, True, False),
        (2000, True, True),
    ]
    assert ASKED.software["kernel"] == (6, 12)
    assert {port.text for port in ASKED.ports} >= {"6443", "2379-2380", "10250", "30000-32767", "179", "4789"}


CPU = CpuFacts(
    architecture="x86_64",
    cores=16,
    threads=32,
    virtualization="svm",
    hypervisor=False,
    core_of=tuple((thread, thread % 16) for thread in range(32)),
)
NODE = NumaNode(id=0, cpus=tuple(range(32)), memory_gib=64)


@pytest.mark.parametrize(
    ("cpu", "check_id", "verdict", "found"),
    [
        (CPU, "cpu.cores", PASS, "16 cores, 32 threads"),
        (replace(CPU, cores=8, threads=16), "cpu.cores", FAIL, "8 cores, 16 threads"),
        (replace(CPU, cores=None), "cpu.cores", UNKNOWN, "cores cannot be read, 32 threads"),
        (replace(CPU, sockets=2, offline=4), "cpu.cores", PASS, "16 cores, 32 threads, 2 sockets, 4 threads off"),
        (replace(CPU, architecture="aarch64"), "cpu.architecture", FAIL, "aarch64"),
        (replace(CPU, architecture=None), "cpu.architecture", UNKNOWN, "cannot be read"),
        (CPU, "cpu.virtualization", PASS, "svm (AMD-V)"),
        (replace(CPU, virtualization=""), "cpu.virtualization", FAIL, "neither vmx nor svm"),
        (
            replace(CPU, virtualization=None, architecture="aarch64"),
            "cpu.virtualization",
            UNKNOWN,
            "ARM has no such flag",
        ),
        (CPU, "cpu.governor", PASS, "the kernel does not set it"),
        (
            replace(CPU, governors=(("powersave", 32),), scaling_driver="acpi-cpufreq"),
            "cpu.governor",
            WARN,
            "powersave on 32 (acpi-cpufreq)",
        ),
        (
            replace(CPU, governors=(("powersave", 32),), scaling_driver="intel_pstate"),
            "cpu.governor",
            PASS,
            "powersave on 32 (intel_pstate)",
        ),
    ],
)
def test_processors(cpu: CpuFacts, check_id: str, verdict: Verdict, found: str) -> None:
    check = by_id(check_cpu(cpu, limits=Limits(), numa=(NODE,), tier=MINIMUM))[check_id]
    assert (check.verdict, check.found) == (verdict, found)


def test_the_fix_for_a_missing_flag_depends_on_where_it_is_missing() -> None:
    for within, words in ((True, "nested virtualization"), (False, "firmware")):
        cpu = replace(CPU, virtualization="", hypervisor=within)
        check = by_id(check_cpu(cpu, limits=Limits(), numa=(), tier=MINIMUM))["cpu.virtualization"]
        assert words in check.fix


@pytest.mark.parametrize(
    ("limits", "verdict", "found"),
    [
        (Limits(cpus=tuple(range(32))), PASS, "no limit"),
        (Limits(cpus=(0, 16, 1)), WARN, "2 of 16 cores"),
        (Limits(cores=2.5), WARN, "2.5 of 16 cores"),
        (Limits(), UNKNOWN, "cannot be read"),
    ],
)
def test_limits_of_processors(limits: Limits, verdict: Verdict, found: str) -> None:
    check = by_id(check_cpu(CPU, limits=limits, numa=(), tier=MINIMUM))["cpu.limits"]
    assert (check.verdict, check.found) == (verdict, found)


@pytest.mark.parametrize(
    ("nodes", "verdict", "found"),
    [
        ((NODE,), PASS, "1 node: 32 threads, 64 GiB"),
        ((NODE, replace(NODE, id=1)), PASS, "2 nodes: 32 threads, 64 GiB each"),
        (
            (NODE, replace(NODE, id=1, memory_gib=0)),
            WARN,
            "2 nodes: 32 threads, 0 GiB or 32 threads, 64 GiB each; no memory at node 1",
        ),
        ((replace(NODE, memory_gib=None),), UNKNOWN, "1 node"),
        ((), UNKNOWN, "the kernel shows none"),
    ],
)
def test_numa_nodes(nodes: tuple[NumaNode, ...], verdict: Verdict, found: str) -> None:
    check = by_id(check_cpu(CPU, limits=Limits(), numa=nodes, tier=MINIMUM))["numa.nodes"]
    assert (check.verdict, check.found) == (verdict, found)


@pytest.mark.parametrize(
    ("memory", "verdict"),
    [
        # 64 GB of modules, of which firmware kept 128 MiB and the kernel its own part
        (MemoryFacts(installed_gib=63.875, total_gib=62.5), PASS),
        (MemoryFacts(installed_gib=62.5, total_gib=61), FAIL),
        # without memory blocks: 62.5 GiB are 67 decimal GB
        (MemoryFacts(total_gib=62.5), PASS),
        (MemoryFacts(total_gib=31), FAIL),
        (MemoryFacts(), UNKNOWN),
    ],
)
def test_memory_is_judged_by_its_modules(memory: MemoryFacts, verdict: Verdict) -> None:
    assert by_id(check_memory(memory, limits=Limits(), tier=MINIMUM))["memory.installed"].verdict is verdict


def test_memory_limits_and_huge_pages() -> None:
    memory = MemoryFacts(total_gib=64, hugepages=(HugePages(size_kib=1048576, total=4, free=4),))
    checks = by_id(check_memory(memory, limits=Limits(memory_gib=8), tier=MINIMUM))
    assert (checks["memory.limits"].verdict, checks["memory.limits"].found) == (WARN, "8.0 GiB")
    assert (checks["memory.hugepages"].verdict, checks["memory.hugepages"].found) == (PASS, "4 x 1 GiB")
    without = by_id(check_memory(MemoryFacts(), limits=Limits(), tier=MINIMUM))
    assert without["memory.hugepages"].verdict is UNKNOWN


def storage(medium: Medium | None, *, free_gb: float | None = 900, size_gb: float = 2000) -> StorageFacts:
    return StorageFacts(
        path="/srv",
        existing="/srv",
        free_bytes=None if free_gb is None else int(free_gb * 1e9),
        size_bytes=int(size_gb * 1e9),
        disks=(Disk(name="x", medium=medium, size_bytes=int(size_gb * 1e9)),),
    )


@pytest.mark.parametrize(
    ("medium", "minimum", "recommended"),
    [
        (Medium.NVME, PASS, PASS),
        (Medium.SSD, PASS, FAIL),
        (Medium.ROTATIONAL, WARN, FAIL),
        (Medium.VIRTUAL, UNKNOWN, UNKNOWN),
        (Medium.NETWORK, WARN, WARN),
        (Medium.MEMORY, FAIL, FAIL),
        (None, UNKNOWN, UNKNOWN),
    ],
)
def test_kinds_of_disk(medium: Medium | None, minimum: Verdict, recommended: Verdict) -> None:
    assert by_id(check_storage(storage(medium), tier=MINIMUM))["disk.medium"].verdict is minimum
    assert by_id(check_storage(storage(medium), tier=RECOMMENDED))["disk.medium"].verdict is recommended


def test_free_space_and_the_disk_s_size_are_two_things() -> None:
    # a 2 TB disk is what production asks for, though 2 TB of it can never be free
    checks = by_id(check_storage(storage(Medium.NVME, free_gb=850, size_gb=2000.4), tier=PRODUCTION))
    assert (checks["disk.free"].verdict, checks["disk.size"].verdict) == (PASS, PASS)
    assert (checks["disk.size"].found, checks["disk.size"].wanted) == ("2 TB", "2 TB")
    assert "disk.size" not in by_id(check_storage(storage(Medium.NVME), tier=MINIMUM))
    small = by_id(check_storage(storage(Medium.NVME, free_gb=799, size_gb=1000), tier=PRODUCTION))
    assert (small["disk.free"].verdict, small["disk.size"].verdict) == (FAIL, FAIL)


def test_the_size_of_mirrored_disks_is_the_file_system_s() -> None:
    two = tuple(Disk(name=name, medium=Medium.NVME, size_bytes=10**12) for name in "ab")
    found = by_id(check_storage(replace(storage(None, size_gb=1000), disks=two), tier=RECOMMENDED))
    assert found["disk.size"].verdict is FAIL


def test_a_capture_tells_no_free_space_and_a_read_only_disk_fails() -> None:
    assert by_id(check_storage(storage(Medium.SSD, free_gb=None), tier=MINIMUM))["disk.free"].verdict is UNKNOWN
    locked = replace(storage(Medium.SSD), read_only=True)
    assert by_id(check_storage(locked, tier=MINIMUM))["disk.free"].verdict is FAIL


def network_of(*nics: Nic, bonds: tuple[Bond, ...] = (), bridges: tuple[str, ...] = ()) -> NetworkFacts:
    return NetworkFacts(names=("lo", *(nic.name for nic in nics), *bridges), nics=nics, bonds=bonds, bridges=bridges)


FAST, SLOW = Nic(name="e0", up=True, speed_mbps=10000), Nic(name="e1", up=True, speed_mbps=100)
VIRTUAL, DOWN = Nic(name="e2", up=True, driver="virtio_net"), Nic(name="e3", up=False)


@pytest.mark.parametrize(
    ("network", "verdict"),
    [
        (network_of(FAST, SLOW, DOWN), PASS),
        (network_of(SLOW), FAIL),
        (network_of(DOWN), FAIL),
        (network_of(VIRTUAL), UNKNOWN),
        (network_of(SLOW, VIRTUAL), UNKNOWN),
        (network_of(), FAIL),
        (NetworkFacts(), UNKNOWN),
    ],
)
def test_network_speed(network: NetworkFacts, verdict: Verdict) -> None:
    checks = by_id(check_network(network, routes=(), tier=MINIMUM, subnet=SUBNET))
    assert checks["network.speed"].verdict is verdict


@pytest.mark.parametrize(
    ("bonds", "minimum", "production"),
    [
        ((), PASS, FAIL),
        ((Bond(name="bond0", mode="802.3ad", members=("a", "b")),), PASS, PASS),
        ((Bond(name="bond0", mode="802.3ad", members=("a",)),), WARN, WARN),
    ],
)
def test_bonds(bonds: tuple[Bond, ...], minimum: Verdict, production: Verdict) -> None:
    for tier, verdict in ((MINIMUM, minimum), (PRODUCTION, production)):
        checks = by_id(check_network(network_of(FAST, bonds=bonds), routes=(), tier=tier, subnet=SUBNET))
        assert checks["network.bond"].verdict is verdict


@pytest.mark.parametrize(
    ("routes", "verdict", "found"),
    [
        ((), PASS, "overlaps no route"),
        ((Route(network=ip_network("10.0.0.0/8"), interface="e0"),), PASS, "overlaps no route"),
        ((Route(network=ip_network("192.168.0.0/16"), interface="e0"),), FAIL, "192.168.0.0/16 via e0"),
        ((Route(network=ip_network("192.168.200.128/25")),), FAIL, "192.168.200.128/25 via another table"),
        ((Route(network=SUBNET, interface="virbr9"),), WARN, "192.168.200.0/24 via virbr9"),
        ((Route(network=ip_network("fd00::/8"), interface="e0"),), PASS, "overlaps no route"),
        (None, UNKNOWN, "routes cannot be read"),
    ],
)
def test_the_cluster_s_subnet(routes: tuple[Route, ...] | None, verdict: Verdict, found: str) -> None:
    network = network_of(FAST, bridges=("virbr9",))
    check = by_id(check_network(network, routes=routes, tier=MINIMUM, subnet=SUBNET))["network.subnet"]
    assert (check.verdict, check.found) == (verdict, found)


@pytest.mark.parametrize(
    ("bridge", "verdict", "found"),
    [("", PASS, "taken: virbr0"), ("virbr0", WARN, "virbr0 is there already"), ("e0", WARN, "e0 is there already")],
)
def test_bridge_names(bridge: str, verdict: Verdict, found: str) -> None:
    network = network_of(FAST, bridges=("virbr0",))
    check = by_id(check_network(network, routes=(), tier=MINIMUM, subnet=SUBNET, bridge=bridge))["network.bridge"]
    assert (check.verdict, check.found) == (verdict, found)


def listening(port: int, *, protocol: str = "tcp", owner: str = "") -> Listener:
    assert protocol in ("tcp", "udp")
    return Listener(protocol="udp" if protocol == "udp" else "tcp", port=port, address="0.0.0.0", inode=1, owner=owner)


def test_a_port_is_taken_in_its_own_protocol_only() -> None:
    listeners = (listening(4789), listening(6443, owner="k3s (process 7)"), listening(6443, owner="k3s (process 7)"))
    checks = by_id(check_ports(listeners, ports=ASKED.ports))
    assert checks["port.udp.4789"].verdict is PASS
    api = checks["port.tcp.6443"]
    assert (api.verdict, api.found, api.needs_root) == (WARN, "6443: k3s (process 7)", False)


def test_node_ports_are_summarised_and_root_would_name_the_owners() -> None:
    listeners = tuple(listening(port) for port in (29999, 30000, 30001, 31000, 32767, 32768))
    check = by_id(check_ports(listeners, ports=ASKED.ports))["port.tcp.30000-32767"]
    assert check.found == "30000: owner not seen, 30001: owner not seen, 31000: owner not seen and 1 more"
    assert check.needs_root
    assert all(check.verdict is UNKNOWN for check in check_ports(None, ports=ASKED.ports))


def systems(system: SystemFacts) -> dict[str, Check]:
    return by_id(check_system(system, software=ASKED.software, systems=ASKED.systems))


@pytest.mark.parametrize(
    ("version", "verdict"), [((6, 12, 1), PASS), ((6, 9), FAIL), ((7, 0), PASS), ((6,), FAIL), (None, UNKNOWN)]
)
def test_kernels_are_compared_as_numbers(version: tuple[int, ...] | None, verdict: Verdict) -> None:
    assert systems(SystemFacts(kernel_version=version))["system.kernel"].verdict is verdict


@pytest.mark.parametrize(
    ("os_id", "version", "verdict"),
    [
        ("debian", (13,), PASS),
        ("debian", (12,), WARN),
        ("debian", None, WARN),
        ("ubuntu", (22, 4), PASS),
        ("ubuntu", (20, 4), WARN),
        ("fedora", (43,), WARN),
        ("", None, UNKNOWN),
    ],
)
def test_distributions(os_id: str, version: tuple[int, ...] | None, verdict: Verdict) -> None:
    assert systems(SystemFacts(os_id=os_id, os_version=version))["system.os"].verdict is verdict


def test_the_rest_of_the_system() -> None:
    unknown = systems(SystemFacts())
    assert {check.verdict for check in unknown.values()} == {UNKNOWN}
    inside = systems(SystemFacts(kernel="x", container="docker", virtual_machine="KVM", clock_synchronised=False))
    assert inside["system.machine"].found == "container (docker) in a virtual machine (KVM)"
    assert (inside["system.machine"].verdict, inside["system.clock"].verdict) == (WARN, WARN)
    for others, verdict in (((), PASS), (("VirtualBox",), WARN), (("Xen dom0",), FAIL)):
        assert systems(SystemFacts(other_hypervisors=others))["system.hypervisors"].verdict is verdict
    for servers, verdict in (((), FAIL), (("192.0.2.1",), PASS)):
        assert systems(SystemFacts(nameservers=servers))["system.dns"].verdict is verdict


def software(**tools: Tool) -> dict[str, Check]:
    none = Tool()
    facts = {"python": none, "ansible": none, "libvirt": none, "qemu": none, **tools}
    return by_id(
        check_software(ToolFacts(**facts, libvirt_daemon="virsh" not in facts["libvirt"].path), software=ASKED.software)
    )


@pytest.mark.parametrize(
    ("tool", "verdict", "found"),
    [
        (Tool(path="/q", version=(8, 2, 1)), PASS, "8.2.1"),
        (Tool(path="/q", version=(7, 2, 22)), FAIL, "7.2.22"),
        (Tool(), FAIL, "not installed"),
        (Tool(path="/q", unclear="/q did not finish within 4 s"), UNKNOWN, "/q did not finish within 4 s"),
        (
            Tool(unclear="a capture does not tell programs' versions"),
            UNKNOWN,
            "a capture does not tell programs' versions",
        ),
    ],
)
def test_programs(tool: Tool, verdict: Verdict, found: str) -> None:
    check = software(qemu=tool)["software.qemu"]
    assert (check.verdict, check.found) == (verdict, found)


@pytest.mark.parametrize(
    ("tool", "verdict"),
    [
        (Tool(), WARN),
        (Tool(path="/a", version=(2, 13)), WARN),
        (Tool(path="/a", version=(2, 14)), PASS),
        (Tool(path="/a", unclear="?"), UNKNOWN),
    ],
)
def test_a_host_without_ansible_is_no_failure_as_ai_how_brings_its_own(tool: Tool, verdict: Verdict) -> None:
    check = software(ansible=tool)["software.ansible"]
    assert check.verdict is verdict
    assert check.wanted == "2.14 or newer" and "brings its own" in check.why


def test_a_libvirt_client_alone_runs_nothing_here() -> None:
    check = software(libvirt=Tool(path="/usr/bin/virsh", version=(11, 0)))["software.libvirt"]
    assert (check.verdict, check.found) == (WARN, "only the client (11.0)")


@pytest.fixture(scope="module")
def production_host(tmp_path_factory: pytest.TempPathFactory) -> HostFacts:
    return good_facts(tmp_path_factory.mktemp("production"))


def hardware(facts: HostFacts, **changed: object) -> Hardware:
    found = {name: getattr(facts, name) for name in ("cpu", "memory", "storage", "network")}
    return Hardware(**{**found, "gpus": facts.passthrough.countable, **changed})  # type: ignore[arg-type] # each test names a fact with its own type


def cards(count: int, capability: tuple[int, int] | None = (8, 6)) -> tuple[Gpu, ...]:
    device = PciDevice(address="0000:01:00.0", vendor=NVIDIA, device=0x2230, class_code=0x030000)
    return (Gpu(device=device, name="A", compute_capability=capability),) * count


def test_a_good_host_passes_everything(production_host: HostFacts) -> None:
    checks = judge(production_host, wanted=Wanted(tier="production", subnet=SUBNET))
    assert [check for check in checks if check.verdict is not PASS] == []
    assert all(not check.fix for check in checks)
    assert assess(hardware(production_host), tiers=ASKED.tiers).reached == "production"
    assert all(readiness(checks, provider=provider).ready for provider in ("local", "libvirt", "inventory"))


def test_the_tier_says_what_is_missing_for_the_next(production_host: HostFacts) -> None:
    answer = assess(hardware(production_host, gpus=cards(2)), tiers=ASKED.tiers)
    assert (answer.reached, answer.next) == ("recommended", "production")
    assert answer.missing == ("NVIDIA GPUs: 2 GPUs (wanted: 4 GPUs, capability 7.0)",)
    assert assess(hardware(production_host, gpus=cards(1)), tiers=ASKED.tiers).reached is None


def test_a_tier_with_something_unknown_is_not_reached(production_host: HostFacts) -> None:
    answer = assess(hardware(production_host, gpus=None), tiers=ASKED.tiers)
    assert (answer.reached, answer.next, answer.missing) == (None, "minimum", ())
    assert answer.unclear == ("NVIDIA GPUs: the PCI bus cannot be read (wanted: 2 GPUs, capability 7.0)",)


@pytest.mark.parametrize(
    ("gpus", "verdict", "found"),
    [
        (cards(2), PASS, "2 GPUs"),
        (cards(2) + cards(1, (6, 1)) + cards(1, None), PASS, "4 GPUs, 1 below capability 7.0, 1 of unknown capability"),
        (cards(1) + cards(1, (6, 1)), FAIL, "2 GPUs, 1 below capability 7.0"),
        (cards(1) + cards(1, None), UNKNOWN, "2 GPUs, 1 of unknown capability"),
        ((), FAIL, "0 GPUs"),
    ],
)
def test_only_gpus_that_are_new_enough_count(gpus: tuple[Gpu, ...], verdict: Verdict, found: str) -> None:
    check = check_gpu_count(gpus, tier=ASKED.tier("minimum"))
    assert (check.verdict, check.found) == (verdict, found)


def test_what_a_capture_does_not_show_is_mended_on_the_machine_itself(production_host: HostFacts) -> None:
    captured = replace(production_host, live=False, listeners=None, routes=None)
    unknown = [check for check in judge(captured, wanted=Wanted(tier="minimum", subnet=SUBNET)) if check.fix]
    assert len(unknown) == 1 + len(ASKED.ports)
    assert {check.fix for check in unknown} == {"Run ai-how doctor on the machine itself"}


@given(cores=st.integers(1, 256), memory=st.integers(1, 4096), gpus=st.integers(0, 16))
def test_more_of_anything_never_lowers_the_tier(cores: int, memory: int, gpus: int) -> None:
    def level(more: int) -> int:
        found = Hardware(
            cpu=CpuFacts(cores=cores + more),
            memory=MemoryFacts(installed_gib=memory + more),
            storage=storage(Medium.NVME, size_gb=4000),
            network=network_of(FAST, bonds=(Bond(name="b", mode="802.3ad", members=("a", "b")),)),
            gpus=cards(gpus + more),
        )
        reached = assess(found, tiers=ASKED.tiers).reached
        return -1 if reached is None else TIER_NAMES.index(reached)

    assert level(8) >= level(1) >= level(0)


def test_every_check_matters_for_somebody_and_says_what_to_do(production_host: HostFacts, tmp_path: Path) -> None:
    poor = replace(
        production_host,
        cpu=CpuFacts(),
        memory=MemoryFacts(),
        numa=(),
        passthrough=observe_passthrough(Root(tmp_path)),
        kvm=KvmFacts(device=Device.MISSING, architecture="x86_64"),
        network=NetworkFacts(),
        routes=None,
        listeners=None,
        system=SystemFacts(),
        tools=ToolFacts(python=Tool(), ansible=Tool(), libvirt=Tool(), qemu=Tool()),
    )
    for check in judge(poor, wanted=Wanted(tier="production", subnet=SUBNET)):
        assert any(matters_for(check, provider) for provider in ("local", "libvirt", "inventory"))
        assert check.why.endswith(".")
        assert check.wanted and check.found and check.title
        assert check.fix or check.verdict is PASS
