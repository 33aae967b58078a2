"""A cluster with a stack on loopback: an API server's stand-in, a node by real SSH, pods that are processes here."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ai_how.models.types import Stores
from ai_how.run.ssh import SshTarget
from ai_how.site.load import load_site

from .api_endpoint import Endpoint
from .api_server import StandIn, stand_in
from .definitions import definitions
from .kubespray_stand_in import LoopbackProvider, write_sudo
from .sshd import ssh_server

CONTROL, WORKER = "cloud-control-plane-1", "cloud-cpu-worker-1"
SITE = """name: lab
provider: libvirt
clusters:
  cloud:
    stack: {STACK}
    nodes: [{role: control-plane}, {role: cpu-worker}]
"""


@dataclass
class StackOnLoopback:
    """What a test orders of it."""

    folder: Path
    target: SshTarget
    endpoint: Endpoint
    server: StandIn

    @property
    def site_file(self) -> Path:
        return self.folder / "ai-how.yaml"

    def provider(self, *_words: object, **_options: object) -> LoopbackProvider:
        return LoopbackProvider(load_site(self.site_file), self.site_file, self.target, {CONTROL, WORKER})

    def write(self, stack: str = "") -> None:
        """The site file, and the cluster as after ``up``."""
        self.site_file.write_text(SITE.replace("{STACK}", f"{{{stack}}}"))
        self.provider().record_kubernetes(seen_ready=False)

    def put(
        self, plural: str, namespace: str, thing: Mapping[str, Any], *, group: str = "", version: str = "v1"
    ) -> None:
        kind = self.server.store.kind_of(group, version, plural)
        self.server.store.write(kind, namespace, thing["metadata"]["name"], dict(thing), "test", "Update")

    def secret(self, namespace: str, name: str, values: Mapping[str, str]) -> None:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        self.put("secrets", namespace, {"metadata": {"name": name, "namespace": namespace}, "data": data})

    def pod(
        self,
        app: str,
        port: str,
        number: int,
        *,
        namespace: str = "mlops",
        ready: str = "True",
        node: str = WORKER,
        labels: Mapping[str, str] | None = None,
        containers: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """A pod that is a process on loopback; ``containers`` are the statuses of its containers."""
        container = {"name": "server", "image": "x:1", "ports": [{"name": port, "containerPort": number}]}
        usual = {"ready": True, "restartCount": 0, "image": "x:1", "imageID": ""}
        status = {
            "phase": "Running",
            "podIP": "127.0.0.1",
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{**usual, **each} for each in containers],
        }
        self.put(
            "pods",
            namespace,
            {
                "metadata": {
                    "name": f"{app}-0",
                    "namespace": namespace,
                    "labels": dict(labels or {"app.kubernetes.io/name": app}),
                },
                "spec": {"nodeName": node, "containers": [container]},
                "status": status,
            },
        )

    def keep(self, stores: Stores) -> None:
        """Real stores as the stack's pods, and their keys."""
        self.pod("mlflow", "http", urlsplit(stores.registry_url).port or 0)
        self.pod("object-store", "s3", urlsplit(stores.access.endpoint_url).port or 0)
        self.keys(stores)

    def keys(self, stores: Stores, name: str = "object-store") -> None:
        keys = {"AWS_ACCESS_KEY_ID": stores.access.access_key, "AWS_SECRET_ACCESS_KEY": str(stores.access.secret_key)}
        self.secret("mlops", name, keys)


@contextmanager
def stack_on_loopback(folder: Path) -> Iterator[StackOnLoopback]:
    """A cluster that runs, with nothing on it yet."""
    (folder / "sshd").mkdir()
    programs = str(write_sudo(folder))
    with ssh_server(folder / "sshd", path=programs) as target, stand_in(folder) as (endpoint, server):
        endpoint.leave_admin_conf(folder)
        made = StackOnLoopback(folder=folder, target=target, endpoint=endpoint, server=server)
        for space in ("mlops", "models", "gateway", "cert-manager"):
            made.put("namespaces", "", {"metadata": {"name": space}})
        for definition in definitions():
            if definition["spec"]["group"] == "gateway.networking.k8s.io":
                made.put("customresourcedefinitions", "", definition, group="apiextensions.k8s.io")
        made.write()
        yield made
