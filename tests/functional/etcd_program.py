"""What stands for Kubespray's ``etcdctl.sh`` on a node where no etcd runs: a size, and a file as the snapshot."""

from __future__ import annotations

from pathlib import Path

SNAPSHOT = b"bytes\0\377of etcd"
SIZE_BYTES = 20 << 20
_PROGRAM = f"""#!/bin/sh
[ "$1 $2" = "--endpoints https://127.0.0.1:2379" ] || exit 64
case "$*" in
*" endpoint status --write-out json")
    echo '[{{"Endpoint":"127.0.0.1:2379","Status":{{"dbSize":{SIZE_BYTES}}}}}]' ;;
*" snapshot save $5")
    printf 'bytes\\000\\377of etcd' > "$5"
    echo "Snapshot saved at $5" ;;
*) exit 64 ;;
esac
"""


def write_etcdctl(folder: Path, text: str = _PROGRAM) -> None:
    """Put it, or another program of its name, into a folder of programs."""
    (folder / "etcdctl.sh").write_text(text)
    (folder / "etcdctl.sh").chmod(0o755)
