"""The servers of a site as data: how each is reached, and what it shall be. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from ai_how.host.checks.node import NodeWish
from ai_how.run.ssh import SshTarget
from ai_how.site.clusters import Cluster, Host
from ai_how.site.roles import DEFAULTS
from ai_how.site.spec import Site

SSH_PORT = 22
_OLD_CGROUPS = "kubelet_fail_cgroup_v1"
"""Kubespray's variable: whether kubelet refuses version 1 of control groups. True there."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How a server is reached. ``key_file`` is empty where the user's agent and usual keys are meant."""

    host: str
    user: str
    port: int = SSH_PORT
    key_file: str = ""
    jump: str = ""

    @property
    def known_as(self) -> str:
        """Its name in OpenSSH's file of known hosts."""
        return self.host.lower() if self.port == SSH_PORT else f"[{self.host.lower()}]:{self.port}"

    @property
    def text(self) -> str:
        """As people write it."""
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != SSH_PORT else "")

    def target(self, known_hosts: Path) -> SshTarget:
        """As ssh takes it."""
        return SshTarget(
            host=self.host,
            user=self.user,
            port=self.port,
            key_file=Path(self.key_file) if self.key_file else None,
            known_hosts=known_hosts,
            jump=self.jump,
        )

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Reached:
        """The reverse of ``dataclasses.asdict``."""
        return cls(**settings)


@dataclass(frozen=True, kw_only=True)
class Server:
    """One server that is, or was, a node. ``host_key`` is the fingerprint that the site file names, or empty."""

    name: str
    reached: Reached
    wish: NodeWish
    host_key: str = ""


def servers_of(site: Site, site_file: Path, *, set_up: Collection[str] = ()) -> tuple[Server, ...]:
    """The servers that are nodes of a cluster, ordered by cluster and place in the file.

    Args:
        set_up: Those that Kubernetes has been set up on.
    """
    hosts = {host.name: host for host in site.hosts}
    return tuple(
        Server(
            name=node.host,
            reached=reached_of(site, hosts[node.host], site_file),
            host_key=hosts[node.host].host_key or "",
            wish=NodeWish(
                name=node.host,
                site=site.name,
                cluster=name,
                role=node.role,
                cluster_address=hosts[node.host].cluster_address or "",
                subnet=IPv4Network(cluster.subnet) if cluster.subnet else None,
                ranges=_ranges(cluster),
                gpus=bool(DEFAULTS[node.role].gpus if node.gpus is None else node.gpus),
                set_up=node.host in set_up,
                old_cgroups=cluster.kubernetes.extra_vars.get(_OLD_CGROUPS) is False,
            ),
        )
        for name, cluster in site.planned_clusters.items()
        for node in cluster.nodes
        if node.host is not None and hosts[node.host].address
    )


def _ranges(cluster: Cluster) -> tuple[IPv4Network, ...]:
    if not cluster.has_kubernetes:
        return ()
    return IPv4Network(cluster.kubernetes.pod_cidr), IPv4Network(cluster.kubernetes.service_cidr)


def reached_of(site: Site, host: Host, site_file: Path) -> Reached:
    """How a host of the site file is reached; what the host says itself goes before what is said for all."""
    user, _, place = (host.address or "").rpartition("@")
    key_file = host.ssh.key_file or site.ssh.key_file
    return Reached(
        host=place,
        user=user or host.ssh.user or site.ssh.user or "",
        port=host.ssh.port or site.ssh.port or SSH_PORT,
        key_file=str(site_file.resolve().parent / Path(key_file).expanduser()) if key_file else "",
        jump=host.ssh.jump or site.ssh.jump or "",
    )
