"""An endpoint as text for people who keep their manifests in git. Pure.

What is exported does not bear our mark: whoever applies it owns it, and ``ai-how deploy`` leaves it alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from ai_how.kubernetes.yaml_text import yaml_text
from ai_how.stack.objects import KubernetesObject


def export_text(objects: Sequence[KubernetesObject]) -> str:
    """One YAML text of all objects, in the order in which they can be applied."""
    return "".join(_text(thing) for thing in objects)


def export_files(objects: Sequence[KubernetesObject]) -> dict[str, str]:
    """The same, a file each, by name: ``inferenceservice-chat-r1.yaml``."""
    return {f"{thing['kind'].lower()}-{thing['metadata']['name']}.yaml": _text(thing) for thing in objects}


def _text(thing: KubernetesObject) -> str:
    return yaml_text(thing, head=f"{thing['kind']} {thing['metadata']['namespace']}/{thing['metadata']['name']}")
