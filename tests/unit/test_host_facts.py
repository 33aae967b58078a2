"""What a machine has, read from captures of real machines and from trees of unusual ones."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from ai_how.capacity.types import NumaCapacity
from ai_how.errors import ProviderError
from ai_how.host.capacity import observe_capacity
from ai_how.host.facts.cpu import observe_cpu
from ai_how.host.facts.limits import observe_limits
from ai_how.host.facts.memory import observe_memory
from ai_how.host.facts.mounts import mount_of
from ai_how.host.facts.network import observe_network
from ai_how.host.facts.numa import observe_numa
from ai_how.host.facts.passthrough import observe_passthrough
from ai_how.host.facts.routes import observe_routes
from ai_how.host.facts.sockets import observe_listeners, with_owners
from ai_how.host.facts.storage import Medium, observe_storage
from ai_how.host.facts.system import observe_system
from ai_how.host.facts.tools import observe_tools
from ai_how.host.root import Root

from ..host_trees import (
    ARM_BOARD,
    CLOUD_GPU,
    LAPTOP,
    ROUTE_HEAD,
    SOCKET_HEAD,
    big_server,
    capture,
    good_host,
    socket_line,
    tree,
)
from ..pci_tree import add_gpu, sound_host


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Root:
    return capture(tmp_path_factory.mktemp("laptop"), LAPTOP)


def test_a_laptop_has_fewer_cores_than_threads_and_not_half_as_many(laptop: Root) -> None:
    cpu = observe_cpu(laptop)
    assert (cpu.cores, cpu.threads, cpu.sockets) == (12, 16, 1)
    assert (cpu.architecture, cpu.virtualization, cpu.hypervisor) == ("x86_64", "vmx", False)
    assert cpu.model == "12th Gen Intel(R) Core(TM) i7-1270P"


def test_a_laptop_s_memory_is_less_than_its_modules(laptop: Root) -> None:
    memory = observe_memory(laptop)
    assert memory.installed_gib == 31.875
    assert memory.total_gib == pytest.approx(31.035, abs=0.001)
    assert [pages.size_kib for pages in memory.hugepages] == [2048, 1048576]
    assert [(node.id, len(node.cpus)) for node in observe_numa(laptop)] == [(0, 16)]


def test_a_cloud_machine_is_a_virtual_one(tmp_path: Path) -> None:
    root = capture(tmp_path, CLOUD_GPU)
    cpu = observe_cpu(root)
    assert (cpu.cores, cpu.threads, cpu.virtualization, cpu.hypervisor) == (8, 8, "vmx", True)
    assert observe_system(root).virtual_machine == "unnamed"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Root:
    return tree(tmp_path_factory.mktemp("server"), big_server(offline=range(500, 512)))


def test_512_processors_some_switched_off(server: Root) -> None:
    cpu = observe_cpu(server)
    assert (cpu.threads, cpu.offline, cpu.sockets) == (500, 12, 2)
    # their siblings still run: no core is lost
    assert cpu.cores == 256
    assert cpu.governors == (("performance", 500),)
    assert cpu.scaling_driver == "acpi-cpufreq"


def test_two_tebibytes_on_two_nodes(server: Root) -> None:
    memory = observe_memory(server)
    assert memory.installed_gib == 2048
    assert memory.hugepages_gib == 512
    assert [(node.memory_gib, len(node.cpus)) for node in observe_numa(server)] == [(1024, 256), (1024, 244)]


def test_arm_has_features_instead_of_flags(tmp_path: Path) -> None:
    root = tree(tmp_path, ARM_BOARD)
    cpu = observe_cpu(root)
    assert (cpu.architecture, cpu.cores, cpu.threads) == ("aarch64", 4, 4)
    assert (cpu.virtualization, cpu.hypervisor, cpu.sockets) == (None, None, None)
    assert cpu.model == "Some Board"
    assert observe_numa(root) == ()


def test_without_sysfs_cores_come_from_cpuinfo(tmp_path: Path) -> None:
    text = "".join(f"processor: {n}\nphysical id: {n // 4}\ncore id: {n % 4 // 2}\nflags: lm\n\n" for n in range(8))
    cpu = observe_cpu(tree(tmp_path, {"proc/cpuinfo": text}))
    assert (cpu.cores, cpu.threads, cpu.sockets) == (4, 8, 2)


def test_an_empty_tree_is_unknown_not_an_error(tmp_path: Path) -> None:
    root = tree(tmp_path, {})
    assert (observe_cpu(root).cores, observe_cpu(root).threads) == (None, None)
    assert observe_memory(root).total_gib is None
    assert observe_routes(root) is None
    assert observe_listeners(root) is None
    assert observe_system(root).nameservers is None
    assert observe_storage(root, path="/var").unclear == "the mount table cannot be read"
    assert observe_network(root).names == ()
    assert not observe_tools(root).qemu.path


@pytest.mark.parametrize(
    ("files", "cores", "memory_gib"),
    [
        (
            {
                "proc/self/cgroup": "1:name=systemd:/other\n0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/a/cpu.max": "250000 100000\n",
            },
            2.5,
            None,
        ),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/memory.max": str(3 * 2**30),
            },
            None,
            3,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(8 * 2**30),
            },
            4,
            8,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/\n5:cpu:/../../x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            None,
            None,
        ),
    ],
    ids=["v2 above", "v2 outermost", "v1 in a container", "v1 without limits"],
)
def test_limits_of_control_groups(
    tmp_path: Path, files: dict[str, str], cores: float | None, memory_gib: float | None
) -> None:
    limits = observe_limits(tree(tmp_path, files))
    assert (limits.cores, limits.memory_gib) == (cores, memory_gib)


def test_nvidia_gpus_are_counted(tmp_path: Path, laptop: Root) -> None:
    assert len(observe_passthrough(capture(tmp_path, CLOUD_GPU)).countable or ()) == 1
    assert observe_passthrough(laptop).countable == ()
    assert observe_passthrough(Root(tmp_path)).countable is None


def test_capacity_has_the_gpus_and_what_keeps_each_from_a_guest(tmp_path: Path) -> None:
    files = {**big_server(sockets=1, cores=8, memory_gib=64), "proc/self/status": "Cpus_allowed_list:\t0-15\n"}
    cpuinfo = files.pop("proc/cpuinfo")
    machine = sound_host(tmp_path)
    add_gpu(machine)
    add_gpu(machine, "0000:75:00.0", port="0000:74:00.0", group=None)
    tree(tmp_path, files)
    machine.write("proc/cpuinfo", cpuinfo)
    host = observe_capacity(machine.root, name="h", disk_path="/srv", disk_gib=1)
    assert [(gpu.pci_address, gpu.name, gpu.memory_gib, gpu.blocked) for gpu in host.gpus] == [
        ("0000:65:00.0", "NVIDIA RTX A6000", 48, ""),
        ("0000:75:00.0", "NVIDIA RTX A6000", 48, "Group of 75:00.0: in no IOMMU group"),
    ]
    assert observe_capacity(machine.root, name="h", disk_path="/srv", disk_gib=1, gpus=()).gpus == ()


def test_capacity_is_what_the_container_may_have(tmp_path: Path) -> None:
    files = {
        **big_server(sockets=1, cores=8, memory_gib=64),
        "proc/self/status": "Cpus_allowed_list:\t0-3,8-11\n",
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": str(16 * 2**30),
    }
    host = observe_capacity(tree(tmp_path, files), name="a", disk_path="/srv", disk_gib=100)
    assert (host.cores, host.threads, host.memory_gib, host.disk_gib) == (4, 8, 16, 100)
    assert host.numa == (NumaCapacity(id=0, threads=8, memory_gib=64),)


def test_capacity_that_cannot_be_told_says_what_is_missing(laptop: Root) -> None:
    with pytest.raises(ProviderError) as raised:
        observe_capacity(laptop, name="laptop", disk_path="/srv")
    assert raised.value.evidence == "not readable: free space at /srv"


def test_capacity_of_a_capture(tmp_path: Path) -> None:
    host = observe_capacity(tree(tmp_path, good_host()), name="big", disk_path="/srv", disk_gib=2000)
    assert (host.cores, host.threads, host.network_mbps, host.hugepages_gib) == (32, 64, 20000, 512)


NVME = {
    "sys/block/nvme0n1/size": "2000409264\n",
    "sys/block/nvme0n1/queue/rotational": "0\n",
    "sys/block/nvme0n1/device/transport": "pcie\n",
    "sys/block/nvme0n1/nvme0n1p2/partition": "2\n",
    "sys/block/nvme0n1/nvme0n1p2/dev": "259:2\n",
}
SATA = {
    "sys/block/sda/size": "100\n",
    "sys/block/sda/dev": "8:0\n",
    "sys/block/sda/queue/rotational": "1\n",
    "sys/block/sda/device/model": "ST4000\n",
    "sys/block/sda/sda1/partition": "1\n",
    "sys/block/sda/sda1/dev": "8:1\n",
}


def mounted(device: str, kind: str, source: str, *, point: str = "/") -> str:
    return f"22 1 {device} / {point} rw,relatime shared:1 - {kind} {source} rw\n"


@pytest.mark.parametrize(
    ("files", "media", "unclear"),
    [
        ({**NVME, "proc/self/mountinfo": mounted("259:2", "ext4", "/dev/nvme0n1p2")}, [Medium.NVME], ""),
        ({**SATA, "proc/self/mountinfo": mounted("8:1", "ext4", "/dev/root")}, [Medium.ROTATIONAL], ""),
        (
            {**SATA, "sys/block/sda/queue/rotational": "0", "proc/self/mounts": "/dev/sda1 / xfs rw 0 0\n"},
            [Medium.SSD],
            "",
        ),
        (
            {**SATA, "sys/block/sda/device/model": "QEMU HARDDISK", "proc/self/mounts": "/dev/sda1 / xfs rw 0 0\n"},
            [Medium.VIRTUAL],
            "sda is a virtual disk",
        ),
        ({"proc/self/mountinfo": mounted("0:50", "nfs4", "nas:/vol")}, [Medium.NETWORK], "nfs4 from nas:/vol"),
        ({"proc/self/mountinfo": mounted("0:50", "fuse.sshfs", "me@x:/")}, [Medium.NETWORK], "fuse.sshfs"),
        ({"proc/self/mountinfo": mounted("0:50", "tmpfs", "tmpfs")}, [Medium.MEMORY], ""),
        ({"proc/self/mountinfo": mounted("0:50", "overlay", "overlay")}, [], "an overlay"),
        ({"proc/self/mountinfo": mounted("0:50", "zfs", "tank/vm")}, [], "zpool list -v"),
        ({"proc/self/mountinfo": mounted("0:50", "btrfs", "/dev/sdz")}, [], "/dev/sdz is not in the list"),
        ({"proc/self/mountinfo": "nonsense - \n1 2\n"}, [], "the mount table cannot be read"),
    ],
)
def test_the_way_down_to_a_disk(tmp_path: Path, files: dict[str, str], media: list[Medium], unclear: str) -> None:
    found = observe_storage(tree(tmp_path, files), path="/var/lib/libvirt/images")
    assert [disk.medium for disk in found.disks] == media
    assert unclear in found.unclear
    assert bool(unclear) == bool(found.unclear)


def test_lvm_over_md_leads_to_all_disks_and_the_worst_is_seen(tmp_path: Path) -> None:
    files = {**NVME, **SATA, "sys/block/dm-0/dm/name": "vg-vm\n", "sys/block/dm-0/size": "5\n"}
    files["proc/self/mounts"] = "/dev/mapper/vg-vm /srv/my\\040vm ext4 ro,relatime 0 0\n"
    links = {
        "sys/block/dm-0/slaves/md0": "../../md0",
        "sys/block/md0/slaves/nvme0n1p2": "../../nvme0n1/nvme0n1p2",
        "sys/block/md0/slaves/sda1": "../../sda/sda1",
    }
    found = observe_storage(tree(tmp_path, files, links=links), path="/srv/my vm/images")
    assert [(disk.name, disk.medium) for disk in found.disks] == [
        ("nvme0n1", Medium.NVME),
        ("sda", Medium.ROTATIONAL),
    ]
    assert found.read_only


def test_a_circle_of_slaves_ends(tmp_path: Path) -> None:
    files = {"proc/self/mounts": "/dev/dm-0 / ext4 rw 0 0\n", "sys/block/dm-0/size": "5\n"}
    found = observe_storage(tree(tmp_path, files, links={"sys/block/dm-0/slaves/dm-0": "../../dm-0"}), path="/")
    assert "does not say what dm-0 is made of" in found.unclear


def test_nvme_over_a_network_is_no_local_nvme(tmp_path: Path) -> None:
    files = {**NVME, "sys/block/nvme0n1/device/transport": "tcp\n"}
    files["proc/self/mounts"] = "/dev/nvme0n1p2 / ext4 rw 0 0\n"
    assert observe_storage(tree(tmp_path, files), path="/").disks[0].medium is Medium.NETWORK


def test_a_capture_s_luks_device_without_its_name_is_unknown(laptop: Root) -> None:
    found = observe_storage(laptop, path="/home/me")
    assert (found.filesystem, found.disks, found.free_bytes) == ("btrfs", (), None)
    assert "is not in the list of block devices" in found.unclear


def test_the_last_mount_on_a_point_hides_the_others(tmp_path: Path) -> None:
    text = mounted("8:1", "ext4", "/dev/a") + mounted("8:2", "xfs", "/dev/b") + mounted("8:3", "xfs", "/c", point="/cc")
    found = mount_of(tree(tmp_path, {"proc/self/mountinfo": text}), "/c/d")
    assert found is not None
    assert found.source == "/dev/b"


def test_cards_bonds_and_bridges(tmp_path: Path) -> None:
    files = {
        **good_host(),
        "sys/class/net/virbr0/bridge/bridge_id": "x",
        "sys/class/net/bonding_masters": "bond0\n",
        "sys/class/net/eno3/device/vendor": "0x1\n",
        "sys/class/net/eno3/operstate": "down\n",
        "sys/class/net/eno3/speed": "-1\n",
    }
    links = {"sys/class/net/eno1/master": "../bond0", "sys/class/net/eno1/device/driver": "../../drivers/ixgbe"}
    found = observe_network(tree(tmp_path, files, links=links))
    assert "bonding_masters" not in found.names
    assert [(nic.name, nic.up, nic.speed_mbps, nic.driver, nic.bond) for nic in found.nics] == [
        ("eno1", True, 10000, "ixgbe", "bond0"),
        ("eno2", True, 10000, "", ""),
        ("eno3", False, None, "", ""),
    ]
    assert [(bond.mode, bond.members) for bond in found.bonds] == [("802.3ad", ("eno1", "eno2"))]
    assert found.bridges == ("virbr0",)
    assert found.fastest_mbps == 20000


def test_routes_of_both_families_and_of_other_tables(tmp_path: Path) -> None:
    files = {
        "proc/net/route": ROUTE_HEAD
        + "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        + "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        + "eth0\t0000FEA9\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        + "broken\tzz\n",
        "proc/net/ipv6_route": "20010db8000000000000000000000000 20 "
        + "0" * 32
        + " 00 "
        + "0" * 32
        + " 00000100 00000001 00000000 00000001     eth0\n",
        "proc/net/fib_trie": "Id 51820:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 192.168.200.0\n        /24 link UNICAST\n"
        "     |-- 127.0.0.0\n        /8 host LOCAL\n",
    }
    found = observe_routes(tree(tmp_path, files))
    assert found is not None
    assert [(route.network, route.interface) for route in found] == [
        (ip_network("192.0.2.0/24"), "eth0"),
        (ip_network("2001:db8::/32"), "eth0"),
        (ip_network("192.168.200.0/24"), ""),
    ]


def test_listeners_of_all_four_tables_with_their_owner(tmp_path: Path) -> None:
    files = {
        "proc/net/tcp": SOCKET_HEAD + socket_line(6443, address="0100007F", inode=11) + socket_line(80, state="01"),
        "proc/net/tcp6": SOCKET_HEAD + socket_line(5000, address="0" * 24 + "01000000", inode=12),
        "proc/net/udp": SOCKET_HEAD + socket_line(4789, state="07", inode=13),
        "proc/net/udp6": "cut of",
        "proc/42/comm": "kube-apiserver\n",
    }
    root = tree(tmp_path, files, links={"proc/42/fd/3": "socket:[11]", "proc/43/fd/1": "/dev/null"})
    found = observe_listeners(root)
    assert found is not None
    assert [(at.protocol, at.port, at.address, at.owner) for at in with_owners(root, found)] == [
        ("tcp", 5000, "::1", ""),
        ("tcp", 6443, "127.0.0.1", "kube-apiserver (process 42)"),
        ("udp", 4789, "0.0.0.0", ""),
    ]


@pytest.mark.parametrize(
    ("files", "container"),
    [
        ({"proc/sys/kernel/osrelease": "5.15.1-microsoft-standard-WSL2\n"}, "WSL"),
        ({"proc/1/environ": "A=b\0container=lxc\0"}, "lxc"),
        ({"run/systemd/container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({".dockerenv": "", "proc/self/mounts": "overlay / overlay rw 0 0\n"}, "docker"),
        ({".dockerenv": "", "proc/self/mounts": "/dev/vda / ext4 rw 0 0\n"}, ""),
        ({"proc/1/cgroup": "3:cpu:/kubepods/pod1\n"}, "kubepods"),
    ],
)
def test_containers_are_told(tmp_path: Path, files: dict[str, str], container: str) -> None:
    assert observe_system(tree(tmp_path, files)).container == container


@pytest.mark.parametrize(
    ("files", "virtual_machine", "others"),
    [
        ({"sys/class/dmi/id/sys_vendor": "QEMU", "proc/modules": "kvm 1\n"}, "QEMU", ()),
        ({"proc/modules": "vboxdrv 1 0\nvmmon 2\n"}, "", ("VirtualBox", "VMware")),
        (
            {
                "proc/xen/capabilities": "control_d\n",
                "sys/hypervisor/type": "xen\n",
                "proc/cpuinfo": "flags: hypervisor",
            },
            "",
            ("Xen dom0",),
        ),
        ({"sys/hypervisor/type": "xen\n"}, "Xen", None),
    ],
)
def test_hypervisors_under_and_beside_us(
    tmp_path: Path, files: dict[str, str], virtual_machine: str, others: tuple[str, ...] | None
) -> None:
    system = observe_system(tree(tmp_path, files))
    assert (system.virtual_machine, system.other_hypervisors) == (virtual_machine, others)


def test_name_servers_behind_the_stub_of_systemd_resolved(tmp_path: Path) -> None:
    files = {"etc/resolv.conf": "nameserver 127.0.0.53\n", "run/systemd/resolve/resolv.conf": "# none\n"}
    assert observe_system(tree(tmp_path, files)).nameservers == ()


def test_a_capture_s_absolute_link_does_not_lead_to_this_machine(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("nameserver 192.0.2.1\n")
    root = tree(tmp_path / "capture", {}, links={"etc/resolv.conf": str(outside)})
    assert root.text("etc/resolv.conf") is None
    assert root.data("etc/resolv.conf") is None
    assert Root(tmp_path / "capture").resolved("etc/resolv.conf") is None
