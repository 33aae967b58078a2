"""What GPU nodes keep so that endpoints start sooner: vLLM's image, and a folder for models' weights.

The folder is a volume that is a path of whatever node a pod runs on, so that one claim does for all of them. A claim of
such a volume is allowed where a pod's own hostPath is not. Nothing here starts a model.
"""

from __future__ import annotations

from ai_how.stack.components import namespaces
from ai_how.stack.manifests import NAME_LABEL, Object, container, metadata
from ai_how.stack.objects import Component
from ai_how.stack.part import Part, Workload
from ai_how.stack.requests import Request
from ai_how.stack.setting import MODELS, Setting
from ai_how.stack.upstream import image

NAME = "warm-nodes"
CLAIM = "models-on-nodes"
"""The claim of the folder for weights, in the namespace of the models."""
FOLDER = "/var/lib/ai-how/models"
"""The folder, on every node with a GPU."""
KEEPER = "vllm-image"
KEEPER_REQUEST = Request(cpu_m=1, memory_mib=8, limit_mib=64)
"""It sleeps; chosen."""
_GPU_NODES = {"nvidia.com/gpu.present": "true"}


def wanted(setting: Setting) -> bool:
    """Whether the site wants any of it."""
    return setting.has_gpus and (setting.keep_image or setting.node_cache_gib > 0)


def render(setting: Setting) -> Part:
    """The claim with its volume, the pods that hold the image, or both."""
    objects: list[Object] = [*_folder()] if setting.node_cache_gib else []
    workloads: tuple[Workload, ...] = ()
    if setting.keep_image:
        objects.append(_keeper(setting))
        workloads = (Workload(name=KEEPER, request=KEEPER_REQUEST, place="gpu-nodes"),)
    return Part(
        title="Warm nodes",
        version="",
        component=Component(name=NAME, namespace=MODELS, objects=tuple(objects), needs=(namespaces.NAME,)),
        workloads=workloads,
        images=(image("storage-initializer", setting),) if setting.node_cache_gib else (),
        notes=(f"weights that were kept stay in {FOLDER} of each GPU node when the stack is removed",)
        if setting.node_cache_gib
        else (),
    )


def _folder() -> tuple[Object, Object]:
    """The limit is kept by the program that fills the folder: a claim's size could not be changed later."""
    size = {"storage": "1Gi"}
    volume: Object = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": CLAIM},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "capacity": size,
            "claimRef": {"namespace": MODELS, "name": CLAIM},
            "hostPath": {"path": FOLDER, "type": "DirectoryOrCreate"},
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
        },
    }
    claim: Object = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(CLAIM, MODELS),
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": size},
            "storageClassName": "",
            "volumeName": CLAIM,
        },
    }
    return volume, claim


def _keeper(setting: Setting) -> Object:
    """A pod on each GPU node that runs vLLM's image and does nothing: the kubelet pulls it, and lets it lie."""
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata(KEEPER, MODELS),
        "spec": {
            "selector": {"matchLabels": {NAME_LABEL: KEEPER}},
            "template": {
                "metadata": {"labels": {NAME_LABEL: KEEPER}},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 1,
                    "nodeSelector": _GPU_NODES,
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65534,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        container(
                            "image",
                            image("vllm", setting),
                            command=("sleep", "infinity"),
                            request=KEEPER_REQUEST,
                            # the image asks for every GPU of the node
                            env={"NVIDIA_VISIBLE_DEVICES": "void"},
                            probes={"readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 60}},
                        )
                    ],
                },
            },
        },
    }
