"""The gateway of a cluster, as this machine reaches it: address, certificate authority, API key.

A node's address is taken as it is; where nodes lie behind another host, the way is SSH to one of them. Names of the
stack's domain need not be known to this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ai_how.endpoints.door import Door
from ai_how.errors import TryAgainError
from ai_how.kubernetes.nodes import CONTROL_PLANE, ClusterNode
from ai_how.kubernetes.reach import Far, tunnels
from ai_how.kubernetes_api.objects import Ref
from ai_how.models.types import SecretText
from ai_how.stack.components import gateway
from ai_how.stack.components.kserve import API_KEY
from ai_how.stack.setting import GATEWAY, MODELS, Setting
from ai_how.stack_access.keys import read_api_keys
from ai_how.stack_access.running import RunningStack, read_secret


@dataclass(frozen=True, kw_only=True)
class ClusterDoor:
    """The one way in of a cluster, open to all its endpoints."""

    setting: Setting
    connect_to: str
    api_key: SecretText
    authority_pem: str = field(default="", repr=False)
    forward: tuple[str, ...] = ()

    def of(self, endpoint: str) -> Door:
        """The door of one endpoint; whether there is such a one is not asked."""
        return Door(
            url=endpoint_url(self.setting, endpoint),
            api_key=self.api_key,
            connect_to=self.connect_to,
            authority_pem=self.authority_pem,
            forward=self.forward,
        )


def endpoint_url(setting: Setting, endpoint: str) -> str:
    """The base URL of an endpoint as clients know it. Pure."""
    return setting.url(f"{endpoint}-{MODELS}")


@contextmanager
def open_cluster_door(stack: RunningStack) -> Iterator[ClusterDoor]:
    """The gateway of a cluster for the time of the block; whether it answers is not asked.

    Raises:
        NotFoundError, ProviderError: the API key or the certificate is not there.
        TryAgainError: no node is on, the gateway has no address yet, or the way to it does not open.
    """
    key, authority = read_api_keys(stack)[API_KEY], read_authority(stack)
    node = _node(stack)
    access = stack.setting.stack.access
    if access.type == "node-port":
        there, port = (node.address if node.access.jump else node.access.host), access.https_port
    else:
        there, port = _address(stack), gateway.HTTPS
    jump = node.access.jump
    forward = ("ssh", "-N", "-L", f"127.0.0.1:{port}:{there}:{port}", jump) if jump else ()
    with _near(node, there, port) as connect_to:
        yield ClusterDoor(
            setting=stack.setting, connect_to=connect_to, api_key=key, authority_pem=authority, forward=forward
        )


@contextmanager
def _near(node: ClusterNode, there: str, port: int) -> Iterator[str]:
    if not node.access.jump:
        yield f"{there}:{port}"
        return
    with tunnels(node.access, [Far(host=there, port=port)]) as way:
        yield f"127.0.0.1:{way.ports[0]}"


def read_authority(stack: RunningStack) -> str:
    """Whoever signed the gateway's certificate, as cert-manager keeps it beside it; empty where it is a public one."""
    if stack.setting.stack.access.issuer == "acme":
        return ""
    return str(read_secret(stack, GATEWAY, gateway.CERTIFICATE).get("ca.crt", ""))


def _node(stack: RunningStack) -> ClusterNode:
    """One that is on, a worker before a control plane: every node answers on the gateway's ports."""
    machines = stack.machines
    there = [node for node in machines.nodes if node.name in machines.there and node.name not in machines.off]
    if not there:
        raise TryAgainError(f"no node of cluster {stack.cluster} is on", next_step="ai-how up")
    return min(there, key=lambda node: node.role == CONTROL_PLANE)


def _address(stack: RunningStack) -> str:
    ref = Ref(api_version="gateway.networking.k8s.io/v1", kind="Gateway", namespace=GATEWAY, name=gateway.GATEWAY_NAME)
    status = (stack.api.get(ref) or {}).get("status") or {}
    found = next((str(each["value"]) for each in status.get("addresses") or () if each.get("value")), "")
    if not found:
        raise TryAgainError(
            f"the gateway of cluster {stack.cluster} has no address",
            evidence="stack.access.type is load-balancer: something in the cluster must give it one",
            next_step=f"ai-how status stack/{stack.cluster}/{gateway.NAME}",
        )
    return found
