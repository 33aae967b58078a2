"""Endpoints as rows of a table; shared by ``status`` and ``deploy``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ai_how.apply.provider import ComponentStatus
from ai_how.cli.open_site import open_serving
from ai_how.endpoints.types import EndpointState, EndpointStatus, model_text
from ai_how.errors import AiHowError, NotFoundError
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
                model_text(status.spec) + _beside(len(status.spec.adapters)) if status.is_known else "-",
            )
        )
    return rows


def in_error(endpoints: Iterable[EndpointStatus]) -> dict[str, str]:
    """The endpoints that do not work, each with the first line of why."""
    broken = [one for one in endpoints if one.state is EndpointState.ERROR]
    return {one.spec.name: one.message.partition("\n")[0] or "does not answer" for one in broken}


def _beside(adapters: int) -> str:
    return f" +{adapters} adapter{'s' if adapters > 1 else ''}" if adapters else ""


def endpoints_if_up(site_path: Path | None, components: Sequence[ComponentStatus]) -> list[EndpointStatus] | None:
    """The endpoints, or None where what serves them does not work (its own line says why)."""
    serving = next((c for c in components if c.name == "gateway" or _is_kserve(c.name)), None)
    if serving is None or serving.condition is not Condition.HEALTHY:
        return None
    try:
        return open_serving(site_path).endpoints.list_endpoints()
    except AiHowError:
        return None


def log_of_endpoint(name: str, lines: int, site_path: Path | None) -> list[str] | None:
    """The end of the log of an endpoint's newest replica on a cluster; None where there is no such endpoint."""
    try:
        return open_serving(site_path).endpoints.log(name, lines).splitlines()
    except NotFoundError:
        return None


def _is_kserve(component: str) -> bool:
    return component.startswith("stack/") and component.endswith("/kserve")
