"""What holds of endpoints whoever serves them: one suite, on the embedded gateway and on KServe's objects in a cluster.

The gateway is a real process. KServe's side is an API server (the stand-in, and a real one where ``KUBEBUILDER_ASSETS``
names its programs) with stand-ins for the controllers, and with KServe's own where that is, too (``real_kserve``). The
engines behind both are real processes; each answers with as many tokens as its model's version says, so that an answer
tells who gave it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from ai_how.endpoints.client import EndpointClient
from ai_how.endpoints.interface import REVISION_HEADER, Endpoints
from ai_how.endpoints.types import Autoscaling, EndpointSpec, EndpointState, EndpointStatus, Hardware, ServedAdapter
from ai_how.errors import ConflictError, NotFoundError, SpecError
from ai_how.models.types import SecretText

from .api_endpoint import Endpoint
from .gateway import ADMIN_KEY, KEY, GatewayUnderTest
from .kserve_world import cluster_endpoints, real_cluster
from .real_kserve import real_kserve
from .site import eventually

BAD_VERSION = 9
"""Engines of this version of the model end at once."""
Seen = TypeVar("Seen")


class World(Protocol):
    """Endpoints, and a client of them."""

    endpoints: Endpoints

    def ask(self, name: str, *, revision: int | None = None) -> tuple[int, int]:
        """Ask once: the answer's status, and the version of the model that gave it (0 for none)."""
        ...

    def let_idle(self, name: str) -> None:
        """Nobody has asked for long enough."""
        ...

    def mend(self, version: int) -> None:
        """What kept engines of a version from starting is mended."""
        ...


@dataclass
class Embedded:
    """The gateway as a process, its replicas too."""

    gateway: GatewayUnderTest
    endpoints: Endpoints = field(init=False)

    def __post_init__(self) -> None:
        url = f"http://127.0.0.1:{self.gateway.admin_port}"
        self.endpoints = EndpointClient(admin_url=url, admin_key=SecretText(ADMIN_KEY))

    def ask(self, name: str, *, revision: int | None = None) -> tuple[int, int]:
        more = {} if revision is None else {REVISION_HEADER: str(revision)}
        body = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
        return version_in(*post("127.0.0.1", self.gateway.port, "127.0.0.1", body, key=KEY, **more))

    def let_idle(self, name: str) -> None:
        """Its idle time is short."""

    def mend(self, version: int) -> None:
        self.gateway.options[f"chat/{version}"] = ["--tokens", str(version)]
        self.gateway.write_options()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with real_cluster(tmp_path_factory.mktemp("real")) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def with_kserve(shared: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with real_kserve(shared, tmp_path_factory.mktemp("kserve")):
        yield shared


@pytest.fixture(params=["embedded", "kserve", "kserve-real-api", "kserve-real-controller"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        if request.param == "embedded":
            options = {f"chat/{version}": ["--tokens", str(version)] for version in range(1, BAD_VERSION)}
            options[f"chat/{BAD_VERSION}"] = ["--die", "start"]
            gateway = GatewayUnderTest(
                folder=tmp_path / "gateway",
                serving={"idle_after_s": 1, "drain_timeout_s": 5},
                options=options,
            )
            stack.callback(gateway.close)
            gateway.start()
            yield Embedded(gateway)
        else:
            server = {"kserve-real-api": "shared", "kserve-real-controller": "with_kserve"}.get(request.param)
            yield stack.enter_context(
                cluster_endpoints(
                    tmp_path,
                    shared=request.getfixturevalue(server) if server else None,
                    bad_version=BAD_VERSION,
                    has_controller=server == "with_kserve",
                )
            )


def spec(version: int = 1, *, name: str = "chat", replicas: tuple[int, int] = (1, 1)) -> EndpointSpec:
    return EndpointSpec(
        name=name,
        model_name="model",
        model_version=version,
        model_uri=f"s3://models/model/{version}",
        model_digest=f"{version}" * 64,
        engine="vllm",
        hardware=Hardware(accelerator="nvidia_a100_80gb"),
        autoscaling=Autoscaling(min_replicas=replicas[0], max_replicas=replicas[1]),
        created_at="2026-01-01T00:00:00+00:00",
    )


def test_an_endpoint_s_life(world: World) -> None:
    endpoints = world.endpoints
    assert endpoints.list_endpoints() == []
    with pytest.raises(NotFoundError, match="no endpoint 'chat'") as nothing:
        endpoints.get("chat")
    assert nothing.value.evidence == "there are none"

    endpoints.put(spec())
    running = ready(world)
    assert running.spec == spec()
    assert running.url.startswith("http")
    assert [replica.state for replica in running.replicas] == ["ready"]
    assert world.ask("chat") == (200, 1)
    assert [status.spec.name for status in endpoints.list_endpoints()] == ["chat"]
    assert isinstance(endpoints.log("chat"), str)
    with pytest.raises(NotFoundError) as another:
        endpoints.get("other")
    assert another.value.evidence == "there are: chat"

    endpoints.delete("chat")
    eventually(lambda: endpoints.list_endpoints() == [], timeout_s=60, every_s=0.1)
    assert world.ask("chat")[0] >= 400
    with pytest.raises(NotFoundError):
        endpoints.delete("chat")


def test_what_needs_no_other_process_leaves_the_replicas_alone(world: World) -> None:
    world.endpoints.put(spec())
    before = names(ready(world))
    world.endpoints.put(spec())
    assert names(ready(world)) == before
    world.endpoints.put(spec(replicas=(1, 3)))
    time.sleep(0.5)
    after = ready(world)
    assert names(after) == before
    assert after.spec.autoscaling.max_replicas == 3


def test_a_changed_spec_takes_over_without_a_lost_request(world: World) -> None:
    world.endpoints.put(spec(1))
    ready(world)
    with asking(world) as answers:
        world.endpoints.put(spec(2))
        assert ready(world, version=2).spec.model_version == 2
        eventually(lambda: answers[-1] == (200, 2), timeout_s=60, every_s=0.1)
    assert {status for status, _ in answers} == {200}
    eventually(lambda: len(world.endpoints.get("chat").replicas) == 1, timeout_s=60, every_s=0.1)
    assert {world.ask("chat")[1] for _ in range(5)} == {2}


def test_a_stopped_endpoint_starts_again(world: World) -> None:
    world.endpoints.put(spec())
    ready(world)
    world.endpoints.put(replace(spec(), stopped=True))
    stopped = reached(world, EndpointState.STOPPED)
    assert stopped.replicas == ()
    assert world.ask("chat")[0] >= 400
    world.endpoints.put(spec())
    world.endpoints.want_replicas("chat", 1)
    ready(world)
    assert world.ask("chat") == (200, 1)


def test_what_cannot_start_is_an_error_with_a_reason_and_a_good_spec_ends_it(world: World) -> None:
    world.endpoints.put(spec(BAD_VERSION))
    failed = reached(world, EndpointState.ERROR)
    assert failed.message
    world.endpoints.put(spec(2))
    ready(world, version=2)
    assert world.ask("chat") == (200, 2)


def test_what_failed_is_tried_again_when_it_is_deployed_again(world: World) -> None:
    world.endpoints.put(spec(BAD_VERSION))
    reached(world, EndpointState.ERROR)
    world.mend(BAD_VERSION)
    world.endpoints.put(spec(BAD_VERSION))
    ready(world, version=BAD_VERSION)
    assert world.ask("chat") == (200, BAD_VERSION)


def test_what_sleeps_is_woken_by_a_request_that_waits(world: World) -> None:
    world.endpoints.put(spec(replicas=(0, 1)))
    ready(world)
    world.let_idle("chat")
    eventually(lambda: world.endpoints.get("chat").replicas == (), timeout_s=60, every_s=0.1)
    # where somebody else scales, it is told a moment later that nothing is missing
    eventually(lambda: world.endpoints.get("chat").state is EndpointState.RUNNING, timeout_s=60, every_s=0.1)
    assert world.ask("chat") == (200, 1)


def test_revisions_stand_beside_each_other(world: World) -> None:
    endpoints = world.endpoints
    endpoints.put(spec(1))
    ready(world)
    assert [(one.number, one.share_percent) for one in endpoints.revisions("chat")] == [(1, 100)]
    added = endpoints.add_revision(spec(2))
    assert (added.number, added.share_percent) == (2, 0)
    eventually(lambda: endpoints.revisions("chat")[1].state is EndpointState.RUNNING, timeout_s=60, every_s=0.1)
    assert endpoints.get("chat").spec.model_version == 1
    assert {world.ask("chat") for _ in range(10)} == {(200, 1)}
    assert world.ask("chat", revision=2) == (200, 2)

    endpoints.set_shares("chat", {1: 50, 2: 50})
    assert shares(world) == {1: 50, 2: 50}
    assert {world.ask("chat") for _ in range(20)} == {(200, 1), (200, 2)}
    assert world.ask("chat", revision=1) == (200, 1)
    with pytest.raises(ConflictError):
        endpoints.remove_revision("chat", 1)
    endpoints.set_shares("chat", {1: 0, 2: 100})
    endpoints.remove_revision("chat", 1)
    assert shares(world) == {2: 100}
    assert {world.ask("chat") for _ in range(5)} == {(200, 2)}
    assert endpoints.get("chat").spec.model_version == 2
    with pytest.raises(ConflictError):
        endpoints.remove_revision("chat", 2)


def test_adapters_share_an_endpoint_and_change_without_a_lost_request(world: World) -> None:
    both = replace(spec(1), adapters=(adapter("legal"), adapter("support")))
    world.endpoints.put(both)
    assert ready(world).spec == both
    assert {world.ask(name) for name in both.served_names} == {(200, 1)}
    assert world.ask("chat:sales")[0] == 404
    with asking(world) as answers:
        world.endpoints.put(replace(both, adapters=(adapter("legal"), adapter("sales"))))
        eventually(lambda: world.ask("chat:sales") == (200, 1), timeout_s=60, every_s=0.1)
    assert {status for status, _ in answers} == {200}
    eventually(lambda: world.ask("chat:support")[0] == 404, timeout_s=60, every_s=0.1)
    assert [one.tag for one in world.endpoints.get("chat").spec.adapters] == ["legal", "sales"]


def test_a_revision_may_have_other_adapters(world: World) -> None:
    world.endpoints.put(replace(spec(1), adapters=(adapter("legal"),)))
    ready(world)
    world.endpoints.add_revision(replace(spec(2), adapters=(adapter("legal"), adapter("sales"))))
    eventually(lambda: world.endpoints.revisions("chat")[1].state is EndpointState.RUNNING, timeout_s=60, every_s=0.1)
    assert world.ask("chat:legal") == (200, 1)
    assert world.ask("chat:sales")[0] == 404
    assert world.ask("chat:sales", revision=2) == (200, 2)
    assert world.ask("chat:sales", revision=1)[0] == 404
    world.endpoints.set_shares("chat", {1: 0, 2: 100})
    assert world.ask("chat:sales") == (200, 2)


def adapter(tag: str) -> ServedAdapter:
    return ServedAdapter(
        tag=tag,
        model_name=tag,
        model_version=1,
        model_uri=f"s3://models/{tag}/1",
        model_digest=tag.ljust(64, "0"),
        rank=8,
    )


def test_a_number_never_comes_again(world: World) -> None:
    world.endpoints.put(spec(1))
    ready(world)
    second = world.endpoints.add_revision(spec(2))
    world.endpoints.remove_revision("chat", second.number)
    assert world.endpoints.add_revision(spec(3)).number == second.number + 1


@pytest.mark.parametrize("wrong", [{1: 90}, {1: 60, 2: 60}, {1: 50, 7: 50}, {}])
def test_shares_that_are_none_change_nothing(world: World, wrong: dict[int, int]) -> None:
    world.endpoints.put(spec(1))
    world.endpoints.add_revision(spec(2))
    with pytest.raises(SpecError):
        world.endpoints.set_shares("chat", wrong)
    assert shares(world) == {1: 100, 2: 0}


def shares(world: World) -> dict[int, int]:
    return {one.number: one.share_percent for one in world.endpoints.revisions("chat")}


def names(status: EndpointStatus) -> list[str]:
    return [replica.name for replica in status.replicas]


def ready(world: World, *, version: int | None = None) -> EndpointStatus:
    """Wait until a replica of the present spec is ready."""

    def look() -> EndpointStatus | None:
        status = world.endpoints.get("chat")
        assert status.state is not EndpointState.ERROR, status.message
        is_it = version is None or status.spec.model_version == version
        has_one = any(replica.state == "ready" for replica in status.replicas)
        return status if status.state is EndpointState.RUNNING and has_one and is_it else None

    return waited(look)


def reached(world: World, state: EndpointState) -> EndpointStatus:
    def look() -> EndpointStatus | None:
        status = world.endpoints.get("chat")
        return status if status.state is state else None

    return waited(look)


def waited(look: Callable[[], Seen | None]) -> Seen:
    found = eventually(look, timeout_s=30, every_s=0.05)
    assert found is not None
    return found


@contextlib.contextmanager
def asking(world: World) -> Iterator[list[tuple[int, int]]]:
    """Requests one after the other, two at once, for the time of the block."""
    answers = [world.ask("chat")]
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.02):
            answers.append(world.ask("chat"))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        ended.set()
        for thread in threads:
            thread.join(30)


def post(host: str, port: int, name: str, body: object, *, key: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    sent = {"authorization": f"Bearer {key}", "content-type": "application/json", "host": name, **headers}
    connection.request("POST", "/v1/chat/completions", body=json.dumps(body), headers=sent)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def version_in(status: int, body: bytes) -> tuple[int, int]:
    return status, int(json.loads(body)["usage"]["completion_tokens"]) if status == 200 else 0
