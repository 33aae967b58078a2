"""The namespaces of all parts: what their pods may do, and that nothing comes in or goes out unasked."""

from __future__ import annotations

from ai_how.stack.manifests import namespace
from ai_how.stack.objects import Awaited, Component
from ai_how.stack.part import Part
from ai_how.stack.policies import closed
from ai_how.stack.setting import (
    CERT_MANAGER,
    CNPG_SYSTEM,
    GATEWAY,
    GPU_OPERATOR,
    KEDA,
    KSERVE,
    MLOPS,
    MODELS,
    MONITORING,
    NGINX_GATEWAY,
    Setting,
)
from ai_how.stack.upstream import at_least

NAME = "namespaces"

_LEVELS = {
    CERT_MANAGER: "restricted",
    GATEWAY: "restricted",
    KEDA: "restricted",
    MLOPS: "restricted",
    # vLLM's image runs as root
    MODELS: "baseline",
    # the node exporter reads the node's own /proc and /sys
    MONITORING: "privileged",
    NGINX_GATEWAY: "restricted",
}
_NO_API = (GATEWAY, MODELS)
"""Whose pods have nothing to ask of Kubernetes."""


def render(setting: Setting) -> Part:
    """The namespaces, each closed."""
    levels = dict(_LEVELS)
    # KServe's controller names its seccomp profile from 0.17 on
    levels[KSERVE] = "restricted" if at_least(setting.version("kserve"), "0.17") else "baseline"
    if setting.stack.database.type == "cloudnative-pg":
        levels[CNPG_SYSTEM] = "restricted"
    if setting.has_gpus:
        # device plugin and toolkit change the node itself
        levels[GPU_OPERATOR] = "privileged"
    spaces = sorted(levels)
    objects = [namespace(space, security=levels[space]) for space in spaces]
    for space in spaces:
        objects += closed(space, setting, api=space not in _NO_API)
    return Part(
        title="Namespaces",
        version="",
        component=Component(
            name=NAME,
            namespace="",
            objects=tuple(objects),
            awaited=tuple(Awaited(api_version="v1", kind="Namespace", name=space) for space in spaces),
        ),
    )
