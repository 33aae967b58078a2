"""Endpoints, revisions and journals as the admin API's JSON; keys of a newer gateway are left out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ai_how.endpoints.cold_start.waterfall import from_json
from ai_how.endpoints.interface import Revision
from ai_how.endpoints.rollout.journal import Entry, Journal, Options, Outcome, Rollout
from ai_how.endpoints.types import (
    Autoscaling,
    EndpointSpec,
    EndpointState,
    EndpointStatus,
    Hardware,
    ReplicaStatus,
    ServedAdapter,
)


def status_from_json(data: Mapping[str, Any]) -> EndpointStatus:
    """An ``EndpointStatus`` from the admin API's JSON."""
    return EndpointStatus(
        spec=spec_from_json(data["spec"]),
        state=EndpointState(data["state"]),
        url=str(data["url"]),
        replicas=tuple(ReplicaStatus(**_known(item, ReplicaStatus)) for item in data.get("replicas", ())),
        held_requests=int(data.get("held_requests", 0)),
        message=str(data.get("message", "")),
        last_start_s=data.get("last_start_s"),
        last_start=from_json(start) if (start := data.get("last_start")) else None,
    )


def spec_from_json(data: Mapping[str, Any]) -> EndpointSpec:
    """An ``EndpointSpec`` from JSON."""
    values = _known(data, EndpointSpec)
    values["hardware"] = Hardware(**_known(data.get("hardware", {}), Hardware))
    values["autoscaling"] = Autoscaling(**_known(data.get("autoscaling", {}), Autoscaling))
    values["adapters"] = tuple(ServedAdapter(**_known(one, ServedAdapter)) for one in data.get("adapters", ()))
    return EndpointSpec(**values)


def revision_from_json(data: Mapping[str, Any]) -> Revision:
    """A ``Revision`` from JSON."""
    values = _known(data, Revision)
    return Revision(**{**values, "spec": spec_from_json(data["spec"]), "state": EndpointState(data["state"])})


def journal_from_json(data: Mapping[str, Any]) -> Journal:
    """A ``Journal`` from JSON.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is none.
    """
    rollout = data.get("rollout")
    return Journal(
        history=tuple(_entry(item) for item in data.get("history", ())),
        rollout=_rollout(rollout) if rollout else None,
    )


def _rollout(data: Mapping[str, Any]) -> Rollout:
    options = Options(**_known(data.get("options", {}), Options))
    return Rollout(**{**_known(data, Rollout), "steps": tuple(data["steps"]), "options": options})


def _entry(data: Mapping[str, Any]) -> Entry:
    values = _known(data, Entry)
    return Entry(**{**values, "spec": spec_from_json(data["spec"]), "outcome": Outcome(data["outcome"])})


def _known(data: Mapping[str, Any], kind: type) -> dict[str, Any]:
    return {item.name: data[item.name] for item in fields(kind) if item.name in data}
