"""Sent to a machine and run there: prints what the doctor's checks read, as one line of JSON. Writes nothing.

Argument: what was found out about sudo. Only what is small and what checks need is read.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import glob
import json
import os
import sys
import time

MARK = "ai-how-facts:"
LONGEST_BYTES = 1 << 20
FILES = (
    "proc/cpuinfo",
    "proc/meminfo",
    "proc/version",
    "proc/modules",
    "proc/swaps",
    "proc/self/mountinfo",
    "proc/self/cgroup",
    "proc/self/status",
    "proc/1/cgroup",
    "proc/net/route",
    "proc/net/ipv6_route",
    "proc/net/fib_trie",
    "proc/net/tcp",
    "proc/net/tcp6",
    "proc/net/udp",
    "proc/net/udp6",
    "proc/sys/kernel/osrelease",
    "proc/sys/kernel/arch",
    "proc/sys/kernel/hostname",
    "proc/driver/nvidia/version",
    "proc/driver/nvidia/gpus/*/information",
    "etc/os-release",
    "usr/lib/os-release",
    "etc/resolv.conf",
    "etc/machine-id",
    "run/systemd/resolve/resolv.conf",
    "var/lib/ai-how/node.json",
    "sys/hypervisor/type",
    "sys/class/dmi/id/sys_vendor",
    "sys/class/dmi/id/product_name",
    "sys/devices/system/cpu/online",
    "sys/devices/system/cpu/present",
    "sys/devices/system/cpu/cpu[0-9]*/topology/core_cpus_list",
    "sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list",
    "sys/devices/system/cpu/cpu[0-9]*/topology/physical_package_id",
    "sys/devices/system/node/online",
    "sys/devices/system/node/node[0-9]*/cpulist",
    "sys/devices/system/node/node[0-9]*/meminfo",
    "sys/class/net/*/address",
    "sys/class/net/*/operstate",
    "sys/class/net/*/speed",
    "sys/class/net/*/bonding/mode",
    "sys/class/net/*/bonding/slaves",
)
THERE = (
    "run/systemd/system",
    "run/systemd/timesync/synchronized",
    "etc/kubernetes/admin.conf",
    "etc/kubernetes/kubelet.conf",
    "etc/rancher/k3s",
    "etc/rancher/rke2",
    "var/snap/microk8s",
    "var/snap/k8s",
    "sys/class/net/*/bridge",
)
"""Of these it matters whether they are there, not what is in them."""
LINKS = ("sys/class/net/*/device", "sys/class/net/*/device/driver", "sys/class/net/*/master")
DISPLAY = ("vendor", "device", "class", "subsystem_vendor", "subsystem_device", "revision", "numa_node")
DISPLAY_LINKS = ("driver", "iommu_group")
DISK = "/var/lib"
"""Where Kubernetes keeps images, volumes and etcd's data."""


def main() -> None:
    files: dict[str, str] = {}
    links: dict[str, str] = {}
    for pattern in FILES:
        for path in glob.glob("/" + pattern):
            keep(files, path)
    for pattern in THERE:
        for path in glob.glob("/" + pattern):
            files.setdefault(path[1:], "")
    for pattern in LINKS:
        for path in glob.glob("/" + pattern):
            follow(links, path)
    for folder in glob.glob("/sys/bus/pci/devices/*"):
        if (read(folder + "/class") or b"").startswith(b"0x03"):
            for name in DISPLAY:
                keep(files, folder + "/" + name)
            for name in DISPLAY_LINKS:
                follow(links, folder + "/" + name)
    disk = os.statvfs(DISK)
    found = {
        "python": list(sys.version_info[:3]),
        "sudo": sys.argv[1],
        "user": os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid()),
        "reached_at": (os.environ.get("SSH_CONNECTION", "").split() + [""] * 3)[2],
        "disk": {"free_bytes": disk.f_bavail * disk.f_frsize, "size_bytes": disk.f_blocks * disk.f_frsize},
        "clock_synchronised": clock_synchronised(),
        "owners": owners(),
        "files": files,
        "links": links,
        "time_s": time.time(),
    }
    print("\n" + MARK + json.dumps(found))


def read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(LONGEST_BYTES)
    except OSError:
        return None


def keep(files: dict[str, str], path: str) -> None:
    data = read(path)
    if data is not None:
        files[path[1:]] = base64.b64encode(data).decode()


def follow(links: dict[str, str], path: str) -> None:
    with contextlib.suppress(OSError):
        links[path[1:]] = os.readlink(path)


def clock_synchronised() -> bool | None:
    buffer = ctypes.create_string_buffer(512)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    # struct timex: modes (int, padded), offset, freq, maxerror, esterror (longs), status (int); STA_UNSYNC is 0x40
    word = ctypes.sizeof(ctypes.c_long)
    status = ctypes.c_int.from_buffer(buffer, 5 * word).value
    return None if state < 0 else not status & 0x40


def owners() -> dict[str, str]:
    """Whose each listening socket is, as far as this user may see: inode -> program and process."""
    wanted: set[str] = set()
    found: dict[str, str] = {}
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in (read("/proc/net/" + name) or b"").decode().splitlines()[1:]:
            row = line.split()
            if len(row) > 9 and row[3] in ("0A", "07"):
                wanted.add(f"socket:[{row[9]}]")
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target in wanted:
            pid = link.split("/")[2]
            name = (read(f"/proc/{pid}/comm") or b"process").decode(errors="replace").strip()
            found.setdefault(target[8:-1], f"{name} (process {pid})")
    return found


main()
