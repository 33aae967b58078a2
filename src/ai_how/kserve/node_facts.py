"""Nodes with GPUs: read from a cluster's objects, or from the site file while there is no cluster. Pure.

Source of labels and resources: GPU feature discovery and the device plugin, as NVIDIA/cloud-native-docs shows them
(gpu-operator/gpu-sharing.rst, gpu-operator-mig.rst and manifests/output/mig-node-labels.json).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ai_how.accelerators.catalogue import Accelerator, by_name
from ai_how.capacity.gpu_memory import usable_gpu
from ai_how.kserve.nodes import GPU, PRODUCT, GpuNode, GpuPool
from ai_how.kubernetes_api.objects import ApiObject
from ai_how.site.clusters import DeclaredGpus, Node
from ai_how.site.roles import DEFAULTS
from ai_how.site.spec import Site

SHARED, MIG = "-SHARED", "-MIG-"
_PREFIX = "nvidia.com/"
_DRIVERS_PART_GIB = 0.43
"""What the driver keeps of the memory that it reports: 435 MiB at most of what was seen (an A10G, driver 515)."""
_SLICE_SHARE = 0.975
"""Memory of a MIG slice as a part of the gigabytes in its profile's name: 9,984 MiB of 1g.10gb on an H100."""
_PROFILE = re.compile(r"all-\d+g\.(\d+)gb")


def nodes_of_cluster(nodes: Sequence[ApiObject], pods: Sequence[ApiObject]) -> tuple[GpuNode, ...]:
    """The nodes that have GPUs, by name, with what the pods on them have taken.

    Args:
        pods: Those of all namespaces; what has ended takes nothing.
    """
    found = []
    for node in nodes:
        name = str(node["metadata"]["name"])
        mine = [pod for pod in pods if (pod.get("spec") or {}).get("nodeName") == name]
        pools = tuple(replace(pool, taken=_taken(mine, pool.resource)) for pool in _pools(node))
        if pools:
            found.append(GpuNode(name=name, pools=pools, closed=_closed(node)))
    return tuple(sorted(found, key=lambda each: each.name))


def _pools(node: ApiObject) -> Iterator[GpuPool]:
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    allocatable: Mapping[str, Any] = (node.get("status") or {}).get("allocatable") or {}
    capability = _pair(labels.get(f"{GPU}.compute.major"), labels.get(f"{GPU}.compute.minor"))
    for resource in sorted(allocatable):
        kind = resource.removeprefix(_PREFIX)
        count = _number(allocatable[resource])
        if kind == resource or not count or not (kind.startswith("mig-") or kind in ("gpu", "gpu.shared")):
            continue
        # a slice has labels of its own; shared cards have those of the card
        own = resource if kind.startswith("mig-") else GPU
        product = labels.get(f"{own}.product", labels.get(PRODUCT, ""))
        turns = max(1, _number(labels.get(f"{own}.replicas", 1)))
        yield GpuPool(
            product=labels.get(PRODUCT, product),
            memory_gib=_memory_gib(labels.get(f"{own}.memory"), product),
            count=count,
            resource=resource,
            turns=turns if turns > 1 or product.endswith(SHARED) else 1,
            mig=kind.startswith("mig-") or MIG in product,
            compute_capability=capability or _known(product, "compute_capability"),
        )


def _memory_gib(label: object, product: str) -> float:
    mib = _number(label)
    if mib:
        return max(0.0, mib / 1024 - _DRIVERS_PART_GIB)
    known = card(product)
    return usable_gpu(known).usable_gib if known and MIG not in product else 0.0


def card(product: str) -> Accelerator | None:
    """What the catalogue knows of a product as a label has it: ``NVIDIA-A100-SXM4-80GB-SHARED``."""
    return by_name(product.removesuffix(SHARED).partition(MIG)[0])


def _known(product: str, field: str) -> Any:
    known = card(product)
    return getattr(known, field) if known else None


def _closed(node: ApiObject) -> str:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    ready = [each for each in status.get("conditions") or () if each.get("type") == "Ready"]
    if not ready or ready[0].get("status") != "True":
        return "the node is not ready"
    if spec.get("unschedulable"):
        return "the node takes no new pods (cordoned)"
    keys = [
        str(taint.get("key"))
        for taint in spec.get("taints") or ()
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not str(taint.get("key")).startswith(GPU)
    ]
    return f"the node is kept free: taint {keys[0]}" if keys else ""


def _taken(pods: Sequence[ApiObject], resource: str) -> int:
    total = 0
    for pod in pods:
        spec = pod.get("spec") or {}
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            continue
        at_once = sum(_asked(container, resource) for container in spec.get("containers") or ())
        # these run one after the other, before the others
        before = max((_asked(container, resource) for container in spec.get("initContainers") or ()), default=0)
        total += max(at_once, before)
    return total


def _asked(container: Mapping[str, Any], resource: str) -> int:
    wanted = container.get("resources") or {}
    return _number((wanted.get("limits") or wanted.get("requests") or {}).get(resource, 0))


def _number(value: object) -> int:
    text = str(value if value is not None else "")
    return int(text) if text.isdecimal() else 0


def _pair(major: object, minor: object) -> tuple[int, int] | None:
    return (_number(major), _number(minor)) if _number(major) else None


def nodes_of_site(site: Site, cluster: str) -> tuple[GpuNode, ...]:
    """The GPU workers that the site file plans: empty, and named as they will be.

    A node of a group without ``gpu_model`` may get any card that the hosts declare: it has a pool for each kind.
    """
    found, number = [], 0
    for group in site.planned_clusters[cluster].node_groups:
        if group.role != "gpu-worker":
            continue
        pools = [(_planned_pool(site, cluster, kind, each), most) for kind, each, most in _kinds(site, group)]
        for place in range(1, group.count + 1):
            number += 1
            may_have = tuple(pool for pool, most in pools if place <= most)
            if may_have:
                name = f"{cluster}-gpu-worker-{number}"
                found.append(GpuNode(name=name, pools=may_have, closed=_unplanned(site, cluster)))
    return tuple(found)


def _kinds(site: Site, group: Node) -> list[tuple[DeclaredGpus, int, int]]:
    """Kinds of card that a node of the group may have, how many of each, and for how many nodes there are enough."""
    wanted = group.gpus if group.gpus is not None else DEFAULTS["gpu-worker"].gpus
    hosts = [host for host in site.hosts if host.declared and group.host in (None, host.name)]
    declared = [gpus for host in hosts for gpus in (host.declared.gpus if host.declared else ())]
    if group.gpu_model:
        same = [gpus for gpus in declared if by_name(gpus.model) == by_name(group.gpu_model)]
        declared = same or [DeclaredGpus(model=group.gpu_model, count=max(1, wanted))]
    declared = [gpus for gpus in declared if _memory_of(gpus) >= (group.gpu_memory_gib or 0)]
    whole = site.provider == "inventory"
    found = []
    for model, kind in {gpus.model: gpus for gpus in declared}.items():
        each = kind.count if whole else min(max(1, wanted), kind.count)
        total = sum(gpus.count for gpus in declared if gpus.model == model)
        known = bool(hosts)
        found.append((kind, each, max(1, total // each) if known else group.count))
    return found


def _memory_of(kind: DeclaredGpus) -> float:
    """A card's memory; one of which it is not known is taken to be large enough."""
    known = by_name(kind.model)
    return kind.memory_gib or (known.memory_gib if known else math.inf)


def _planned_pool(site: Site, cluster: str, kind: DeclaredGpus, count: int) -> GpuPool:
    known, shared = by_name(kind.model), site.planned_clusters[cluster].stack.gpus
    memory = kind.memory_gib or (known.memory_gib if known else 0.0)
    usable = usable_gpu(replace(known, memory_gib=memory)).usable_gib if known else memory
    products = label_values(known) if known else (kind.model.replace(" ", "-"),)
    profile, suffix = _PROFILE.fullmatch(shared.mig), ""
    if profile:
        suffix = f"{MIG}{shared.mig.removeprefix('all-')}"
        usable = int(profile[1]) * _SLICE_SHARE
    elif shared.time_slices > 1:
        suffix = SHARED
    return GpuPool(
        product=products[0] + suffix,
        spellings=tuple(product + suffix for product in products[1:]),
        memory_gib=usable,
        count=count * shared.time_slices,
        turns=shared.time_slices,
        mig=bool(profile),
        compute_capability=known.compute_capability if known else None,
    )


def _unplanned(site: Site, cluster: str) -> str:
    mig = site.planned_clusters[cluster].stack.gpus.mig
    if mig == "all-disabled" or _PROFILE.fullmatch(mig):
        return ""
    return f"which slices {mig} makes is known once the cluster runs"


def label_values(known: Accelerator) -> tuple[str, ...]:
    """The values that a node's product label may have for a card, the likeliest first: how drivers spell it."""
    found = []
    for name in (*known.aliases, known.name):
        plain = name.removeprefix("NVIDIA ")
        for spelt in (plain, f"NVIDIA {plain}"):
            found.append(spelt.replace(" ", "-"))
    own = known.name.removeprefix("NVIDIA ").replace(" ", "-")
    first = own if own.startswith("Tesla-") else f"NVIDIA-{own}"
    return tuple(dict.fromkeys((first, *found)))
