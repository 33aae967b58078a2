"""A playbook's progress as lines for a terminal: one for the whole, one a host. Pure."""

from __future__ import annotations

from ai_how.kubernetes.nodes import natural
from ai_how.kubernetes.progress import Progress

_WIDTH = 80


def progress_lines(
    progress: Progress, *, elapsed_s: float, expected_s: float | None = None, width: int = _WIDTH
) -> list[str]:
    """The lines, each no wider than ``width``. ``expected_s`` is what an earlier run took; None: there was none."""
    expected = f"about {duration(expected_s)} the last time" if expected_s is not None else "no earlier run to compare"
    # a play takes minutes: where only this line is shown, its role tells that it goes on
    place = f"{progress.play}: {progress.role}" if progress.role else progress.play
    lines = [f"{duration(elapsed_s)} ({expected})  {place}"]
    hosts = sorted(progress.hosts.values(), key=lambda host: natural(host.name))
    name_width = max((len(host.name) for host in hosts), default=0)
    for host in hosts:
        task = f"{host.role}: {host.task}" if host.role else host.task
        lines.append(f"  {host.name:<{name_width}}  {host.state:<11}  {host.tasks:>4} tasks  {task}")
    return [_fitted(line, width) for line in lines]


def duration(seconds: float) -> str:
    """``45s``, ``12m 05s``, ``1h 02m``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m {rest:02}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02}m"


def _fitted(line: str, width: int) -> str:
    return line.rstrip() if len(line) <= width else line[: max(0, width - 3)] + "..."
