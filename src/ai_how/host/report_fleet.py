"""The doctor's report on several machines for people: a line for each, what does not pass, what to mend where. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence

from ai_how.host.check import Check, Verdict
from ai_how.host.doctor import Readiness, readiness_of
from ai_how.host.report_text import Style, check_rows, readiness_text

_WIDTH = 80
Key = tuple[Verdict, str, str]
_WORST_FIRST = (Verdict.FAIL, Verdict.WARN, Verdict.UNKNOWN)


def render_fleet(
    machines: Mapping[str, Sequence[Check]],
    *,
    about: Mapping[str, Sequence[str]],
    shows: Collection[Verdict] = _WORST_FIRST,
    remedies: bool = True,
    style: Style = lambda text, _: text,
) -> str:
    """The whole report.

    Args:
        machines: The checks of each, by name.
        about: What stands between name and verdict, as many words for each.
        shows: The verdicts whose checks are shown.
        remedies: Whether it says what to do.
    """
    rows = [(name, *about[name], readiness_text(verdict_of(checks))) for name, checks in machines.items()]
    parts = ["\n".join(_columns(rows))]
    for name, checks in machines.items():
        shown = [check for check in checks if check.verdict in shows]
        if shown:
            parts.append("\n".join([name, *(row for check in shown for row in check_rows(check, style))]))
    parts.append(_remedies(machines, style) if remedies else "")
    return "\n\n".join(part for part in parts if part)


def verdict_of(checks: Sequence[Check]) -> Readiness:
    """How one machine's checks came out."""
    return readiness_of((check.verdict for check in checks), provider="inventory")


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _remedies(machines: Mapping[str, Sequence[Check]], style: Style) -> str:
    """What to do, the worst first, each once with the machines that it is for."""
    found: dict[Key, list[str]] = {}
    whys: dict[Key, Check] = {}
    for name, checks in machines.items():
        for check in checks:
            if check.verdict is not Verdict.PASS:
                key: Key = (check.verdict, check.id, check.fix)
                found.setdefault(key, []).append(name)
                whys.setdefault(key, check)
    lines = []
    for key in sorted(found, key=lambda key: _WORST_FIRST.index(key[0])):
        check = whys[key]
        verdict = style(f"{check.verdict.value:<7}", check.verdict)
        lines += _wrapped(f"  {verdict}  {check.title} ({check.id}): {', '.join(found[key])}", indent=11)
        lines += _wrapped(f"    why  {check.why}", indent=9)
        for number, part in enumerate(check.fix.split("; ") if check.fix else ()):
            lines += _wrapped(f"    {'fix' if number == 0 else '':<3}  {part}", indent=9)
    return "\n".join(["What to do", *lines]) if lines else ""


def _wrapped(text: str, *, indent: int) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
