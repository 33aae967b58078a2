"""What applying a set of objects would do, as data. Pure; ``apply`` makes and carries out what is described here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ai_how.kubernetes_api.differences import FieldChange
from ai_how.kubernetes_api.objects import Ref
from ai_how.kubernetes_api.refusals import FieldConflict


class Verb(StrEnum):
    """What happens to an object."""

    CREATE = "create"
    CHANGE = "change"
    REPLACE = "replace"
    KEEP = "keep"
    DELETE = "delete"
    REFUSE = "refuse"


class OnConflict(StrEnum):
    """What to do where another manager owns a field with another value.

    ``refuse``: nothing; ``leave``: apply the rest and let the other have it; ``take``: take it away from the other.
    """

    REFUSE = "refuse"
    LEAVE = "leave"
    TAKE = "take"


@dataclass(frozen=True, kw_only=True)
class ObjectChange:
    """What would happen to one object. ``thing`` is what would be sent; ``left`` are fields that others keep."""

    ref: Ref
    verb: Verb
    reason: str = ""
    fields: tuple[FieldChange, ...] = ()
    left: tuple[FieldConflict, ...] = ()
    thing: Mapping[str, Any] = field(default_factory=dict, repr=False)
    uid: str = ""
    force: bool = False

    @property
    def does_something(self) -> bool:
        return self.verb is not Verb.KEEP


@dataclass(frozen=True, kw_only=True)
class ObjectPlan:
    """The changes of a whole set, in the order of their names. ``unseen`` says what could not be looked at."""

    changes: tuple[ObjectChange, ...]
    unseen: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not any(change.does_something for change in self.changes)

    def of(self, verb: Verb) -> list[ObjectChange]:
        """The changes with that verb."""
        return [change for change in self.changes if change.verb is verb]


def plan_lines(plan: ObjectPlan, *, most_fields: int = 4) -> list[str]:
    """The plan in words, one line an object and below it the fields that change; what stays is left out."""
    lines = []
    for change in plan.changes:
        if not change.does_something:
            continue
        lines.append(f"{change.verb} {change.ref}" + (f": {change.reason}" if change.reason else ""))
        lines += [f"  {entry}" for entry in change.fields[:most_fields]]
        if len(change.fields) > most_fields:
            lines.append(f"  and {len(change.fields) - most_fields} more")
        lines += [f"  {entry.path} is left to {entry.manager}" for entry in change.left]
    return [*lines, *(f"not looked at: {line}" for line in plan.unseen)]
