"""NVIDIA's GPU Operator: makes GPUs something that pods can ask for, and measures them.

Source of the values: the chart's values.yaml of 26.7.0 and 25.3.4; of shared GPUs: NVIDIA/cloud-native-docs,
gpu-operator/gpu-sharing.rst.
"""

from __future__ import annotations

import json
from typing import Any

from ai_how.stack.components import monitoring, namespaces
from ai_how.stack.manifests import Object, metadata
from ai_how.stack.objects import Awaited, Component
from ai_how.stack.part import Part, Workload
from ai_how.stack.policies import from_space, policy, within
from ai_how.stack.requests import Request
from ai_how.stack.setting import GPU_OPERATOR, MONITORING, Setting
from ai_how.stack.upstream import chart, image

NAME = "gpu-operator"
SMOKE = "cuda-smoke"
METRICS_PORT = 9400
NO_MIG = "all-disabled"
NO_DRIVER_FOR = ("debian",)
"""Systems that the operator has no driver image for."""
OPERATOR = Request(cpu_m=200, memory_mib=100, limit_mib=350)
"""The chart's own."""
FEATURES = Request(cpu_m=10, memory_mib=64, limit_mib=256)
WORKER = Request(cpu_m=10, memory_mib=32, limit_mib=128)
PLUGIN = Request(cpu_m=10, memory_mib=64, limit_mib=256)
EXPORTER = Request(cpu_m=50, memory_mib=256, limit_mib=1024)


def render(setting: Setting) -> Part:
    """The chart, and a Job that adds numbers on a GPU at the end."""
    gpus, driver = setting.stack.gpus, driver_from(setting)
    notes = [f"the NVIDIA driver comes from {'the image of the nodes' if driver == 'image' else 'the operator'}"]
    if gpus.time_slices > 1:
        notes.append(f"each GPU is offered {gpus.time_slices} times: its users share its memory without limits")
    return Part(
        title="NVIDIA GPU Operator",
        version=setting.version("gpu-operator"),
        component=Component(
            name=NAME,
            namespace=GPU_OPERATOR,
            objects=(
                within(GPU_OPERATOR),
                policy("allow-metrics", GPU_OPERATOR, ingress=(from_space(MONITORING, METRICS_PORT),)),
                _smoke_job(image("cuda-sample", setting)),
            ),
            charts=(chart("gpu-operator", setting, namespace=GPU_OPERATOR, values=_values(setting, driver)),),
            # its ServiceMonitor is of a kind that monitoring brings
            needs=(namespaces.NAME, monitoring.NAME),
            awaited=(
                Awaited(api_version="apps/v1", kind="Deployment", name="gpu-operator", namespace=GPU_OPERATOR),
                Awaited(api_version="nvidia.com/v1", kind="ClusterPolicy", name="cluster-policy", condition="Ready"),
                Awaited(api_version="batch/v1", kind="Job", name=SMOKE, namespace=GPU_OPERATOR),
            ),
        ),
        workloads=(
            Workload(name="gpu-operator", request=OPERATOR),
            Workload(name="gpu-operator-node-feature-discovery-master", request=FEATURES),
            Workload(name="gpu-operator-node-feature-discovery-gc", request=FEATURES),
            Workload(name="gpu-operator-node-feature-discovery-worker", request=WORKER, place="every-node"),
            Workload(name="nvidia-gpu-node", request=_on_gpu_nodes(setting), place="gpu-nodes"),
        ),
        images=(image("cuda-sample", setting),),
        # the manager's own default may only be none at all: a profile is asked for by a label of the node
        node_labels={} if gpus.mig == NO_MIG else {"nvidia.com/mig.config": gpus.mig},
        notes=tuple(notes),
    )


def _on_gpu_nodes(setting: Setting) -> Request:
    """Toolkit, device plugin, feature discovery and exporter.

    Where GPUs are shared, plugin and discovery have a second container each, which reads how.
    """
    alone = PLUGIN + PLUGIN + PLUGIN + EXPORTER
    return alone + PLUGIN + PLUGIN if setting.stack.gpus.time_slices > 1 else alone


def driver_from(setting: Setting) -> str:
    """Where the driver comes from: ``image`` or ``operator``."""
    wanted = setting.stack.gpus.driver
    if wanted != "auto":
        return wanted
    return "image" if setting.versions.get("guest", "").startswith(NO_DRIVER_FOR) else "operator"


def _values(setting: Setting, driver: str) -> dict[str, Any]:
    gpus = setting.stack.gpus
    values: dict[str, Any] = {
        "driver": {"enabled": driver == "operator"},
        "operator": {"resources": OPERATOR.resources(), "cleanupCRD": False},
        "toolkit": {"enabled": True, "resources": PLUGIN.resources()},
        "devicePlugin": {"resources": PLUGIN.resources()},
        "gfd": {"resources": PLUGIN.resources()},
        "dcgmExporter": {
            "enabled": True,
            "resources": EXPORTER.resources(),
            "serviceMonitor": {"enabled": True, "interval": "15s"},
        },
        "migManager": {"enabled": gpus.mig != NO_MIG},
        "node-feature-discovery": {
            "master": {"resources": FEATURES.resources()},
            "gc": {"resources": FEATURES.resources()},
            "worker": {"resources": WORKER.resources()},
        },
    }
    if driver == "operator":
        values["driver"]["version"] = setting.version("nvidia-driver")
    if gpus.time_slices > 1:
        values["devicePlugin"]["config"] = _time_slicing(gpus.time_slices)
    return values


def _time_slicing(slices: int) -> dict[str, Any]:
    # JSON is YAML, and the same text each time
    shared = {
        "version": "v1",
        "sharing": {"timeSlicing": {"resources": [{"name": "nvidia.com/gpu", "replicas": slices}]}},
    }
    return {"create": True, "name": "time-slicing", "default": "any", "data": {"any": json.dumps(shared)}}


def _smoke_job(used: str) -> Object:
    """Pods that ask for a GPU are let onto the nodes that are kept free for them: ExtendedResourceToleration."""
    container = {
        "name": "vectoradd",
        "image": used,
        "imagePullPolicy": "IfNotPresent",
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"memory": "1Gi", "nvidia.com/gpu": "1"},
        },
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(SMOKE, GPU_OPERATOR),
        "spec": {
            "backoffLimit": 6,
            "template": {
                "metadata": {"labels": {"app.kubernetes.io/name": SMOKE}},
                "spec": {
                    "restartPolicy": "OnFailure",
                    "automountServiceAccountToken": False,
                    "containers": [container],
                },
            },
        },
    }
