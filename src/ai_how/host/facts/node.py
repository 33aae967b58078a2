"""A server as Kubernetes sees it: who it is, where it is reached, what is on it already. Read from a capture."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ai_how.host.facts.cpu import CpuFacts, observe_cpu
from ai_how.host.facts.gpus import Gpu
from ai_how.host.facts.memory import MemoryFacts, observe_memory
from ai_how.host.facts.mounts import mount_of
from ai_how.host.facts.network import NetworkFacts, observe_network
from ai_how.host.facts.passthrough import observe_passthrough
from ai_how.host.facts.routes import Route, observe_routes
from ai_how.host.facts.sockets import Listener, observe_listeners
from ai_how.host.facts.system import SystemFacts
from ai_how.host.remote.capture import Capture, Sudo
from ai_how.host.root import Root

RECORD = "var/lib/ai-how/node.json"
"""What we leave on a server that is a node of a site."""
_NET = "sys/class/net"
_CGROUPS = "/sys/fs/cgroup"
_KUBERNETES = {
    "etc/kubernetes/kubelet.conf": "/etc/kubernetes/kubelet.conf",
    "etc/kubernetes/admin.conf": "/etc/kubernetes/admin.conf",
    "etc/rancher/k3s": "K3s (/etc/rancher/k3s)",
    "etc/rancher/rke2": "RKE2 (/etc/rancher/rke2)",
    "var/snap/microk8s": "MicroK8s (/var/snap/microk8s)",
    "var/snap/k8s": "Canonical Kubernetes (/var/snap/k8s)",
}
_MADE = re.compile(r"(cali|vxlan\.calico|tunl|wireguard\.cali|kube-|nodelocaldns|cni|docker|veth|virbr)")
"""Interfaces that Kubernetes, its network or another program makes: no cards of the machine's own."""


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """What was read. ``addresses`` are all IPv4 addresses of its own but loopback's.

    ``macs`` are those of its cards by interface. ``record`` is what we left there, None where we did not.
    ``kubernetes`` names signs of a Kubernetes that is on it already. ``cgroups`` is the version of its control groups,
    None where that cannot be told.
    """

    hostname: str
    machine_id: str
    macs: Mapping[str, str]
    addresses: tuple[str, ...]
    reached_at: str
    python: tuple[int, ...]
    sudo: Sudo
    user: str
    systemd: bool
    cgroups: int | None
    cpu: CpuFacts
    memory: MemoryFacts
    network: NetworkFacts
    routes: tuple[Route, ...] | None
    listeners: tuple[Listener, ...] | None
    system: SystemFacts
    gpus: tuple[Gpu, ...]
    swaps: tuple[str, ...]
    disk_free_bytes: int
    disk_size_bytes: int
    record: Mapping[str, Any] | None
    kubernetes: tuple[str, ...]


def observe_node(capture: Capture) -> NodeFacts:
    """Read a capture."""
    root = capture.root
    network = observe_network(root)
    return NodeFacts(
        hostname=root.text("proc/sys/kernel/hostname") or "",
        machine_id=root.text("etc/machine-id") or "",
        macs={
            name: mac
            for name in network.names
            if (mac := root.text(f"{_NET}/{name}/address")) and mac.strip("0:") and not _MADE.match(name)
        },
        addresses=own_addresses(root.text("proc/net/fib_trie") or ""),
        reached_at=capture.reached_at,
        python=capture.python,
        sudo=capture.sudo,
        user=capture.user,
        systemd=root.exists("run/systemd/system"),
        cgroups=_cgroups(root),
        cpu=observe_cpu(root),
        memory=observe_memory(root),
        network=network,
        routes=_routes(observe_routes(root)),
        listeners=_owned(observe_listeners(root), capture.owners),
        system=capture.system(),
        gpus=tuple(gpu for gpu in observe_passthrough(root).gpus if gpu.supported),
        swaps=tuple(line.split()[0] for line in (root.text("proc/swaps") or "").splitlines()[1:] if line.split()),
        disk_free_bytes=capture.disk_free_bytes,
        disk_size_bytes=capture.disk_size_bytes,
        record=parse_record(root.text(RECORD)),
        kubernetes=tuple(name for path, name in _KUBERNETES.items() if root.exists(path)),
    )


def own_addresses(fib_trie: str) -> tuple[str, ...]:
    """The machine's own IPv4 addresses in ``/proc/net/fib_trie``, in its order; loopback's left out. Pure."""
    found: dict[str, None] = {}
    address = ""
    for line in fib_trie.splitlines():
        leaf = re.search(r"\|-- ([0-9.]+)\s*$", line)
        address = leaf[1] if leaf else address
        if address and not address.startswith("127.") and re.search(r"/32 host LOCAL", line):
            found[address] = None
    return tuple(found)


def parse_record(text: str | None) -> Mapping[str, Any] | None:
    """What we left on a server; a damaged one is an empty mapping, so that nobody takes it for none. Pure."""
    if text is None:
        return None
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _cgroups(root: Root) -> int | None:
    mount = mount_of(root, _CGROUPS)
    if mount is None or mount.point != _CGROUPS:
        return None
    return 2 if mount.filesystem == "cgroup2" else 1


def _routes(routes: tuple[Route, ...] | None) -> tuple[Route, ...] | None:
    return None if routes is None else tuple(route for route in routes if not _MADE.match(route.interface))


def _owned(listeners: tuple[Listener, ...] | None, owners: Mapping[int, str]) -> tuple[Listener, ...] | None:
    if listeners is None:
        return None
    return tuple(replace(listener, owner=owners.get(listener.inode, "")) for listener in listeners)
