"""From desired and observed resources to a plan. Pure: the same input gives the same plan, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ai_how.plan.model import Action, Condition, Observed, Plan, Resource, Verb


def compute_plan(site: str, desired: Iterable[Resource], observed: Mapping[str, Observed]) -> Plan:
    """What has to be done so that the world is as desired, in an order that can be followed.

    Raises:
        ValueError: resources need each other in a circle (a defect of the provider).
    """
    wanted = {resource.name: resource for resource in desired}
    ordered = _in_order(wanted)
    pending: dict[str, Action] = {}
    for resource in ordered:
        step = _step(resource, observed.get(resource.name))
        if step is not None:
            verb, reason = step
            after = tuple(need for need in resource.needs if need in pending)
            pending[resource.name] = Action(resource=resource.name, verb=verb, reason=reason, after=after)
    kept = tuple(pending)
    doomed = [
        name for name in sorted(observed) if name not in wanted and observed[name].condition is not Condition.ABSENT
    ]
    for name in _from_the_top(doomed, observed):
        users = tuple(other for other in doomed if name in observed[other].needs)
        # last: until the others have moved away from it, something may still use it
        reason = "the site file no longer asks for it"
        pending[name] = Action(resource=name, verb=Verb.DELETE, reason=reason, after=(*kept, *users))
    return Plan(
        site=site,
        actions=tuple(pending.values()),
        resources=tuple(ordered),
        basis={name: observed[name].fingerprint for name in sorted(observed)},
    )


def changes_since(plan: Plan, observed: Mapping[str, Observed]) -> list[str]:
    """What is no longer as it was when the plan was made, one line a resource; empty where nothing changed."""
    now = {name: seen.fingerprint for name, seen in observed.items()}
    lines = []
    for name in sorted(now.keys() | plan.basis.keys()):
        before, after = plan.basis.get(name), now.get(name)
        if before != after:
            lines.append(f"{name}: planned for {before or 'unknown'}, found {after or 'unknown'}")
    return lines


def _from_the_top(doomed: list[str], observed: Mapping[str, Observed]) -> list[str]:
    """What stands on others before these."""
    sorter = TopologicalSorter({name: [need for need in observed[name].needs if need in doomed] for name in doomed})
    return list(sorter.static_order())[::-1]


def _in_order(wanted: Mapping[str, Resource]) -> list[Resource]:
    sorter = TopologicalSorter(
        {name: [need for need in wanted[name].needs if need in wanted] for name in sorted(wanted)}
    )
    try:
        return [wanted[name] for name in sorter.static_order()]
    except CycleError as error:
        raise ValueError(f"resources need each other in a circle: {error.args[1]}") from error


def _step(resource: Resource, seen: Observed | None) -> tuple[Verb, str] | None:
    if seen is None or seen.condition is Condition.ABSENT or seen.settings is None:
        return Verb.CREATE, "does not exist yet"
    changed = describe_changes(seen.settings, resource.settings)
    if changed:
        return Verb.UPDATE, "; ".join(changed)
    if seen.condition in (Condition.STOPPED, Condition.STARTING):
        return Verb.START, seen.detail or f"is {seen.condition}"
    if seen.condition is Condition.FAILING:
        return Verb.REPAIR, seen.detail or "does not work"
    return None


def describe_changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "", limit: int = 4) -> list[str]:
    """The settings that differ, as ``key: old -> new``, nested keys joined by dots; at most ``limit`` lines."""
    lines = list(_differences(old, new, prefix))
    if len(lines) > limit:
        lines = [*lines[:limit], f"and {len(lines) - limit} more"]
    return lines


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterable[str]:
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, f"{prefix}{key}.")
        elif (held := _settings_in(before)) is not None and (wanted := _settings_in(after)) is not None:
            yield from _differences(held, wanted, key.rpartition("/")[2] + ": ")
        else:
            yield f"{prefix}{key}: {_brief(before)} -> {_brief(after)}"


def _settings_in(value: Any) -> Mapping[str, Any] | None:
    """What a file's text says where it is a JSON object: the setting that differs says more than two long texts."""
    if not isinstance(value, str) or not value.startswith("{"):
        return None
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _brief(value: Any) -> str:
    if value is None:
        return "nothing"
    text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    # one line in a table
    text = " ".join(text.split())
    return text if len(text) <= 40 else f"{text[:18]}...{text[-18:]}"
