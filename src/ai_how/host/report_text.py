"""The doctor's report for people: who can use this machine, every check in aligned columns, what to mend. Pure."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

from ai_how.host.check import Check, Verdict
from ai_how.host.checks.compare import plural
from ai_how.host.doctor import Readiness
from ai_how.host.tier_answer import TierAnswer

_WIDTH = 80
# two blanks, verdict, title, found; wanted takes what is left
_VERDICT, _TITLE, _FOUND = 7, 20, 29
_WANTED = _WIDTH - 2 - _VERDICT - 2 - _TITLE - 2 - _FOUND - 2

# a capture leaves many checks unknown, and one thing mends them all: their reasons would be a wall of text
_REASONS = 3
_WORST_FIRST = (Verdict.FAIL, Verdict.WARN, Verdict.UNKNOWN, Verdict.PASS)
_HEADINGS = {
    "local": "Local provider",
    "node": "Node of a cluster",
    "cpu": "Processors",
    "numa": "NUMA",
    "memory": "Memory",
    "disk": "Disk",
    "kvm": "Virtualization",
    "iommu": "GPU passthrough",
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
    tier: TierAnswer | None,
    folded: bool = True,
    as_root: bool = False,
    style: Style = lambda text, _: text,
) -> str:
    """The whole report.

    Args:
        providers: Those whose readiness is asked for.
        tier: None where nobody asks for it.
        folded: Whether the many passing checks of a kind (ports, one GPU after the other) share a line.
        as_root: Whether root asked: it needs no hint that root would see more.
        style: May colour a verdict's word.
    """
    summary = [f"{found.provider:<11}{readiness_text(found)}" for found in providers]
    summary += _tier(tier) if tier else []
    rows = _table(checks, style, folded=folded)
    parts = ["\n".join(summary), rows, _remedies(checks, style, as_root=as_root)]
    return "\n\n".join(part for part in parts if part)


def readiness_text(found: Readiness) -> str:
    """``ready``, ``ready, 1 warning`` or ``2 failures, 1 warning, 3 unknown``."""
    counts = [(found.failures, "failure"), (found.warnings, "warning")]
    words = ["ready"] if found.ready else []
    words += [plural(count, noun) for count, noun in counts if count]
    return ", ".join([*words, *([f"{found.unknown} unknown"] if found.unknown else [])])


def _tier(tier: TierAnswer) -> list[str]:
    """Which tier, and line by line what the next one takes."""
    below = f"below {tier.next}" if tier.missing else "not known"
    lines = [f"{'tier':<11}{tier.reached or below}"]
    for label, items in ((f"missing for {tier.next}", tier.missing), (f"unknown for {tier.next}", tier.unclear)):
        if items:
            lines.append(f"{'':11}{label}:")
            lines += [line for item in items for line in _wrapped(f"{'':13}{item}", indent=15)]
    return lines


def _table(checks: Sequence[Check], style: Style, *, folded: bool) -> str:
    blocks = []
    for group, members in groupby(checks, key=lambda check: check.group):
        of_group = list(members)
        alike = [check for check in of_group if folded and _folds(check)]
        shown = [check for check in of_group if check not in alike] if len(alike) > 1 else of_group
        rows = [row for check in shown for row in check_rows(check, style)]
        if len(alike) > 1:
            rows += check_rows(_fold(alike), style)
        blocks.append("\n".join([_HEADINGS.get(group, group), *rows]))
    return "\n\n".join(blocks)


def _folds(check: Check) -> bool:
    """Whether it is one of many alike and tells nothing new: a free port, what is well with one GPU."""
    of_a_gpu = ":" in check.id and not check.id.endswith(".model")
    return check.verdict is Verdict.PASS and (check.group == "port" or of_a_gpu)


def _fold(checks: Sequence[Check]) -> Check:
    """One line for all of them: free ports by number, checks of GPUs by kind and count."""
    first = checks[0]
    if first.group == "port":
        title, found = "Free ports", ", ".join(check.id.rpartition(".")[2] for check in checks)
    else:
        kinds = Counter(check.title.partition(" of ")[0] for check in checks)
        title, found = "Other GPU checks", ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    return replace(first, title=title, found=found, wanted=f"see --only {first.group}")


def check_rows(check: Check, style: Style) -> list[str]:
    """One check in aligned columns, as many lines as it takes."""
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
    """What to do, the worst first; checks that the same thing mends stand together."""
    by_fix: dict[str, list[Check]] = {}
    for check in sorted(checks, key=lambda check: _WORST_FIRST.index(check.verdict)):
        if check.verdict is not Verdict.PASS:
            by_fix.setdefault(check.fix or check.id, []).append(check)
    blocks = [_remedy(together, style, as_root=as_root) for together in by_fix.values()]
    return "\n".join(["What to do", *blocks]) if blocks else ""


def _remedy(checks: Sequence[Check], style: Style, *, as_root: bool) -> str:
    lines = []
    for check in checks:
        lines.append(f"  {style(f'{check.verdict.value:<{_VERDICT}}', check.verdict)}  {check.title} ({check.id})")
    reasons = list(dict.fromkeys(check.why for check in checks))
    if len(reasons) > _REASONS:
        reasons = ["of each: ai-how doctor -o json, or --only its group"]
    for number, why in enumerate(reasons):
        lines += _wrapped(f"    {'why' if number == 0 else '':<3}  {why}", indent=9)
    # commands are to be pasted: each part begins a line of its own
    for number, part in enumerate(checks[0].fix.split("; ") if checks[0].fix else ()):
        lines += _wrapped(f"    {'fix' if number == 0 else '':<3}  {part}", indent=9)
    if not as_root and any(check.needs_root for check in checks):
        lines += ["    root would tell more:", f'         sudo "$(command -v ai-how)" doctor --only {checks[0].group}']
    return "\n".join(lines)


def _wrapped(text: str, *, indent: int) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
