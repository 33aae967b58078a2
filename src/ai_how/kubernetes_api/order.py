"""The order in which objects are applied, and in which they go. Pure; the same objects give the same order."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TypeVar

from ai_how.kubernetes_api.objects import Ref

_NAMESPACES, _DEFINITIONS, _WHAT_OTHERS_NAME, _THE_REST, _CUSTOM = range(5)
# groups of Kubernetes itself; an object of another one has a controller, which comes before it and goes after it
_OWN_GROUPS = frozenset(
    (
        "",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "apps",
        "autoscaling",
        "batch",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    )
)
_WAVES = {
    "Namespace": _NAMESPACES,
    "CustomResourceDefinition": _DEFINITIONS,
    # a volume cannot go before the claim that has it
    "PersistentVolume": _DEFINITIONS,
    **dict.fromkeys(
        (
            "PriorityClass",
            "StorageClass",
            "ResourceQuota",
            "LimitRange",
            "ServiceAccount",
            "Secret",
            "ConfigMap",
            "ClusterRole",
            "ClusterRoleBinding",
            "Role",
            "RoleBinding",
            "PersistentVolumeClaim",
            "NetworkPolicy",
        ),
        _WHAT_OTHERS_NAME,
    ),
}
Item = TypeVar("Item")


def wave_of(ref: Ref) -> int:
    """What has a lower number is applied first and removed last."""
    return _WAVES.get(ref.kind, _THE_REST) if ref.group in _OWN_GROUPS else _CUSTOM


def is_custom(ref: Ref) -> bool:
    """Whether its kind is not Kubernetes' own: something that was installed must serve it, and often check it."""
    return wave_of(ref) == _CUSTOM


def waves(items: Iterable[tuple[Ref, Item]], *, reverse: bool = False) -> list[list[Item]]:
    """The items in waves; within one, in the order of their names, and side by side."""
    ordered = sorted(items, key=lambda item: (wave_of(item[0]), item[0]))
    grouped = [[item for _, item in group] for _, group in groupby(ordered, key=lambda item: wave_of(item[0]))]
    return grouped[::-1] if reverse else grouped


def propagation_of(ref: Ref) -> str:
    """How to delete it: what owns others goes after them, so that its end says that they are gone too."""
    return "Foreground" if wave_of(ref) in (_THE_REST, _CUSTOM) and ref.kind != "Service" else "Background"
