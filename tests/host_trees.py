"""Trees of /sys, /proc and /etc that stand for machines: built file by file, or unpacked captures of real ones."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ai_how.host.doctor import HostFacts, observe
from ai_how.host.facts.kvm import Device, GuestFacts, KvmFacts
from ai_how.host.facts.kvm_firmware import FirmwareFacts
from ai_how.host.facts.nvidia_smi import SmiFacts, SmiGpu
from ai_how.host.facts.passthrough import PassthroughFacts, observe_passthrough
from ai_how.host.facts.tools import Tool, ToolFacts
from ai_how.host.root import Root

from .pci_tree import add_gpu, sound_host

CAPTURES = Path(__file__).parent / "fixtures" / "sysfs"
LAPTOP = "linux-amd64-415ee03b8c4d1c4f07ae2e9d8b3d3d6d"
CLOUD_GPU = "linux-amd64-accel-nvidia"


def capture(folder: Path, name: str) -> Root:
    """A real machine's capture, unpacked into a new folder; links and names that lead out of it are refused."""
    target = folder / name
    with tarfile.open(CAPTURES / f"{name}.tar.gz") as archive:
        archive.extractall(target, filter="data")
    return Root(target)


def tree(folder: Path, files: Mapping[str, str | bytes], *, links: Mapping[str, str] | None = None) -> Root:
    """Files by their path; ``links`` by path and target."""
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    for path, target in (links or {}).items():
        link = folder / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    return Root(folder)


def big_server(
    *, sockets: int = 2, cores: int = 128, offline: Iterable[int] = (), memory_gib: int = 2048
) -> dict[str, str]:
    """A server with two threads a core: the second threads are numbered after all first ones."""
    threads = sockets * cores * 2
    off = set(offline)
    on = [thread for thread in range(threads) if thread not in off]
    files = {
        "proc/sys/kernel/arch": "x86_64\n",
        "proc/cpuinfo": "".join(f"processor\t: {n}\nmodel name\t: EPYC\nflags\t\t: fpu lm svm\n\n" for n in on),
        "proc/meminfo": f"MemTotal: {memory_gib * 2**20 * 98 // 100} kB\nMemAvailable: {memory_gib * 2**19} kB\n",
        "sys/devices/system/cpu/online": ",".join(map(str, on)) + "\n",
        "sys/devices/system/cpu/present": f"0-{threads - 1}\n",
        "sys/devices/system/memory/block_size_bytes": "80000000\n",
        "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "512\n",
        "sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages": "500\n",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0\n",
    }
    for block in range(memory_gib // 2):
        files[f"sys/devices/system/memory/memory{block}/state"] = "online\n"
    for thread in on:
        folder = f"sys/devices/system/cpu/cpu{thread}"
        first = thread % (threads // 2)
        pair = [number for number in (first, first + threads // 2) if number not in off]
        files[f"{folder}/topology/core_cpus_list"] = ",".join(map(str, pair)) + "\n"
        files[f"{folder}/topology/physical_package_id"] = f"{first // cores}\n"
        files[f"{folder}/cpufreq/scaling_governor"] = "performance\n"
    files["sys/devices/system/cpu/cpu0/cpufreq/scaling_driver"] = "acpi-cpufreq\n"
    for node in range(sockets):
        cpus = [thread for thread in on if (thread % (threads // 2)) // cores == node]
        folder = f"sys/devices/system/node/node{node}"
        files[f"{folder}/cpulist"] = ",".join(map(str, cpus)) + "\n"
        files[f"{folder}/meminfo"] = f"Node {node} MemTotal:  {memory_gib // sockets * 2**20} kB\n"
    return files


ARM_BOARD = {
    "proc/cpuinfo": "".join(
        f"processor\t: {n}\nFeatures\t: fp asimd aes\nCPU implementer\t: 0x41\nCPU architecture: 8\n\n"
        for n in range(4)
    )
    + "Model\t\t: Some Board\n",
    "proc/meminfo": "MemTotal:        8000000 kB\n",
    "sys/devices/system/cpu/online": "0-3\n",
    **{f"sys/devices/system/cpu/cpu{n}/topology/core_cpus_list": f"{n}\n" for n in range(4)},
    **{f"sys/devices/system/cpu/cpu{n}/topology/physical_package_id": "-1\n" for n in range(4)},
}


def good_host(*, cores: int = 16, memory_gib: int = 256) -> dict[str, str]:
    """A production host: Debian 13 on two sockets, two bonded cards, an NVMe disk."""
    return {
        **big_server(sockets=2, cores=cores, memory_gib=memory_gib),
        "proc/sys/kernel/osrelease": "6.12.48+deb13-amd64\n",
        "etc/os-release": 'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
        "etc/resolv.conf": "nameserver 192.0.2.53\n",
        "run/systemd/timesync/synchronized": "",
        "proc/modules": "kvm_amd 1 0 - Live 0x0\nkvm 1 1 kvm_amd, Live 0x0\n",
        "proc/self/status": f"Name:\tx\nCpus_allowed_list:\t0-{4 * cores - 1}\n",
        "proc/self/cgroup": "0::/user.slice\n",
        "proc/self/mountinfo": "22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw\n",
        "proc/net/route": ROUTE_HEAD + "bond0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
        "proc/net/tcp": SOCKET_HEAD,
        "proc/net/udp": SOCKET_HEAD,
        **{f"sys/class/net/{name}/operstate": "up\n" for name in ("eno1", "eno2", "bond0")},
        **{f"sys/class/net/{name}/device/vendor": "0x8086\n" for name in ("eno1", "eno2")},
        **{f"sys/class/net/{name}/speed": "10000\n" for name in ("eno1", "eno2")},
        "sys/class/net/lo/operstate": "unknown\n",
        "sys/class/net/bond0/speed": "20000\n",
        "sys/class/net/bond0/bonding/mode": "802.3ad 4\n",
        "sys/class/net/bond0/bonding/slaves": "eno1 eno2\n",
        "sys/block/nvme0n1/size": str(4_000_787_030_016 // 512),
        "sys/block/nvme0n1/queue/rotational": "0\n",
        "sys/block/nvme0n1/device/transport": "pcie\n",
        "sys/block/nvme0n1/device/model": "SAMSUNG MZQL2\n",
        "sys/block/nvme0n1/nvme0n1p2/partition": "2\n",
        "sys/block/nvme0n1/nvme0n1p2/dev": "259:2\n",
    }


def good_gpus(folder: Path) -> PassthroughFacts:
    """Four GPUs, each in a group of its own and kept for guests, with SR-IOV and Multi-Instance off."""
    pci = sound_host(folder)
    addresses = [
        add_gpu(
            pci,
            f"0000:{number}1:00.0",
            port=f"0000:{number}0:00.0",
            group=f"{number}1",
            port_group=f"{number}0",
            files={"sriov_totalvfs": "16", "sriov_numvfs": "0"},
        )
        for number in range(4)
    ]
    cards = tuple(SmiGpu(address=address, name="NVIDIA RTX A6000", mig=False) for address in addresses)
    return observe_passthrough(pci.root, smi=SmiFacts(driver_version="570.1", gpus=cards, installed=True))


GOOD_KVM = KvmFacts(
    device=Device.OPENS,
    architecture="x86_64",
    guest=GuestFacts(complete=True, instructions_per_s=2_000_000_000),
    firmware=FirmwareFacts(program="qemu-system-x86_64", booted=True),
)


def good_facts(folder: Path) -> HostFacts:
    """All facts of the production host, those too that only a live machine tells."""
    facts = observe(tree(folder / "host", good_host()), disk_path="/srv", site_path="/srv")
    free = replace(facts.storage, free_bytes=3 * 10**12)
    tools = ToolFacts(
        python=Tool(path="/p", version=(3, 13)),
        ansible=Tool(path="/a", version=(2, 19)),
        libvirt=Tool(path="/l", version=(11, 3)),
        qemu=Tool(path="/q", version=(10, 0)),
        libvirt_daemon=True,
    )
    return replace(
        facts,
        live=True,
        storage=free,
        site_storage=free,
        tools=tools,
        passthrough=good_gpus(folder / "pci"),
        kvm=GOOD_KVM,
    )


ROUTE_HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
SOCKET_HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def socket_line(port: int, *, address: str = "00000000", state: str = "0A", inode: int = 7) -> str:
    """One line of ``/proc/net/tcp`` or ``udp``."""
    empty = "0" * len(address)
    return (
        f"   0: {address}:{port:04X} {empty}:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode}"
        " 1 0000000000000000 100 0 0 10 0\n"
    )
