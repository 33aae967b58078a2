"""The record on a server that it is a node of a site: /var/lib/ai-how/node.json. Another site's is never touched."""

from __future__ import annotations

import json

from ai_how.errors import ConflictError, ProviderError
from ai_how.host.checks.node import NodeWish
from ai_how.kubernetes.group_vars import RELEASES
from ai_how.run.ssh import SSH_FAILED, SshTarget, run_remote
from ai_how.servers.server import Server
from ai_how.servers.survey import explained

FOLDER = "/var/lib/ai-how"
_AS_ROOT = 'as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }; '
_OURS = f"""python3 -c '
import json, sys
try:
    with open("{FOLDER}/node.json") as file:
        data = json.load(file)
except FileNotFoundError:
    sys.exit(0)
except ValueError:
    data = {{}}
sys.exit(0 if [data.get("site"), data.get("cluster")] == sys.argv[1:] else 3)' "$1" "$2" || exit 3; """
_WRITE = (
    f"{_AS_ROOT}{_OURS}set -e; as_root mkdir -p {FOLDER}; as_root tee {FOLDER}/node.json.new >/dev/null; "
    f"as_root chmod 644 {FOLDER}/node.json.new; as_root mv {FOLDER}/node.json.new {FOLDER}/node.json"
)
# what Kubespray downloaded lies beside it; models on GPU nodes do, too, and stay
_REMOVE = (
    f"{_AS_ROOT}{_OURS}set -e; [ -e {FOLDER}/node.json ] || exit 0; as_root rm -rf {RELEASES}; "
    f"as_root rm -f {FOLDER}/node.json; as_root rmdir --ignore-fail-on-non-empty {FOLDER}"
)
_OTHERS = 3


def record_text(wish: NodeWish) -> str:
    """What is written. Pure."""
    data = {"site": wish.site, "cluster": wish.cluster, "node": wish.name, "role": wish.role, "by": "ai-how"}
    return json.dumps(data, sort_keys=True) + "\n"


def write_record(server: Server, target: SshTarget) -> None:
    """Mark a server as this node.

    Raises:
        ConflictError: it is another site's by now.
        TryAgainError, ProviderError: it could not be done.
    """
    _run(server, target, _WRITE, stdin=record_text(server.wish))


def remove_record(server: Server, target: SshTarget) -> None:
    """Take the mark away, and the downloads beside it; nothing where there is none. Raises as ``write_record``."""
    _run(server, target, _REMOVE)


def _run(server: Server, target: SshTarget, script: str, *, stdin: str = "") -> None:
    words = ["sh", "-c", script, "sh", server.wish.site, server.wish.cluster]
    done = run_remote(target, words, stdin=stdin, check=False)
    if done.returncode == SSH_FAILED:
        raise explained(server, done.stderr)
    if done.returncode == _OTHERS:
        raise ConflictError(
            f"{server.name} belongs to another site or cluster",
            evidence=f"its {FOLDER}/node.json says so",
            next_step=f"look at it: ssh {server.reached.text} cat {FOLDER}/node.json",
        )
    if done.returncode != 0:
        raise ProviderError(
            f"what {server.name} is could not be recorded on it",
            evidence=(done.stderr or done.stdout).strip()[-500:],
            next_step="mend what it says, then: ai-how up",
        )
