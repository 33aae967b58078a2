"""A running stack, opened from this machine: its API server, what is kept in its Secrets, where its pods are.

Reads alone. A Secret's values are never shown, logged or written.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ai_how.apply.site_folder import SiteFolder
from ai_how.errors import NotFoundError, ProviderError, SpecError, TryAgainError
from ai_how.kubernetes.cluster_api import open_cluster_api
from ai_how.kubernetes.cluster_of_site import ClusterMachines
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.kubernetes.with_kubernetes import WithKubernetes
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.connection import Patience
from ai_how.kubernetes_api.objects import Ref
from ai_how.models.types import SecretText
from ai_how.site.spec import Site
from ai_how.stack.manifests import NAME_LABEL
from ai_how.stack.setting import Setting, setting_of


@dataclass(frozen=True, kw_only=True)
class RunningStack:
    """One cluster with its stack. ``folder`` is where things of its site are kept on this machine."""

    site: Site
    setting: Setting
    machines: ClusterMachines
    api: Client
    folder: SiteFolder

    @property
    def cluster(self) -> str:
        return self.setting.cluster

    def node(self, name: str) -> ClusterNode:
        """A node of the site's, by the name that Kubernetes knows it by.

        Raises:
            NotFoundError: the site has no such node.
        """
        found = next((node for node in self.machines.nodes if node.name == name), None)
        if found is None:
            raise NotFoundError(
                f"node {name} of cluster {self.cluster} is not in the site file",
                evidence=f"it has: {', '.join(node.name for node in self.machines.nodes)}",
                next_step="ai-how plan",
            )
        return found


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a pod listens: its own address, and the node that it runs on."""

    node: ClusterNode
    address: str
    port: int


def cluster_with_stack(site: Site, asked: str | None = None) -> str:
    """The cluster of a site that has a stack.

    Raises:
        NotFoundError: there is none, or not that one.
        SpecError: there are several, and none was named.
    """
    names = [name for name, cluster in site.planned_clusters.items() if cluster.has_stack]
    if asked is not None and asked not in names:
        said = f"with a stack: {', '.join(names)}" if names else "no cluster has one"
        if asked not in site.planned_clusters:
            there = ", ".join(site.planned_clusters) or "none"
            raise NotFoundError(
                f"site {site.name} has no cluster {asked!r}", evidence=f"there is: {there}", next_step="ai-how plan"
            )
        step = "name one that has" if names else "write it without stack: {enabled: false}; then: ai-how up"
        raise NotFoundError(f"cluster {asked!r} has no stack", evidence=said, next_step=step)
    if not names:
        raise NotFoundError(
            f"no cluster of site {site.name} has a stack",
            next_step="write a cluster of kind: cloud, without stack: {enabled: false}; then: ai-how up",
        )
    if asked is None and len(names) > 1:
        raise SpecError("several clusters have a stack: say which", evidence=", ".join(names))
    return asked or names[0]


def machines_of(provider: WithKubernetes, cluster: str) -> ClusterMachines:
    """The machines of a cluster; its API server is not asked.

    Raises:
        NotFoundError: it is not there yet.
    """
    found = next((each for each in provider.clusters() if each.cluster == cluster), None)
    if found is None:
        raise NotFoundError(f"there is no cluster {cluster!r} yet", next_step="ai-how up")
    return found


@contextmanager
def open_running_stack(
    provider: WithKubernetes, cluster: str | None = None, *, patience: Patience | None = None
) -> Iterator[RunningStack]:
    """The stack of a site's cluster, for the time of the block; the only one where none is named.

    Raises:
        NotFoundError, SpecError: there is no such cluster or several, or it has no Kubernetes yet.
        TryAgainError: the way to its API server does not open.
    """
    kubernetes = provider.kubernetes
    name = cluster_with_stack(kubernetes.site, cluster)
    machines = machines_of(provider, name)
    setting = setting_of(kubernetes.site, name, kubernetes.versions)
    with open_cluster_api(kubernetes, machines, patience=patience) as api:
        yield RunningStack(site=kubernetes.site, setting=setting, machines=machines, api=api, folder=kubernetes.folder)


def read_secret(stack: RunningStack, namespace: str, name: str, *, remedy: str = "ai-how up") -> dict[str, SecretText]:
    """A Secret's values by key; those that are no text are left out.

    Raises:
        NotFoundError: there is no such Secret.
    """
    ref = Ref(api_version="v1", kind="Secret", namespace=namespace, name=name)
    found = stack.api.get(ref)
    if found is None:
        raise NotFoundError(f"{ref} is not on cluster {stack.cluster}", next_step=remedy)
    texts = {key: _text(value) for key, value in (found.get("data") or {}).items()}
    return {key: text for key, text in texts.items() if text is not None}


def value_of(values: Mapping[str, SecretText], key: str, *, of: str) -> SecretText:
    """One value of a Secret; ``of`` names the Secret.

    Raises:
        ProviderError: it has no such key, or an empty one.
    """
    if values.get(key):
        return values[key]
    raise ProviderError(
        f"Secret {of} has no {key}", evidence=f"it has: {', '.join(values) or 'nothing'}", next_step="ai-how status"
    )


def place_of(stack: RunningStack, namespace: str, app: str, *, port: str, part: str) -> Place:
    """Where the ready pod of an app listens.

    Args:
        port: The name of the container's port.
        part: The part of the stack that it belongs to, for the error.

    Raises:
        TryAgainError: none is ready, or its machine is off.
        NotFoundError, ProviderError: it runs on a node that is not the site's, or has no such port.
    """
    pod = ready_pod(stack, namespace, f"{NAME_LABEL}={app}", app=app, part=part)
    number = next((each["containerPort"] for each in _ports(pod) if each.get("name") == port), None)
    if number is None:
        raise ProviderError(f"pod {pod['metadata']['name']} has no port {port}", next_step="ai-how up")
    return Place(node=node_of(stack, pod), address=str(pod["status"]["podIP"]), port=int(number))


def ready_pod(stack: RunningStack, namespace: str, labels: str, *, app: str, part: str) -> dict[str, Any]:
    """A pod that takes requests; ``labels`` is a selector, ``app`` what people call it.

    Raises:
        TryAgainError: none is ready.
    """
    pods = stack.api.list_objects("v1", "Pod", namespace, labels=labels).items
    found = next((pod for pod in pods if is_ready(pod)), None)
    if found is None:
        raise TryAgainError(
            f"{app} does not run on cluster {stack.cluster}",
            evidence=", ".join(map(_how_it_is, pods)) or f"it has no pod in namespace {namespace}",
            next_step=f"ai-how status, then: ai-how logs stack/{stack.cluster}/{part}" if pods else "ai-how up",
        )
    return found


def node_of(stack: RunningStack, pod: Mapping[str, Any]) -> ClusterNode:
    """The node that a pod runs on.

    Raises:
        NotFoundError: it is not the site's.
        TryAgainError: it is off.
    """
    node = stack.node(str(pod["spec"].get("nodeName")))
    if node.name in stack.machines.off:
        raise TryAgainError(f"{node.name} is off, and pod {pod['metadata']['name']} is there", next_step="ai-how up")
    return node


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod takes requests. Pure."""
    status = pod.get("status") or {}
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    leaves = bool(pod["metadata"].get("deletionTimestamp"))
    return bool(conditions.get("Ready") == "True" and status.get("podIP") and not leaves)


def _how_it_is(pod: Mapping[str, Any]) -> str:
    return f"pod {pod['metadata']['name']} is {(pod.get('status') or {}).get('phase', 'unknown').lower()}, not ready"


def _ports(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for container in pod["spec"].get("containers") or ():
        yield from container.get("ports") or ()


def _text(value: str) -> SecretText | None:
    try:
        return SecretText(base64.b64decode(value, validate=True).decode("utf-8"))
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
