"""What every provider offers to the commands: a plan, its actions, the state of its components, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ai_how.apply.site_folder import SiteFolder
from ai_how.plan.model import Action, Condition, Plan, Resource
from ai_how.site.spec import Site

Say = Callable[[str], None]
"""Told what is being done now, in a few words."""
Tell = Callable[[str, Sequence[str]], None]
"""Told how far a long action is: its resource, and lines about it, the first one for the whole."""


@dataclass(frozen=True, kw_only=True)
class ComponentStatus:
    """One component. ``address`` is where it listens, ``uptime_s`` None where it does not run or is not known.

    ``login`` is the command that shows how to log in, empty where there is nothing to show.
    """

    name: str
    condition: Condition
    address: str = ""
    version: str = ""
    pid: int | None = None
    uptime_s: float | None = None
    detail: str = ""
    remedy: str = ""
    login: str = ""


class Provider(Protocol):
    """One site where it runs."""

    site: Site

    @property
    def folder(self) -> SiteFolder:
        """Where what is kept of the site lies."""

    @property
    def parallel(self) -> int:
        """How many actions may run at once."""

    def plan(self) -> Plan:
        """What ``up`` would do now. Changes nothing."""

    def check_unchanged(self, plan: Plan) -> list[str]:
        """What is no longer as it was when the plan was made; empty where it can be applied."""

    def perform(self, action: Action, resource: Resource | None) -> str:
        """Do one action of a plan; says in a few words how it ended."""

    def watch(self, tell: Tell) -> None:
        """Have long actions told of while they are under way."""

    def interrupt(self) -> None:
        """Let waits that are under way end soon: the user wants out."""

    def components(self) -> list[ComponentStatus]:
        """Every component and how it is doing; empty where the site was never made."""

    def read_log(self, component: str, lines: int) -> tuple[list[str], Path | None]:
        """The last lines of a component's log, and the file to follow where it lies here.

        Raises:
            NotFoundError: there is no such log; the evidence names those that are there.
        """

    def exists(self) -> bool:
        """Whether there is anything of the site to stop or to remove."""

    def stop(self, say: Say) -> bool:
        """Stop everything and keep all data; whether anything was running."""

    def losses(self) -> list[str]:
        """What ``remove`` takes away beside the site's folder that its owner may not expect, one sentence each."""

    def remove(self, say: Say) -> list[str]:
        """Remove everything that was made for the site; what was left because it is not ours."""
