"""``ai-how deploy`` on a site with a cluster, from the command line to the answer.

The registry, the object store and the engines are real processes, SSH is real; the API server, KServe's controllers and
the gateway are the stand-ins that the conformance suite uses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ai_how.cli.app import root
from ai_how.errors import AiHowError, NotFoundError, ProviderError, SpecError
from ai_how.models.types import Stores
from ai_how.stack.components.mlflow import allowed_hosts
from tests.stacks import setting
from tests.tiny_model import write_tiny_checkpoint

from .api_endpoint import LittleControllers
from .api_server import Fault
from .certificates import Authority
from .kserve_controller import KServe
from .kserve_gateway import KEY, ClusterGateway, cluster_gateway
from .kserve_world import serve_kinds
from .running_stack import StackOnLoopback, stack_on_loopback
from .stores import mlflow_server
from .test_cluster_door import free_node_port

pytestmark = pytest.mark.slow
GPU_NODE = {
    "metadata": {
        "name": "cloud-gpu-worker-1",
        "labels": {
            "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
            "nvidia.com/gpu.memory": "81920",
            "nvidia.com/gpu.compute.major": "8",
            "nvidia.com/gpu.compute.minor": "0",
        },
    },
    "status": {"allocatable": {"nvidia.com/gpu": "1"}, "conditions": [{"type": "Ready", "status": "True"}]},
}
DEPLOY = """\
model_source: {source}
provider: kserve
model_name: chat
test_prompts: ["Hello?"]
"""


class Lab:
    """The site, and its commands."""

    def __init__(self, stack: StackOnLoopback, kserve: KServe, gateway: ClusterGateway) -> None:
        self.stack = stack
        self.kserve = kserve
        self.gateway = gateway

    def run(self, *words: str) -> Result:
        result = CliRunner().invoke(root, list(words))
        if isinstance(result.exception, AiHowError):
            raise result.exception
        assert result.exit_code == 0, (result.output, result.exc_info)
        return result

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "-o", "json").stdout)


@pytest.fixture(scope="module")
def stores(shared_stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """The shared object store, and a registry that answers to the names that the stack's answers to."""
    server, url = mlflow_server(
        tmp_path_factory.mktemp("r") / "mlflow", allowed_hosts=",".join(allowed_hosts(setting()))
    )
    try:
        server.start()
        yield replace(shared_stores, registry_url=url)
    finally:
        server.kill()


@pytest.fixture
def lab(tmp_path: Path, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    with ExitStack() as opened:
        stack = opened.enter_context(stack_on_loopback(tmp_path))
        serve_kinds(stack.endpoint.client())
        opened.enter_context(LittleControllers(stack.endpoint))
        (tmp_path / "engines").mkdir()
        kserve = KServe(client=stack.endpoint.client("kserve"), folder=tmp_path / "engines", logs_of=stack.server.logs)
        opened.enter_context(kserve.running())
        authority = Authority(tmp_path / "gateway")
        pair = authority.issue("gateway", hosts=("*.ai-how.internal",))
        gateway = opened.enter_context(cluster_gateway(kserve, pair, port=free_node_port()))
        stack.write(f"access: {{https_port: {gateway.port}, http_port: {free_node_port()}}}")
        stack.secret("gateway", "gateway-tls", {"ca.crt": authority.pair.certificate.read_text()})
        stack.secret("models", "ai-how-api-keys", {"default": KEY})
        stack.put("nodes", "", GPU_NODE)
        stack.keep(stores)
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("AI_HOW_SITE", raising=False)
        monkeypatch.setattr("ai_how.cli.open_site.provider_of", stack.provider)
        yield Lab(stack, kserve, gateway)


@pytest.fixture
def deploy_file(tmp_path: Path) -> Callable[..., str]:
    def write(**more: str) -> str:
        source = tmp_path / "model"
        if not source.exists():
            write_tiny_checkpoint(source)
        lines = DEPLOY.format(source=source) + "".join(f"{key}: {value}\n" for key, value in more.items())
        (tmp_path / "deploy.yaml").write_text(lines)
        return str(tmp_path / "deploy.yaml")

    return write


def test_from_the_deploy_file_to_the_answer_and_to_the_end(lab: Lab, deploy_file: Callable[..., str]) -> None:
    assert lab.json("deploy", "list") == []
    assert lab.json("deploy", "list-hardware") == [{"accelerator": "nvidia_a100_80gb", "count": 1}]

    said = lab.run("deploy", "up", "--config", deploy_file())
    assert "registered as chat/" in said.stderr
    assert "with vllm on nvidia_a100_80gb" in said.stderr
    assert "> Hello?\nt0" in said.stdout
    assert f"URL: https://chat-models.ai-how.internal:{lab.gateway.port}/v1   model: chat" in said.stdout
    assert f"--connect-to ::127.0.0.1:{lab.gateway.port}" in said.stdout
    assert set(lab.gateway.hosts) == {"chat-models.ai-how.internal"}
    assert "already serving chat/" in lab.run("deploy", "up", "--config", deploy_file()).stderr

    (listed,) = lab.json("deploy", "list")
    assert (listed["spec"]["name"], listed["state"]) == ("chat", "running")
    shown = lab.run("deploy", "status", "chat").stdout
    assert "state      running" in shown
    assert "in flight" not in shown
    lab.stack.server.logs["models", listed["replicas"][0]["name"]] = "loaded\nready\n"
    assert lab.run("logs", "chat").stdout == "loaded\nready\n"
    assert lab.json("deploy", "test", "chat", "--prompt", "Again?")["text"].startswith("t0")

    lab.run("deploy", "stop", "chat", "--wait")
    assert lab.json("deploy", "status", "chat")["state"] == "stopped"
    with pytest.raises(ProviderError, match="answered with an error"):
        lab.run("deploy", "test", "chat")
    lab.run("deploy", "start", "chat", "--wait")
    assert lab.run("deploy", "test", "chat").stdout.startswith("t0")

    lab.run("deploy", "delete", "chat", "--force")
    assert lab.json("deploy", "list") == []
    with pytest.raises(NotFoundError, match="no endpoint 'chat'"):
        lab.run("deploy", "status", "chat")


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ("no-image", ("cannot get the image", "the registry has no such image")),
        ("wrong-keys", ("the object store refuses the keys", "ai-how up puts them right")),
        ("host-memory", ("host memory, not the GPU's",)),
        ("gpu-memory", ("the GPU's memory is too small", "CUDA out of memory", "serving.context_tokens")),
        ("crash", ("OSError: Can't load the configuration",)),
    ],
)
def test_what_does_not_start_says_why_and_what_to_do(
    lab: Lab, deploy_file: Callable[..., str], ends: str, words: tuple[str, ...]
) -> None:
    lab.kserve.ends = dict.fromkeys(range(100), ends)
    with pytest.raises(ProviderError, match="endpoint chat failed to start") as failed:
        lab.run("deploy", "up", "--config", deploy_file())
    shown = lab.run("deploy", "status", "chat").stdout
    assert "state      error" in shown
    for word in words:
        assert word in failed.value.evidence
        assert word in " ".join(shown.split())


def test_a_quota_is_told(lab: Lab, deploy_file: Callable[..., str]) -> None:
    lab.kserve.quota = (
        'pods "chat-r1-predictor-x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, '
        "used: requests.nvidia.com/gpu=2, limited: requests.nvidia.com/gpu=2"
    )
    with pytest.raises(ProviderError) as failed:
        lab.run("deploy", "up", "--config", deploy_file())
    assert "the quota gpus does not allow its pod" in failed.value.evidence


def test_a_controller_that_does_not_run_and_a_check_that_refuses_are_told(
    lab: Lab, deploy_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = "inferenceservice.kserve-webhook-server.validator"
    refused = f'admission webhook "{hook}" denied the request: the model format is unknown'
    body = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": refused}
    fault = Fault(method="PATCH", path="/inferenceservices/chat-r1", status=403, body=json.dumps(body).encode())
    lab.stack.server.faults.append(fault)
    with pytest.raises(ProviderError, match="could not be written to the cluster") as failed:
        lab.run("deploy", "up", "--config", deploy_file())
    assert failed.value.evidence == "KServe refuses it: the model format is unknown"

    lab.kserve.asleep = True
    monkeypatch.setattr("ai_how.kserve.services.CONTROLLER_PATIENCE_S", 1.0)
    with pytest.raises(ProviderError) as silent:
        lab.run("deploy", "up", "--config", deploy_file())
    assert "KServe's controller has not looked at it" in silent.value.evidence
    assert "ai-how logs stack/kserve" in silent.value.evidence
    assert lab.run("deploy", "status", "chat").stdout.count("what to do: ") == 1


def test_what_a_cluster_cannot_serve_is_refused_before_anything_is_made(
    lab: Lab, deploy_file: Callable[..., str]
) -> None:
    with pytest.raises(SpecError) as refused:
        lab.run("deploy", "up", "--config", deploy_file(hardware="{accelerator: nvidia_h100_80gb}"))
    assert "nvidia_h100_80gb" in str(refused.value)
    with pytest.raises(SpecError):
        lab.run("deploy", "up", "--config", deploy_file(hardware="{count: 2}"))
    assert lab.json("deploy", "list") == []
