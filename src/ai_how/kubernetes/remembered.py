"""How a cluster's nodes are or were reached, kept beside its playbooks: one that leaves is in no site file any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ai_how.apply.files import read_json, write_json
from ai_how.errors import ProviderError
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.run.ssh import SshTarget

_PATHS = ("key_file", "known_hosts")


def remember(file: Path, nodes: Iterable[ClusterNode]) -> None:
    """Keep nodes; what was kept of others stays."""
    known = {node.name: node for node in (*recall(file), *nodes)}
    write_json(file, {"nodes": [_plain(node) for node in known.values()]})


def recall(file: Path) -> tuple[ClusterNode, ...]:
    """The nodes that were kept; none where there is no such file, or it is damaged."""
    kept = read_json(file)
    try:
        return tuple(_node(data) for data in kept["nodes"]) if kept else ()
    except (KeyError, TypeError):
        return ()


def check_known(file: Path, names: Iterable[str]) -> None:
    """Make sure that it is kept how every one of these nodes is or was reached.

    Raises:
        ProviderError: it is not.
    """
    forgotten = sorted(set(names) - {node.name for node in recall(file)})
    if forgotten:
        raise ProviderError(
            f"how {', '.join(forgotten)} was reached is not known any more",
            evidence=f"{file} does not name it",
            next_step="put it back into the site file, then: ai-how up; then remove it again",
        )


def _plain(node: ClusterNode) -> dict[str, Any]:
    data = asdict(node)
    access = data["access"]
    return {**data, "access": {**access, **{key: access[key] and str(access[key]) for key in _PATHS}}}


def _node(data: Mapping[str, Any]) -> ClusterNode:
    kept = data["access"]
    access = SshTarget(**{**kept, **{key: kept[key] and Path(kept[key]) for key in _PATHS}})
    return ClusterNode(**{**data, "access": access})
