"""Carries a plan out: actions that do not wait for each other run side by side.

Knows no provider: what an action means is the ``perform`` function's business. A failed action stops those that
need it and no others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from ai_how.apply.events import EventLog
from ai_how.errors import AiHowError
from ai_how.plan.model import Action, Plan, Resource

_MOST_NAMED = 2

Perform = Callable[[Action, Resource | None], str]
"""Does one action and says in a few words how it ended; raises AiHowError where it failed."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one action ended: ``done``, ``failed`` or ``skipped`` (something that it needs failed)."""

    action: Action
    result: str
    detail: str = ""
    duration_s: float = 0.0
    error: AiHowError | None = None


Report = Callable[[Action, Outcome | None], None]
"""Told of an action when it starts (outcome None) and when it has ended."""


def apply_plan(
    plan: Plan,
    perform: Perform,
    *,
    events: EventLog,
    report: Report,
    parallel: int = 4,
    interrupted: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Do every action of the plan; return how each ended, in the order of their ends.

    Ctrl-C starts nothing new, calls ``interrupted`` so that long waits can end, waits for what is under way and then
    raises KeyboardInterrupt: the next plan goes on from there.
    """
    waiting = {action.resource: action for action in plan.actions}
    running: dict[Future[Outcome], Action] = {}
    ended: dict[str, Outcome] = {}
    roots: dict[str, tuple[str, ...]] = {}
    with ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="apply") as pool:
        try:
            while waiting or running:
                for action in _startable(waiting, ended):
                    del waiting[action.resource]
                    broken = [n for n in action.after if n in ended and ended[n].result != "done"]
                    if broken:
                        # what failed itself, not what was skipped for it in between
                        why = tuple(dict.fromkeys(name for n in broken for name in roots.get(n, (n,))))
                        roots[action.resource] = why
                        outcome = Outcome(action=action, result="skipped", detail=f"needs {_some(why)}")
                        ended[action.resource] = outcome
                        events.append(action.resource, action.verb, "skipped", detail=outcome.detail)
                        report(action, outcome)
                        continue
                    report(action, None)
                    future = pool.submit(_perform, action, plan, perform, events)
                    running[future] = action
                if not running:
                    continue
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    action = running.pop(future)
                    ended[action.resource] = future.result()
                    report(action, ended[action.resource])
        except KeyboardInterrupt:
            interrupted()
            for future in running:
                future.cancel()
            raise
    return list(ended.values())


def _some(names: Sequence[str]) -> str:
    """A few of the names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _startable(waiting: dict[str, Action], ended: dict[str, Outcome]) -> list[Action]:
    return [action for action in waiting.values() if all(need in ended for need in action.after)]


def _perform(action: Action, plan: Plan, perform: Perform, events: EventLog) -> Outcome:
    began = time.monotonic()
    events.append(action.resource, action.verb, "started", detail=action.reason)
    try:
        detail = perform(action, plan.resource(action.resource))
    except AiHowError as error:
        duration_s = time.monotonic() - began
        events.append(action.resource, action.verb, "failed", detail=error.brief, duration_s=duration_s)
        return Outcome(action=action, result="failed", detail=error.brief, duration_s=duration_s, error=error)
    duration_s = time.monotonic() - began
    events.append(action.resource, action.verb, "done", detail=detail, duration_s=duration_s)
    return Outcome(action=action, result="done", detail=detail, duration_s=duration_s)
