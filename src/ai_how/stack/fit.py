"""Whether the stack's pods find a place on a cluster's nodes: by what they ask for, node by node. Pure.

GPU workers are kept free for models where there are other workers; where there are none they take the stack too. What
could also run on a control plane is counted on the workers, so that the answer holds wherever it lands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ai_how.capacity.types import NodeNeed
from ai_how.kubernetes.reservations import reservation
from ai_how.stack.part import Part, Workload
from ai_how.stack.requests import Request, total

EVICTION_MIB = 100
"""What the kubelet keeps free. Source: Kubernetes' default, memory.available<100Mi; Kubespray's ``eviction_hard``."""
_PAGE_STRUCTURES = 64
"""Linux describes each page of 4096 bytes in 64: a 64th of the memory is the kernel's from the start."""

_NODE_PODS = (
    Workload(name="calico-node", request=Request(cpu_m=150, memory_mib=62), place="every-node"),
    Workload(name="nodelocaldns", request=Request(cpu_m=100, memory_mib=70), place="every-node"),
    Workload(name="nginx-proxy", request=Request(cpu_m=25, memory_mib=31), place="every-node"),
)
_CLUSTER_PODS = (
    Workload(name="coredns", request=Request(cpu_m=100, memory_mib=70), replicas=2),
    Workload(name="dns-autoscaler", request=Request(cpu_m=20, memory_mib=10)),
    Workload(name="metrics-server", request=Request(cpu_m=100, memory_mib=200)),
    Workload(name="calico-kube-controllers", request=Request(cpu_m=30, memory_mib=62)),
)
PLATFORM = (*_NODE_PODS, *_CLUSTER_PODS)
"""What Kubespray runs beside the stack. Source: the requests in its roles' defaults, 2.31.0."""


@dataclass(frozen=True, kw_only=True)
class NodeLoad:
    """What pods can ask for on a node, and what those of the stack and the platform ask for there."""

    name: str
    room: Request
    asked: Request
    pods: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The answer. ``unplaced`` names pods that found no place, the largest first."""

    nodes: tuple[NodeLoad, ...]
    unplaced: tuple[Workload, ...]

    @property
    def fits(self) -> bool:
        """Whether every pod found a place."""
        return not self.unplaced


def node_room(vcpus: int, memory_gib: float) -> Request:
    """What pods may ask for on a node of that size: its own needs taken off."""
    kept = reservation(memory_gib)
    memory = int(memory_gib * 1024 * (1 - 1 / _PAGE_STRUCTURES))
    return Request(
        cpu_m=max(0, vcpus * 1000 - kept.kube_cpu_m - kept.system_cpu_m),
        memory_mib=max(0, memory - kept.kube_memory_mib - kept.system_memory_mib - EVICTION_MIB),
    )


def fit_stack(parts: Iterable[Part], nodes: Sequence[NodeNeed]) -> Fit:
    """Place the pods of the stack and of the platform, the largest first, each where most memory is left.

    Args:
        nodes: The cluster's nodes, control planes too.
    """
    workloads = (*PLATFORM, *(workload for part in parts for workload in part.workloads))
    workers = [node for node in nodes if node.role != "control-plane"]
    general = [node for node in workers if node.role != "gpu-worker"] or workers
    loads = {node.name: _daemons(node, workloads) for node in workers}
    unplaced: list[Workload] = []
    for pod in sorted(_pods(workloads), key=lambda pod: (-pod.request.memory_mib, -pod.request.cpu_m, pod.name)):
        where = _roomiest(pod, [loads[node.name] for node in general])
        if where is None:
            unplaced.append(pod)
        else:
            loads[where.name] = _with(where, pod)
    return Fit(nodes=tuple(loads.values()), unplaced=tuple(unplaced))


def _pods(workloads: Iterable[Workload]) -> list[Workload]:
    return [each for each in workloads if each.place == "workers" for _ in range(each.replicas)]


def _daemons(node: NodeNeed, workloads: Iterable[Workload]) -> NodeLoad:
    places = ("every-node", "gpu-nodes") if node.gpus else ("every-node",)
    here = [each for each in workloads if each.place in places]
    return NodeLoad(
        name=node.name,
        room=node_room(node.vcpus, node.memory_gib),
        asked=total(each.request for each in here),
        pods=tuple(each.name for each in here),
    )


def _roomiest(pod: Workload, loads: Sequence[NodeLoad]) -> NodeLoad | None:
    found = [load for load in loads if _takes(load, pod)]
    return max(found, key=lambda load: (load.room.memory_mib - load.asked.memory_mib, load.name), default=None)


def _takes(load: NodeLoad, pod: Workload) -> bool:
    after = total((load.asked, pod.request))
    return after.cpu_m <= load.room.cpu_m and after.memory_mib <= load.room.memory_mib


def _with(load: NodeLoad, pod: Workload) -> NodeLoad:
    return NodeLoad(
        name=load.name,
        room=load.room,
        asked=total((load.asked, pod.request)),
        pods=(*load.pods, pod.name),
    )
