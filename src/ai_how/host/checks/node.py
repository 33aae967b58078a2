"""Checks of a server that shall be a node of a Kubernetes cluster, each on its own. Pure.

What fails would make Kubespray fail, or break what is on the server already. Sources: Kubespray's preinstall checks
(systemd, least memory, address), the ports of Kubernetes' "Ports and Protocols" page and of Calico's VXLAN, kubelet's
``imagefs.available<15%`` among what it evicts pods at, kubeadm's two processors of a control plane, ansible-core 2.18's
least Python, Kubespray's ``kubelet_fail_cgroup_v1``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from ai_how.host.check import Check, Verdict
from ai_how.host.checks.compare import plural, version_at_least, version_text
from ai_how.host.checks.storage import gb_text
from ai_how.host.facts.node import NodeFacts
from ai_how.host.facts.sockets import Protocol
from ai_how.site.roles import DEFAULTS, Role

LEAST_PYTHON = (3, 8)
CGROUPS = 2
LEAST_MEMORY_MIB = {"control-plane": 1500, "worker": 1024}
LEAST_PROCESSORS = {"control-plane": 2, "worker": 1}
_EVICTION = 0.15
"""Of the disk that images lie on, also where nothing else does; of others a tenth."""
Port = tuple[Protocol, int, str]
_ALL_PORTS: tuple[Port, ...] = (
    ("tcp", 10250, "kubelet"),
    ("tcp", 10256, "kube-proxy"),
    ("udp", 4789, "Calico VXLAN"),
)
_CONTROL_PORTS: tuple[Port, ...] = (
    ("tcp", 6443, "Kubernetes API"),
    ("tcp", 2379, "etcd clients"),
    ("tcp", 2380, "etcd peers"),
    ("tcp", 10257, "controller manager"),
    ("tcp", 10259, "scheduler"),
)
_PARTS = {"etcd", "kubelet", "kube-apiserver", "kube-controller", "kube-scheduler", "kube-proxy"}
"""Programs of Kubernetes, as the kernel names their processes: by 15 characters at most."""
REACHED = {10250, 4789, 6443, 2379, 2380}
"""Of these ports, those that other nodes must reach; the rest a node asks of itself."""


@dataclass(frozen=True, kw_only=True)
class NodeWish:
    """What a server shall be. ``subnet`` is the cluster's where the site file names one.

    ``cluster_address`` is empty where the site file leaves it to us. ``ranges`` are those of pods and services, none
    where the cluster has no Kubernetes. ``gpus``: whether it needs one. ``set_up``: whether we have set Kubernetes up
    on it already. ``old_cgroups``: whether the site file lets kubelet start on version 1 of control groups.
    """

    name: str
    site: str
    cluster: str
    role: Role
    cluster_address: str = ""
    subnet: IPv4Network | None = None
    ranges: tuple[IPv4Network, ...] = ()
    gpus: bool = False
    set_up: bool = False
    old_cgroups: bool = False

    @property
    def kind(self) -> str:
        return "control-plane" if self.role == "control-plane" else "worker"


def ports_of(role: Role) -> tuple[Port, ...]:
    """The ports that a node of a role listens on."""
    return (*_CONTROL_PORTS, *_ALL_PORTS) if role == "control-plane" else _ALL_PORTS


def address_of_node(facts: NodeFacts, wish: NodeWish) -> str:
    """The address by which other nodes reach it; empty where it has none that would do. Pure."""
    if wish.cluster_address:
        return wish.cluster_address if wish.cluster_address in facts.addresses else ""
    fitting = [text for text in facts.addresses if wish.subnet is None or IPv4Address(text) in wish.subnet]
    return facts.reached_at if facts.reached_at in fitting else next(iter(fitting), "")


def check_node(facts: NodeFacts, wish: NodeWish) -> list[Check]:
    """All checks of one server."""
    checks = [_owner(facts, wish), _python(facts), _sudo(facts), _address(facts, wish), *_sizes(facts, wish)]
    if wish.ranges:
        checks += [_systemd(facts), _cgroups(facts, wish), _kubernetes(facts, wish), _swap(facts)]
        checks += [*_ranges(facts, wish), _ports(facts, wish)]
    if wish.gpus:
        checks.append(_gpus(facts))
    return checks


def _check(name: str, title: str, *, found: str, wanted: str, verdict: Verdict, why: str, fix: str) -> Check:
    return Check(
        id=f"node.{name}",
        title=title,
        found=found,
        wanted=wanted,
        verdict=verdict,
        why=why,
        fix="" if verdict is Verdict.PASS else fix,
    )


def is_ours(facts: NodeFacts, wish: NodeWish) -> bool:
    """Whether the server says that it is this very node. Pure."""
    wanted = {"site": wish.site, "cluster": wish.cluster}
    return facts.record is not None and all(facts.record.get(key) == value for key, value in wanted.items())


def _owner(facts: NodeFacts, wish: NodeWish) -> Check:
    ours = f"cluster {wish.cluster} of site {wish.site}"
    found, verdict = "nobody", Verdict.PASS
    if facts.record is not None:
        known = facts.record.get("site") and facts.record.get("cluster")
        other = f"cluster {facts.record.get('cluster')} of site {facts.record.get('site')}"
        found = other if known else "its record cannot be read"
        verdict = Verdict.PASS if is_ours(facts, wish) else Verdict.FAIL
    return _check(
        "owner",
        "Belongs to",
        found=found,
        wanted=f"nobody or {ours}",
        verdict=verdict,
        why="A server is a node of one cluster; another site's is left alone.",
        fix="Destroy that site, or take the server out of it; if it is no more: sudo rm /var/lib/ai-how/node.json",
    )


def _python(facts: NodeFacts) -> Check:
    return _check(
        "python",
        "Python",
        found=version_text(facts.python),
        wanted=f"{version_text(LEAST_PYTHON)} or newer",
        verdict=version_at_least(facts.python, LEAST_PYTHON),
        why="Ansible runs on it there.",
        fix="sudo apt install python3, of a newer release of the system",
    )


def _sudo(facts: NodeFacts) -> Check:
    words = {"root": "is root", "yes": "sudo, no password", "no": "sudo wants a password", "missing": "no sudo"}
    good = facts.sudo in ("root", "yes")
    allow = f"echo '{facts.user} ALL=(ALL) NOPASSWD:ALL' | sudo tee /etc/sudoers.d/ai-how"
    return _check(
        "sudo",
        f"Rights of {facts.user}",
        found=words[facts.sudo],
        wanted="root or sudo -n",
        verdict=Verdict.PASS if good else Verdict.FAIL,
        why="Kubernetes is set up as root, and nobody is there to type a password.",
        fix="As root: apt install sudo; then: " + allow if facts.sudo == "missing" else f"There: {allow}",
    )


def _systemd(facts: NodeFacts) -> Check:
    return _check(
        "systemd",
        "Init system",
        found="systemd" if facts.systemd else "another one",
        wanted="systemd",
        verdict=Verdict.PASS if facts.systemd else Verdict.FAIL,
        why="Kubespray makes kubelet, containerd and etcd its services.",
        fix="Use a server that was booted with systemd; a container is none",
    )


def _cgroups(facts: NodeFacts, wish: NodeWish) -> Check:
    found, verdict = f"version {facts.cgroups}", Verdict.PASS
    if facts.cgroups is None:
        found, verdict = "cannot be told", Verdict.UNKNOWN
    elif facts.cgroups < CGROUPS:
        verdict = Verdict.WARN if wish.old_cgroups else Verdict.FAIL
    return _check(
        "cgroups",
        "Control groups",
        found=found,
        wanted=f"version {CGROUPS}",
        verdict=verdict,
        why="kubelet does not start on version 1, unless extra_vars say kubelet_fail_cgroup_v1: false.",
        fix="Take systemd.unified_cgroup_hierarchy=0 off the kernel's command line, or a newer release of the system",
    )


def _kubernetes(facts: NodeFacts, wish: NodeWish) -> Check:
    foreign = bool(facts.kubernetes) and not is_ours(facts, wish)
    return _check(
        "kubernetes",
        "Other Kubernetes",
        found=", ".join(facts.kubernetes) if foreign else "none" if not facts.kubernetes else "this cluster's own",
        wanted="none",
        verdict=Verdict.FAIL if foreign else Verdict.PASS,
        why="Setting up a second one would break the first, and what runs on it.",
        fix="Use another server, or take that Kubernetes off with the tool that made it",
    )


def _swap(facts: NodeFacts) -> Check:
    return _check(
        "swap",
        "Swap",
        found=", ".join(facts.swaps) or "none",
        wanted="none",
        verdict=Verdict.WARN if facts.swaps else Verdict.PASS,
        why="kubelet does not start with swap; Kubespray switches it off and takes it out of /etc/fstab.",
        fix="To do it yourself: sudo swapoff -a, and comment its line out in /etc/fstab",
    )


def _address(facts: NodeFacts, wish: NodeWish) -> Check:
    found = address_of_node(facts, wish)
    wanted = wish.cluster_address or (f"one in {wish.subnet}" if wish.subnet else "an IPv4 address")
    return _check(
        "address",
        "Address",
        found=found or f"has {', '.join(facts.addresses) or 'none'}",
        wanted=wanted,
        verdict=Verdict.PASS if found else Verdict.FAIL,
        why="The nodes speak with each other by it; it must be the server's own.",
        fix="Give it such an address, or correct hosts[].cluster_address or clusters.<name>.subnet",
    )


def _ranges(facts: NodeFacts, wish: NodeWish) -> Iterator[Check]:
    routes = [route for route in facts.routes or () if isinstance(route.network, IPv4Network)]
    # once it is set up, or was in part, routes to pods are the cluster's own
    begun = wish.set_up or (is_ours(facts, wish) and bool(facts.kubernetes))
    clashing = [
        f"{route.network} via {route.interface or 'another table'}"
        for route in routes
        for taken in wish.ranges
        if not begun and route.network.overlaps(taken)
    ]
    yield _check(
        "ranges",
        "Pods, services",
        found="routes cannot be read" if facts.routes is None else ", ".join(clashing) or "overlap no route",
        wanted=", ".join(map(str, wish.ranges)),
        verdict=Verdict.UNKNOWN if facts.routes is None else Verdict.FAIL if clashing else Verdict.PASS,
        why="What has the same addresses as pods or services cannot be reached from this server any more.",
        fix="Write other ranges: kubernetes: {pod_cidr: ..., service_cidr: ...}; see: ip route",
    )


def _ports(facts: NodeFacts, wish: NodeWish) -> Check:
    wanted = ports_of(wish.role)
    # a set-up that broke off has left some of its services
    ours = is_ours(facts, wish)
    taken = [
        f"{port} ({service}) by {listener.owner or 'a program not seen'}"
        for protocol, port, service in wanted
        for listener in facts.listeners or ()
        if (listener.protocol, listener.port) == (protocol, port) and not (ours and _is_part(listener.owner))
    ]
    unique = list(dict.fromkeys(taken))
    found = "Kubernetes' own" if wish.set_up else "; ".join(unique) or "free"
    unknown = facts.listeners is None
    return _check(
        "ports",
        "Ports",
        found="sockets cannot be read" if unknown else found,
        wanted=", ".join(str(port) for _, port, _ in wanted),
        verdict=Verdict.UNKNOWN if unknown else Verdict.FAIL if unique and not wish.set_up else Verdict.PASS,
        why="Kubernetes' parts cannot listen where another program does.",
        fix="See who it is: sudo ss -tulnp; stop it or give it another port",
    )


def _is_part(owner: str) -> bool:
    """Whether a listener is of a program that Kubespray sets up; the kernel's own (VXLAN) has no owner. Pure."""
    return not owner or owner.partition(" ")[0] in _PARTS


def _sizes(facts: NodeFacts, wish: NodeWish) -> Iterator[Check]:
    usual = DEFAULTS[wish.role]
    threads, memory_gib = facts.cpu.threads, facts.memory.total_gib
    yield _check(
        "processors",
        "Processors",
        found="cannot be read" if threads is None else plural(threads, "thread"),
        wanted=f"{usual.vcpus} for a {wish.role}",
        verdict=_sized(threads, LEAST_PROCESSORS[wish.kind], usual.vcpus),
        why="The resource requirements give this role as many; kubeadm refuses a control plane with one.",
        fix="Use a larger server for this role",
    )
    yield _check(
        "memory",
        "Memory",
        found="cannot be read" if memory_gib is None else f"{memory_gib:.1f} GiB",
        wanted=f"{usual.memory_gib} GiB for a {wish.role}",
        # modules never show whole: firmware and kernel keep a part
        verdict=_sized(memory_gib, LEAST_MEMORY_MIB[wish.kind] / 1024, usual.memory_gib * 0.94),
        why="The resource requirements give this role as much; Kubespray refuses less than 1500 MiB, of a worker 1024.",
        fix="Use a larger server for this role",
    )
    free, size = facts.disk_free_bytes, facts.disk_size_bytes
    enough = Verdict.PASS if free >= usual.disk_gib * 1e9 else Verdict.WARN
    yield _check(
        "disk",
        "Free disk",
        found=f"{gb_text(free)} of {gb_text(size)} at /var/lib",
        wanted=f"{usual.disk_gib} GB for a {wish.role}",
        verdict=Verdict.FAIL if free < size * _EVICTION else enough,
        why="Images and volumes lie there; with less than 15 % free, kubelet throws pods off the node.",
        fix="Free space there, or mount a larger disk at /var/lib",
    )


def _sized(found: float | None, least: float, usual: float) -> Verdict:
    if found is None:
        return Verdict.UNKNOWN
    return Verdict.FAIL if found < least else Verdict.PASS if found >= usual else Verdict.WARN


def _gpus(facts: NodeFacts) -> Check:
    names = [gpu.name for gpu in facts.gpus]
    return _check(
        "gpus",
        "GPUs",
        found=", ".join(names) or "no NVIDIA GPU",
        wanted="1 or more",
        verdict=Verdict.PASS if names else Verdict.FAIL,
        why="A GPU worker without a GPU runs no model.",
        fix="Write another role for it, such as cpu-worker; see: lspci -d 10de:",
    )
