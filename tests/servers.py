"""Servers as the provider ``inventory`` sees them, without any: facts that pass every check, to be spoilt by a test."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

from ai_how.host.checks.node import NodeWish
from ai_how.host.checks.nodes import Clock
from ai_how.host.facts.cpu import CpuFacts
from ai_how.host.facts.memory import MemoryFacts
from ai_how.host.facts.network import NetworkFacts
from ai_how.host.facts.node import NodeFacts
from ai_how.host.facts.system import SystemFacts
from ai_how.servers.preflight import Examined, examined
from ai_how.servers.server import Reached, Server
from ai_how.servers.survey import Look
from ai_how.site.roles import Role

RANGES = (IPv4Network("10.233.64.0/18"), IPv4Network("10.233.0.0/18"))


def wish(name: str = "w1", role: Role = "cpu-worker", **more: Any) -> NodeWish:
    return NodeWish(name=name, site="lab", cluster="cloud", role=role, **{"ranges": RANGES, **more})


def server(name: str = "w1", role: Role = "cpu-worker", *, last: int = 12, host_key: str = "", **more: Any) -> Server:
    return Server(
        name=name,
        reached=Reached(host=f"192.0.2.{last}", user="admin"),
        wish=wish(name, role, **more),
        host_key=host_key,
    )


def facts(name: str = "w1", *, last: int = 12, **more: Any) -> NodeFacts:
    """A large, well-kept server."""
    whole: dict[str, Any] = {
        "hostname": name,
        "machine_id": f"{last:032x}",
        "macs": {"eno1": f"52:54:00:00:00:{last:02x}"},
        "addresses": (f"192.0.2.{last}",),
        "reached_at": f"192.0.2.{last}",
        "python": (3, 13, 5),
        "sudo": "yes",
        "user": "admin",
        "systemd": True,
        "cgroups": 2,
        "cpu": CpuFacts(architecture="x86_64", cores=32, threads=64),
        "memory": MemoryFacts(total_gib=251.5),
        "network": NetworkFacts(names=("eno1",)),
        "routes": (),
        "listeners": (),
        "system": SystemFacts(
            os_id="debian", os_version=(13,), os_name="Debian 13", clock_synchronised=True, nameservers=("192.0.2.1",)
        ),
        "gpus": (),
        "swaps": (),
        "disk_free_bytes": 900 * 10**9,
        "disk_size_bytes": 1000 * 10**9,
        "record": None,
        "kubernetes": (),
    }
    return NodeFacts(**{**whole, **more})


def look(one: Server, seen: NodeFacts | None = None, **more: Any) -> Look:
    last = int(one.reached.host.rpartition(".")[2])
    whole = Look(server=one, facts=seen or facts(one.name, last=last), clock=Clock(offset_s=0.0, error_s=0.1))
    return replace(whole, **more)


def examine(*looks: Look) -> dict[str, Examined]:
    return examined({each.server.name: each for each in looks}, {})
