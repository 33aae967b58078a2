"""Endpoints on a cluster in small: an API server, KServe's stand-in, the way in, and ``KServeEndpoints`` over them."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_how.endpoints.interface import REVISION_HEADER
from ai_how.endpoints.types import EndpointSpec
from ai_how.kserve.endpoints import KServeEndpoints, Prepared
from ai_how.kserve.names import service_name
from ai_how.kserve.setting import ServingSetting, serving_setting
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.objects import ref_of
from ai_how.kubernetes_api.waiting import wait_until_served
from ai_how.models.types import ModelFormat, ModelInfo
from ai_how.releases import Solution
from ai_how.releases.site_pins import solve_site
from ai_how.site.load import check_site_text
from ai_how.stack.setting import KEDA

from .api_endpoint import Endpoint, LittleControllers
from .api_server import StandIn, stand_in
from .definitions import definitions
from .kserve_controller import SPACE, KServe
from .kserve_gateway import KEY, ClusterGateway, cluster_gateway
from .real_api_server import real_api_server
from .site import eventually

SITE = """\
name: lab
provider: libvirt
serving: {drain_timeout_s: 5}
clusters:
  cloud:
    nodes: [{role: control-plane}, {role: cpu-worker}, {role: gpu-worker}]
"""
INFO = ModelInfo(
    format=ModelFormat.HUGGING_FACE,
    architecture="LlamaForCausalLM",
    parameters=1000,
    dtype="bfloat16",
    context_tokens=4096,
    chat_template=True,
)


@dataclass
class OnCluster:
    """Endpoints of a cluster and a client of them."""

    endpoints: KServeEndpoints
    kserve: KServe
    gateway: ClusterGateway
    client: Client
    setting: ServingSetting
    server: StandIn | None

    def ask(self, name: str, *, revision: int | None = None) -> tuple[int, int]:
        """Ask once: the answer's status, and the version of the model that gave it."""
        more = {} if revision is None else {REVISION_HEADER: str(revision)}
        sent = {
            "authorization": f"Bearer {KEY}",
            "content-type": "application/json",
            "host": self.setting.host(name.partition(":")[0]),
            **more,
        }
        body = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=60)
        connection.request("POST", "/v1/chat/completions", body=json.dumps(body), headers=sent)
        answer = connection.getresponse()
        status, text = answer.status, answer.read()
        connection.close()
        return status, int(json.loads(text)["usage"]["completion_tokens"]) if status == 200 else 0

    def let_idle(self, name: str) -> None:
        """KEDA finds that nobody asks."""
        self.kserve.idle.add(service_name(name, 1))

    def mend(self, version: int) -> None:
        """What kept engines of a version from starting is mended."""
        del self.kserve.ends[version]


@contextmanager
def real_cluster(folder: Path) -> Iterator[Endpoint]:
    """A real API server that serves the kinds; it takes a minute, so that tests share one."""
    with real_api_server(folder) as endpoint:
        with_kinds(endpoint.client())
        yield endpoint


@contextmanager
def cluster_endpoints(
    folder: Path, *, shared: Endpoint | None = None, bad_version: int = 0, has_controller: bool = False
) -> Iterator[OnCluster]:
    """Everything running; engines of ``bad_version`` crash. From a ``shared`` API server what was made goes again.

    ``has_controller``: KServe's own controller runs there.
    """
    with contextlib.ExitStack() as stack:
        server: StandIn | None = None
        if shared is None:
            endpoint, server = stack.enter_context(stand_in(folder))
            client = with_kinds(endpoint.client())
        else:
            endpoint, client = shared, shared.client()
        stack.enter_context(LittleControllers(endpoint))
        (folder / "engines").mkdir()
        kserve = KServe(
            client=endpoint.client("kserve"),
            folder=folder / "engines",
            ends={bad_version: "crash"},
            logs_of=server.logs if server else {},
            has_controller=has_controller,
        )
        stack.enter_context(kserve.running())
        gateway = stack.enter_context(cluster_gateway(kserve))
        setting = setting_here()
        world = OnCluster(
            endpoints=None,  # type: ignore[arg-type]
            kserve=kserve,
            gateway=gateway,
            client=client,
            setting=setting,
            server=server,
        )

        def wake(name: str) -> None:
            threading.Thread(target=world.ask, args=(name,), daemon=True).start()

        world.endpoints = KServeEndpoints(client, setting, prepare=prepare, wake=wake)
        if shared is not None:
            stack.callback(clear, world)
        yield world


def clear(world: OnCluster) -> None:
    """Nothing is left of the endpoints."""
    for status in world.endpoints.list_endpoints():
        world.endpoints.delete(status.spec.name)
    eventually(lambda: not world.client.list_objects("v1", "Pod", SPACE).items, timeout_s=60, every_s=0.2)


def prepare(_spec: EndpointSpec) -> Prepared:
    return Prepared(info=INFO)


def setting_here() -> ServingSetting:
    site, mistakes = check_site_text(SITE, Path("ai-how.yaml"))
    assert site is not None, mistakes
    solved = solve_site(site)
    assert isinstance(solved, Solution), solved
    return serving_setting(site, "cloud", solved.versions)


def with_kinds(client: Client) -> Client:
    """The client of a server that serves the kinds of the stack's charts, with the namespaces that endpoints need."""
    serve_kinds(client)
    for name in (SPACE, KEDA):
        client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return client


def serve_kinds(client: Client) -> None:
    """Have a server serve the kinds of the stack's charts."""
    made: list[dict[str, Any]] = definitions()
    for definition in made:
        if client.get(ref_of(definition)) is None:
            client.create(definition)
    for definition in made:
        version = definition["spec"]["versions"][0]["name"]
        wait_until_served(
            client, f"{definition['spec']['group']}/{version}", definition["spec"]["names"]["kind"], timeout_s=60
        )
