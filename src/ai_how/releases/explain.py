"""Why pins clash, in plain words: what each pin of a core leaves of one component, with the facts that say so. Pure.

Every statement is a proof step: the versions that a pin leaves of a component, over at most three needs. The component
where the pins' leftovers have nothing in common is the hinge of the explanation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from ai_how.releases.conflict import Conflict, shrink
from ai_how.releases.pins import Pin, make_pin
from ai_how.releases.solver import ABSENT, Domains, Problem

MAX_STEPS = 3
MUST_BE_THERE = "must be there"
MAX_COMBINATIONS = 400
MAX_LISTED = 8
"""Known versions in words: a range would be read as if all between were known."""
Path = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A sentence without full stop, and where its facts come from."""

    text: str
    sources: tuple[str, ...] = ()


def explain(conflict: Conflict) -> tuple[tuple[Statement, ...], ...]:
    """Why the pins of each core cannot hold together: for each core its statements, the last of which concludes.

    What must be there counts as a reason too: Kubernetes 1.26 may fail only because no CloudNativePG runs on it.
    """
    problem = conflict.problem.wanting(())
    return tuple(_explain(problem, core, conflict.wanted) for core in conflict.cores)


def _explain(problem: Problem, core: Sequence[Pin], wanted: Sequence[str]) -> tuple[Statement, ...]:
    unknown = next((pin for pin in core if not problem.mask(pin)[1]), None)
    if unknown is not None:
        return (_no_such_version(problem, unknown),)
    pinned = {pin.component for pin in core}
    demands = [make_pin(name, "", MUST_BE_THERE) for name in reversed(wanted) if name not in pinned] + list(core)
    reasons = [demands[place] for place in shrink(problem, demands, tuple(range(len(demands))))]
    reasons.sort(key=lambda pin: pin.origin == MUST_BE_THERE)
    hinge = _hinge(problem, reasons)
    return _by_projection(problem, reasons) if hinge is None else _by_hinge(problem, reasons, *hinge)


def ranges(problem: Problem, i: int, domain: int) -> str:
    """Versions as people write them: ``2.24.0 to 2.26.1, 2.29.0``; at most three runs."""
    versions = problem.component(i).versions
    runs: list[list[str]] = []
    before = False
    for bit in range(len(versions), 0, -1):
        now = bool(domain >> bit & 1)
        if now and before:
            runs[-1].append(versions[bit - 1])
        elif now:
            runs.append([versions[bit - 1]])
        before = now
    texts = [run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    more = f" and {len(texts) - 3} more ranges" if len(texts) > 3 else ""
    return ", ".join(texts[:3]) + more or "none"


def _no_such_version(problem: Problem, pin: Pin) -> Statement:
    i, _ = problem.mask(pin)
    known = problem.component(i).versions
    more = f" and {len(known) - MAX_LISTED} older" if len(known) > MAX_LISTED else ""
    listed = ", ".join(known[:MAX_LISTED]) + more
    text = f"no known version of {problem.component(i).title} matches {pin}; known are {listed}"
    return Statement(text=text, sources=(problem.component(i).releases[0].source,))


def _hinge(problem: Problem, core: Sequence[Pin]) -> tuple[int, list[tuple[Path, int]]] | None:
    """The component on which the pins' leftovers have nothing in common, over the fewest steps."""
    reached = [_reach(problem, problem.start, pin) for pin in core]
    best: tuple[int, int, list[tuple[Path, int]]] | None = None
    for hinge in range(len(problem.names)):
        for number, choice in enumerate(product(*(paths.get(hinge, []) for paths in reached))):
            if number >= MAX_COMBINATIONS:
                break
            left = problem.start[hinge]
            for _, domain in choice:
                left &= domain
            steps = sum(len(path) for path, _ in choice)
            if not left and (best is None or steps < best[0]):
                best = steps, hinge, list(choice)
    return None if best is None else (best[1], best[2])


def _reach(problem: Problem, start: Domains, pin: Pin) -> dict[int, list[tuple[Path, int]]]:
    """What a pin leaves of each component, along each short path of needs; short paths first."""
    i, mask = problem.mask(pin)
    found: dict[int, list[tuple[Path, int]]] = {i: [((i,), start[i] & mask)]}
    level: list[tuple[Path, int]] = [((i,), start[i] & mask)]
    for _ in range(MAX_STEPS):
        level = [step for path, domain in level for step in _steps(problem, start, path, domain)]
        for path, domain in level:
            found.setdefault(path[-1], []).append((path, domain))
    return found


def _steps(problem: Problem, start: Domains, path: Path, domain: int) -> Iterator[tuple[Path, int]]:
    for j in problem.neighbours[path[-1]]:
        left = start[j] & problem.image(domain, path[-1], j)
        # a step that takes nothing away proves nothing
        if j not in path and left != start[j]:
            yield (*path, j), left


def _by_hinge(
    problem: Problem, core: Sequence[Pin], hinge: int, choice: Sequence[tuple[Path, int]]
) -> tuple[Statement, ...]:
    statements = [
        statement for pin, (path, _) in zip(core, choice, strict=True) for statement in _walk(problem, pin, path)
    ]
    return (*statements, Statement(text=f"so no version of {problem.component(hinge).title} will do"))


def _walk(problem: Problem, pin: Pin, path: Path) -> Iterator[Statement]:
    domain = problem.start[path[0]] & problem.mask(pin)[1]
    title = problem.component(path[0]).title
    demanded = pin.origin == MUST_BE_THERE
    if len(path) == 1:
        pinned = f"is pinned to {ranges(problem, path[0], domain)}"
        yield Statement(text=f"{title} {'must be there' if demanded else pinned}")
    subject = (
        f"{title}, which must be there," if demanded else f"{title} {pin.constraint.text.removeprefix('=')}".strip()
    )
    for i, j in pairwise(path):
        left = problem.start[j] & problem.image(domain, i, j)
        verb = "is offered only by" if (j, i) in problem.tables and _offers(problem, j, i) else "goes only with"
        other = f"{problem.component(j).title} {ranges(problem, j, left & ~ABSENT)}"
        if not left & ~ABSENT:
            verb, other = "goes with", f"no known version of {problem.component(j).title}"
        yield Statement(text=f"{subject} {verb} {other}", sources=_sources(problem, i, domain, j, left))
        domain, subject = left, other


def _offers(problem: Problem, i: int, j: int) -> bool:
    needs = problem.component(i).releases[0].needs
    return any(need.kind == "offers" and need.component == problem.names[j] for need in needs)


def _sources(problem: Problem, i: int, domain_i: int, j: int, domain_j: int) -> tuple[str, ...]:
    """Where the needs between versions of two components stand: those of the oldest and the newest version left."""
    found: dict[str, None] = {}
    for one, domain, other in ((i, domain_i, j), (j, domain_j, i)):
        versions = problem.versions(one, domain) or problem.versions(one, problem.full[one])
        for version in dict.fromkeys((*versions[-1:], *versions[:1])):
            for need in problem.component(one).release(version).needs:
                if need.component == problem.names[other] and (need.versions or need.constraint):
                    found[f"{need.source} (read {problem.component(one).release(version).read})"] = None
    return tuple(found)


def _by_projection(problem: Problem, core: Sequence[Pin]) -> tuple[Statement, ...]:
    """Where no chain of needs shows it: what the other pins together leave of the last pin's component."""
    *others, last = core
    i, asked = problem.mask(last)
    domains = problem.with_pins(others)
    if domains is None:
        raise ValueError("pins of which a subset clashes are no core")
    left = 0
    for bit in range(1, len(problem.component(i).versions) + 1):
        if domains[i] >> bit & 1:
            tried = problem.narrow([*domains[:i], 1 << bit, *domains[i + 1 :]], [i])
            left |= 1 << bit if problem.search(tried) is not None else 0
    title = problem.component(i).title
    together = " and ".join(str(pin) for pin in others)
    return (
        Statement(text=f"{together} together leave {title} {ranges(problem, i, left)}"),
        Statement(text=f"{last} asks for {title} {ranges(problem, i, asked)}"),
    )
