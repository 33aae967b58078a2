"""What Kubespray is told so that nodes take files and images from a server of ours. Pure.

Images keep their names: containerd asks our server first, in the place of the registry that the name says. Kubespray's
``containerd_registries_mirrors`` and ``*_url`` variables are those of its guide to offline environments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ai_how.errors import SpecError

FILE_HOSTS: Mapping[str, str] = {
    "github.com": "github_url",
    "dl.k8s.io": "dl_k8s_io_url",
    "storage.googleapis.com": "storage_googleapis_url",
    "get.helm.sh": "get_helm_url",
}
"""Hosts that Kubespray 2.31.0 downloads from, with the variable that says where else."""
_OWN_ADDRESSES = {"docker.io": "https://registry-1.docker.io"}


def offline_vars(server: str, *, hosts: Iterable[str], registries: Iterable[str]) -> dict[str, Any]:
    """The variables for a server.

    Args:
        server: Its address as nodes reach it, such as ``http://192.168.200.1:5080``.
        hosts: The hosts whose files it has.
        registries: The registries whose images it has. What it does not have is asked of themselves: workloads of
            a cluster with internet need more than its set-up does.

    Raises:
        SpecError: Kubespray has no variable for one of the hosts.
    """
    hosts = sorted(set(hosts))
    unknown = [host for host in hosts if host not in FILE_HOSTS]
    if unknown:
        raise SpecError(
            f"nodes cannot be told to take files of {', '.join(unknown)} from elsewhere",
            evidence=f"Kubespray has variables for {', '.join(FILE_HOSTS)}",
            next_step="set the file's own *_download_url in kubernetes.extra_vars",
        )
    mirrors = [
        {
            "prefix": registry,
            "server": _OWN_ADDRESSES.get(registry, f"https://{registry}"),
            "mirrors": [{"host": server, "capabilities": ["pull", "resolve"], "skip_verify": False}],
        }
        for registry in sorted(set(registries))
    ]
    files = {FILE_HOSTS[host]: f"{server}/files/{host}" for host in hosts}
    return {**files, "containerd_registries_mirrors": mirrors} if mirrors else files
