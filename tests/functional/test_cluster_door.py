"""An endpoint of a cluster as this machine reaches it: its name, its authority and its key, directly and by SSH."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ai_how.bench.load import Client, run_phase
from ai_how.bench.workload import Workload
from ai_how.cli.app import root
from ai_how.endpoints.ask import ask
from ai_how.endpoints.door import Door
from ai_how.errors import ConflictError, NotFoundError, ProviderError, SpecError, TryAgainError
from ai_how.models.types import SecretText
from ai_how.stack_access.door import ClusterDoor, open_cluster_door
from ai_how.stack_access.running import open_running_stack

from .certificates import Authority
from .running_stack import StackOnLoopback, stack_on_loopback
from .tls_gateway import TlsGateway, tls_gateway

KEY = "the-only-key"
JUMP = """#!{python}
# The user's own ssh through a host: here, a connection from this machine.
import os, socket, sys, threading
if "-W" not in sys.argv:
    os.execv({ssh!r}, sys.argv)
host, _, port = sys.argv[sys.argv.index("-W") + 1].rpartition(":")
way = socket.create_connection((host.strip("[]"), int(port)))
def inwards():
    while data := os.read(0, 65536):
        way.sendall(data)
    way.shutdown(socket.SHUT_WR)
threading.Thread(target=inwards, daemon=True).start()
while data := way.recv(65536):
    os.write(1, data)
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StackOnLoopback]:
    with stack_on_loopback(tmp_path) as made:
        yield made


@pytest.fixture
def gateway(lab: StackOnLoopback) -> Iterator[TlsGateway]:
    """The cluster's gateway on a port that the site file may name, with a certificate that is in the cluster."""
    authority = Authority(lab.folder / "gateway")
    pair = authority.issue("gateway", hosts=("*.ai-how.internal",))
    with tls_gateway(pair, key=KEY, port=free_node_port()) as made:
        lab.write(f"access: {{https_port: {made.port}, http_port: {free_node_port()}}}")
        lab.secret("gateway", "gateway-tls", {"ca.crt": authority.pair.certificate.read_text()})
        lab.secret("models", "ai-how-api-keys", {"default": KEY})
        yield made


def free_node_port() -> int:
    for port in range(30100, 32700):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no port is free")


@contextmanager
def opened(lab: StackOnLoopback) -> Iterator[ClusterDoor]:
    with open_running_stack(lab.provider()) as stack, open_cluster_door(stack) as door:
        yield door


def test_a_question_goes_to_the_endpoints_own_name(lab: StackOnLoopback, gateway: TlsGateway) -> None:
    with opened(lab) as door:
        answer = ask(door.of("assistant"), model="assistant", prompt="yes?")
    assert answer.text == "yes" and answer.completion_tokens == 1
    assert gateway.hosts == [f"assistant-models.ai-how.internal:{gateway.port}"]
    assert gateway.names == ["assistant-models.ai-how.internal"]
    assert KEY not in repr(door) and "BEGIN" not in repr(door)


async def test_load_goes_the_same_way(lab: StackOnLoopback, gateway: TlsGateway) -> None:
    with opened(lab) as door:
        client = Client.through(door.of("assistant"), model="assistant", workload=Workload())
        phase = await run_phase(client, concurrency=2, duration_s=0.3)
    assert phase.samples and {sample.error for sample in phase.samples} == {None}
    assert set(gateway.hosts) == {f"assistant-models.ai-how.internal:{gateway.port}"}
    assert set(gateway.names) == {"assistant-models.ai-how.internal"}


def test_a_gateway_behind_another_host_is_reached_by_ssh(
    lab: StackOnLoopback, gateway: TlsGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = lab.folder / "user-programs"
    programs.mkdir()
    program = programs / "ssh"
    program.write_text(JUMP.format(python=sys.executable, ssh=shutil.which("ssh")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    lab.target = replace(lab.target, jump="user@elsewhere")
    with opened(lab) as door:
        assert door.connect_to != f"127.0.0.1:{gateway.port}"
        assert door.forward == (
            "ssh",
            "-N",
            "-L",
            f"127.0.0.1:{gateway.port}:127.0.0.1:{gateway.port}",
            lab.target.jump,
        )
        assert ask(door.of("assistant"), model="assistant", prompt="yes?").text == "yes"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(door.connect_to.rpartition(":")[2]))) != 0


async def test_another_authority_is_not_trusted(lab: StackOnLoopback, gateway: TlsGateway) -> None:
    stranger = Authority(lab.folder / "stranger").pair.certificate.read_text()
    lab.secret("gateway", "gateway-tls", {"ca.crt": stranger})
    with opened(lab) as door:
        with pytest.raises(TryAgainError) as caught:
            ask(door.of("assistant"), model="assistant", prompt="yes?")
        assert "certificate" in caught.value.evidence
        client = Client.through(door.of("assistant"), model="assistant", workload=Workload())
        phase = await run_phase(client, concurrency=1, duration_s=0.1)
    assert {sample.error for sample in phase.samples} == {"cannot connect"}
    assert "certificate" in phase.samples[0].detail.lower()
    assert gateway.hosts == []


def test_a_key_that_the_endpoint_does_not_know_is_told(lab: StackOnLoopback, gateway: TlsGateway) -> None:
    with opened(lab) as door:
        wrong = replace(door.of("assistant"), api_key=SecretText("another"))
        with pytest.raises(ProviderError, match="endpoint assistant answered with an error") as caught:
            ask(wrong, model="assistant", prompt="yes?")
    assert "status 401" in caught.value.evidence and "Unauthorized" in caught.value.evidence


def test_a_load_balancers_address_is_the_gateways(lab: StackOnLoopback, gateway: TlsGateway) -> None:
    lab.write("access: {type: load-balancer}")
    with pytest.raises(TryAgainError, match="has no address"), opened(lab):
        pass
    kind = {"metadata": {"name": "ai-how"}, "spec": {"gatewayClassName": "nginx", "listeners": []}}
    status = {"addresses": [{"type": "IPAddress", "value": "192.0.2.7"}]}
    lab.put("gateways", "gateway", {**kind, "status": status}, group="gateway.networking.k8s.io")
    with opened(lab) as door:
        assert door.connect_to == "192.0.2.7:443"
        assert door.of("assistant").url == "https://assistant-models.ai-how.internal"


def test_a_public_certificate_needs_no_authority_of_ours(lab: StackOnLoopback, gateway: TlsGateway) -> None:
    lab.write("access: {issuer: acme, acme_email: a@example.org}")
    with opened(lab) as door:
        assert door.authority_pem == ""


def test_an_endpoint_on_this_machine_needs_an_address_and_a_key_alone() -> None:
    door = Door(url="http://127.0.0.1:8080", api_key=SecretText("k"))
    assert (door.server_name, door.connect_to, door.authority_pem) == ("127.0.0.1", "", "")


def test_the_key_of_a_cluster_is_shown_and_listed_and_stays(
    lab: StackOnLoopback, gateway: TlsGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ai_how.cli.open_site.provider_of", lab.provider)
    site = ["--site", str(lab.site_file)]

    def run(*words: str) -> object:
        result = CliRunner().invoke(root, ["key", *words, *site])
        return result.exception or result.stdout

    assert run("show") == f"{KEY}\n" == run("show", "default")
    listed = run("list")
    assert KEY not in str(listed) and "-key" in str(listed)
    assert isinstance(run("show", "alice"), NotFoundError)
    assert str(run("authority")).startswith("-----BEGIN CERTIFICATE-----")
    for words in (("create", "alice"), ("revoke", "default")):
        error = run(*words)
        assert isinstance(error, ConflictError) and "vLLM" in error.evidence, error
    kept = [path for path in (lab.folder / ".ai-how").rglob("*") if path.is_file()]
    assert not any(KEY in path.read_text(errors="replace") for path in kept)


def test_the_key_of_a_cluster_is_made_anew_and_endpoints_read_it(
    lab: StackOnLoopback, gateway: TlsGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ai_how.cli.open_site.provider_of", lab.provider)
    secret = {"secretKeyRef": {"name": "ai-how-api-keys", "key": "default"}}
    for name, variable in (("old", [{"name": "VLLM_API_KEY", "valueFrom": secret}]), ("other", [])):
        container = {"name": "c", "image": "x:1", "env": variable}
        replicas = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")
        status = {"observedGeneration": 1, **dict.fromkeys(replicas, 1)}
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
        spec = {"selector": {"matchLabels": {"app": name}}, "template": template}
        thing = {"metadata": {"name": name, "namespace": "models"}, "spec": spec, "status": status}
        lab.put("deployments", "models", thing, group="apps")
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": "1", "controller": True}
        metadata = {"name": f"{name}-1", "namespace": "models", "ownerReferences": [owner]}
        lab.put("pods", "models", {"metadata": metadata, "spec": template["spec"], "status": {"phase": "Running"}})

    def run(*words: str) -> Result:
        return CliRunner().invoke(root, ["key", *words, "--site", str(lab.site_file)])

    asked = run("renew", "default")
    assert isinstance(asked.exception, SpecError) and "Deployment models/old is restarted" in asked.stderr
    assert "other" not in asked.stderr and asked.exception.next_step.endswith("default --yes")
    assert isinstance(run("renew", "alice", "--yes").exception, NotFoundError)
    assert run("show").stdout == f"{KEY}\n"
    done = run("renew", "default", "--yes")
    assert done.exit_code == 0, vars(done.exception or Exception())
    assert done.stdout == run("show").stdout != f"{KEY}\n" and len(done.stdout.strip()) == 48
    assert done.stdout.strip() not in done.stderr
    pods = lab.endpoint.client().list_objects("v1", "Pod", "models").items
    assert [each["metadata"]["name"] for each in pods] == ["other-1"]


def test_a_cluster_without_its_key_is_told(lab: StackOnLoopback) -> None:
    with pytest.raises(NotFoundError, match="Secret models/ai-how-api-keys is not on cluster cloud"), opened(lab):
        pass
