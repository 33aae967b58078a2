"""What ``status`` shows of a cluster's Kubernetes: one line for it, one for each node, as its API server says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ai_how.apply.provider import ComponentStatus
from ai_how.errors import AiHowError
from ai_how.kubernetes.kubeconfig import Kubeconfig
from ai_how.kubernetes.reach import open_api
from ai_how.kubernetes.ready import cordoned, node_troubles
from ai_how.kubernetes.setup import Setup
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.connection import Patience
from ai_how.kubernetes_api.states import state_of
from ai_how.plan.model import Condition, Observed

_ANSWER_S = 5
_SYSTEM = "kube-system"
"""Where Kubespray puts what every pod needs: network, names, measures for autoscalers."""


def cluster_status(setup: Setup, seen: Observed | None, kubeconfig: Kubeconfig) -> Iterator[ComponentStatus]:
    """A cluster that shall run, and its nodes.

    Args:
        seen: As it was recorded; None: it was not set up yet.
    """
    if setup.recorded is None or seen is None:
        yield ComponentStatus(
            name=setup.name, condition=Condition.ABSENT, detail="is not set up yet", remedy="ai-how up"
        )
        return
    version = setup.recorded.kubernetes
    try:
        access = kubeconfig.read()
        with open_api(
            access, setup.first_control_plane.access, patience=Patience(total_s=_ANSWER_S, answer_s=_ANSWER_S)
        ) as api:
            found = api.list_objects("v1", "Node").items
            system = _system_troubles(api)
    except AiHowError as error:
        detail = seen.detail or f"its API server cannot be asked: {error.brief}"
        remedy = error.next_step if "ai-how" in error.next_step else "ai-how up"
        yield ComponentStatus(
            name=setup.name, condition=Condition.FAILING, version=version, detail=detail, remedy=remedy
        )
        return
    yield from _answered(setup, seen, found, system, address=access.server, version=version)


def _system_troubles(api: Client) -> dict[str, str]:
    """What of Kubernetes' own on the nodes does not work, as kubectl names it, with why."""
    found = {}
    for kind in ("DaemonSet", "Deployment"):
        for thing in api.list_objects("apps/v1", kind, _SYSTEM).items:
            state = state_of({"kind": kind, **thing})
            if not state.is_well:
                found[f"{kind.lower()}/{thing['metadata']['name']}"] = state.reason
    return found


def _answered(
    setup: Setup,
    seen: Observed,
    found: Sequence[Mapping[str, Any]],
    system: Mapping[str, str],
    *,
    address: str,
    version: str,
) -> Iterator[ComponentStatus]:
    names = list(setup.recorded.nodes if setup.recorded else ())
    troubles = node_troubles(found, names)
    detail = seen.detail or (f"{len(troubles)} of {len(names)} nodes are not ready" if troubles else "")
    remedy = "ai-how up"
    if system and not detail:
        # a node that is away takes its pods with it: its own line says so
        name, why = next(iter(system.items()))
        others = len(system) - 1
        more = f"; nor {'does 1 more' if others == 1 else f'do {others} more'}" if others else ""
        detail = f"{name} of {_SYSTEM} does not work: {why}{more}"
        remedy = f"kubectl -n {_SYSTEM} describe {name}"
    yield ComponentStatus(
        name=setup.name,
        condition=Condition.FAILING if detail else Condition.HEALTHY,
        address=address,
        version=version,
        detail=detail,
        remedy=remedy if detail else "",
    )
    known = {node["metadata"]["name"]: node for node in found}
    closed = cordoned(found, names)
    for name in names:
        why = troubles.get(name, "")
        held = not why and name in closed
        info = known.get(name, {}).get("status", {}).get("nodeInfo", {})
        yield ComponentStatus(
            name=f"{setup.name}/{name}",
            condition=Condition.FAILING if why else Condition.HEALTHY,
            version=str(info.get("kubeletVersion", "")).removeprefix("v"),
            detail="takes no new pods: it is cordoned" if held else why,
            remedy=f"kubectl uncordon {name}" if held else f"ai-how logs {name}, then: ai-how up" if why else "",
        )


def at_rest(name: str, version: str) -> ComponentStatus:
    """A cluster that was set up and whose machines are off, as they shall be."""
    return ComponentStatus(name=name, condition=Condition.HEALTHY, version=version, address="stopped")
