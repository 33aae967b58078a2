"""The container that serves a revision: vLLM's command line, environment, probes and its orderly end. Pure.

KServe puts the files of ``storageUri`` into ``/mnt/models``, and those of ``storageUris`` where they are told to be. It
runs the container's text through Go's templates, so no ``{{`` may be in it (kserve/kserve v0.20.0,
pkg/controller/v1beta1/inferenceservice/utils/utils.go, ``ReplacePlaceholders``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ai_how.endpoints.engines.vllm import STREAMER, lora_options
from ai_how.endpoints.types import adapter_name
from ai_how.kserve import node_cache
from ai_how.kserve.nodes import GPU
from ai_how.kserve.revision import KServeRevision
from ai_how.kserve.setting import ServingSetting

NAME = "kserve-container"
"""KServe's own name of the container that answers."""
PORT, PORT_NAME = 8080, "http"
MODELS_FOLDER = "/mnt/models"
BASE_FOLDER, ADAPTER_FOLDER = f"{MODELS_FOLDER}/base", f"{MODELS_FOLDER}/adapter"
"""KServe mounts several sources as one volume, at the folder that they have in common."""
ADAPTERS_FOLDER = f"{MODELS_FOLDER}/adapters"
"""Of those that have a tag, each in a folder of that name."""
CACHE_FOLDER = "/var/cache/vllm"
CACHE, SHARED_MEMORY = "compile-cache", "shared-memory"
"""Volumes."""
FULL_UTILIZATION = 0.9
"""Part of a card's memory that vLLM takes, as the check of memory reckons with."""
LEAST_BFLOAT16 = (8, 0)
"""Compute capability from which a GPU has bfloat16."""
PROBE_PERIOD_S = 5
PROPAGATION_S = 10
"""How long a pod that is to end still answers new requests: until every proxy knows that it is gone. Chosen."""
EXIT_S = 15
"""What vLLM gets to end once nothing is left to answer. Chosen."""
CPU_M, MEMORY_MIB_PER_GPU = 2000, 4096
"""Requests, chosen and not measured. No limit of memory: weights are read through the page cache."""


def grace_period_s(setting: ServingSetting) -> int:
    """How long a pod has to end, from the moment on that it is told to."""
    return PROPAGATION_S + math.ceil(setting.serving.drain_timeout_s) + EXIT_S


def container(revision: KServeRevision, setting: ServingSetting) -> dict[str, Any]:
    """The container as a ServingRuntime holds it."""
    placement = revision.placement
    count = placement.count if placement else revision.spec.hardware.count
    resource = placement.resource if placement else GPU
    health = {"httpGet": {"path": "/health", "port": PORT}, "timeoutSeconds": 5}
    tries = max(1, math.ceil(setting.serving.start_timeout_s / PROBE_PERIOD_S))
    return {
        "name": NAME,
        "image": setting.image,
        "imagePullPolicy": "IfNotPresent",
        "command": node_cache.command(revision) if node_cache.keeps(setting) else ["vllm", "serve"],
        "args": list(arguments(revision, setting)),
        "env": [*_environment(setting), *(_s3_environment(setting) if from_store(revision, setting) else ())],
        "ports": [{"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"}],
        "resources": {
            "requests": {"cpu": f"{CPU_M}m", "memory": f"{MEMORY_MIB_PER_GPU * count}Mi", resource: str(count)},
            "limits": {resource: str(count)},
        },
        "startupProbe": {**health, "periodSeconds": PROBE_PERIOD_S, "failureThreshold": tries},
        "readinessProbe": {**health, "periodSeconds": PROBE_PERIOD_S, "failureThreshold": 3},
        "livenessProbe": {**health, "periodSeconds": 10, "failureThreshold": 6},
        "lifecycle": {"preStop": {"exec": {"command": ["python3", "-c", drain_program(setting)]}}},
        # vLLM's image runs as root, which the level baseline allows
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": SHARED_MEMORY, "mountPath": "/dev/shm"},  # noqa: S108 - a volume of the pod's own
            {"name": CACHE, "mountPath": CACHE_FOLDER},
            *((node_cache.mount(),) if node_cache.keeps(setting) else ()),
        ],
    }


def from_store(revision: KServeRevision, setting: ServingSetting) -> bool:
    """Whether vLLM reads the weights from the object store itself, so that no copy of them comes to the node."""
    streams = setting.serving.loader == "streamer"
    # an adapter is read from a folder, and what the node keeps is nearer than the store
    return streams and revision.base is None and not revision.spec.adapters and not node_cache.keeps(setting)


def _model_folder(revision: KServeRevision, setting: ServingSetting) -> str:
    """Where vLLM finds the model that it loads: of an adapter, its base."""
    spec = revision.spec
    if node_cache.keeps(setting):
        return node_cache.folder(spec.adapter_base_digest or spec.model_digest)
    if lora_folders(revision, setting):
        return BASE_FOLDER
    return spec.model_uri if from_store(revision, setting) else MODELS_FOLDER


def arguments(revision: KServeRevision, setting: ServingSetting) -> Iterator[str]:
    """What ``vllm serve`` is told, the model first."""
    name, placement = revision.spec.name, revision.placement
    model = revision.base or revision.info
    adapter, loras = revision.base is not None, lora_folders(revision, setting)
    serving = setting.serving
    yield _model_folder(revision, setting)
    yield from ("--port", str(PORT))
    if serving.loader == "streamer":
        yield from ("--load-format", STREAMER)
    # an adapter goes by the endpoint's name; its base is reachable under its own
    yield from ("--served-model-name", f"{name}-base" if adapter else name)
    yield from ("--max-model-len", str(min(serving.context_tokens, model.context_tokens or serving.context_tokens)))
    yield from ("--max-num-seqs", str(serving.parallel_requests))
    share = placement.memory_share if placement else 1.0
    yield from ("--gpu-memory-utilization", f"{math.floor(FULL_UTILIZATION * share * 1000) / 1000:g}")
    count = placement.count if placement else revision.spec.hardware.count
    if count > 1:
        yield from ("--tensor-parallel-size", str(count))
    has = placement.compute_capability if placement else None
    if has is not None and has < LEAST_BFLOAT16:
        yield from ("--dtype", "half")
    yield from lora_options(loras, [revision.adapter_rank or 16], serving.parallel_requests)


def lora_folders(revision: KServeRevision, setting: ServingSetting) -> dict[str, str]:
    """Where each adapter's files are, by the name that clients send."""
    spec, kept = revision.spec, node_cache.keeps(setting)
    found = {spec.name: node_cache.folder(spec.model_digest) if kept else ADAPTER_FOLDER} if revision.base else {}
    for one in spec.adapters:
        folder = node_cache.folder(one.model_digest) if kept else f"{ADAPTERS_FOLDER}/{one.tag}"
        found[adapter_name(spec.name, one.tag)] = folder
    return found


def _environment(setting: ServingSetting) -> list[dict[str, Any]]:
    plain = {
        # nothing is fetched and nobody is told: the checkpoint is there, complete
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_CACHE_ROOT": CACHE_FOLDER,
    }
    # never by --api-key: what is on a command line can be read, and vLLM prints it in its log
    secret = {"name": setting.api_keys_secret, "key": setting.api_key}
    key = {"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": secret}}
    return [*({"name": name, "value": value} for name, value in plain.items()), key]


def _s3_environment(setting: ServingSetting) -> list[dict[str, Any]]:
    """Source: vllm-project/vllm, docs/models/extensions/runai_model_streamer.md, "S3 compatible object store"."""
    return [*node_cache.s3_environment(setting), {"name": "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING", "value": "0"}]


def drain_program(setting: ServingSetting, *, port: int = PORT, propagation_s: float = PROPAGATION_S) -> str:
    """Python that waits until nobody sends to this pod any more and it has answered what it was sent.

    vLLM breaks requests off when it is told to end, so it is told only then.
    """
    return "\n".join(
        (
            "import time, urllib.request",
            f"end = time.monotonic() + {propagation_s + setting.serving.drain_timeout_s:g}",
            f"time.sleep({propagation_s:g})",
            "while time.monotonic() < end:",
            f'    text = urllib.request.urlopen("http://127.0.0.1:{port}/metrics", timeout=5).read().decode()',
            '    names = ("vllm:num_requests_running", "vllm:num_requests_waiting")',
            "    lines = [line for line in text.splitlines() if line.startswith(names)]",
            '    if not any(float(line.rpartition(" ")[2]) for line in lines):',
            "        break",
            "    time.sleep(0.5)",
        )
    )
