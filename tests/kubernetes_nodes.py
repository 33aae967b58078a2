"""Clusters of nodes as the set-up of Kubernetes gets them, for golden files and for Kubespray's own checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ai_how.kubernetes.nodes import ClusterNode
from ai_how.run.ssh import SshTarget
from ai_how.site.kubernetes import Kubernetes
from ai_how.site.roles import Role

VERSIONS = {"kubernetes": "1.35.4", "containerd": "2.2.3", "calico": "3.31.5"}
SECRETS = Path("/site/secrets")
Row = tuple[str, Role, int, float, str]
LAYOUTS: Mapping[str, tuple[Row, ...]] = {
    # the resource requirements' four machines
    "four-machines": (
        ("cloud-control-plane-1", "control-plane", 10, 12, ""),
        ("cloud-cpu-worker-1", "cpu-worker", 91, 16, ""),
        ("cloud-gpu-worker-1", "gpu-worker", 172, 32, "RTX A6000"),
        ("cloud-gpu-worker-2", "gpu-worker", 173, 32, "T4"),
    ),
    "high-availability": (
        ("cloud-control-plane-1", "control-plane", 10, 16, ""),
        ("cloud-control-plane-2", "control-plane", 11, 16, ""),
        ("cloud-control-plane-3", "control-plane", 12, 16, ""),
        ("cloud-cpu-worker-1", "cpu-worker", 91, 64, ""),
        ("cloud-gpu-worker-1", "gpu-worker", 172, 256, "NVIDIA A100-SXM4-80GB"),
    ),
    # no CPU worker: the GPU worker must take everything, so nothing keeps it free
    "minimal": (
        ("cloud-control-plane-1", "control-plane", 10, 2, ""),
        ("cloud-gpu-worker-1", "gpu-worker", 172, 4, ""),
    ),
}
WANTED: Mapping[str, Kubernetes] = {
    "four-machines": Kubernetes(),
    "high-availability": Kubernetes(
        pod_cidr="10.64.0.0/14",
        service_cidr="10.60.0.0/20",
        extra_vars={"kubelet_max_pods": 200, "kube_proxy_mode": "nftables"},
    ),
    "minimal": Kubernetes(),
}


def access(address: str, *, jump: str = "", port: int = 22) -> SshTarget:
    """How a machine is reached with the site's key."""
    return SshTarget(
        host=address,
        user="ai-how",
        key_file=SECRETS / "ssh" / "login",
        known_hosts=SECRETS / "ssh" / "known_hosts",
        jump=jump,
        port=port,
    )


def nodes_of(layout: str) -> list[ClusterNode]:
    """The nodes of a layout; those of the second lie behind another host."""
    jump = "admin@big" if layout == "high-availability" else ""
    return [
        ClusterNode(
            name=name,
            role=role,
            address=f"192.168.200.{last}",
            access=access(f"192.168.200.{last}", jump=jump),
            memory_gib=memory_gib,
            gpu_model=gpu_model,
        )
        for name, role, last, memory_gib, gpu_model in LAYOUTS[layout]
    ]
