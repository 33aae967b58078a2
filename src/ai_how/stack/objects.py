"""The shape of a stack's component: Kubernetes objects, Helm charts, secrets to be made, and what says that it works.

Owns these dataclasses and nothing else. Objects are plain mappings as the API takes them (apiVersion, kind, metadata,
...), without our marks: those are put on when they are applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KubernetesObject = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A Helm chart to be installed as ``release``. ``needs`` names other components or charts that come first."""

    name: str
    release: str
    namespace: str
    repository: str
    version: str
    values: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GeneratedSecret:
    """A Secret whose values are made in the cluster once, where it is absent, and never read back, shown or changed.

    ``random`` has a length in characters for each key; ``texts`` are built from them and may name them:
    ``postgresql://mlflow:${password}@db/mlflow``.
    """

    name: str
    namespace: str
    random: Mapping[str, int]
    texts: Mapping[str, str] = field(default_factory=dict)
    type: str = "Opaque"
    labels: Mapping[str, str] = field(default_factory=dict)
    also_in: tuple[str, ...] = ()
    """Namespaces that get the same values under the same name."""


@dataclass(frozen=True, kw_only=True)
class Awaited:
    """An object, ours or a chart's, that must be well before the component counts as well.

    ``condition`` names a status condition that must be True; empty: what is usual for the kind (a Deployment's rollout,
    a Job's completion). A custom resource needs one: until its controller has seen it, it says nothing of itself.
    """

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    condition: str = ""


@dataclass(frozen=True, kw_only=True)
class Component:
    """One part of the stack. ``needs`` names the components that must be well before it is applied."""

    name: str
    namespace: str
    objects: tuple[KubernetesObject, ...] = ()
    charts: tuple[Chart, ...] = ()
    secrets: tuple[GeneratedSecret, ...] = ()
    needs: tuple[str, ...] = ()
    awaited: tuple[Awaited, ...] = ()
