"""What follows the playbooks, for real: the kubeconfig by SSH, and the questions over HTTPS with its certificate.

The API server is the stand-in that the client is held to; a thread plays the kubelet that runs a pod.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ai_how.errors import AiHowError, ProviderError
from ai_how.kubernetes.finish import finish, kubeconfig_of
from ai_how.kubernetes.kubeconfig import Kubeconfig
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.kubernetes.setup import Setup, setup_of
from ai_how.kubernetes.status import cluster_status
from ai_how.plan.model import Condition
from ai_how.run.ssh import SshTarget
from ai_how.site.kubernetes import Kubernetes
from tests.fake_cluster import api_node, proxy_pod
from tests.kubernetes_nodes import SECRETS, VERSIONS

from .api_endpoint import Endpoint
from .api_server import StandIn, stand_in
from .kubespray_stand_in import write_sudo
from .sshd import ssh_server

CONTROL, WORKER = "cloud-control-plane-1", "cloud-cpu-worker-1"


@dataclass(frozen=True, kw_only=True)
class Lab:
    """One cluster: its API server, its control plane by SSH, and what is wanted of it."""

    folder: Path
    endpoint: Endpoint
    server: StandIn
    nodes: tuple[ClusterNode, ...]

    @property
    def kubeconfig(self) -> Kubeconfig:
        return kubeconfig_of(self.folder / "cloud", site="lab", cluster="cloud")

    def setup(self) -> Setup:
        """As it is once it was set up."""
        versions = {**VERSIONS, "kubespray": "2.31.0"}
        fixed = {"versions": versions, "credentials_dir": SECRETS, "site_folder": Path("/site")}
        first = setup_of("cloud", Kubernetes(), self.nodes, recorded=None, **fixed)  # type: ignore[arg-type]
        made = first.state.to_settings()
        return setup_of("cloud", Kubernetes(), self.nodes, recorded=made, **fixed)  # type: ignore[arg-type]

    def put(self, plural: str, thing: dict, namespace: str = "") -> None:
        kind = self.server.store.kind_of("", "v1", plural)
        self.server.store.write(kind, namespace, thing["metadata"]["name"], thing, "kubeadm", "Update")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    programs = str(write_sudo(tmp_path))
    with ssh_server(_folder(tmp_path, "sshd"), path=programs) as target, stand_in(tmp_path) as (endpoint, server):
        nodes = (_node(CONTROL, "control-plane", target), _node(WORKER, "cpu-worker", target))
        one = Lab(folder=tmp_path, endpoint=endpoint, server=server, nodes=nodes)
        for node in nodes:
            one.put("nodes", api_node(node, nodes))
        one.put("pods", proxy_pod(WORKER), "kube-system")
        endpoint.leave_admin_conf(tmp_path)
        yield one


def _folder(base: Path, name: str) -> Path:
    (base / name).mkdir()
    return base / name


def _node(name: str, role: str, target: SshTarget) -> ClusterNode:
    return ClusterNode(name=name, role=role, address="127.0.0.1", access=target, memory_gib=4)  # type: ignore[arg-type]


@contextmanager
def kubelet(server: StandIn, **status: object) -> Iterator[None]:
    """Gives every pod of the check this end."""
    ended = threading.Event()
    pods = server.store.kind_of("", "v1", "pods")

    def run() -> None:
        while not ended.wait(0.05):
            for pod in server.store.listed(pods, "default", lambda pod: "status" not in pod):
                done = {**pod, "status": status}
                server.store.write(pods, "default", pod["metadata"]["name"], done, "kubelet", "Update")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_cluster_that_is_ready(lab: Lab) -> None:
    with kubelet(lab.server, phase="Succeeded"):
        assert finish(lab.setup(), lab.kubeconfig, timeout_s=60) == "2 nodes ready, a pod starts, DNS answers"
    access = lab.kubeconfig.read()
    assert (access.context, access.server) == ("lab-cloud", lab.endpoint.url)
    pods = lab.server.store.kind_of("", "v1", "pods")
    assert [pod["metadata"]["namespace"] for pod in lab.server.store.listed(pods, "", lambda _: True)] == [
        "kube-system"
    ]


def test_dns_that_does_not_answer_is_told_with_the_pods_words(lab: Lab) -> None:
    with kubelet(lab.server, phase="Failed"), pytest.raises(ProviderError, match="DNS did not answer"):
        finish(lab.setup(), lab.kubeconfig, timeout_s=60)


def test_a_server_that_is_reached_at_another_address_is_known_by_its_name(lab: Lab) -> None:
    moved = tuple(replace(node, address="10.9.9.9") for node in lab.nodes)
    with kubelet(lab.server, phase="Succeeded"):
        finish(replace(lab, nodes=moved).setup(), lab.kubeconfig, timeout_s=60)
    assert lab.kubeconfig.read().server_name == "kubernetes"


def test_an_expired_certificate_is_fetched_anew_once_the_node_has_one(lab: Lab) -> None:
    old = lab.endpoint.authority.issue("old", organisation="system:masters", expired=True)
    lab.endpoint.leave_admin_conf(lab.folder, pair=old)
    with pytest.raises(ProviderError, match="has expired too"):
        lab.kubeconfig.fetch(lab.nodes[0])
    assert lab.kubeconfig.trouble() == "its kubeconfig is missing"
    lab.endpoint.leave_admin_conf(lab.folder)
    lab.kubeconfig.fetch(lab.nodes[0])
    assert lab.kubeconfig.trouble() == ""


def statuses(lab: Lab) -> dict[str, tuple[Condition, str]]:
    setup = lab.setup()
    found = cluster_status(setup, setup.observed(), lab.kubeconfig)
    return {each.name: (each.condition, each.detail) for each in found}


def test_status_asks_the_server_and_says_when_it_is_away(lab: Lab) -> None:
    lab.kubeconfig.fetch(lab.nodes[0])
    whole = (Condition.HEALTHY, "")
    name = "kubernetes/cloud"
    assert statuses(lab) == {name: whole, f"{name}/{CONTROL}": whole, f"{name}/{WORKER}": whole}
    lab.server.shutdown()
    lab.server.socket.close()
    (found,) = statuses(lab).values()
    assert found[0] is Condition.FAILING
    assert found[1].startswith("its API server cannot be asked")


def test_a_wrong_kubeconfig_is_told_once(lab: Lab) -> None:
    lab.kubeconfig.fetch(lab.nodes[0])
    lab.kubeconfig.path.write_text(lab.kubeconfig.path.read_text().replace("https://", "ftp://"))
    with pytest.raises(AiHowError):
        lab.kubeconfig.read()
    assert "damaged" in lab.kubeconfig.trouble()
    (found,) = statuses(lab).values()
    assert found[0] is Condition.FAILING
