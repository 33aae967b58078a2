"""Revisions and rollouts as people read them: lines of ``deploy status``, rows of ``deploy history``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ai_how.cli.output import columns, wrap
from ai_how.endpoints.interface import Revision
from ai_how.endpoints.rollout.journal import Entry, Journal, outlived, parts
from ai_how.endpoints.types import EndpointSpec, ServedAdapter, adapters_text, model_text
from ai_how.models.types import RegisteredVersion

_HISTORY = ("REVISION", "STARTED", "MODEL", "SHARE", "OUTCOME")
_INDENT = " " * 10


def history_rows(entries: Sequence[Entry], revisions: Sequence[Revision]) -> list[tuple[str, ...]]:
    """Newest last, each with its model, share and outcome."""
    shares = {revision.number: f"{revision.share_percent} %" for revision in revisions}
    return [
        (
            str(entry.number),
            entry.started_at[:19].replace("T", " ") or "unknown",
            model_text(entry.spec),
            shares.get(entry.number, "-"),
            str(entry.outcome),
        )
        for entry in entries
    ]


def history_lines(entries: Sequence[Entry], revisions: Sequence[Revision]) -> list[str]:
    """A table, and under each revision its adapters and why it serves or does no more, in 80 columns."""
    header, *rows = columns([_HISTORY, *history_rows(entries, revisions)])
    lines = [header]
    for row, entry in zip(rows, entries, strict=True):
        lines += [row, *_beside(entry.spec, _INDENT)]
        lines += wrap(entry.why, first=_INDENT, hanging=_INDENT)
    return lines


def rollout_lines(name: str, revisions: tuple[Revision, ...], journal: Journal, *, now: datetime) -> list[str]:
    """What is under way; nothing where one revision serves alone."""
    rollout = journal.rollout
    if parts(revisions, rollout) is None:
        return []
    lines: list[str] = []
    for revision in revisions:
        share = f"{revision.share_percent} % of the requests"
        words = f"{revision.number}  {model_text(revision.spec)}  {share}  {revision.state}"
        lines += [f"{'' if lines else 'revisions':<11}{words}", *_beside(revision.spec, " " * 14)]
    if outlived(revisions, journal):
        lines.append("rollout    ended, but the revision without requests was not removed yet")
        lines.append(f"           remove it: ai-how deploy update {name} --resume")
        return lines
    if rollout is None:
        lines.append("rollout    under way, of which nothing was written down")
    elif rollout.back_to:
        lines.append(f"rollback   under way, to what revision {rollout.back_to} served")
        lines.append(f"           go on: ai-how deploy rollback {name}")
        lines.append(f"           end it: ai-how deploy rollback {name} --to {rollout.old}")
        return lines
    else:
        step = f"step {rollout.step} of {len(rollout.steps)}" if rollout.step else "starting"
        heard = f"{'held' if rollout.held else 'last heard of'} {rollout.heard_at[:19].replace('T', ' ')} UTC"
        if rollout.is_driven(now):
            heard = f"by a command that was heard of {rollout.silent_s(now):.0f} s ago"
        lines.append(f"rollout    {step}, {heard}")
    driven = rollout is not None and rollout.is_driven(now)
    lines.append(
        f"           {'go on, should it have ended' if driven else 'go on'}: ai-how deploy update {name} --resume"
    )
    lines.append(f"           end it: ai-how deploy rollback {name}")
    return lines


def _beside(spec: EndpointSpec, indent: str) -> list[str]:
    """The adapters that share the base of a revision's model; nothing where there are none."""
    beside = adapters_text(spec)
    return wrap(f"with {beside}", first=indent, hanging=indent) if beside else []


def moved_line(served: EndpointSpec | ServedAdapter, version: RegisteredVersion, *, endpoint: str) -> str:
    """That the alias an endpoint was deployed from means another version now; empty where it does not."""
    if (version.name, version.version) == (served.model_name, served.model_version):
        return ""
    return f"newer      {served.model_ref} is now version {version.version}: ai-how deploy update {endpoint}"
