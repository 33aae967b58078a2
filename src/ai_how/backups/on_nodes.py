"""What of a cluster is kept or put back by a command on one of its nodes, over SSH: the database, and etcd.

The database's own pod dumps and loads it, so that the programs are of its version and no password is needed; it is
CloudNativePG's own way (its documentation: Backup, "Kubernetes logical backup"). The node reaches the container by
``crictl``, which Kubespray installs with containerd, and etcd by Kubespray's ``etcdctl.sh``. Content goes through
standard input and output, as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_how.errors import ProviderError, TryAgainError
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.run.ssh import SSH_FAILED, run_remote
from ai_how.stack.components import database
from ai_how.stack.setting import MLOPS
from ai_how.stack_access.running import RunningStack, node_of, ready_pod

_LONGEST_S = 6 * 3600.0
_CONTAINER = "postgres"
_PRIMARY = f"cnpg.io/cluster={database.CLUSTER},cnpg.io/instanceRole=primary"
_WITH_PATH = 'PATH="$PATH:/usr/local/bin"; exec "$@"'
"""Kubespray's ``bin_dir``, which sudo may not look into."""
_ETCD_HERE = "https://127.0.0.1:2379"
_SNAPSHOT = f"""\
set -e
PATH="$PATH:/usr/local/bin"
umask 077
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
etcdctl.sh --endpoints {_ETCD_HERE} snapshot save "$folder/snapshot" >&2
cat "$folder/snapshot"
"""


@dataclass(frozen=True, kw_only=True)
class DatabasePod:
    """The container of the database that may be written to."""

    node: ClusterNode
    pod: str
    container_id: str

    def dump(self, to: Path) -> None:
        """Write a dump as of one moment in pg_dump's custom format, without owners and rights.

        Raises:
            ProviderError, TryAgainError: the node or the database does not do it.
        """
        to.touch(mode=0o600)
        words = ["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--dbname={database.DATABASE}"]
        on_node(self.node, ["crictl", "exec", self.container_id, *words], what="dump the database", output_file=to)

    def load(self, file: Path) -> None:
        """Put a dump into the database, all of it or nothing; what the dump has is replaced."""
        words = ["pg_restore", "--clean", "--if-exists", "--no-owner", "--no-privileges", f"--role={database.USER}"]
        words += ["--single-transaction", "--exit-on-error", f"--dbname={database.DATABASE}"]
        call = ["crictl", "exec", "-i", self.container_id, *words]
        on_node(self.node, call, what="load the database", input_file=file)


def database_pod(stack: RunningStack) -> DatabasePod:
    """The database's primary.

    Raises:
        TryAgainError: it does not run.
    """
    pod = ready_pod(stack, MLOPS, _PRIMARY, app="the database", part=database.NAME)
    return DatabasePod(node=node_of(stack, pod), pod=pod["metadata"]["name"], container_id=_container_id(pod))


def _container_id(pod: Mapping[str, Any]) -> str:
    for each in pod["status"].get("containerStatuses") or ():
        if each["name"] == _CONTAINER and each.get("containerID"):
            return str(each["containerID"]).rpartition("://")[2]
    raise ProviderError(f"pod {pod['metadata']['name']} has no container {_CONTAINER}", next_step="ai-how status")


def etcd_bytes(node: ClusterNode) -> int:
    """The size of etcd's database on one of its members: about that of a snapshot.

    Raises:
        ProviderError, TryAgainError: the node or etcd does not say it.
    """
    words = ["etcdctl.sh", "--endpoints", _ETCD_HERE, "endpoint", "status", "--write-out", "json"]
    said = on_node(node, words, what="ask etcd for its size")
    try:
        return int(json.loads(said)[0]["Status"]["dbSize"])
    except (ValueError, LookupError, TypeError) as error:
        raise ProviderError(
            f"etcd on {node.name} does not say its size",
            evidence=_end(said) or "it said nothing",
            next_step=f"ai-how vm ssh {node.name}",
        ) from error


def save_etcd(node: ClusterNode, to: Path) -> None:
    """Write a snapshot of etcd, taken on one of its members.

    Raises:
        ProviderError, TryAgainError: the node or etcd does not do it.
    """
    to.touch(mode=0o600)
    on_node(node, ["sh", "-c", _SNAPSHOT], what="take a snapshot of etcd", output_file=to)
    if not to.stat().st_size:
        raise ProviderError(f"the snapshot of etcd on {node.name} is empty", next_step=f"ai-how vm ssh {node.name}")


def on_node(
    node: ClusterNode,
    words: Sequence[str],
    *,
    what: str,
    input_file: Path | None = None,
    output_file: Path | None = None,
) -> str:
    """Run a program on a node as root, found where Kubespray puts its own too; gives what it printed.

    Args:
        what: What cannot be done where it fails, for the message.
        input_file, output_file: As of ``run.process.run``.

    Raises:
        TryAgainError: the node does not answer.
        ProviderError: the program failed; the evidence is the end of what it said.
    """
    # root needs no sudo, and may have none
    head = [] if node.access.user == "root" else ["sudo", "-n"]
    call = [*head, "sh", "-c", _WITH_PATH, "sh", *words]
    done = run_remote(
        node.access, call, timeout_s=_LONGEST_S, check=False, input_file=input_file, output_file=output_file
    )
    if done.returncode == SSH_FAILED:
        raise TryAgainError(
            f"could not {what}: {node.name} does not answer by SSH",
            evidence=_end(done.stderr),
            next_step="ai-how status",
        )
    if done.returncode:
        raise ProviderError(
            f"could not {what} on {node.name}",
            evidence=f"{words[0]} ended with exit code {done.returncode}: {_end(done.stderr)}",
            next_step="ai-how status",
        )
    return done.stdout


def _end(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-6:])
