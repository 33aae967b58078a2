"""A revision as Kubernetes objects: a ServingRuntime of its own, an InferenceService, what scales it. Pure.

The runtime belongs to the revision, so that another version of vLLM changes no revision that runs. KServe runs the
Deployment and the Service ``NAME-rN-predictor``; it neither routes (``cluster-local``) nor scales (``external``: it
makes no HPA and leaves the Deployment's replicas alone). Source: kserve/kserve v0.20.0 and v0.15.2,
pkg/controller/v1beta1/inferenceservice/reconcilers: autoscaler, deployment, ingress/httproute_reconciler.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ai_how.endpoints.types import EndpointSpec
from ai_how.errors import SpecError
from ai_how.kserve import container as engine
from ai_how.kserve import node_cache
from ai_how.kserve.nodes import PRODUCT, Placement
from ai_how.kserve.revision import KEPT, KServeRevision, kept_text
from ai_how.kserve.routing import route_objects
from ai_how.kserve.scaling import scaled_object, sleeps
from ai_how.kserve.setting import ServingSetting
from ai_how.models.types import ModelFormat
from ai_how.releases.site_pins import STREAMS_SINCE, streams
from ai_how.stack.objects import KubernetesObject
from ai_how.stack.upstream import at_least

FORMAT = "huggingface"
CACHE_MIB = 2048
"""Size of the volume of vLLM's compiled code, chosen; the class local-path does not enforce it."""


def endpoint_objects(revisions: Sequence[KServeRevision], *, setting: ServingSetting) -> tuple[KubernetesObject, ...]:
    """All objects of an endpoint, from all its revisions; what else bears its label is to go.

    Raises:
        SpecError, NotFoundError: this cluster cannot serve it so.
    """
    alone = len(revisions) == 1
    found: list[KubernetesObject] = []
    for revision in revisions:
        found += revision_objects(revision, setting=setting, alone=alone)
    return (*found, *route_objects(revisions[0].spec.name, revisions, setting=setting))


def revision_objects(
    revision: KServeRevision, *, setting: ServingSetting, alone: bool = True
) -> tuple[KubernetesObject, ...]:
    """The objects of one revision.

    Args:
        alone: Whether it is its endpoint's only one; beside others it keeps at least one replica, as requests cannot be
            held for two that share them.

    Raises:
        SpecError: what this cluster's KServe or vLLM cannot do; the next step says what would help.
        NotFoundError: it may sleep, and the release set has nothing that would wake it.
    """
    _check(revision, setting)
    cache = _cache_claim(revision, setting)
    return (
        *(() if cache is None else (cache,)),
        _runtime(revision, setting, cache_name=cache["metadata"]["name"] if cache else ""),
        _service(revision, setting),
        scaled_object(revision, setting, sleeping=alone and sleeps(revision.spec)),
    )


def notes(revision: KServeRevision) -> tuple[str, ...]:
    """What one should know of a revision that is not wrong; whole sentences without a full stop."""
    model = revision.base or revision.info
    if model.chat_template:
        return ()
    return (
        f"{revision.spec.model_name} has no chat template: {revision.spec.name} answers /v1/completions, and refuses "
        "/v1/chat/completions",
    )


def _check(revision: KServeRevision, setting: ServingSetting) -> None:
    spec, format_ = revision.spec, (revision.base or revision.info).format
    if format_ is ModelFormat.GGUF:
        raise SpecError(
            f"{spec.model_name} is a GGUF file, and this cluster serves with vLLM",
            evidence="vLLM reads GGUF files only experimentally",
            next_step="deploy its Hugging Face checkpoint, or serve the file on a site of provider local",
        )
    if revision.info.format is ModelFormat.PEFT_ADAPTER and (revision.base is None or not spec.adapter_base_uri):
        raise SpecError(
            f"{spec.model_name} is an adapter and needs its base model",
            evidence=f"it was trained on {revision.info.base_model}",
            next_step="register the base (ai-how model push) and name it: base_model: NAME in the deploy file",
        )
    if (revision.base is not None or spec.adapters) and not at_least(setting.versions["kserve"], "0.16"):
        raise SpecError(
            f"KServe {setting.versions['kserve']} cannot fetch an adapter beside its base model",
            evidence="several sources of files (storageUris) begin with KServe 0.16.0",
            next_step="take the current release set, or merge the adapter into its base and deploy the result",
        )
    if setting.serving.loader == "streamer" and not streams(setting.versions["vllm"]):
        raise SpecError(
            f"serving.loader: streamer is not for vLLM {setting.versions['vllm']}",
            evidence=f"vLLM's image is known to carry the Run:ai Model Streamer from {STREAMS_SINCE} on",
            next_step="take the current release set, or leave serving.loader out",
        )


def _metadata(revision: KServeRevision, setting: ServingSetting, **more: Any) -> dict[str, Any]:
    return {"name": revision.name, "namespace": setting.namespace, "labels": revision.labels, **more}


def _runtime(revision: KServeRevision, setting: ServingSetting, *, cache_name: str) -> KubernetesObject:
    cache = {"persistentVolumeClaim": {"claimName": cache_name}} if cache_name else {"emptyDir": {}}
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": _metadata(revision, setting, annotations={KEPT: kept_text(revision)}),
        "spec": {
            "supportedModelFormats": [{"name": FORMAT, "version": "1", "autoSelect": False}],
            "containers": [engine.container(revision, setting)],
            "volumes": [
                # workers of one model on several GPUs exchange data there
                {"name": engine.SHARED_MEMORY, "emptyDir": {"medium": "Memory"}},
                {"name": engine.CACHE, **cache},
                *((node_cache.volume(),) if node_cache.keeps(setting) else ()),
            ],
        },
    }


def _service(revision: KServeRevision, setting: ServingSetting) -> KubernetesObject:
    newer = at_least(setting.versions["kserve"], "0.16")
    model: dict[str, Any] = {"modelFormat": {"name": FORMAT, "version": "1"}, "runtime": revision.name}
    predictor: dict[str, Any] = {
        "model": model,
        "serviceAccountName": setting.service_account,
        "automountServiceAccountToken": False,
        # a Service called vllm-... would be taken for vLLM's own settings
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": engine.grace_period_s(setting),
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }
    sources = _sources(revision.spec)
    if node_cache.keeps(setting):
        predictor["initContainers"] = [node_cache.init_container(revision, setting)]
    elif len(sources) > 1:
        predictor["storageUris"] = [{"uri": uri, "mountPath": folder} for folder, uri in sources.items()]
    elif not engine.from_store(revision, setting):
        model["storageUri"] = revision.spec.model_uri
    placement = revision.placement
    if placement and placement.products:
        predictor["affinity"] = _affinity(placement)
    if placement and 0 < placement.total < 2 * placement.count:
        # there is no GPU for a new pod beside the old one
        predictor["deploymentStrategy"] = {"type": "Recreate"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            **_metadata(revision, setting),
            "labels": {**revision.labels, "networking.kserve.io/visibility": "cluster-local"},
            # nothing here may change while the revision lives: KServe copies it into the pods' template
            "annotations": {
                "serving.kserve.io/deploymentMode": "Standard" if newer else "RawDeployment",
                "serving.kserve.io/autoscalerClass": "external",
            },
        },
        "spec": {"predictor": predictor},
    }


def _sources(spec: EndpointSpec) -> dict[str, str]:
    """Where the files of everything that is served come from, by the folder that they go to."""
    adapters = {f"{engine.ADAPTERS_FOLDER}/{one.tag}": one.model_uri for one in spec.adapters}
    if spec.adapter_base_uri is not None:
        return {engine.BASE_FOLDER: spec.adapter_base_uri, engine.ADAPTER_FOLDER: spec.model_uri, **adapters}
    return {engine.BASE_FOLDER: spec.model_uri, **adapters}


def _affinity(placement: Placement) -> dict[str, Any]:
    wanted = {"key": PRODUCT, "operator": "In", "values": list(placement.products)}
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [wanted]}]}
        }
    }


def _cache_claim(revision: KServeRevision, setting: ServingSetting) -> KubernetesObject | None:
    """A volume of the node's own disk, which keeps compiled code while the revision sleeps.

    Only where one node has the GPUs: such a volume would hold all replicas on the node that had the first.
    """
    if revision.placement is None or len(revision.placement.nodes) != 1 or not setting.storage_class:
        return None
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {**_metadata(revision, setting), "name": f"{revision.name}-cache"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": setting.storage_class,
            "resources": {"requests": {"storage": f"{CACHE_MIB}Mi"}},
        },
    }
