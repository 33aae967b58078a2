"""A node as Kubernetes' set-up sees it. Pure data: who made the machine is not known here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ai_how.run.ssh import SshTarget
from ai_how.site.roles import Role

CONTROL_PLANE: Role = "control-plane"
GPU_WORKER: Role = "gpu-worker"
ROLE_LABEL = "ai-how/role"
GPU_LABEL = "ai-how/gpu-model"
GPU_TAINT = "nvidia.com/gpu=present:NoSchedule"
_LABEL_LENGTH = 63


@dataclass(frozen=True, kw_only=True)
class ClusterNode:
    """One node. ``access`` is how it is reached, ``address`` its IPv4 address in the cluster's own network.

    ``gpu_model`` is the card's name, empty where it has none or it is not known.
    """

    name: str
    role: Role
    address: str
    access: SshTarget
    memory_gib: float
    gpu_model: str = ""


def labels(node: ClusterNode) -> dict[str, str]:
    """The node's labels: its role, and the model of its GPU."""
    found = {ROLE_LABEL: str(node.role)}
    if node.gpu_model:
        found[GPU_LABEL] = label_value(node.gpu_model)
    return found


def taints(node: ClusterNode, nodes: Sequence[ClusterNode]) -> tuple[str, ...]:
    """GPU workers are kept free for work that asks for a GPU, where another worker can take the rest."""
    others = any(other.role not in (CONTROL_PLANE, GPU_WORKER) for other in nodes)
    return (GPU_TAINT,) if node.role == GPU_WORKER and others else ()


def label_value(text: str) -> str:
    """Text as a label's value: at most 63 letters, digits, dots, dashes, underscores; empty where nothing is left."""
    dashed = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
    return dashed.strip("-._")[:_LABEL_LENGTH].rstrip("-._")


def by_role(nodes: Sequence[ClusterNode], first: Sequence[str] = ()) -> tuple[list[ClusterNode], list[ClusterNode]]:
    """Control planes and workers, each by name.

    Args:
        first: Control planes in the order in which the cluster got them: Kubespray takes new ones at the end only.
    """
    places = {name: place for place, name in enumerate(first)}
    ordered = sorted(nodes, key=lambda node: (places.get(node.name, len(places)), natural(node.name)))
    workers = sorted((node for node in nodes if node.role != CONTROL_PLANE), key=lambda node: natural(node.name))
    return [node for node in ordered if node.role == CONTROL_PLANE], workers


def natural(name: str) -> tuple[tuple[str, int], ...]:
    """Sorts ``node-10`` behind ``node-9``."""
    return tuple((text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name))
