"""What a reader must hold against the figures of a result. Pure; says nothing where there is nothing to say."""

from __future__ import annotations

from ai_how.bench.result import Level, Result

_BUSY_SHARE = 0.8
"""A load generator that takes more of its one core than this may be what the figures measure."""


def cautions(result: Result) -> list[str]:
    """One sentence each, the machine's first, then level by level."""
    said = []
    machine = result.machine
    if machine.load_average_before >= machine.cores:
        said.append(
            f"the machine was busy before the run: load average {machine.load_average_before:g} on "
            f"{machine.cores:g} cores"
        )
    for level in result.levels:
        said += [f"{level.concurrency} at once: {text}" for text in _of_level(level)]
    return said


def failures(level: Level) -> list[str]:
    """Each kind of failed request, how often it came, and what the server said."""
    return [
        f"{count}x {kind}" + (f": {level.said[kind]}" if level.said.get(kind) else "")
        for kind, count in level.errors.items()
    ]


def _of_level(level: Level) -> list[str]:
    said = failures(level)
    if level.interrupted:
        said.append(f"interrupted; requests under way then, in no figure: {level.unfinished}")
    if level.client_cpu_share is not None and level.client_cpu_share >= _BUSY_SHARE:
        said.append(
            f"the load generator took {level.client_cpu_share:.0%} of a core: the figures may be its limit, "
            "not the endpoint's"
        )
    if level.replicas and level.replicas[0] != level.replicas[1]:
        said.append(f"replicas went from {level.replicas[0]} to {level.replicas[1]}: the figures are of both")
    if level.answered and not level.tokens_counted:
        said.append("the engine did not count tokens: events of the stream are counted instead")
    return said
