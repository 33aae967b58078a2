"""What Kubespray is told about a whole cluster: from the site file and the release set to its own variables. Pure.

The fields of ``ClusterVars`` bear Kubespray's names. What is not in it keeps Kubespray's default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

from ai_how.errors import SpecError
from ai_how.kubernetes.yaml_text import yaml_text
from ai_how.site.kubernetes import Kubernetes

_HEAD = "Written by ai-how from the site file; the next `ai-how up` writes it again.\nYours: kubernetes.extra_vars."

OWN_KEYS: Mapping[str, str] = {
    "kube_version": "pins: {kubernetes: ...}",
    "containerd_version": "pins: {containerd: ...}",
    "calico_version": "pins: {calico: ...}",
    "kube_pods_subnet": "kubernetes.pod_cidr",
    "kube_service_addresses": "kubernetes.service_cidr",
}
"""Variables that the site file says in its own words: what to write, by variable."""
FIXED = ("credentials_dir", "container_manager", "kube_network_plugin", "etcd_deployment_type")
"""Variables that other parts of ai-how rely on."""


RELEASES = "/var/lib/ai-how/releases"
"""Where a node keeps what Kubespray downloads to it."""


@dataclass(frozen=True, kw_only=True)
class ClusterVars:
    """Kubespray's variables that ai-how decides."""

    kube_version: str
    containerd_version: str
    calico_version: str
    kube_pods_subnet: str
    kube_service_addresses: str
    credentials_dir: str
    """On the machine that runs Kubespray: the key that encrypts secrets is made there."""
    container_manager: str = "containerd"
    etcd_deployment_type: str = "host"
    kube_network_plugin: str = "calico"
    calico_network_backend: str = "vxlan"
    """VXLAN needs UDP 4789 between the nodes and no router's help; BGP (TCP 179) stays off. Kubespray's default too."""
    calico_vxlan_mode: str = "Always"
    calico_ipip_mode: str = "Never"
    kube_proxy_mode: str = "iptables"
    """Kubernetes' default, and that of most of Kubespray's own Calico tests. Its ipvs is deprecated from 1.35 on."""
    loadbalancer_apiserver_localhost: bool = True
    """Each worker reaches the API servers through an nginx of its own: no address to move about, as kube-vip's is."""
    loadbalancer_apiserver_type: str = "nginx"
    kube_encrypt_secret_data: bool = True
    kubernetes_audit: bool = True
    auto_renew_certificates: bool = True
    kubelet_enforce_node_allocatable: str = "pods"
    """Without it the kubelet takes the reservations into account, but lets pods use them up."""
    kube_apiserver_enable_admission_plugins: tuple[str, ...] = ("NodeRestriction", "ExtendedResourceToleration")
    """The second lets pods that ask for a GPU onto the nodes that are kept free for them."""
    metrics_server_enabled: bool = True
    local_path_provisioner_enabled: bool = True
    kubeconfig_localhost: bool = False
    """It is read over SSH into a file of mode 0600."""
    ntp_enabled: bool = False
    """Nodes' images keep the time; Kubespray would put another program in their place."""
    local_release_dir: str = RELEASES
    """Kubespray's /tmp/releases lies in memory on Debian 13, and is gone after a restart."""


def cluster_vars(wanted: Kubernetes, versions: Mapping[str, str], *, credentials_dir: PurePath) -> ClusterVars:
    """The variables of a cluster.

    Args:
        versions: By component: those of the release set, with the pins taken in.
        credentials_dir: A private folder on the machine that runs Kubespray.
    """
    return ClusterVars(
        kube_version=versions["kubernetes"],
        containerd_version=versions["containerd"],
        calico_version=versions["calico"],
        kube_pods_subnet=wanted.pod_cidr,
        kube_service_addresses=wanted.service_cidr,
        credentials_dir=str(credentials_dir),
    )


def all_vars(
    decided: ClusterVars, extra: Mapping[str, Any], *, offline: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What ai-how decides, with the user's own variables over it.

    Args:
        offline: What leads nodes to a server of ours, as ``offline.offline_vars``.

    Raises:
        SpecError: a variable of the user's has a key of its own in the site file, or cannot be changed.
    """
    wrong = [f"{name}: write {OWN_KEYS[name]}" for name in extra if name in OWN_KEYS]
    wrong += [f"{name}: other parts of ai-how rely on {getattr(decided, name)}" for name in extra if name in FIXED]
    if wrong:
        raise SpecError(
            f"kubernetes.extra_vars holds what it may not: {', '.join(line.split(':')[0] for line in wrong)}",
            evidence="\n".join(wrong),
            next_step="correct the site file, then: ai-how validate",
        )
    return {**asdict(decided), **(offline or {}), **extra}


def group_vars_text(variables: Mapping[str, Any]) -> str:
    """The variables as YAML."""
    return yaml_text(variables, head=_HEAD)


def names_in(inventory: Mapping[str, Any], variables: Mapping[str, Any]) -> Sequence[str]:
    """Every variable that Kubespray is told, Ansible's own left out."""
    hosts = inventory["all"]["hosts"].values()
    names = {*variables, *(name for host in hosts for name in host)}
    return sorted(name for name in names if not name.startswith("ansible_"))
