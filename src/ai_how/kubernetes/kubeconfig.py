"""A cluster's kubeconfig: fetched from its first control plane over SSH, kept in the site's folder, mode 0600.

Owns what is in our file and when it has to be fetched anew. The user's own kubeconfig is ``merging``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ai_how.apply.files import read_own_text, write_atomic
from ai_how.errors import AiHowError, NotFoundError, ProviderError
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.kubernetes.yaml_text import yaml_text
from ai_how.kubernetes_api.kubeconfig import Access, access_from_text, load_kubeconfig
from ai_how.run.ssh import run_remote

ADMIN_FILE = "/etc/kubernetes/admin.conf"
API_PORT = 6443
SERVER_NAME = "kubernetes"
"""A name that every API server's certificate has."""
RENEW_BEFORE = timedelta(days=7)
"""So long before its end a client certificate is fetched anew by ``up``."""
_HEAD = "Fetched by ai-how from the cluster's first control plane. It lets in as administrator: keep it to yourself."


@dataclass(frozen=True, kw_only=True)
class Kubeconfig:
    """Our file of one cluster; ``context`` is the name of its context, cluster and user."""

    path: Path
    context: str

    def read(self) -> Access:
        """What it holds; NotFoundError, SpecError: as ``load_kubeconfig``."""
        return load_kubeconfig(self.path, self.context)

    def text(self) -> str:
        """The file as it is.

        Raises:
            NotFoundError: it was not fetched yet.
            ProviderError: it is damaged.
        """
        try:
            return read_own_text(self.path, next_step="ai-how kubeconfig --renew")
        except FileNotFoundError as error:
            # `up` fetches it too where the cluster is there and the file is lost
            raise NotFoundError(f"there is no kubeconfig of {self.context} yet", next_step="ai-how up") from error

    def trouble(self, now: datetime | None = None) -> str:
        """Why it has to be fetched anew, in a few words; empty where it need not be."""
        try:
            expires = self.read().expires
        except NotFoundError:
            return "its kubeconfig is missing"
        except AiHowError as error:
            return f"its kubeconfig is damaged: {error.brief}"
        return certificate_trouble(expires, now or datetime.now(UTC))

    def fetch(self, node: ClusterNode) -> Access:
        """Fetch it from a control plane, over SSH with the pinned host key, and keep it.

        Raises:
            ProviderError: the node does not answer, has no such file, or its certificate has expired there too.
        """
        text = _admin_text(node)
        access = access_from_text(text, source=f"{ADMIN_FILE} on {node.name}", folder=Path("/"))
        if access.expires is not None and access.expires <= datetime.now(UTC):
            raise ProviderError(
                f"the administrator's certificate on {node.name} has expired too",
                evidence=f"it ended on {access.expires:%Y-%m-%d %H:%M} UTC",
                next_step=f"renew it there: sudo k8s-certs-renew.sh on {node.access.host}, "
                "then: ai-how kubeconfig --renew",
            )
        write_atomic(self.path, kubeconfig_text(access, name=self.context, node=node))
        return self.read()


def certificate_trouble(expires: datetime | None, now: datetime) -> str:
    """What is wrong with a client certificate that ends then. Pure."""
    if expires is None or expires - now > RENEW_BEFORE:
        return ""
    verb = "ended" if expires <= now else "ends"
    return f"the client certificate of its kubeconfig {verb} on {expires:%Y-%m-%d %H:%M} UTC"


def kubeconfig_text(access: Access, *, name: str, node: ClusterNode) -> str:
    """A kubeconfig with one context that reaches the API server from here. Pure."""
    return yaml_text(kubeconfig_data(access, name=name, node=node), head=_HEAD)


def kubeconfig_data(access: Access, *, name: str, node: ClusterNode) -> dict[str, Any]:
    """As ``kubeconfig_text``, as data."""
    cluster: dict[str, Any] = {
        "server": server_of(access.server, node),
        "certificate-authority-data": _base64(access.authority_pem),
    }
    if node.access.host != node.address:
        # the certificate names the node's own address, not the one that it is reached at
        cluster["tls-server-name"] = SERVER_NAME
    user = {
        "client-certificate-data": _base64(access.certificate_pem),
        "client-key-data": _base64(access.key_pem),
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def server_of(server: str, node: ClusterNode) -> str:
    """The API server's address from here: the control plane's own says where it is from there."""
    return f"https://{node.access.host}:{urlsplit(server).port or API_PORT}"


def entries(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a kubeconfig holds under a name, by section. Pure."""
    found: dict[str, Any] = {}
    for section in ("clusters", "users", "contexts"):
        for entry in data.get(section) or []:
            if isinstance(entry, Mapping) and entry.get("name") == name:
                found[section] = entry.get(section.removesuffix("s"))
    return found


def _base64(pem: str) -> str:
    import base64

    return base64.b64encode(pem.encode("ascii")).decode("ascii")


def _admin_text(node: ClusterNode) -> str:
    # root needs no sudo, and may have none
    words = ["cat", ADMIN_FILE] if node.access.user == "root" else ["sudo", "-n", "cat", ADMIN_FILE]
    done = run_remote(node.access, words, check=False)
    if done.returncode == 0:
        return done.stdout
    said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    unreachable = done.returncode == 255
    brief = f"{node.name} does not answer" if unreachable else f"the kubeconfig cannot be read on {node.name}"
    raise ProviderError(
        brief,
        evidence=f"ssh {node.access.user}@{node.access.host} sudo cat {ADMIN_FILE}: {said}",
        next_step="start the machine, then: ai-how kubeconfig --renew" if unreachable else "ai-how up",
    )
