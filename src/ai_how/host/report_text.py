"""The doctor's report for people: who can use this machine, every check in aligned columns, what to mend. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from itertools import groupby

from ai_how.host.check import Check, Verdict
from ai_how.host.checks.compare import plural
from ai_how.host.doctor import Readiness
from ai_how.host.tier_answer import TierAnswer

_WIDTH = 80
# two blanks, verdict, title, found; wanted takes what is left
_VERDICT, _TITLE, _FOUND = 7, 22, 28
_WANTED = _WIDTH - 2 - _VERDICT - 2 - _TITLE - 2 - _FOUND - 2

_HEADINGS = {
    "local": "Local provider",
    "cpu": "Processors",
    "numa": "NUMA",
    "memory": "Memory",
    "disk": "Disk",
    "gpu": "GPUs",
    "network": "Network",
    "port": "Ports",
    "system": "System",
    "software": "Software",
}

Style = Callable[[str, Verdict], str]


def render_text(
    checks: Sequence[Check], *, providers: Sequence[Readiness], tier: TierAnswer, style: Style = lambda text, _: text
) -> str:
    """The whole report; ``style`` may colour a verdict's word."""
    parts = [_summary(providers, tier), _table(checks, style), _remedies(checks, style)]
    return "\n\n".join(part for part in parts if part)


def _summary(providers: Sequence[Readiness], tier: TierAnswer) -> str:
    lines = [f"{found.provider:<11}{readiness_text(found)}" for found in providers]
    return "\n".join([*lines, *_wrapped(f"{'tier':<11}{tier_text(tier)}", indent=11)])


def readiness_text(found: Readiness) -> str:
    """``ready``, ``ready, 1 warning`` or ``2 failures, 1 warning, 3 unknown``."""
    counts = [(found.failures, "failure"), (found.warnings, "warning")]
    words = ["ready"] if found.ready else []
    words += [plural(count, noun) for count, noun in counts if count]
    return ", ".join([*words, *([f"{found.unknown} unknown"] if found.unknown else [])])


def tier_text(tier: TierAnswer) -> str:
    """Which tier, and what the next one takes."""
    reached = tier.reached or f"below {tier.next}"
    if tier.next is None:
        return f"{reached}, the highest"
    missing = f"; missing for {tier.next}: {'; '.join(tier.missing)}" if tier.missing else ""
    unclear = f"; cannot be told for {tier.next}: {'; '.join(tier.unclear)}" if tier.unclear else ""
    return f"{reached}{missing}{unclear}"


def _table(checks: Sequence[Check], style: Style) -> str:
    blocks = []
    for group, members in groupby(checks, key=lambda check: check.group):
        rows = [row for check in members for row in _row(check, style)]
        blocks.append("\n".join([_HEADINGS.get(group, group), *rows]))
    return "\n\n".join(blocks)


def _row(check: Check, style: Style) -> list[str]:
    columns = [
        textwrap.wrap(text, width) or [""]
        for text, width in ((check.title, _TITLE), (check.found, _FOUND), (check.wanted, _WANTED))
    ]
    lines = []
    for number in range(max(len(column) for column in columns)):
        title, found, wanted = (column[number] if number < len(column) else "" for column in columns)
        verdict = f"{check.verdict.value if number == 0 else '':<{_VERDICT}}"
        styled = style(verdict, check.verdict) if number == 0 else verdict
        lines.append(f"  {styled}  {title:<{_TITLE}}  {found:<{_FOUND}}  {wanted}".rstrip())
    return lines


def _remedies(checks: Sequence[Check], style: Style) -> str:
    blocks = []
    for check in checks:
        if check.verdict is Verdict.PASS:
            continue
        lines = [f"  {style(f'{check.verdict.value:<{_VERDICT}}', check.verdict)}  {check.title} ({check.id})"]
        lines += _wrapped(f"{'':11}why  {check.why}", indent=16)
        lines += _wrapped(f"{'':11}fix  {check.fix}", indent=16) if check.fix else []
        lines += [f"{'':11}root would tell more: sudo ai-how doctor --only {check.group}"] if check.needs_root else []
        blocks.append("\n".join(lines))
    return "\n".join(["What to do", *blocks]) if blocks else ""


def _wrapped(text: str, *, indent: int) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    )
