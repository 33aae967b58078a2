"""A plan as JSON and back, so that it can be reviewed, kept and applied later. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ai_how.errors import SpecError
from ai_how.plan.model import Action, Plan, Resource, Verb

FORMAT = "ai-how/plan/v1"


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON data; ``plan_from_json`` reads it back."""
    return {
        "format": FORMAT,
        "site": plan.site,
        "changes": len(plan.actions),
        "actions": [asdict(action) for action in plan.actions],
        "resources": [{"name": r.name, "settings": dict(r.settings), "needs": list(r.needs)} for r in plan.resources],
        "basis": dict(plan.basis),
        "notes": list(plan.notes),
    }


def plan_from_json(text: str) -> Plan:
    """Read a plan that ``ai-how plan -o json`` wrote.

    Raises:
        SpecError: it is not such a plan.
    """
    remake = "make a new one: ai-how plan -o json > plan.json"
    try:
        data = json.loads(text)
    except ValueError as error:
        raise SpecError("the plan is not JSON", evidence=str(error), next_step=remake) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise SpecError(
            "the file is not a plan of this version",
            evidence=f"format is {found!r}, wanted {FORMAT!r}",
            next_step=remake,
        )
    try:
        return Plan(
            site=str(data["site"]),
            actions=tuple(
                Action(
                    resource=str(item["resource"]),
                    verb=Verb(item["verb"]),
                    reason=str(item["reason"]),
                    after=tuple(map(str, item["after"])),
                )
                for item in data["actions"]
            ),
            resources=tuple(
                Resource(
                    name=str(item["name"]),
                    settings=dict(item["settings"]),
                    needs=tuple(map(str, item["needs"])),
                )
                for item in data["resources"]
            ),
            basis={str(name): str(mark) for name, mark in dict(data["basis"]).items()},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SpecError("the plan is damaged", evidence=f"{type(error).__name__}: {error}", next_step=remake) from error
