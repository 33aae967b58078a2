"""How requests reach the revisions of an endpoint: one host, weights, a header for one revision, limits. Pure.

Only what vLLM guards with the API key is let in, and its health: ``/v1`` and, as the Open Inference Protocol names
them, ``/v2/health/*`` and ``/v2/models/NAME/ready``. What else vLLM guards differs by version, and ``/invocations``,
which answers as well, is not among it (vllm-project/vllm, vllm/entrypoints/serve/utils/server_utils.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ai_how.endpoints.interface import REVISION_HEADER
from ai_how.errors import SpecError
from ai_how.kserve import container as engine
from ai_how.kserve.names import service_name
from ai_how.kserve.revision import ENDPOINT, REVISION, KServeRevision
from ai_how.kserve.scaling import LONGEST_ANSWER_S, sleeps, wake_objects
from ai_how.kserve.setting import ServingSetting
from ai_how.stack.components import keda_http_add_on as add_on
from ai_how.stack.objects import KubernetesObject
from ai_how.stack.setting import KEDA
from ai_how.stack.upstream import at_least

SERVICE_PORT = 80
"""Port of the Service that KServe makes."""
BODY_SIZE = "32m"
"""The largest request: nginx' own limit of 1 MB is less than an image. Chosen."""
_API, _NGINX = "gateway.networking.k8s.io/v1", "gateway.nginx.org/v1alpha1"


def route_objects(
    name: str, revisions: Sequence[KServeRevision], *, setting: ServingSetting
) -> tuple[KubernetesObject, ...]:
    """The endpoint's HTTPRoute and what goes with it: limits of the gateway, scraping, and what holds requests.

    Raises:
        SpecError: there is no revision, or the shares do not add up to 100.
        NotFoundError: it may sleep, and the release set has nothing that would wake it.
    """
    if sum(each.share_percent for each in revisions) != 100:
        shares = ", ".join(f"revision {each.number}: {each.share_percent} %" for each in revisions) or "no revision"
        raise SpecError(f"the shares of endpoint {name} do not add up to 100", evidence=shares)
    sleepers = sorted((each for each in revisions if sleeps(each.spec)), key=lambda each: -each.share_percent)
    # what holds requests knows one Service: as long as a single revision gets any, also while another starts beside it
    held = next((each for each in sleepers if each.share_percent == 100), None)
    found = [_route(name, revisions, setting, held=held), _scraping(name, setting), _body_size(name, setting)]
    if at_least(setting.versions["nginx-gateway-fabric"], "2.4"):
        found.append(_patience(name, setting))
    # also where none is held now: nginx follows the route about a second later, and sends requests there until then
    return (*found, *(wake_objects(sleepers[0], setting) if sleepers else ()))


def shares_of(route: Mapping[str, Any]) -> dict[int, int]:
    """The share of each revision, in percent by number, as the annotation of an HTTPRoute of ours says it."""
    annotations = (route.get("metadata") or {}).get("annotations") or {}
    pairs = (pair.partition("=") for pair in str(annotations.get(SHARES, "")).split(",") if pair)
    return {int(number): int(share) for number, _, share in pairs if number.isdecimal() and share.isdecimal()}


SHARES = "ai-how/shares"
"""Annotation with every share, as the route leaves out those of 0: ``1=90,2=10``."""


def _metadata(name: str, setting: ServingSetting, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": setting.namespace, "labels": {ENDPOINT: name}, **more}


def _route(
    name: str, revisions: Sequence[KServeRevision], setting: ServingSetting, *, held: KServeRevision | None
) -> KubernetesObject:
    prefix = {"path": {"type": "PathPrefix", "value": "/v1"}}
    direct = [
        {"name": service_name(name, each.number), "port": SERVICE_PORT, "weight": each.share_percent}
        for each in revisions
        if each.share_percent
    ]
    waiting = [{"name": add_on.PROXY, "namespace": KEDA, "port": add_on.PROXY_PORT}]
    rules = [
        {
            "matches": [{**prefix, "headers": [{"name": REVISION_HEADER, "value": str(each.number)}]}],
            "backendRefs": waiting
            if each is held
            else [{"name": service_name(name, each.number), "port": SERVICE_PORT}],
        }
        for each in revisions
    ]
    health = ("/v2/health/live", "/v2/health/ready", f"/v2/models/{name}/ready")
    to_health = {"type": "ReplaceFullPath", "replaceFullPath": "/health"}
    rules += [
        {"matches": [prefix], "backendRefs": waiting if held else direct},
        {
            "matches": [{"path": {"type": "Exact", "value": path}} for path in health],
            "filters": [{"type": "URLRewrite", "urlRewrite": {"path": to_health}}],
            # whoever asks how it is does not wake it
            "backendRefs": direct,
        },
    ]
    shares = ",".join(f"{each.number}={each.share_percent}" for each in revisions)
    return {
        "apiVersion": _API,
        "kind": "HTTPRoute",
        "metadata": _metadata(name, setting, annotations={SHARES: shares}),
        "spec": {
            "parentRefs": [
                {"name": setting.gateway_name, "namespace": setting.gateway_namespace, "sectionName": "https"}
            ],
            "hostnames": [setting.host(name)],
            "rules": rules,
        },
    }


def _scraping(name: str, setting: ServingSetting) -> KubernetesObject:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": _metadata(name, setting),
        "spec": {
            "selector": {"matchLabels": {ENDPOINT: name}},
            "podTargetLabels": [ENDPOINT, REVISION],
            # scaling acts on these
            "podMetricsEndpoints": [{"port": engine.PORT_NAME, "path": "/metrics", "interval": "5s"}],
        },
    }


def _target(name: str) -> dict[str, str]:
    return {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name}


def _body_size(name: str, setting: ServingSetting) -> KubernetesObject:
    return {
        "apiVersion": _NGINX,
        "kind": "ClientSettingsPolicy",
        "metadata": _metadata(name, setting),
        "spec": {"targetRef": _target(name), "body": {"maxSize": BODY_SIZE}},
    }


def _patience(name: str, setting: ServingSetting) -> KubernetesObject:
    """Tokens are passed on as they come, and a start may be waited for; nginx' own limit is 60 seconds."""
    longest = round(setting.serving.start_timeout_s) + LONGEST_ANSWER_S
    return {
        "apiVersion": _NGINX,
        "kind": "ProxySettingsPolicy",
        "metadata": _metadata(name, setting),
        "spec": {
            "targetRefs": [_target(name)],
            "buffering": {"disable": True},
            "timeout": {"read": f"{longest}s", "send": f"{LONGEST_ANSWER_S}s"},
        },
    }
