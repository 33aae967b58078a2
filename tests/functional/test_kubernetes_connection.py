"""What can go wrong between us and an API server: each gives one clear message, and what passes is waited for."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_how.errors import AiHowError, NotFoundError, SpecError
from ai_how.kubernetes_api.apply import apply_objects
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.connection import Patience, UnreachableError
from ai_how.kubernetes_api.kubeconfig import load_kubeconfig
from ai_how.kubernetes_api.marks import Mark
from ai_how.kubernetes_api.objects import Ref
from ai_how.kubernetes_api.refusals import AccessRefusedError, BusyError, GoneError, ServerError
from ai_how.kubernetes_api.waiting import wait_until_gone, wait_until_well
from ai_how.run.tls_http import NoAnswerError, Silence

from .api_endpoint import Endpoint
from .api_server import Fault, StandIn, stand_in
from .certificates import Authority
from .real_api_server import real_api_server

SHORT = Patience(total_s=1, answer_s=2)
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}}
REF = Ref(api_version="v1", kind="ConfigMap", namespace="default", name="a")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Endpoint, StandIn]]:
    with stand_in(tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture
def server(served: tuple[Endpoint, StandIn]) -> StandIn:
    served[1].faults.clear()
    served[1].seen.clear()
    return served[1]


@pytest.fixture
def client(served: tuple[Endpoint, StandIn], server: StandIn) -> Client:
    return served[0].client()


@pytest.fixture(scope="module", params=["stand-in", "real"])
def endpoint(
    request: pytest.FixtureRequest, served: tuple[Endpoint, StandIn], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    if request.param == "stand-in":
        yield served[0]
        return
    with real_api_server(tmp_path_factory.mktemp("real")) as found:
        yield found


def impatient(path: Path) -> Client:
    return Client(load_kubeconfig(path), patience=SHORT)


def test_a_certificate_or_a_token_opens(endpoint: Endpoint) -> None:
    assert endpoint.client().version()
    access = load_kubeconfig(endpoint.kubeconfig())
    assert "BEGIN" not in repr(access)
    assert access.expires is not None
    assert access.expires.year == 2099


def test_an_expired_certificate_says_so(endpoint: Endpoint) -> None:
    pair = endpoint.authority.issue("late", organisation="system:masters", expired=True)
    with pytest.raises(AiHowError) as caught:
        impatient(endpoint.kubeconfig("late", pair=pair)).list_objects("v1", "Namespace")
    assert "the client certificate expired on 2020-01-02" in str(caught.value)
    assert "ai-how kubeconfig" in caught.value.next_step


def test_an_expired_certificate_is_named_where_the_refusal_is_lost_with_the_connection(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = endpoint.authority.issue("late", organisation="system:masters", expired=True)
    client = impatient(endpoint.kubeconfig("late", pair=pair))

    def broken(*_: object, **__: object) -> None:
        raise NoAnswerError("no answer", silence=Silence.BROKEN, evidence="EOF occurred")

    monkeypatch.setattr(client.connection._session, "request", broken)
    with pytest.raises(UnreachableError) as caught:
        client.version()
    assert "the client certificate expired on 2020-01-02" in str(caught.value)
    assert caught.value.silence is Silence.UNWANTED


def test_another_authority_says_that_the_server_is_not_the_expected_one(endpoint: Endpoint, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "another")
    path = endpoint.kubeconfig("other", authority=other.pair.certificate)
    with pytest.raises(UnreachableError) as caught:
        impatient(path).version()
    assert caught.value.silence is Silence.UNTRUSTED
    assert "made anew, or another server answers there" in caught.value.next_step


def test_a_certificate_for_another_name_says_so(endpoint: Endpoint) -> None:
    path = endpoint.kubeconfig("named", **{"tls-server-name": "elsewhere.example.org"})
    with pytest.raises(UnreachableError) as caught:
        impatient(path).version()
    assert caught.value.silence is Silence.WRONG_NAME
    assert impatient(endpoint.kubeconfig("named", **{"tls-server-name": "kubernetes"})).version()


def test_a_user_without_rights_is_told_so(endpoint: Endpoint) -> None:
    pair = endpoint.authority.issue("nobody")
    with pytest.raises(AccessRefusedError, match="not allowed") as caught:
        impatient(endpoint.kubeconfig("nobody", pair=pair)).list_objects("v1", "Secret", "default")
    assert "nobody" in caught.value.evidence


def test_a_token_that_is_not_known(endpoint: Endpoint) -> None:
    path = endpoint.kubeconfig("token")
    document = json.loads(path.read_text())
    document["users"][0]["user"] = {"token": "not-a-token-1234"}
    path.write_text(json.dumps(document))
    with pytest.raises(AccessRefusedError, match="does not know who we are") as caught:
        impatient(path).list_objects("v1", "Namespace")
    assert "1234" not in str(caught.value)


def test_a_token_that_is_known(served: tuple[Endpoint, StandIn], server: StandIn) -> None:
    server.tokens["good-token"] = "admin"
    path = served[0].kubeconfig("token")
    document = json.loads(path.read_text())
    (path.parent / "token").write_text("good-token\n")
    document["users"][0]["user"] = {"tokenFile": "token"}
    path.write_text(json.dumps(document))
    assert impatient(path).list_objects("v1", "Namespace").items


def test_a_server_that_is_not_there(endpoint: Endpoint) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = endpoint.kubeconfig("away", server=f"https://127.0.0.1:{port}")
    with pytest.raises(UnreachableError) as caught:
        impatient(path).version()
    assert caught.value.silence is Silence.REFUSED
    assert f"https://127.0.0.1:{port}" in caught.value.brief
    assert "context 'away'" in caught.value.evidence
    assert caught.value.next_step.endswith("ai-how status")


def test_a_name_that_nobody_knows(endpoint: Endpoint) -> None:
    path = endpoint.kubeconfig("nowhere", server="https://nowhere.invalid:6443")
    with pytest.raises(UnreachableError) as caught:
        impatient(path).version()
    assert caught.value.silence is Silence.UNREACHABLE


def test_a_server_that_says_nothing(endpoint: Endpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        path = endpoint.kubeconfig("mute", server=f"https://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(UnreachableError) as caught:
            impatient(path).version()
    assert caught.value.silence is Silence.TIMED_OUT


def test_a_busy_server_is_asked_again_when_it_says(client: Client, server: StandIn) -> None:
    server.faults.append(Fault(path="/version", status=429, headers={"retry-after": "1"}, times=1))
    server.faults.append(Fault(path="/version", status=503, times=2))
    server.faults.append(Fault(path="/version", status=0, times=1))
    assert client.version()
    assert [path for _, path in server.seen] == ["/version"] * 5


def test_a_server_that_stays_busy_is_given_up(served: tuple[Endpoint, StandIn], server: StandIn) -> None:
    server.faults.append(Fault(path="/version", status=429, headers={"retry-after": "600"}, times=99))
    with pytest.raises(BusyError, match="busy or not ready"):
        impatient(served[0].kubeconfig()).version()
    assert len(server.seen) == 1  # ten minutes are more than it has


def test_what_may_have_been_done_is_not_sent_twice(client: Client, server: StandIn) -> None:
    client.kinds.find("v1", "ConfigMap")
    server.seen.clear()
    server.faults.append(Fault(method="POST", status=0, times=9))
    with pytest.raises(UnreachableError):
        client.create(CONFIG)
    assert [method for method, _ in server.seen] == ["POST"]


def test_an_apply_goes_through_a_webhook_that_is_not_up_yet(client: Client, server: StandIn) -> None:
    body = b'{"kind":"Status","message":"failed calling webhook \\"x\\": connection refused","code":500}'
    server.faults.append(Fault(method="PATCH", status=500, body=body, times=2))
    assert client.apply(CONFIG)["metadata"]["name"] == "a"


def test_a_broken_answer_is_told(client: Client, server: StandIn) -> None:
    page = b"<html>proxy error</html>"
    server.faults.append(Fault(path="/version", status=200, headers={"content-length": "24"}, body=page))
    with pytest.raises(AiHowError, match="not JSON"):
        client.version()
    server.faults.append(Fault(path="/version", status=500, body=b"out of cheese"))
    with pytest.raises(ServerError, match="out of cheese"):
        client.version()


def test_a_watch_that_is_too_old_says_so(client: Client, server: StandIn) -> None:
    client.apply(CONFIG)
    kind = client.kinds.find("v1", "ConfigMap")
    version = client.list_kind(kind, "default").version
    client.apply({**CONFIG, "data": {"a": "1"}})
    server.store.compact()
    with pytest.raises(GoneError), client.watch(kind, "default", version=version) as changes:
        list(changes)


def test_waiting_outlives_old_watches_and_a_server_that_is_away(client: Client, server: StandIn) -> None:
    """The list is answered, the watch is gone, the next one breaks, then the server is away for a while."""
    client.apply(CONFIG)
    server.faults.append(Fault(path="watch=true", status=410, times=1))
    server.faults.append(Fault(path="watch=true", status=0, times=2))
    server.faults.append(Fault(path="/configmaps?limit", status=503, times=2))
    timer = threading.Timer(2.0, client.delete, [REF])
    timer.start()
    wait_until_gone(client, REF, timeout_s=60)
    timer.join()


def test_waiting_for_what_is_not_there_yet(client: Client) -> None:
    timer = threading.Timer(0.5, client.apply, [CONFIG])
    timer.start()
    assert wait_until_well(client, REF, timeout_s=60)["metadata"]["name"] == "a"
    timer.join()
    client.delete(REF)


def test_an_api_that_is_down_is_named_and_the_rest_goes_on(client: Client, server: StandIn) -> None:
    server.faults.append(Fault(path="/apis/autoscaling/v2", status=404, times=9))
    server.faults.append(Fault(path="/apis/policy/v1", status=500, times=9))
    kinds, unseen = client.kinds.all()
    assert {kind.kind for kind in kinds} > {"ConfigMap", "Deployment"}
    assert unseen == ["policy/v1: could not look up the kinds of policy/v1"]


def test_a_log_is_read(client: Client, server: StandIn) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "smoke", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }
    client.apply(pod)
    server.logs["default", "smoke"] = "one\ntwo\n"
    assert client.log("default", "smoke", container="c", previous=True) == "one\ntwo\n"
    asked = next(path for _, path in server.seen if "/log" in path)
    assert "tailLines=50" in asked
    assert "container=c" in asked
    assert "previous=true" in asked


def test_why_a_workload_does_not_run(client: Client) -> None:
    """From the Deployment to its pod's state and events, in one line."""
    labels = {"app": "big"}
    spec = {"containers": [{"name": "server", "image": "example.org/big:1"}]}
    template = {"metadata": {"labels": labels}, "spec": spec}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "big", "namespace": "default"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
    message = "0/3 nodes are available: 1 node(s) had untolerated taint, 2 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "big-1", "namespace": "default", "labels": labels},
        "spec": spec,
        "status": {"phase": "Pending", "conditions": [condition]},
    }
    apply_objects(client, [deployment], Mark(site="lab", component="big"))
    client.apply(pod)
    ref = Ref(api_version="apps/v1", kind="Deployment", namespace="default", name="big")
    with pytest.raises(AiHowError) as caught:
        wait_until_well(client, ref, timeout_s=1)
    assert caught.value.evidence.startswith("pod big-1 fits no node: not enough nvidia.com/gpu (0/3 nodes")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"current-context": "other"}, "has no context named 'other'"),
        ({"current-context": ""}, "has no current context"),
        ({"clusters": []}, "has no cluster named 'test'"),
        ({"clusters": "x"}, "is not a kubeconfig"),
        ({"users": []}, "has no user named 'admin'"),
        ({"users": [{"name": "admin", "user": {"exec": {"command": "x"}}}]}, "user.exec"),
        ({"users": [{"name": "admin", "user": {"client-certificate-data": "%%"}}]}, "not base64"),
        ({"users": [{"name": "admin", "user": {"client-certificate": "gone.crt"}}]}, "cannot be read"),
        ({"clusters": [{"name": "test", "cluster": {"server": "10.0.0.1"}}]}, "names no address"),
    ],
)
def test_a_bad_kubeconfig_names_its_mistake(
    served: tuple[Endpoint, StandIn], change: dict[str, object], words: str
) -> None:
    path = served[0].kubeconfig("bad")
    document = {**json.loads(path.read_text()), "current-context": "admin"}
    document["users"][0]["name"] = document["contexts"][0]["name"] = document["contexts"][0]["context"]["user"] = (
        "admin"
    )
    path.write_text(json.dumps({**document, **change}))
    with pytest.raises(SpecError) as caught:
        load_kubeconfig(path)
    assert words in str(caught.value)


def test_a_kubeconfig_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no kubeconfig"):
        load_kubeconfig(tmp_path / "none")
    (tmp_path / "secret").write_text("token: {abc: [SECRET-WORD\n")
    with pytest.raises(SpecError, match="is not YAML") as caught:
        load_kubeconfig(tmp_path / "secret")
    assert "SECRET-WORD" not in str(caught.value)


def test_a_key_of_another_certificate_is_refused(served: tuple[Endpoint, StandIn]) -> None:
    pair = served[0].authority.issue("mixed")
    path = served[0].kubeconfig("mixed", pair=pair)
    document = json.loads(path.read_text())
    document["users"][0]["user"]["client-key"] = str(served[0].admin.key)
    path.write_text(json.dumps(document))
    with pytest.raises(SpecError, match="cannot be used"):
        Client.from_kubeconfig(path)
