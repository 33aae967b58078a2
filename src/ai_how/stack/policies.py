"""NetworkPolicies: every namespace of the stack refuses everything, and each part opens what it needs. Pure.

Requests of the API servers (to webhooks and aggregated APIs) come from the nodes: from a node's own address, or, with
Calico's VXLAN, from the address of its tunnel, which is of the pod range. So such ports are open to both ranges; what
listens there speaks TLS. Kubernetes lets a node reach its own pods, so probes need no rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ai_how.stack.manifests import NAME_LABEL, Object
from ai_how.stack.setting import Setting

SPACE_LABEL = "kubernetes.io/metadata.name"
API_PORT = 6443
"""Port of the API servers behind their service address. Source: the resource requirements, "Required Ports"."""
_DNS = {"namespaceSelector": {"matchLabels": {SPACE_LABEL: "kube-system"}}}
_NODE_DNS = "169.254.25.10/32"
"""Kubespray's ``nodelocaldns_ip``: each node's own DNS cache."""


def policy(
    name: str,
    space: str,
    *,
    pods: Mapping[str, str] | None = None,
    ingress: Sequence[Object] | None = None,
    egress: Sequence[Object] | None = None,
) -> Object:
    """A policy for some pods of a namespace, or for all; a direction that is given is closed but for its rules."""
    spec: Object = {"podSelector": {"matchLabels": dict(pods)} if pods else {}}
    spec["policyTypes"] = [kind for kind, rules in (("Ingress", ingress), ("Egress", egress)) if rules is not None]
    if ingress:
        spec["ingress"] = list(ingress)
    if egress:
        spec["egress"] = list(egress)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": space},
        "spec": spec,
    }


def closed(space: str, setting: Setting, *, api: bool) -> tuple[Object, ...]:
    """What every namespace has: nothing comes in or goes out but names' look-ups and, with ``api``, Kubernetes' API."""
    dns = {
        "to": [_DNS, {"ipBlock": {"cidr": _NODE_DNS}}],
        "ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")],
    }
    found = [policy("default-deny", space, ingress=(), egress=()), policy("allow-dns", space, egress=(dns,))]
    if api:
        rule = {"to": blocks(setting.api_server_ranges), "ports": ports(API_PORT)}
        found.append(policy("allow-kubernetes-api", space, egress=(rule,)))
    return tuple(found)


def ports(*numbers: int | str) -> list[Object]:
    """TCP ports, by number or name."""
    return [{"port": number, "protocol": "TCP"} for number in numbers]


def blocks(ranges: Sequence[str]) -> list[Object]:
    """Networks as peers of a rule."""
    return [{"ipBlock": {"cidr": cidr}} for cidr in ranges]


def from_space(space: str, *numbers: int | str, app: str = "") -> Object:
    """In from a namespace's pods, or those of one app."""
    return {"from": [_peer(space, app)], "ports": ports(*numbers)}


def to_space(space: str, *numbers: int | str, app: str = "") -> Object:
    """Out to a namespace's pods, or those of one app."""
    return {"to": [_peer(space, app)], "ports": ports(*numbers)}


def from_api_servers(setting: Setting, *numbers: int | str) -> Object:
    """In from the API servers, for webhooks and aggregated APIs."""
    return {"from": blocks((*setting.api_server_ranges, setting.pod_cidr)), "ports": ports(*numbers)}


def anywhere_outside(setting: Setting, *numbers: int) -> Object:
    """Out to the world, but not to the cluster's own pods and services."""
    block = {"cidr": "0.0.0.0/0", "except": [setting.pod_cidr, setting.service_cidr]}
    return {"to": [{"ipBlock": block}], "ports": ports(*numbers)}


def within(space: str) -> Object:
    """Pods of a namespace may reach each other."""
    everyone: list[Any] = [{"podSelector": {}}]
    return policy("allow-within", space, ingress=({"from": everyone},), egress=({"to": everyone},))


def _peer(space: str, app: str) -> Object:
    peer: Object = {"namespaceSelector": {"matchLabels": {SPACE_LABEL: space}}}
    return {**peer, "podSelector": {"matchLabels": {NAME_LABEL: app}}} if app else peer
