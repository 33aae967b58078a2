"""A sizing plan as JSON data: stable names, whole and rounded numbers. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ai_how.capacity.report import SizingReport, rule_verdicts, totals
from ai_how.capacity.rooms import RULES, demand_of
from ai_how.capacity.sizing import Solution
from ai_how.capacity.storage_plan import storage_to_json
from ai_how.capacity.types import PlacedNode, SizingRequest

FORMAT = "ai-how/sizing/v1"


def sizing_to_json(report: SizingReport) -> dict[str, Any]:
    """The plan as plain data. ``fits`` is the answer for what is shown: the fitted clusters where there are some."""
    request, solution = report.shown
    return {
        "format": FORMAT,
        "site": report.site,
        "tier": report.tier or None,
        "fits": report.fits,
        "schedule": request.schedule,
        "schedules": {one.schedule: _solution(one) for one in (report.solution, report.other) if one},
        "with_smt": _solution(report.with_smt) if report.with_smt else None,
        "fitted": None
        if report.fitted is None
        else {
            "found": report.fitted.request is not None,
            "changes": [asdict(change) for change in report.fitted.changes],
            "smallest": None if report.fitted.request else _solution(report.fitted.solution),
        },
        "hosts": _hosts(report),
        "nodes": _nodes(request, solution.placed),
        "rules": [
            {"rule": one.rule, "verdict": one.verdict, "detail": one.detail, "means": RULES[one.rule]}
            for one in rule_verdicts(report)
        ],
        "totals": [_rounded(asdict(total)) for total in totals(report)],
        "contended_gpus": [
            {"host": host, "gpu": gpu, "nodes": list(nodes)} for (host, gpu), nodes in report.contended.items()
        ],
        "storage": _rounded(storage_to_json(report.storage)) if report.storage else None,
        "warnings": list(report.warnings),
    }


def _solution(solution: Solution) -> dict[str, Any]:
    return {
        "fit": solution.fit,
        "why": solution.why,
        "short": [{"rule": one.rule, "what": one.what, "ways_out": list(one.ways)} for one in solution.bindings],
    }


def _hosts(report: SizingReport) -> list[dict[str, Any]]:
    request, _ = report.shown
    offers = {offer.name: offer for offer in request.hosts}
    found = []
    for use in report.uses:
        host, reserve = offers[use.host].capacity, offers[use.host].reserve
        found.append(
            _rounded(
                {
                    "name": use.host,
                    "observed": host.observed,
                    "nodes": use.nodes,
                    "threads": {"used": use.threads, "usable": use.threads_room, "total": host.threads},
                    "memory_gib": {"used": use.memory_gib, "usable": use.memory_room_gib, "total": host.memory_gib},
                    "disk_gib": {"used": use.disk_gib, "usable": use.disk_room_gib, "total": host.disk_gib},
                    "gpus": {"used": use.gpus, "usable": use.gpus_room, "total": len(host.gpus)},
                    "hugepages_gib": {"wanted": use.hugepages_gib, "set_aside": host.hugepages_gib},
                    "reserve": asdict(reserve),
                }
            )
        )
    return found


def _nodes(request: SizingRequest, placed: tuple[PlacedNode, ...]) -> list[dict[str, Any]]:
    """Every node, placed or not; ordered by name."""
    where = {node.need.name: node for node in placed}
    hosts = {offer.name: offer.capacity for offer in request.hosts}
    nodes = []
    for need in sorted(request.needs, key=lambda need: need.name):
        node = where.get(need.name)
        gpus = [hosts[node.host].gpus[index] for index in node.gpus] if node else []
        demand = demand_of(need, request.rules)
        nodes.append(
            {
                "name": need.name,
                "cluster": need.cluster,
                "role": need.role,
                "vcpus": need.vcpus,
                "memory_gib": need.memory_gib,
                "disk_gib": need.disk_gib,
                "overhead_mib": demand.memory_mib - need.memory_gib * 1024,
                "host": node.host if node else None,
                "numa_node": node.numa_node if node else None,
                "gpus": [
                    {
                        "index": index,
                        "name": gpu.name,
                        "pci_address": gpu.pci_address or None,
                        "numa_node": gpu.numa_node,
                    }
                    for index, gpu in zip(node.gpus if node else (), gpus, strict=True)
                ],
            }
        )
    return nodes


def _rounded(value: Any) -> Any:
    """Numbers with three decimals at most, so that the text does not depend on how a sum was made."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    if isinstance(value, float):
        return int(value) if value == int(value) else round(value, 3)
    return value
