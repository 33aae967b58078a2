"""How far a playbook is, from the events that ansible-runner writes. Pure; an event of a kind not known is skipped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ai_how.errors import clipped

_WORKING, _OK, _FAILED, _UNREACHABLE = "working", "ok", "failed", "unreachable"
_ENDS = {"runner_on_ok": _OK, "runner_on_skipped": _OK, "runner_on_failed": _FAILED}
_ENDS |= {"runner_on_unreachable": _UNREACHABLE}
_MESSAGE_LINES = 12


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A task that failed on a host. ``unreachable``: the host did not answer at all."""

    host: str
    task: str
    role: str
    message: str
    unreachable: bool = False


@dataclass(frozen=True, kw_only=True)
class HostProgress:
    """One host: its task and role, how that stands, how many tasks it has behind it, and how many changed something."""

    name: str
    task: str = ""
    role: str = ""
    state: str = _OK
    tasks: int = 0
    changed: int = 0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A playbook's progress. ``failures`` are those that nothing caught, the first first, once it has ended."""

    play: str = ""
    task: str = ""
    role: str = ""
    hosts: Mapping[str, HostProgress] = field(default_factory=dict)
    suspects: tuple[Failure, ...] = ()
    failed_hosts: frozenset[str] = frozenset()

    @property
    def failures(self) -> tuple[Failure, ...]:
        first: dict[str, Failure] = {}
        for failure in self.suspects:
            if failure.host in self.failed_hosts:
                # a later one: what a rescue caught came before it
                first[failure.host] = failure
        return tuple(sorted(first.values(), key=self.suspects.index))


def read_event(line: str) -> dict[str, Any] | None:
    """An event of ansible-runner's stream, one JSON object a line; None where the line is something else."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def advance(progress: Progress, event: Mapping[str, Any]) -> Progress:
    """The progress after one more event."""
    kind, data = event["event"], event.get("event_data")
    if not isinstance(data, Mapping):
        return progress
    if kind == "playbook_on_play_start":
        return replace(progress, play=_text(data, "play"), task="", role="")
    if kind in ("playbook_on_task_start", "playbook_on_handler_task_start"):
        return replace(progress, task=_text(data, "task"), role=_text(data, "role"))
    if kind == "playbook_on_stats":
        return replace(progress, failed_hosts=frozenset({**_mapping(data, "failures"), **_mapping(data, "dark")}))
    host = _text(data, "host")
    if not host or kind not in ("runner_on_start", *_ENDS):
        return progress
    return _on_host(progress, host, kind, data)


def _on_host(progress: Progress, host: str, kind: str, data: Mapping[str, Any]) -> Progress:
    before = progress.hosts.get(host, HostProgress(name=host))
    state = _ENDS.get(kind, _WORKING)
    if state == _FAILED and data.get("ignore_errors"):
        state = _OK
    result = _mapping(data, "res")
    ended = kind in _ENDS
    after = HostProgress(
        name=host,
        task=_text(data, "task"),
        role=_text(data, "role"),
        state=state,
        tasks=before.tasks + ended,
        changed=before.changed + (ended and result.get("changed") is True),
    )
    suspects = progress.suspects
    if state in (_FAILED, _UNREACHABLE):
        found = Failure(
            host=host,
            task=after.task,
            role=after.role,
            message=message_of(result),
            unreachable=state == _UNREACHABLE,
        )
        suspects = (*suspects, found)
    return replace(progress, hosts={**progress.hosts, host: after}, suspects=suspects)


def message_of(result: Mapping[str, Any]) -> str:
    """What a failed task says, in at most twelve lines: its message, and what the command printed."""
    results = result.get("results")
    items = results if isinstance(results, list) else []
    broken = [one for one in items if isinstance(one, Mapping) and one.get("failed")]
    if broken:
        return message_of(broken[0])
    parts: list[str] = []
    for key in ("msg", "reason", "stderr", "module_stderr", "stdout", "module_stdout"):
        text = result.get(key)
        text = "\n".join(map(str, text)) if isinstance(text, list) else str(text or "").strip()
        if text and text not in parts and not (parts and key.endswith("stdout")):
            parts.append(text)
    lines = [line.rstrip() for part in parts for line in part.splitlines() if line.strip()]
    if len(lines) > _MESSAGE_LINES:
        lines = [lines[0], "...", *lines[2 - _MESSAGE_LINES :]]
    return "\n".join(map(clipped, lines)) or "it says nothing"


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}
