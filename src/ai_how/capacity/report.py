"""Everything that a sizing plan says: the answer, the rules' verdicts, hosts, sums against the document's. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ai_how.capacity.fit import Fitted, fit
from ai_how.capacity.relief import amount
from ai_how.capacity.rooms import Rule, demand_of
from ai_how.capacity.sizing import (
    Fit,
    HostUse,
    Solution,
    contended_gpus,
    host_uses,
    solve,
    warnings_of,
    with_schedule,
)
from ai_how.capacity.storage_plan import StoragePlan, plan_storage
from ai_how.capacity.tiers import Stated, stated_hosts
from ai_how.capacity.types import SizingRequest
from ai_how.site.clusters import Storage
from ai_how.site.roles import Kind
from ai_how.site.stack import Stack


@dataclass(frozen=True, kw_only=True)
class RuleVerdict:
    """Whether a rule is kept: ``ok``, ``short``, or ``off`` where it does not apply; and the figures."""

    rule: Rule
    verdict: Literal["ok", "short", "off"]
    detail: str


@dataclass(frozen=True, kw_only=True)
class Total:
    """One resource summed up: of the nodes, on the hosts under the rules, with the hosts' reserves.

    ``stated`` and ``stated_host`` are the resource requirements' sums for the same kinds of clusters, None where they
    give none. In turns, all but the disk are the larger cluster's.
    """

    resource: str
    nodes: float
    hosts: float
    with_reserve: float
    stated: float | None
    stated_host: float | None


@dataclass(frozen=True, kw_only=True)
class SizingReport:
    """A sizing plan. ``other`` is the answer for the other schedule where there are several clusters.

    ``request`` and ``solution`` are those of what was asked for; ``fitted`` is set where a fit was asked for, and
    ``with_smt`` for a tier: the answer if each of its cores had two threads, of which the document says nothing.
    ``contended`` are GPUs that clusters use in turns: host and GPU -> nodes.
    """

    site: str
    tier: str
    kinds: frozenset[Kind]
    request: SizingRequest
    solution: Solution
    other: Solution | None
    fitted: Fitted | None
    with_smt: Solution | None
    growth: Storage
    clouds: int
    stacks: tuple[Stack, ...]

    @property
    def shown(self) -> tuple[SizingRequest, Solution]:
        """What to show: the fitted clusters where there are some, else those asked for."""
        if self.fitted and self.fitted.request:
            return self.fitted.request, self.fitted.solution
        return self.request, self.solution

    @property
    def fits(self) -> bool:
        """Whether what is shown fits."""
        return self.shown[1].fit is Fit.FITS

    @property
    def uses(self) -> tuple[HostUse, ...]:
        request, solution = self.shown
        return host_uses(request, solution.placed)

    @property
    def contended(self) -> dict[tuple[str, int], tuple[str, ...]]:
        return contended_gpus(self.shown[1].placed)

    @property
    def storage(self) -> StoragePlan | None:
        request, _ = self.shown
        return plan_storage(
            request.needs,
            request.hosts,
            self.growth,
            clouds=self.clouds,
            stacks=self.stacks,
            with_document=bool(self.tier),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        request, solution = self.shown
        return tuple(warnings_of(request, solution.placed))


def make_report(
    request: SizingRequest,
    *,
    site: str,
    kinds: Collection[Kind],
    tier: str = "",
    to_fit: bool = False,
    growth: Storage = Storage(),  # noqa: B008 - a frozen value
    stacks: Sequence[Stack] = (),
) -> SizingReport:
    """Solve a request, under both schedules where there are several clusters, and fit it where that is asked for.

    ``kinds`` has one entry a cluster; ``growth`` is the site's, and ``stacks`` those of its clusters that have one, for
    the disk budget.
    """
    solution = solve(request)
    other = None
    if len(request.clusters) > 1:
        other = solve(with_schedule(request, "in-turns" if request.schedule == "side-by-side" else "side-by-side"))
    return SizingReport(
        site=site,
        tier=tier,
        kinds=frozenset(kinds),
        request=request,
        solution=solution,
        other=other,
        fitted=fit(request) if to_fit else None,
        with_smt=solve(_with_smt(request)) if tier else None,
        growth=growth,
        clouds=sum(kind == "cloud" for kind in kinds),
        stacks=tuple(stacks),
    )


def _with_smt(request: SizingRequest) -> SizingRequest:
    hosts = tuple(
        replace(offer, capacity=replace(offer.capacity, threads=offer.capacity.cores * 2)) for offer in request.hosts
    )
    return replace(request, hosts=hosts)


def totals(report: SizingReport) -> tuple[Total, ...]:
    """What the clusters asked for sum up to, computed."""
    request, _ = report.shown
    parts = [[need for need in request.needs if need.cluster == name] for name in request.clusters]
    join = max if request.schedule == "in-turns" else sum
    stated = None if request.schedule == "in-turns" and len(parts) > 1 else stated_hosts().sums.get(report.kinds)
    demands = [[demand_of(need, request.rules) for need in part] for part in parts]
    cores = sum(offer.reserve.cores * offer.capacity.threads / offer.capacity.cores for offer in request.hosts)
    memory = sum(offer.reserve.memory_gib for offer in request.hosts)
    disk = sum(one.disk_mib for part in demands for one in part) / 1024
    kept = max((offer.reserve.disk_percent for offer in request.hosts), default=0)
    threads = join(sum(one.threads_m for one in part) / 1000 for part in demands)
    memory_used = join(sum(one.memory_mib for one in part) / 1024 for part in demands)
    gpus = float(join(sum(one.gpus for one in part) for part in demands))
    nodes = {
        "vcpus": float(join(sum(need.vcpus for need in part) for part in parts)),
        "memory_gib": float(join(sum(need.memory_gib for need in part) for part in parts)),
        "disk_gib": float(sum(need.disk_gib for need in request.needs)),
        "gpus": gpus,
    }
    on_hosts = {
        "vcpus": (threads, threads + cores),
        "memory_gib": (memory_used, memory_used + memory),
        "disk_gib": (disk, disk * 100 / (100 - kept)),
        "gpus": (gpus, gpus),
    }
    return tuple(
        Total(
            resource=resource,
            nodes=nodes[resource],
            hosts=used,
            with_reserve=needed,
            **_stated(stated, resource),
        )
        for resource, (used, needed) in on_hosts.items()
    )


def _stated(stated: Stated | None, resource: str) -> dict[str, float | None]:
    if stated is None:
        return {"stated": None, "stated_host": None}
    values = {
        "vcpus": (stated.cores, stated.host_cores),
        "memory_gib": (stated.memory_gib, stated.host_memory_gib),
        "disk_gib": (stated.disk_gib, stated.host_disk_gib),
        "gpus": (stated.gpus, stated.gpus),
    }[resource]
    return {"stated": values[0], "stated_host": values[1]}


def rule_verdicts(report: SizingReport) -> tuple[RuleVerdict, ...]:
    """Every rule with its verdict, in a fixed order."""
    _, solution = report.shown
    short: dict[Rule, list[str]] = {}
    for binding in solution.bindings:
        short.setdefault(binding.rule, []).append(binding.what)
    verdicts = [
        RuleVerdict(rule=rule, verdict="short", detail="; ".join(short[rule]))
        if rule in short
        else RuleVerdict(rule=rule, verdict=verdict, detail=detail)
        for rule, verdict, detail in _details(report)
    ]
    return tuple(verdicts)


def _details(report: SizingReport) -> Iterator[tuple[Rule, Literal["ok", "short", "off"], str]]:
    request, solution = report.shown
    uses, rules = report.uses, request.rules
    yield _reserve(request)

    def used(used: float, room: float, unit: str) -> str:
        return f"{amount(used)} of {amount(room)} {unit}" if solution.placed else f"{amount(room)} {unit} to give"

    threads = used(sum(use.threads for use in uses), sum(use.threads_room for use in uses), "threads")
    if rules.whole_hosts:
        yield Rule.VCPU_OVERCOMMIT, "ok", f"none: {threads}"
    else:
        roles = sorted({need.role for need in request.needs})
        factors = ", ".join(f"{role} {rules.vcpu_overcommit[role]:g}" for role in roles)
        yield Rule.VCPU_OVERCOMMIT, "ok", f"{threads}; vCPUs a thread: {factors}"
    memory = used(sum(use.memory_gib for use in uses), sum(use.memory_room_gib for use in uses), "GiB")
    yield Rule.MEMORY, "ok", memory if rules.whole_hosts else f"{memory}, QEMU's own included"
    disk = used(sum(use.disk_gib for use in uses), sum(use.disk_room_gib for use in uses), "GiB")
    thin = f", thin by {rules.thin_disk_overcommit:g}" if rules.thin_disk_overcommit > 1 else ""
    yield Rule.DISK, "ok", disk + thin
    yield Rule.GPUS, "ok", used(sum(use.gpus for use in uses), sum(use.gpus_room for use in uses), "GPUs")
    with_gpus = [node for node in solution.placed if node.gpus]
    local = sum(node.numa_node is not None for node in with_gpus)
    several = any(len(offer.capacity.numa) > 1 for offer in request.hosts)
    if rules.numa_locality == "ignore" or not several:
        why = "placement.numa_locality: ignore" if several else "no host with several NUMA nodes is known"
        yield Rule.NUMA_LOCALITY, "off", why
    else:
        detail = f"{local} of {len(with_gpus)} nodes with GPUs are local" if with_gpus else "not placed"
        yield Rule.NUMA_LOCALITY, "ok", f"{detail} ({rules.numa_locality})"
    if rules.hugepages == "none":
        yield Rule.HUGEPAGES, "off", "placement.hugepages: none"
    else:
        yield (
            Rule.HUGEPAGES,
            "ok",
            f"{amount(sum(use.hugepages_gib for use in uses))} GiB in pages of {rules.hugepages}",
        )
    yield _spread(report)
    if rules.whole_hosts:
        yield Rule.ONE_NODE, "ok", f"{len(request.needs)} nodes, {len(request.hosts)} servers"


def _reserve(request: SizingRequest) -> tuple[Rule, Literal["ok", "short", "off"], str]:
    if request.rules.whole_hosts:
        return Rule.HOST_RESERVE, "off", "a server is a node as a whole"
    eaten = [
        offer.name
        for offer in request.hosts
        if offer.reserve.cores >= offer.capacity.cores or offer.reserve.memory_gib >= offer.capacity.memory_gib
    ]
    if eaten:
        return Rule.HOST_RESERVE, "short", f"host {eaten[0]} has no more than it keeps for itself: lower reserve"
    kept = {
        f"{offer.reserve.cores} cores, {offer.reserve.memory_gib:g} GiB, {offer.reserve.disk_percent:g} % of the disk"
        for offer in request.hosts
    }
    return Rule.HOST_RESERVE, "ok", f"kept on each host: {kept.pop()}" if len(kept) == 1 else "differs by host"


def _spread(report: SizingReport) -> tuple[Rule, Literal["ok", "short", "off"], str]:
    request, solution = report.shown
    names = [node for node in solution.placed if node.need.role == "control-plane"]
    wanted = [need for need in request.needs if need.role == "control-plane"]
    clusters = {need.cluster for need in wanted}
    if len(wanted) == len(clusters) or len(request.hosts) == 1:
        return Rule.SPREAD, "off", "one host" if len(request.hosts) == 1 else "one control plane node"
    hosts = len({node.host for node in names})
    return Rule.SPREAD, "ok", f"{len(names)} nodes on {hosts} hosts" if names else "not placed"
