"""Files that are kept of any cluster: etcd and whose it is, what was applied and done, the site file. Reads alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from ai_how.apply.site_folder import SiteFolder
from ai_how.backups.manifest import AUTHORITY, ETCD, SITE_FILE
from ai_how.backups.on_nodes import save_etcd
from ai_how.errors import TryAgainError
from ai_how.kubernetes.cluster_of_site import ClusterMachines
from ai_how.kubernetes.nodes import CONTROL_PLANE, ClusterNode

_ALONE = ("state.json", "events.jsonl")


def control_plane(machines: ClusterMachines) -> ClusterNode:
    """One that is on: each has all of etcd.

    Raises:
        TryAgainError: none is.
    """
    running = (node for node in machines.nodes if node.name in machines.there and node.name not in machines.off)
    node = next((node for node in running if node.role == CONTROL_PLANE), None)
    if node is None:
        raise TryAgainError(f"no control plane of cluster {machines.cluster} is on", next_step="ai-how up")
    return node


def etcd_files(node: ClusterNode, *, authority_pem: str) -> Iterator[tuple[str, bytes]]:
    """A snapshot of etcd, taken now, and of which cluster it is.

    Raises:
        As ``save_etcd``.
    """
    with tempfile.TemporaryDirectory(prefix="ai-how-") as folder:
        save_etcd(node, Path(folder) / "snapshot")
        content = (Path(folder) / "snapshot").read_bytes()
    yield ETCD, content
    yield AUTHORITY, authority_pem.encode("ascii")


def site_files(folder: SiteFolder, site_file: Path) -> Iterator[tuple[str, bytes]]:
    """What was applied and done, where something was, and the site file."""
    for name in _ALONE:
        if (folder.root / name).exists():
            yield name, (folder.root / name).read_bytes()
    yield SITE_FILE, site_file.read_bytes()
