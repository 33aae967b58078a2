"""A sizing plan as text: calm, aligned, in 80 columns. Decides nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from ai_how.capacity.relief import amount
from ai_how.capacity.report import SizingReport, rule_verdicts, totals
from ai_how.capacity.sizing import Fit, Solution
from ai_how.cli.disk_budget import disk_budget_lines
from ai_how.cli.output import WIDTH, wrap

# with more hosts than these, one line each is easier to read than a table each
_HOSTS_IN_FULL = 3
_WORDS = {"vcpus": "vCPUs, threads", "memory_gib": "memory GiB", "disk_gib": "disk GiB", "gpus": "GPUs"}
_FITS = {Fit.FITS: "fits", Fit.IMPOSSIBLE: "does not fit", Fit.NOT_FOUND: "no placement found"}


def sizing_lines(report: SizingReport) -> Iterator[str]:
    """The whole plan, line by line."""
    yield from _answer(report)
    if report.shown[1].placed:
        yield ""
        yield from _hosts(report)
        yield ""
        yield from _nodes(report)
    yield ""
    rows = [(one.rule, one.verdict, one.detail) for one in rule_verdicts(report)]
    yield from _table(("RULE", "VERDICT", "FIGURES"), rows)
    yield ""
    yield from _totals(report)
    yield from _contended(report)
    if report.storage:
        yield ""
        yield from disk_budget_lines(report.storage)
    for warning in report.warnings:
        yield from _wrapped("warning: ", warning)


def _answer(report: SizingReport) -> Iterator[str]:
    what = f"the {report.tier} tier" if report.tier else "these hosts"
    yield from _wrapped(f"Sizing of site {report.site} on {what}: ", _solution_words(report.solution))
    yield from _ways(report.solution)
    if report.other:
        yield from _wrapped("Also: ", _solution_words(report.other))
    if report.with_smt:
        words = _solution_words(report.with_smt)
        yield from _wrapped("With two threads a core: ", f"{words}. Above, the tier's cores count as one thread each.")
    fitted = report.fitted
    if fitted is None:
        return
    if fitted.request is None:
        yield "Fit: no. Even the smallest clusters do not fit:"
        yield from _ways(fitted.solution)
        return
    if not fitted.changes:
        yield "Fit: nothing to change."
        return
    yield "Fit: the largest that fits has"
    for change in fitted.changes:
        yield f"  {change.cluster} {change.role}: {change.key} {change.after} instead of {change.before}"


def _solution_words(solution: Solution) -> str:
    schedule = solution.schedule.replace("-", " ")
    words = f"{_FITS[solution.fit]} ({schedule})"
    if solution.fit is Fit.FITS:
        return words
    if solution.bindings:
        return f"{words}: {', '.join(dict.fromkeys(one.rule for one in solution.bindings))}"
    return f"{words}: {solution.why}"


def _ways(solution: Solution) -> Iterator[str]:
    for binding in solution.bindings:
        yield from _wrapped(f"  {binding.rule}: ", binding.what)
        for number, way in enumerate(binding.ways):
            yield from _wrapped("    " if number else "    to relieve it, ", f"or {way}" if number else way)


def _hosts(report: SizingReport) -> Iterator[str]:
    if len(report.uses) > _HOSTS_IN_FULL:
        rows = [
            (
                use.host,
                use.nodes,
                f"{amount(use.threads)} of {amount(use.threads_room)}",
                f"{amount(use.memory_gib)} of {amount(use.memory_room_gib)}",
                f"{amount(use.disk_gib)} of {amount(use.disk_room_gib)}",
                f"{use.gpus} of {use.gpus_room}",
            )
            for use in report.uses
        ]
        yield from _table(("HOST", "NODES", "THREADS", "MEMORY GiB", "DISK GiB", "GPUS"), rows)
        return
    hosts = {offer.name: offer.capacity for offer in report.shown[0].hosts}
    for number, use in enumerate(report.uses):
        host = hosts[use.host]
        amounts: list[Sequence[object]] = [
            _row("threads", use.threads, use.threads_room, host.threads),
            _row("memory GiB", use.memory_gib, use.memory_room_gib, host.memory_gib),
            _row("disk GiB", use.disk_gib, use.disk_room_gib, host.disk_gib),
            _row("GPUs", use.gpus, use.gpus_room, len(host.gpus)),
        ]
        if number:
            yield ""
        yield from _table((f"HOST {use.host}", "USED", "FREE", "USABLE", "HAS"), amounts, right=True)


def _row(name: str, used: float, room: float, has: float) -> tuple[str, ...]:
    return (name, amount(used), amount(room - used), amount(room), amount(has))


def _nodes(report: SizingReport) -> Iterator[str]:
    request, solution = report.shown
    hosts = {offer.name: offer.capacity for offer in request.hosts}
    rows = []
    for node in solution.placed:
        host, need = hosts[node.host], node.need
        gpus = [host.gpus[index] for index in node.gpus]
        names = ", ".join(
            " ".join(filter(None, (gpu.name.removeprefix("NVIDIA "), gpu.pci_address.removeprefix("0000:"))))
            for gpu in gpus
        )
        numa = "-" if node.numa_node is None or not host.numa else str(node.numa_node)
        rows.append((need.name, need.vcpus, need.memory_gib, need.disk_gib, node.host, numa, names or "-"))
    yield from _table(("NODE", "VCPUS", "GiB", "DISK", "HOST", "NUMA", "GPU"), rows)


def _totals(report: SizingReport) -> Iterator[str]:
    rows = [
        (
            _WORDS[total.resource],
            amount(total.nodes),
            amount(total.hosts),
            amount(total.with_reserve),
            "-" if total.stated is None else amount(total.stated),
            "-" if total.stated_host is None else amount(total.stated_host),
        )
        for total in totals(report)
    ]
    yield from _table(("TOTAL", "NODES", "ON HOSTS", "HOSTS NEED", "STATED", "STATED HOST"), rows, right=True)
    if any(row[-1] != "-" for row in rows):
        yield "Stated: the resource requirements' own sums for clusters of these kinds."


def _contended(report: SizingReport) -> Iterator[str]:
    for (host, gpu), nodes in report.contended.items():
        yield from _wrapped("contended: ", f"GPU {gpu} of host {host} serves {' and '.join(nodes)} in turns")


def _table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: bool = False) -> Iterator[str]:
    """Aligned columns; what does not fit into the last one goes on below it, indented."""
    cells = [[str(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    for row in cells:
        aligned = [
            cell.rjust(width) if right and number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        before = "  ".join(aligned[:-1])
        room = max(20, WIDTH - len(before) - 2)
        last = [aligned[-1].rstrip()] if right else textwrap.wrap(row[-1], room, break_on_hyphens=False) or [""]
        yield f"{before}  {last[0]}".rstrip()
        for more in last[1:]:
            yield f"{' ' * (len(before) + 2)}{more}"


def _wrapped(lead: str, text: str) -> Iterator[str]:
    yield from wrap(lead + text, hanging=" " * (len(lead) - len(lead.lstrip()) + 4))
