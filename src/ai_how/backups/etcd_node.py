"""One member of etcd on its node, as Kubespray sets it up: a systemd service, its settings in /etc/etcd.env.

Owns the steps of a restore on one node: each may be done again, and finds what the one before left. What is made lies
beside the data directory, on its disk, so that putting one in the other's place is a rename. Decides nothing.
Sources: Kubespray 2.31 roles/etcd (templates/etcd.env.j2, tasks) and roles/recover_control_plane; etcd's documentation,
"Disaster recovery".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ai_how.backups.on_nodes import on_node
from ai_how.kubernetes.nodes import ClusterNode

_SCRIPT = r"""
set -eu
umask 077
verb=$1 id=$2
settings=/etc/etcd.env
manifests=/etc/kubernetes/manifests
[ -r "$settings" ] || { echo "$settings is not there: etcd does not run here as a service" >&2; exit 3; }
value() { sed -n "s/^$1=//p" "$settings" | tail -n 1; }
data=$(value ETCD_DATA_DIR)
[ -n "$data" ] || { echo "$settings names no ETCD_DATA_DIR" >&2; exit 3; }
work="$data.ai-how-$id"
tool() {
    if command -v etcdutl >/dev/null; then echo etcdutl
    elif command -v etcdctl >/dev/null; then echo etcdctl
    fi
}
case $verb in
facts)
    for name in NAME DATA_DIR INITIAL_CLUSTER INITIAL_ADVERTISE_PEER_URLS; do
        echo "$name=$(value "ETCD_$name")"
    done
    echo "TOOL=$(tool)"
    echo "FREE_KIB=$(df -Pk "$(dirname "$data")" | awk 'NR == 2 { print $4 }')"
    ! mountpoint -q "$data" || echo MOUNTED=yes
    for each in "$data".ai-how-*; do
        [ ! -d "$each" ] || echo "WORK=${each##*.ai-how-}"
    done
    ;;
prepare)
    if [ -d "$work/old" ] || [ -d "$work/new" ]; then cat >/dev/null; exit 0; fi
    rm -rf "$work"
    mkdir "$work"
    cat >"$work/snapshot"
    echo "$3  $work/snapshot" | sha256sum --check --quiet >&2
    export ETCDCTL_API=3
    program=$(tool) more=
    # watchers of the API server must not take the restored state for one that they know
    if "$program" snapshot restore --help 2>&1 | grep -q -e --bump-revision; then
        more="--bump-revision 1000000000 --mark-compacted"
    fi
    "$program" snapshot restore "$work/snapshot" --data-dir "$work/part" --name "$(value ETCD_NAME)" \
        --initial-cluster "$(value ETCD_INITIAL_CLUSTER)" \
        --initial-cluster-token "$(value ETCD_INITIAL_CLUSTER_TOKEN)" \
        --initial-advertise-peer-urls "$(value ETCD_INITIAL_ADVERTISE_PEER_URLS)" $more >&2
    mv "$work/part" "$work/new"
    rm "$work/snapshot"
    ;;
halt)
    mkdir -p "$work/manifests"
    for each in kube-apiserver kube-controller-manager kube-scheduler; do
        [ ! -e "$manifests/$each.yaml" ] || mv "$manifests/$each.yaml" "$work/manifests/"
    done
    tries=0
    while [ -n "$(crictl ps --quiet --name '^kube-apiserver$')" ]; do
        tries=$((tries + 1))
        [ "$tries" -le 180 ] || { echo "kube-apiserver still runs, its manifest is in $work/manifests" >&2; exit 4; }
        sleep 1
    done
    systemctl stop etcd
    ;;
swap)
    systemctl stop etcd
    if [ -d "$work/new" ]; then
        if [ ! -d "$work/old" ]; then
            [ -d "$data" ] || mkdir -m 700 "$data"
            chown -R --reference="$data" "$work/new"
            chmod --reference="$data" "$work/new"
            mv "$data" "$work/old"
        fi
        mv "$work/new" "$data"
    fi
    ;;
start)
    # it is up once a majority is: to wait for it here would be to wait for the others
    systemctl start --no-block etcd
    ;;
health)
    etcdctl.sh --endpoints https://127.0.0.1:2379 endpoint health >&2
    etcdctl.sh --endpoints https://127.0.0.1:2379 member list
    ;;
said)
    journalctl --unit etcd --lines 8 --no-pager --output cat
    ;;
undo)
    systemctl stop etcd
    if [ -d "$work/old" ]; then
        rm -rf "$work/failed"
        [ ! -d "$data" ] || mv "$data" "$work/failed"
        mv "$work/old" "$data"
    fi
    rm -rf "$work/new"
    systemctl start --no-block etcd
    ;;
release)
    for each in "$work"/manifests/*.yaml; do
        [ ! -e "$each" ] || mv "$each" "$manifests/"
    done
    systemctl restart kubelet
    ;;
finish)
    if [ -d "$work/old" ]; then
        kept="$data.before-$id" number=1
        while [ -e "$kept" ]; do number=$((number + 1)) kept="$data.before-$id.$number"; done
        mv "$work/old" "$kept"
        echo "$kept"
    fi
    rm -rf "$work"
    ;;
esac
"""
_RESTART = "systemctl restart kubelet"


@dataclass(frozen=True, kw_only=True)
class EtcdMember:
    """What a node says of its member. ``cluster`` is each member's peer address by name, ``work`` the backups whose
    restore was begun there and not ended, ``tool`` the program that restores, empty where there is none.
    """

    node: ClusterNode
    name: str
    data_dir: str
    cluster: Mapping[str, str]
    tool: str
    free_bytes: int
    is_mounted: bool
    work: tuple[str, ...] = ()


def ask_member(node: ClusterNode) -> EtcdMember:
    """What is there. Changes nothing.

    Raises:
        ProviderError, TryAgainError: the node does not answer, or no etcd runs there as a service.
    """
    found: dict[str, list[str]] = {}
    for line in do_step(node, "facts", "-", what="ask for etcd's settings").splitlines():
        key, _, value = line.partition("=")
        found.setdefault(key, []).append(value.strip().strip("\"'"))

    def one(key: str) -> str:
        return found.get(key, [""])[0]

    return EtcdMember(
        node=node,
        name=one("NAME"),
        data_dir=one("DATA_DIR"),
        cluster=dict(entry.partition("=")[::2] for entry in one("INITIAL_CLUSTER").split(",") if entry),
        tool=one("TOOL"),
        free_bytes=int(one("FREE_KIB") or 0) * 1024,
        is_mounted="MOUNTED" in found,
        work=tuple(found.get("WORK", ())),
    )


def send_snapshot(node: ClusterNode, backup: str, snapshot: Path, sha256: str) -> None:
    """Make a new data directory of a snapshot, beside the one in use; nothing is stopped."""
    do_step(node, "prepare", backup, sha256, what="restore the snapshot of etcd", input_file=snapshot)


def members_seen(node: ClusterNode, backup: str) -> frozenset[str]:
    """Names of the members that a healthy member knows.

    Raises:
        ProviderError, TryAgainError: it is not healthy, or does not answer.
    """
    # id, status, name, addresses, ...
    lines = do_step(node, "health", backup, what="ask how etcd is").splitlines()
    return frozenset(line.split(",")[2].strip() for line in lines if line.count(",") > 2)


def restart_kubelet(node: ClusterNode) -> None:
    """Have a node's kubelet look at everything anew; its pods go on."""
    on_node(node, ["sh", "-c", _RESTART], what="restart the kubelet")


def do_step(node: ClusterNode, step: str, backup: str, *more: str, what: str, input_file: Path | None = None) -> str:
    """One step on a node; gives what it printed.

    Raises:
        ProviderError, TryAgainError: as ``on_nodes.on_node``.
    """
    return on_node(node, ["sh", "-c", _SCRIPT, "sh", step, backup, *more], what=what, input_file=input_file)
