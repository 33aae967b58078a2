"""Giving the turn from one cluster to another: stop, see that the cards came back, bind, start, check; and back again.

Owns the order, the clock and the way back. How machines stop and start is ``power``'s, what cards need is
``passthrough``'s; ``handover`` puts both into steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ai_how.errors import AiHowError, NotFoundError, SpecError
from ai_how.site.spec import Site


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to do, in words, and how; it says in a few words how it ended."""

    name: str
    do: Callable[[], str]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A step that was taken. ``result``: done or failed; ``back``: it belongs to the way back."""

    step: str
    result: str
    detail: str
    duration_s: float
    back: bool = False


@dataclass(kw_only=True)
class Switched:
    """All steps that were taken; ``error`` is what stopped it, ``restored`` whether the way back worked."""

    steps: list[Taken] = field(default_factory=list)
    error: AiHowError | None = None
    restored: bool | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


Report = Callable[[Taken], None]


def check_switch(site: Site, cluster: str) -> None:
    """Refuse what cannot be switched to.

    Raises:
        SpecError: the site's clusters do not take turns.
        NotFoundError: it has no such cluster.
    """
    names = list(site.planned_clusters)
    if cluster not in names:
        raise NotFoundError(
            f"there is no cluster {cluster!r} in site {site.name}",
            evidence=f"clusters: {', '.join(names) or 'none'}",
            next_step="ai-how validate",
        )
    if site.schedule != "in-turns":
        raise SpecError(
            f"the clusters of site {site.name} run side by side: there is no turn to give",
            evidence="schedule: side-by-side",
            next_step="write schedule: in-turns, and start: manual for all but one; or: ai-how up --cluster " + cluster,
        )


def carry_out(steps: Sequence[Step], back: Sequence[Step], *, report: Report) -> Switched:
    """Take the steps in order; when one fails, take those of the way back, each whatever became of the others.

    The way back is taken too when the user breaks off, or what fails is no error of ours; that goes on after it.
    """
    switched = Switched()
    try:
        for step in steps:
            _take(step, switched, report, back=False)
            if switched.error is not None:
                break
    except BaseException:
        _go_back(back, switched, report)
        raise
    if switched.error is not None:
        _go_back(back, switched, report)
    return switched


def _go_back(back: Sequence[Step], switched: Switched, report: Report) -> None:
    first, switched.error = switched.error, None
    switched.restored = True
    for step in back:
        _take(step, switched, report, back=True)
        if switched.error is not None:
            switched.restored, switched.error = False, None
    switched.error = first


def _take(step: Step, switched: Switched, report: Report, *, back: bool) -> None:
    began = time.monotonic()
    result, detail = "done", ""
    try:
        detail = step.do()
    except AiHowError as error:
        result, detail = "failed", error.brief
        switched.error = error
    took_s = round(time.monotonic() - began, 3)
    taken = Taken(step=step.name, result=result, detail=detail, duration_s=took_s, back=back)
    switched.steps.append(taken)
    report(taken)
