"""Why no node takes a pod, in words, from what the scheduler says; and who has the GPUs. Pure.

Source of the texts: Kubernetes' scheduler, ``FitError``, NodeResourcesFit, NodeAffinity, TaintToleration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ai_how.kserve.trouble import Trouble
from ai_how.kubernetes_api.objects import ApiObject

GPU = "nvidia.com/gpu"
_WORDS = (
    (r"Insufficient (?P<what>[\w./-]*\w)", "too little {what}"),
    (r"node\(s\) didn't match Pod's node affinity/selector", "not the kind of node that it wants"),
    (r"node\(s\) had untolerated taint (?P<what>\{.*\})", "kept free by the taint {what}"),
    (r"node\(s\) were unschedulable", "set aside (cordoned)"),
    (r"node\(s\) didn't find available persistent volumes.*", "without a volume for it"),
    (r"node\(s\) had volume node affinity conflict", "without its volume"),
    (r"Too many pods", "full of pods"),
)
_SHORT = {GPU: "free GPUs"}


def scheduling_trouble(message: str, *, lasting: bool) -> Trouble:
    """From the message of the pod's condition ``PodScheduled``; ``lasting``: it has been so for a while."""
    verdict, _, _ = message.partition("preemption:")
    nodes = re.match(r"0/(\d+) nodes are available: (.*)", verdict.strip(), re.DOTALL)
    if nodes is None:
        return Trouble(cause=f"no node takes it: {message or 'the scheduler gives no reason'}", lasting=lasting)
    reasons = [_reason(part) for part in re.split(r",\s+(?=\d+ )", nodes[2].strip().rstrip(". "))]
    return Trouble(
        cause=f"no node takes it. Of {nodes[1]} nodes: {'; '.join(reasons)}",
        remedy=_remedy(message),
        lasting=lasting,
    )


def wants_gpu(pod: ApiObject) -> bool:
    """Whether a pod waits because no node has a GPU for it."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(
        one.get("type") == "PodScheduled"
        and one.get("status") == "False"
        and f"Insufficient {GPU}" in str(one.get("message") or "")
        for one in conditions
    )


def holders_of_gpus(nodes: Iterable[ApiObject], pods: Sequence[ApiObject]) -> tuple[str, ...]:
    """One line for each node with GPUs: how many are taken, and by which pods."""
    lines = []
    for node in sorted(nodes, key=lambda one: str(one["metadata"]["name"])):
        there = int(((node.get("status") or {}).get("allocatable") or {}).get(GPU) or 0)
        if not there:
            continue
        name = str(node["metadata"]["name"])
        held = {_named(pod): _gpus(pod) for pod in pods if _runs_on(pod, name) and _gpus(pod)}
        by = f" by {', '.join(sorted(held))}" if held else ""
        lines.append(f"{name}: {min(sum(held.values()), there)} of {there} GPUs taken{by}")
    return tuple(lines)


def _reason(part: str) -> str:
    count, _, text = part.strip().partition(" ")
    for pattern, words in _WORDS:
        found = re.fullmatch(pattern, text.strip())
        if found:
            what = found.groupdict().get("what", "")
            said = f"no {_SHORT[what]}" if what in _SHORT else words.format(what=what)
            return f"{count} with {said}" if said.startswith(("too little", "no ")) else f"{count} {said}"
    return part.strip()


def _remedy(message: str) -> str:
    if f"Insufficient {GPU}" in message:
        return "stop what holds the GPUs (ai-how deploy list, deploy stop), use fewer replicas, or add a GPU worker"
    if "Insufficient memory" in message or "Insufficient cpu" in message:
        return "give its node more memory or processors, or stop something else on it"
    if "node affinity" in message:
        return "see what there is: ai-how deploy list-hardware"
    return "ai-how status shows the nodes"


def _gpus(pod: ApiObject) -> int:
    containers = (pod.get("spec") or {}).get("containers") or []
    return sum(int(((one.get("resources") or {}).get("limits") or {}).get(GPU) or 0) for one in containers)


def _runs_on(pod: ApiObject, node: str) -> bool:
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return (pod.get("spec") or {}).get("nodeName") == node and not ended


def _named(pod: ApiObject) -> str:
    metadata = pod["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"
