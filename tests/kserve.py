"""Endpoints on a cluster for tests: nodes as an API server has them, revisions, settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ai_how.capacity.model_memory import ModelInMemory
from ai_how.capacity.weight_types import WEIGHT_TYPES
from ai_how.endpoints.types import Autoscaling, EndpointSpec, Hardware
from ai_how.kserve.node_facts import nodes_of_cluster
from ai_how.kserve.nodes import GpuNode, Placement
from ai_how.kserve.revision import KServeRevision
from ai_how.kserve.setting import ServingSetting, serving_setting
from ai_how.models.types import ModelFormat, ModelInfo
from ai_how.releases import load_set
from ai_how.site.load import check_site_text
from tests.published_memory import shapes

INFO = ModelInfo(
    format=ModelFormat.HUGGING_FACE,
    architecture="LlamaForCausalLM",
    parameters=8_030_261_248,
    dtype="bfloat16",
    context_tokens=131072,
    chat_template=True,
)
ADAPTER = ModelInfo(
    format=ModelFormat.PEFT_ADAPTER,
    architecture="LlamaForCausalLM",
    parameters=41_943_040,
    dtype="bfloat16",
    base_model="meta-llama/Llama-3.1-8B",
)
T4 = {"nvidia.com/gpu.product": "Tesla-T4", "nvidia.com/gpu.memory": "15360", "nvidia.com/gpu.count": "1"}
A6000 = {"nvidia.com/gpu.product": "NVIDIA-RTX-A6000", "nvidia.com/gpu.memory": "49140", "nvidia.com/gpu.count": "2"}
A100 = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu.memory": "81920"}
CAPABILITIES = {"Tesla-T4": ("7", "5"), "NVIDIA-RTX-A6000": ("8", "6"), "NVIDIA-A100-SXM4-80GB": ("8", "0")}


def api_node(name: str, labels: dict[str, str], *, count: int = 1, resource: str = "nvidia.com/gpu") -> dict[str, Any]:
    """A node that is ready, as the API server shows it."""
    major, minor = CAPABILITIES.get(labels.get("nvidia.com/gpu.product", ""), ("8", "0"))
    more = {"nvidia.com/gpu.compute.major": major, "nvidia.com/gpu.compute.minor": minor}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**more, **labels}},
        "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": {"cpu": "12", "memory": "32Gi", resource: str(count)},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def api_pod(node: str, gpus: int, *, phase: str = "Running", resource: str = "nvidia.com/gpu") -> dict[str, Any]:
    """A pod that has GPUs of a node."""
    container = {"name": "kserve-container", "resources": {"limits": {resource: str(gpus)}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{node}-{gpus}", "namespace": "models"},
        "spec": {"nodeName": node, "containers": [container]},
        "status": {"phase": phase},
    }


def lab(*pods: dict[str, Any]) -> tuple[GpuNode, ...]:
    """A T4, two A6000 in one node and an A100, with what pods have taken."""
    nodes = [api_node("t4", T4), api_node("a6000", A6000, count=2), api_node("a100", A100)]
    return nodes_of_cluster(nodes, pods)


def model(name: str = "Llama-3.1-8B", **changes: Any) -> ModelInMemory:
    """A model whose shape is published."""
    return ModelInMemory(**{"shape": shapes()[name], "kind": WEIGHT_TYPES["bfloat16"]} | changes)


def setting(release: str = "current", *, site_text: str = "", **changes: Any) -> ServingSetting:
    """The setting of the cloud cluster of a site with nothing written but what is given."""
    site, mistakes = check_site_text(f"name: lab\nprovider: libvirt\n{site_text}", Path("ai-how.yaml"))
    assert site is not None, mistakes
    from dataclasses import replace

    return replace(serving_setting(site, "cloud", load_set(release).versions), **changes)


def spec(name: str = "chat", **changes: Any) -> EndpointSpec:
    values: dict[str, Any] = {
        "model_name": "chat",
        "model_version": 3,
        "model_uri": "s3://models/chat/0123456789abcdef",
        "model_digest": "0123456789abcdef" * 4,
        "engine": "vllm",
        "hardware": Hardware(accelerator="nvidia_a100_80gb"),
        "autoscaling": Autoscaling(min_replicas=1, max_replicas=2),
        "created_at": "2026-11-25T12:00:00+00:00",
    }
    return EndpointSpec(name=name, **{**values, **changes})


def revision(number: int = 1, *, share: int = 100, **changes: Any) -> KServeRevision:
    """A revision on an A100 that gets all requests, unless said otherwise."""
    values: dict[str, Any] = {
        "spec": spec(),
        "info": INFO,
        "placement": Placement(
            accelerator="nvidia_a100_80gb",
            products=("NVIDIA-A100-SXM4-80GB",),
            compute_capability=(8, 0),
            nodes=("a100-1", "a100-2"),
        ),
    }
    return KServeRevision(number=number, share_percent=share, **{**values, **changes})
