"""Endpoints as rows of a table; shared by ``status`` and ``deploy``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ai_how.apply.provider import ComponentStatus
from ai_how.endpoints.types import EndpointStatus
from ai_how.errors import AiHowError
from ai_how.plan.model import Condition


def endpoint_rows(endpoints: Sequence[EndpointStatus]) -> list[tuple[str, str, str, str]]:
    """Name, state, ready replicas of the allowed range, and model version."""
    rows = []
    for status in endpoints:
        ready = sum(replica.state == "ready" for replica in status.replicas)
        bounds = status.spec.autoscaling
        rows.append(
            (
                status.spec.name,
                str(status.state),
                f"{ready} of {bounds.min_replicas}..{bounds.max_replicas}",
                f"{status.spec.model_name}/{status.spec.model_version}",
            )
        )
    return rows


def endpoints_if_up(site_path: Path | None, components: Sequence[ComponentStatus]) -> list[EndpointStatus] | None:
    """The endpoints, or None where the gateway does not work (its own line says why)."""
    from ai_how.endpoints.client import EndpointClient
    from ai_how.local.site_access import open_gateway

    gateway = next((c for c in components if c.name == "gateway"), None)
    if gateway is None or gateway.condition is not Condition.HEALTHY:
        return None
    try:
        access = open_gateway(site_path)
        return EndpointClient(admin_url=access.admin_url, admin_key=access.admin_key).list_endpoints()
    except AiHowError:
        return None
