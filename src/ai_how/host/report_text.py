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
_VERDICT, _TITLE, _FOUND = 7, 20, 29
_WANTED = _WIDTH - 2 - _VERDICT - 2 - _TITLE - 2 - _FOUND - 2

_HEADINGS = {
    "local": "Local provider",
    "cpu": "Processors",
    "numa": "NUMA",
    "memory": "Memory",
    "disk": "Disk",
    "kvm": "KVM",
    "iommu": "IOMMU",
    "gpu": "GPUs",
    "network": "Network",
    "port": "Ports",
    "system": "System",
    "software": "Software",
}

Style = Callable[[str, Verdict], str]


def render_text(
    checks: Sequence[Check],
    *,
    providers: Sequence[Readiness],
    tier: TierAnswer,
    as_root: bool = False,
    style: Style = lambda text, _: text,
) -> str:
    """The whole report.

    Args:
        as_root: Whether root asked: it needs no hint that root would see more.
        style: May colour a verdict's word.
    """
    summary = [f"{found.provider:<11}{readiness_text(found)}" for found in providers]
    parts = ["\n".join([*summary, *_tier(tier)]), _table(checks, style), _remedies(checks, style, as_root=as_root)]
    return "\n\n".join(part for part in parts if part)


def readiness_text(found: Readiness) -> str:
    """``ready``, ``ready, 1 warning`` or ``2 failures, 1 warning, 3 unknown``."""
    counts = [(found.failures, "failure"), (found.warnings, "warning")]
    words = ["ready"] if found.ready else []
    words += [plural(count, noun) for count, noun in counts if count]
    return ", ".join([*words, *([f"{found.unknown} unknown"] if found.unknown else [])])


def _tier(tier: TierAnswer) -> list[str]:
    """Which tier, and line by line what the next one takes."""
    lines = [f"{'tier':<11}{tier.reached or f'below {tier.next}'}"]
    for label, items in ((f"missing for {tier.next}", tier.missing), (f"unknown for {tier.next}", tier.unclear)):
        if items:
            lines.append(f"{'':11}{label}:")
            lines += [line for item in items for line in _wrapped(f"{'':13}{item}", indent=15)]
    return lines


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


def _remedies(checks: Sequence[Check], style: Style, *, as_root: bool) -> str:
    blocks = []
    for check in checks:
        if check.verdict is Verdict.PASS:
            continue
        lines = [f"  {style(f'{check.verdict.value:<{_VERDICT}}', check.verdict)}  {check.title} ({check.id})"]
        lines += _wrapped(f"    why  {check.why}", indent=9)
        # commands are to be pasted: each part begins a line of its own
        for number, part in enumerate(check.fix.split("; ") if check.fix else ()):
            lines += _wrapped(f"    {'fix' if number == 0 else '':<3}  {part}", indent=9)
        if check.needs_root and not as_root:
            lines.append(f"    root would tell more: sudo ai-how doctor --only {check.group}")
        blocks.append("\n".join(lines))
    return "\n".join(["What to do", *blocks]) if blocks else ""


def _wrapped(text: str, *, indent: int) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
