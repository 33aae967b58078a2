"""Gateway API's resource definitions, which their authors publish as one file and no chart carries."""

from __future__ import annotations

from ai_how.stack.objects import Awaited, Component
from ai_how.stack.part import Part
from ai_how.stack.setting import Setting
from ai_how.stack.upstream import manifest

NAME = "gateway-api"


def render(setting: Setting) -> Part:
    """The file to apply, with its digest where it is known."""
    names = ("gatewayclasses", "gateways", "httproutes")
    return Part(
        title="Gateway API",
        version=setting.version("gateway-api"),
        component=Component(
            name=NAME,
            namespace="",
            awaited=tuple(
                Awaited(
                    api_version="apiextensions.k8s.io/v1",
                    kind="CustomResourceDefinition",
                    name=f"{name}.gateway.networking.k8s.io",
                )
                for name in names
            ),
        ),
        manifests=(manifest("gateway-api", setting),),
    )
