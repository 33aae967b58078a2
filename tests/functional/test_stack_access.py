"""The way from the workstation into a running stack: real SSH, a real store and registry behind it."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ai_how.errors import NotFoundError, ProviderError, SpecError, TryAgainError
from ai_how.models.registry import Registry
from ai_how.models.s3 import Bucket
from ai_how.models.types import Stores
from ai_how.stack.components.mlflow import allowed_hosts
from ai_how.stack_access.running import open_running_stack
from ai_how.stack_access.stores import open_cluster_stores
from tests.stacks import setting

from .running_stack import CONTROL, StackOnLoopback, stack_on_loopback
from .stores import mlflow_server


@pytest.fixture(scope="module")
def stores(shared_stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """The shared object store, and a registry that answers to the names that the stack's answers to, and no others."""
    folder = tmp_path_factory.mktemp("registry")
    server, url = mlflow_server(folder / "mlflow", allowed_hosts=",".join(allowed_hosts(setting())))
    try:
        server.start()
        yield replace(shared_stores, registry_url=url)
    finally:
        server.kill()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StackOnLoopback]:
    with stack_on_loopback(tmp_path) as made:
        yield made


def closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_models_go_through_the_tunnel_and_nothing_of_it_stays(lab: StackOnLoopback, stores: Stores) -> None:
    lab.keep(stores)
    with open_running_stack(lab.provider()) as stack, open_cluster_stores(stack) as near:
        assert near.registry_url != stores.registry_url
        assert Registry(near.registry_url).versions() == []
        bucket = Bucket(near.access)
        bucket.put("through/the-tunnel", b"x" * 100_000, metadata={}, content_type="text/plain")
        assert near.cache_dir == lab.folder / ".ai-how" / "lab" / "cache"
    assert Bucket(stores.access).get("through/the-tunnel") == b"x" * 100_000
    Bucket(stores.access).delete(["through/the-tunnel"])
    assert closed(port_of(near.registry_url)) and closed(port_of(near.access.endpoint_url))
    # no key lies on this machine, or shows itself
    assert str(stores.access.secret_key) not in repr(near)
    kept = [path for path in (lab.folder / ".ai-how").rglob("*") if path.is_file()]
    assert kept and not any(str(stores.access.secret_key) in path.read_text(errors="replace") for path in kept)


def test_one_ssh_leads_to_both_stores_and_an_error_ends_it(lab: StackOnLoopback, stores: Stores) -> None:
    lab.keep(stores)
    with (
        pytest.raises(ZeroDivisionError),
        open_running_stack(lab.provider()) as stack,
        open_cluster_stores(stack) as near,
    ):
        words = [line for line in command_lines() if f"127.0.0.1:{port_of(near.registry_url)}:" in line]
        assert len(words) == 1
        assert f"127.0.0.1:{port_of(near.access.endpoint_url)}:" in words[0]
        raise ZeroDivisionError
    assert closed(port_of(near.registry_url))


def test_stores_on_two_nodes_are_reached_through_each(lab: StackOnLoopback, stores: Stores) -> None:
    lab.keep(stores)
    lab.pod("mlflow", "http", port_of(stores.registry_url), node=CONTROL)
    with open_running_stack(lab.provider()) as stack, open_cluster_stores(stack) as near:
        assert Registry(near.registry_url).versions() == []
        assert Bucket(near.access).listing() is not None


def test_an_external_store_is_asked_where_it_is(lab: StackOnLoopback, stores: Stores) -> None:
    url = stores.access.endpoint_url
    lab.write(f"object_store: {{type: external, endpoint_url: '{url}', credentials_secret: mine}}")
    lab.pod("mlflow", "http", port_of(stores.registry_url))
    lab.keys(stores, "mine")
    with open_running_stack(lab.provider()) as stack, open_cluster_stores(stack) as near:
        assert near.access.endpoint_url == url
        assert Bucket(near.access).listing() is not None


def test_a_store_that_does_not_run_is_told(lab: StackOnLoopback, stores: Stores) -> None:
    with open_running_stack(lab.provider()) as stack:
        with pytest.raises(TryAgainError, match="mlflow does not run on cluster cloud") as caught, unopened(stack):
            pass
        assert "no pod" in caught.value.evidence and caught.value.next_step == "ai-how up"
        lab.keep(stores)
        lab.pod("mlflow", "http", 1, ready="False")
        with pytest.raises(TryAgainError, match="mlflow does not run") as caught, unopened(stack):
            pass
        assert caught.value.evidence == "pod mlflow-0 is running, not ready"
        assert "ai-how logs stack/cloud/mlflow" in caught.value.next_step
        lab.pod("mlflow", "http", 1, node="stranger")
        with (
            pytest.raises(NotFoundError, match="node stranger of cluster cloud is not in"),
            unopened(stack),
        ):
            pass
        lab.pod("mlflow", "other", 1)
        with pytest.raises(ProviderError, match="has no port http"), unopened(stack):
            pass


def test_a_port_that_nothing_listens_on_is_told_at_once(lab: StackOnLoopback, stores: Stores) -> None:
    lab.keep(stores)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        lab.pod("mlflow", "http", free.getsockname()[1])
        with (
            open_running_stack(lab.provider()) as stack,
            pytest.raises(TryAgainError, match="MLflow does not answer through cloud-cpu-worker-1") as caught,
            unopened(stack),
        ):
            pass
    assert "Connection refused" in caught.value.evidence


def test_a_node_that_forbids_forwarding_is_told(lab: StackOnLoopback, stores: Stores) -> None:
    lab.keep(stores)
    allowed = lab.folder / "sshd" / "authorized"
    allowed.write_text("no-port-forwarding " + allowed.read_text())
    with (
        open_running_stack(lab.provider()) as stack,
        pytest.raises(TryAgainError, match="MLflow does not answer through") as caught,
        unopened(stack),
    ):
        pass
    assert "prohibited" in caught.value.evidence
    assert "must allow TCP forwarding" in caught.value.next_step


def test_a_secret_that_is_missing_or_lacks_a_key_is_told_without_its_values(
    lab: StackOnLoopback, stores: Stores
) -> None:
    lab.keep(stores)
    lab.secret("mlops", "object-store", {"AWS_ACCESS_KEY_ID": "hush"})
    with open_running_stack(lab.provider()) as stack:
        with pytest.raises(ProviderError, match="has no AWS_SECRET_ACCESS_KEY") as caught, unopened(stack):
            pass
        assert "hush" not in str(vars(caught.value))
        kind = lab.server.store.kind_of("", "v1", "secrets")
        with lab.server.store.changed:
            lab.server.store.delete(kind, "mlops", "object-store", {})
        with pytest.raises(NotFoundError, match="Secret mlops/object-store is not on cluster cloud"), unopened(stack):
            pass


def test_the_cluster_that_is_meant_must_be_plain(lab: StackOnLoopback) -> None:
    with (
        pytest.raises(NotFoundError, match="lab has no cluster 'edge'"),
        open_running_stack(lab.provider(), "edge"),
    ):
        pass
    lab.write("enabled: false")
    with pytest.raises(NotFoundError, match="no cluster of site lab has a stack"), open_running_stack(lab.provider()):
        pass
    text = lab.site_file.read_text().replace("stack: {enabled: false}", "stack: {}")
    second = text.partition("clusters:\n")[2].replace("  cloud:", "  other:\n    kind: cloud\n    subnet: 10.9.0.0/24")
    lab.site_file.write_text(text + second)
    with pytest.raises(SpecError, match="several clusters have a stack"), open_running_stack(lab.provider()):
        pass


def test_a_tunnel_does_not_outlive_a_process_that_is_killed(lab: StackOnLoopback) -> None:
    script = lab.folder / "opens.py"
    script.write_text(
        "import sys, time, pickle\n"
        "from pathlib import Path\n"
        "from ai_how.kubernetes.reach import Far, tunnels\n"
        "target = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "with tunnels(target, [Far(host='127.0.0.1', port=9)]) as way:\n"
        "    print(way.ports[0], flush=True)\n"
        "    time.sleep(60)\n"
    )
    words = [sys.executable, str(script), pickle.dumps(lab.target).hex()]
    opens = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert opens.stdout is not None
        port = int(opens.stdout.readline())
        assert not closed(port)
        opens.send_signal(signal.SIGKILL)
        opens.wait()
        until = time.monotonic() + 20
        while not closed(port) and time.monotonic() < until:
            time.sleep(0.1)
        assert closed(port)
    finally:
        opens.kill()
        opens.communicate()


def unopened(stack: object) -> object:
    return open_cluster_stores(stack)  # type: ignore[arg-type]


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in found if line.startswith("ssh ")]
