"""How the replicas of a revision have done so far: failures in a row, and whether one was ever ready.

Owns what is remembered between two steps of the scaling, and nothing that acts on it. Times are the loop's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ai_how.gateway import scaling
from ai_how.gateway.pool import Replica
from ai_how.gateway.scaling import Failures


@dataclass(kw_only=True)
class Standing:
    """``was_ready``: it has served before, so that it sleeps at zero replicas. ``reason`` is of the last failure.

    ``from_start``: it was started in this life of the gateway, so that all its replicas were seen.
    """

    was_ready: bool = False
    from_start: bool = True
    failures: Failures = field(default_factory=Failures)
    reason: str = ""

    @property
    def never_ready(self) -> bool:
        """Whether it is known that it has never served."""
        return self.from_start and not self.was_ready

    def begin_anew(self) -> None:
        """It follows a spec that needs other replicas."""
        self.was_ready, self.from_start = False, True

    def forget_failures(self) -> None:
        self.failures, self.reason = Failures(), ""

    def failed(self, reason: str, *, now: float) -> None:
        self.failures = self.failures.another(now)
        self.reason = reason

    def forgive(self, replicas: Iterable[Replica], *, now: float) -> None:
        """A replica that stays ready for long enough ends a row of failures."""
        if self.failures.count and now - self.failures.last_at >= scaling.STABLE_AFTER_S:
            ready = [replica for replica in replicas if replica.state == "ready"]
            if any(now - replica.ready_since >= scaling.STABLE_AFTER_S for replica in ready):
                self.forget_failures()
