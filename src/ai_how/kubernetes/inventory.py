"""Kubespray's inventory: which node is in which group, and how Ansible reaches it. Pure.

etcd runs on the control planes, whose number is odd. Host keys are pinned, keys are named by path: no secret is in it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ai_how.kubernetes.nodes import ClusterNode, by_role, labels, taints
from ai_how.kubernetes.reservations import reservation
from ai_how.kubernetes.yaml_text import yaml_text
from ai_how.run.ssh import SshTarget, proxy_option

_HEAD = "Written by ai-how from the site file; the next `ai-how up` writes it again."
GROUPS = ("kube_control_plane", "etcd", "kube_node", "k8s_cluster")


def inventory(nodes: Sequence[ClusterNode], *, first: Sequence[str] = ()) -> dict[str, Any]:
    """The inventory as data.

    Args:
        first: Control planes in the order in which the cluster got them; new ones come behind.
    """
    control_planes, workers = by_role(nodes, first)
    everyone = [*control_planes, *workers]
    group = {node.name: None for node in control_planes}
    return {
        "all": {
            "hosts": {node.name: host_vars(node, nodes) for node in everyone},
            "children": {
                "kube_control_plane": {"hosts": dict(group)},
                "etcd": {"hosts": dict(group)},
                "kube_node": {"hosts": {node.name: None for node in workers}},
                "k8s_cluster": {"children": {"kube_control_plane": None, "kube_node": None}},
            },
        }
    }


def inventory_text(nodes: Sequence[ClusterNode], *, first: Sequence[str] = ()) -> str:
    """The inventory as YAML."""
    return yaml_text(inventory(nodes, first=first), head=_HEAD)


def host_vars(node: ClusterNode, nodes: Sequence[ClusterNode]) -> dict[str, Any]:
    """What Ansible and Kubespray are told of one node."""
    kept = reservation(node.memory_gib)
    found: dict[str, Any] = {
        "ansible_host": node.access.host,
        "ansible_port": node.access.port,
        "ansible_user": node.access.user,
        **({"ansible_ssh_private_key_file": str(node.access.key_file)} if node.access.key_file else {}),
        "ansible_ssh_common_args": ssh_arguments(node.access),
        # root needs no sudo, and may have none
        "ansible_become": node.access.user != "root",
        "ip": node.address,
        "kube_cpu_reserved": f"{kept.kube_cpu_m}m",
        "kube_memory_reserved": f"{kept.kube_memory_mib}Mi",
        "system_cpu_reserved": f"{kept.system_cpu_m}m",
        "system_memory_reserved": f"{kept.system_memory_mib}Mi",
        "node_labels": labels(node),
    }
    kept_free = taints(node, nodes)
    if kept_free:
        found["node_taints"] = list(kept_free)
    return found


def ssh_arguments(target: SshTarget) -> str:
    """OpenSSH's options for Ansible: none of the user's configuration, and only the host key that we know."""
    options: Mapping[str, str] = {
        **({"IdentitiesOnly": "yes"} if target.key_file else {}),
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(target.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
    }
    words = ["-F", "none"]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    if target.jump:
        words += ["-o", proxy_option(target.jump)]
    return shlex.join(words)
