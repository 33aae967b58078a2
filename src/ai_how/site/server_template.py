"""Writes the first site file with servers that exist: examples to be filled in, or addresses that are given. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ai_how.site.roles import SUBNETS
from ai_how.site.template import SCHEMA_FILE, VERSIONS, quoted

EXAMPLES = ("192.0.2.11", "192.0.2.21")
"""Addresses that nobody has. Source: RFC 5737."""
_SPARE = "192.0.2.31"


def render_server_template(
    *, name: str, key_file: str, addresses: Sequence[str] = (), with_schema: bool = False
) -> str:
    """A commented site file with one cluster on servers: the first is its control plane, the others are workers.

    Args:
        name: The site's name; must be a valid one.
        key_file: The private key to log in with.
        addresses: ``user@host`` of two servers or more; without them, examples.
        with_schema: Whether the JSON Schema lies beside the file, so that editors can be pointed to it.
    """
    editors = f"# yaml-language-server: $schema={SCHEMA_FILE}\n" if with_schema else ""
    servers = [("control-1", "control-plane", (addresses or EXAMPLES)[0])]
    workers = enumerate((addresses or EXAMPLES)[1:], start=1)
    servers += [(f"worker-{number}", "cpu-worker", address) for number, address in workers]
    return editors + "\n".join(
        [
            *_head(name, given=bool(addresses)),
            *_ssh(key_file, addresses),
            *_hosts(servers),
            *_cluster(servers),
        ]
    )


def _head(name: str, *, given: bool) -> list[str]:
    filled_in = [] if given else ["# First write your servers' addresses under hosts, and ssh: user and key_file.", "#"]
    return [
        "# Kubernetes on servers that exist, reached over SSH; nothing else is changed.",
        *filled_in,
        "# Check this file with: ai-how validate",
        "# Trust the servers' host keys: ai-how hosts trust",
        "# Check the servers: ai-how doctor --site FILE, then: ai-how plan",
        "# Editors complete every key with the schema: ai-how schema > " + SCHEMA_FILE,
        "",
        "version: 1",
        f"name: {quoted(name)}",
        "provider: inventory  # servers that are there",
        "",
        *VERSIONS,
    ]


def _ssh(key_file: str, addresses: Sequence[str]) -> list[str]:
    user = "#user" if addresses and all("@" in address for address in addresses) else "user"
    return [
        "ssh:",
        "  # Who logs in, root or one with sudo that asks for no password; or user@",
        "  # before an address.",
        f"  {user}: admin",
        f"  key_file: {key_file}",
        "  #port: 22",
        "  # For servers behind another machine:",
        "  #jump: admin@bastion.example.org",
        "",
    ]


def _hosts(servers: Sequence[tuple[str, str, str]]) -> list[str]:
    lines = ["hosts:"]
    for name, _, address in servers:
        lines += [f"  - name: {name}", f"    address: {address}"]
    return [
        *lines,
        "    # Its key's fingerprint, where `ai-how hosts trust` shall not ask:",
        "    # ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub, on the server.",
        "    #host_key: SHA256:...",
        "  #- name: gpu-1",
        f"  #  address: {_SPARE}",
        "",
    ]


def _cluster(servers: Sequence[tuple[str, str, str]]) -> list[str]:
    lines = [
        "clusters:",
        "  cloud:",
        "    kind: cloud",
        "    # The servers' own network, where they have addresses in several:",
        f"    #subnet: {SUBNETS['cloud']}",
        "    # One more server is one more line here, and one more host above. The",
        "    # number of control planes is odd: 1, 3 or 5.",
        "    nodes:",
    ]
    for name, role, _ in servers:
        lines += [f"      - role: {role}", f"        host: {name}"]
    return [
        *lines,
        "      # One with NVIDIA GPUs:",
        "      #- role: gpu-worker",
        "      #  host: gpu-1",
        "",
    ]
