"""The doctor: observe a machine side by side, judge it, and say for which provider it is good enough.

Owns which facts are read and which checks belong to which provider. Reading is ``facts``', verdicts are ``checks``'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal

from ai_how.host.check import Check, Verdict
from ai_how.host.checks.cpu import check_cpu
from ai_how.host.checks.kvm import kvm_checks
from ai_how.host.checks.local import check_local
from ai_how.host.checks.memory import check_memory
from ai_how.host.checks.network import check_network
from ai_how.host.checks.passthrough import passthrough_checks
from ai_how.host.checks.ports import check_ports, clashing
from ai_how.host.checks.software import check_software
from ai_how.host.checks.storage import check_storage
from ai_how.host.checks.system import check_system
from ai_how.host.facts.cpu import CpuFacts, observe_cpu
from ai_how.host.facts.kvm import KvmFacts, observe_kvm
from ai_how.host.facts.limits import Limits, observe_limits
from ai_how.host.facts.memory import MemoryFacts, observe_memory
from ai_how.host.facts.network import NetworkFacts, observe_network
from ai_how.host.facts.numa import NumaNode, observe_numa
from ai_how.host.facts.passthrough import PassthroughFacts, observe_passthrough
from ai_how.host.facts.routes import Route, observe_routes
from ai_how.host.facts.sockets import Listener, observe_listeners, with_owners
from ai_how.host.facts.storage import StorageFacts, observe_storage
from ai_how.host.facts.system import SystemFacts, observe_system
from ai_how.host.facts.tools import ToolFacts, observe_tools
from ai_how.host.requirements import PortRange, load_requirements
from ai_how.host.root import Root
from ai_how.host.tier_answer import Hardware, TierAnswer, assess, check_gpu_count

Provider = Literal["local", "libvirt", "inventory"]
PROVIDERS: tuple[Provider, ...] = ("local", "libvirt", "inventory")
GROUPS = ("local", "cpu", "numa", "memory", "disk", "kvm", "iommu", "gpu", "network", "port", "system", "software")
NODE_GROUP = "node"
"""Of servers of a site, which are checked over SSH."""

# what the machine that drives others over SSH needs; those others are checked over SSH, by their site file
_INVENTORY = frozenset({"software.python", "software.ansible", "system.dns", "system.clock"})
_ELSEWHERE = "Run ai-how doctor on the machine itself"


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """Everything that was read. ``listeners`` are only those on ports that the cluster needs.

    ``live`` is False for a capture, where programs could not be asked nor guests run.
    """

    live: bool
    cpu: CpuFacts
    limits: Limits
    memory: MemoryFacts
    numa: tuple[NumaNode, ...]
    storage: StorageFacts
    site_storage: StorageFacts
    passthrough: PassthroughFacts
    kvm: KvmFacts
    network: NetworkFacts
    routes: tuple[Route, ...] | None
    listeners: tuple[Listener, ...] | None
    system: SystemFacts
    tools: ToolFacts


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the host is judged by. ``bridge`` is the planned bridge's name, empty where any will do."""

    tier: str
    subnet: IPv4Network | IPv6Network
    bridge: str = ""


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """How many of a provider's checks came out how."""

    provider: Provider
    failures: int
    warnings: int
    unknown: int

    @property
    def ready(self) -> bool:
        """Whether nothing stands against it, as far as could be told."""
        return not self.failures and not self.unknown


@dataclass(frozen=True, kw_only=True)
class Report:
    """The doctor's result: all checks, who they matter for, and the tier."""

    facts: HostFacts
    wanted: Wanted
    checks: tuple[Check, ...]
    providers: tuple[Readiness, ...]
    tier: TierAnswer


def examine(root: Root, *, wanted: Wanted, disk_path: str, site_path: str) -> Report:
    """Observe and judge.

    Args:
        disk_path: Folder where images and volumes will lie.
        site_path: Folder of the site's own data.
    """
    facts = observe(root, disk_path=disk_path, site_path=site_path)
    checks = tuple(judge(facts, wanted=wanted))
    return Report(
        facts=facts,
        wanted=wanted,
        checks=checks,
        providers=tuple(readiness(checks, provider=provider) for provider in PROVIDERS),
        tier=assess(_hardware(facts), tiers=load_requirements().tiers),
    )


def observe(root: Root, *, disk_path: str, site_path: str) -> HostFacts:
    """Read everything, side by side: programs that are asked for their version take most of the time."""
    readers: Mapping[str, Callable[[], object]] = {
        "cpu": lambda: observe_cpu(root),
        "limits": lambda: observe_limits(root),
        "memory": lambda: observe_memory(root),
        "numa": lambda: observe_numa(root),
        "storage": lambda: observe_storage(root, path=disk_path),
        "site_storage": lambda: observe_storage(root, path=site_path),
        "passthrough": lambda: observe_passthrough(root),
        "kvm": lambda: observe_kvm(root),
        "network": lambda: observe_network(root),
        "routes": lambda: observe_routes(root),
        "listeners": lambda: _listeners(root, load_requirements().ports),
        "system": lambda: observe_system(root),
        "tools": lambda: observe_tools(root),
    }
    with ThreadPoolExecutor(max_workers=len(readers)) as pool:
        running: dict[str, Future[Any]] = {name: pool.submit(reader) for name, reader in readers.items()}
        return HostFacts(live=root.live, **{name: future.result() for name, future in running.items()})


def _listeners(root: Root, ports: tuple[PortRange, ...]) -> tuple[Listener, ...] | None:
    found = observe_listeners(root)
    return None if found is None else with_owners(root, clashing(found, ports))


def judge(facts: HostFacts, *, wanted: Wanted) -> list[Check]:
    """All checks, in the order of ``GROUPS``. Pure."""
    asked = load_requirements()
    tier = asked.tier(wanted.tier)
    checks = [
        *check_local(
            facts.cpu, memory=facts.memory, limits=facts.limits, storage=facts.site_storage, needs=asked.local
        ),
        *check_cpu(facts.cpu, limits=facts.limits, numa=facts.numa, tier=tier),
        *check_memory(facts.memory, limits=facts.limits, tier=tier),
        *check_storage(facts.storage, tier=tier),
        *kvm_checks(facts.kvm),
        check_gpu_count(facts.passthrough.countable, tier=tier),
        *passthrough_checks(facts.passthrough, tier=tier, software=asked.software),
        *check_network(facts.network, routes=facts.routes, tier=tier, subnet=wanted.subnet, bridge=wanted.bridge),
        *check_ports(facts.listeners, ports=asked.ports),
        *check_system(facts.system, software=asked.software, systems=asked.systems),
        *check_software(facts.tools, software=asked.software),
    ]
    return sorted((_mended(check, live=facts.live) for check in checks), key=lambda check: GROUPS.index(check.group))


def _mended(check: Check, *, live: bool) -> Check:
    """A fix for what is well, or for what a capture does not show, would only mislead."""
    if check.verdict is Verdict.PASS:
        return replace(check, fix="", needs_root=False)
    if check.verdict is Verdict.UNKNOWN and not live:
        return replace(check, fix=_ELSEWHERE, needs_root=False)
    return check


def matters_for(check: Check, provider: Provider) -> bool:
    """Whether a provider needs what this check is about."""
    if provider == "local":
        return check.group == "local" or check.id == "software.python"
    if provider == "inventory":
        return check.id in _INVENTORY
    return check.group != "local"


def readiness(checks: Iterable[Check], *, provider: Provider) -> Readiness:
    """The count of one provider's checks."""
    return readiness_of((check.verdict for check in checks if matters_for(check, provider)), provider=provider)


def readiness_of(verdicts: Iterable[Verdict], *, provider: Provider) -> Readiness:
    """The count of verdicts."""
    found = list(verdicts)
    return Readiness(
        provider=provider,
        failures=found.count(Verdict.FAIL),
        warnings=found.count(Verdict.WARN),
        unknown=found.count(Verdict.UNKNOWN),
    )


def _hardware(facts: HostFacts) -> Hardware:
    return Hardware(
        cpu=facts.cpu,
        memory=facts.memory,
        storage=facts.storage,
        network=facts.network,
        gpus=facts.passthrough.countable,
    )
