"""Whether a cluster is ready, by what its API server says: every way of not being so is told with its cause."""

from __future__ import annotations

from typing import Any

import pytest

from ai_how.errors import ProviderError, TryAgainError
from ai_how.kubernetes.nodes import GPU_TAINT
from ai_how.kubernetes.ready import check_pod, check_ready, mark_troubles, node_troubles, pod_trouble
from tests.fake_cluster import PROXY_IMAGE, FakeCluster, api_node, cluster_of
from tests.kubernetes_nodes import nodes_of

NODES = nodes_of("four-machines")
WORKER = "cloud-cpu-worker-1"


def check(api: FakeCluster, **options: Any) -> str:
    return check_ready(api, NODES, **{"timeout_s": 0.0, "pause_s": 0.0, **options})


def test_a_cluster_that_is_ready_says_so_and_keeps_nothing_of_the_check() -> None:
    api = cluster_of(NODES)
    before = list(api.pods)
    assert check(api) == "4 nodes ready, a pod starts, DNS answers"
    assert api.pods == before
    (pod,) = api.created
    # of an image that is there, on a worker that takes any work
    assert pod["spec"]["containers"][0]["image"] == PROXY_IMAGE
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/hostname": WORKER}


def test_a_node_that_is_not_ready_is_named_with_the_kubelets_words() -> None:
    api = cluster_of(NODES)
    api.nodes[-1] = api_node(NODES[-1], NODES, ready="False", why="cni plugin not initialized")
    del api.nodes[1]
    with pytest.raises(ProviderError) as caught:
        check(api)
    assert caught.value.brief.startswith(f"{WORKER}, {NODES[-1].name} are not ready")
    assert f"{WORKER}: is no node of the cluster" in caught.value.evidence
    assert "cni plugin not initialized" in caught.value.evidence


def test_a_node_short_of_disk_is_ready_and_of_no_use() -> None:
    api = cluster_of(NODES)
    (worker,) = (node for node in api.nodes if node["metadata"]["name"] == WORKER)
    worker["status"]["conditions"].append({"type": "DiskPressure", "status": "True", "message": "kubelet has it"})
    with pytest.raises(ProviderError) as caught:
        check(api)
    assert caught.value.brief.startswith(f"{WORKER} is not ready")
    assert f"{WORKER}: has too little free disk for pods: free space under /var/lib" in caught.value.evidence
    assert not api.created
    worker["status"]["conditions"][-1]["status"] = "False"
    assert "a pod starts" in check(api)


def test_nodes_that_take_no_new_pods_are_named_and_not_asked_to_start_one() -> None:
    """A playbook that was broken off after it had drained a node leaves it so, and the next run does, too."""
    api = cluster_of(NODES)
    (worker,) = (node for node in api.nodes if node["metadata"]["name"] == WORKER)
    worker["spec"]["unschedulable"] = True
    said = check(api)
    assert said.startswith("4 nodes ready, DNS and starting a pod not checked")
    assert said.endswith(f"; cordoned: {WORKER}, for new pods: kubectl uncordon {WORKER}")
    assert not api.created


def test_waiting_goes_on_until_nodes_are_ready() -> None:
    api = cluster_of(NODES)
    ready = api.nodes[1]
    api.nodes[1] = api_node(NODES[1], NODES, ready="Unknown")
    asked: list[None] = []

    def cancelled() -> bool:
        asked.append(None)
        api.nodes[1] = ready
        return False

    assert check(api, timeout_s=60, cancelled=cancelled).startswith("4 nodes ready")
    assert asked


def test_ctrl_c_ends_the_waiting() -> None:
    api = cluster_of(NODES)
    del api.nodes[0]
    with pytest.raises(TryAgainError):
        check(api, timeout_s=60, cancelled=lambda: True)


def test_a_label_or_taint_that_is_missing_is_named() -> None:
    api = cluster_of(NODES)
    del api.nodes[2]["metadata"]["labels"]["ai-how/gpu-model"]
    api.nodes[3]["spec"]["taints"] = []
    assert mark_troubles(api.nodes, NODES) == [
        "cloud-gpu-worker-1: no label ai-how/gpu-model=RTX-A6000",
        f"cloud-gpu-worker-2: no taint {GPU_TAINT}",
    ]
    with pytest.raises(ProviderError, match="do not bear what was planned"):
        check(api)


def test_names_that_do_not_resolve_are_told_with_what_the_pod_said() -> None:
    api = cluster_of(NODES)
    api.outcome = {"phase": "Failed"}
    with pytest.raises(ProviderError) as caught:
        check(api)
    assert "DNS did not answer" in caught.value.brief
    assert "can't resolve" in caught.value.evidence
    assert len(api.pods) == 3


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {
                "phase": "Pending",
                "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}}],
            },
            "ErrImagePull: no such host",
        ),
        (
            {
                "phase": "Pending",
                "conditions": [{"status": "False", "reason": "Unschedulable", "message": "0/4 nodes are available"}],
            },
            "Unschedulable: 0/4 nodes are available",
        ),
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, "DeadlineExceeded"),
        ({"phase": "Pending"}, "Pending"),
    ],
)
def test_a_pod_that_does_not_start_is_told_with_its_cause(status: dict[str, Any], words: str) -> None:
    api = cluster_of(NODES)
    api.outcome = status
    with pytest.raises(ProviderError, match="a pod does not start") as caught:
        check(api)
    assert words in caught.value.evidence
    assert len(api.pods) == 3


def test_a_pod_that_somebody_deletes_is_gone() -> None:
    assert pod_trouble({}) == "it is gone"


def test_without_an_image_that_has_a_shell_nothing_is_claimed() -> None:
    api = cluster_of(NODES)
    api.pods.clear()
    assert (
        check(api)
        == "4 nodes ready, DNS and starting a pod not checked: no node that takes pods has an image with a shell"
    )


def test_what_an_earlier_check_left_is_removed() -> None:
    api = cluster_of(NODES)
    api.create(check_pod("ai-how-check-old", node=WORKER, image=PROXY_IMAGE, domain="cluster.local"))
    check(api)
    assert len(api.pods) == 3


def test_a_kubelet_that_never_reported() -> None:
    assert node_troubles([{"metadata": {"name": "a"}}], ["a"]) == {"a": "its kubelet has not reported"}
