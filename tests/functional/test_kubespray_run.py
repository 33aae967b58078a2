"""Playbooks run for real by ansible-runner: here, and over SSH to a server on loopback."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from ai_how.apply.python_environment import PythonEnvironment, is_ready
from ai_how.errors import ProviderError, TryAgainError
from ai_how.kubernetes.environment import environment_of
from ai_how.kubernetes.inventory import inventory
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.kubernetes.progress import Progress
from ai_how.kubernetes.progress_text import progress_lines
from ai_how.kubernetes.run import Job, run_playbook
from ai_how.kubernetes.workspace import Workspace
from ai_how.kubernetes.yaml_text import yaml_text
from ai_how.run.ssh import SshTarget

from .sshd import ssh_server

PLAYBOOKS = {
    "ok.yml": """
- hosts: k8s_cluster
  gather_facts: false
  tasks:
    - name: Say who it is
      command: echo {{ inventory_hostname }} {{ greeting }} {{ kube_version }}
    - name: Fail and be forgiven
      command: "false"
      ignore_errors: true
    - name: Fail and be caught
      block: [{name: Inner, command: "false"}]
      rescue: [{name: Rescue, command: "true"}]
""",
    "failing.yml": """
- hosts: k8s_cluster
  gather_facts: false
  any_errors_fatal: true
  roles: [downloads]
""",
    "slow.yml": """
- hosts: k8s_cluster
  gather_facts: false
  tasks:
    - name: Wait long
      command: sleep 86399
""",
    "broken.yml": "- hosts: [\n",
    "roles/downloads/tasks/main.yml": """
- name: Get a file
  fail: {msg: "Request failed: HTTP Error 429: Too Many Requests"}
  when: inventory_hostname == "worker-1"
""",
}
NAMES = ("control-1", "worker-1")
HERE = SshTarget(host="127.0.0.1", user="nobody", key_file=Path("/none"), known_hosts=Path("/none"), port=9)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> PythonEnvironment:
    """Kubespray's environment of the current release set, in the user's cache."""
    found = environment_of(tmp_path_factory.mktemp("none"), "2.31.0")
    if not is_ready(found.path):
        found.install()
    return found


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshTarget]:
    with ssh_server(tmp_path_factory.mktemp("sshd")) as found:
        yield found


MakeJob = Callable[..., Job]


@pytest.fixture
def job(tmp_path: Path, environment: PythonEnvironment) -> MakeJob:
    for name, text in PLAYBOOKS.items():
        file = tmp_path / "checkout" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def make(playbook: str, *, to: SshTarget | None = None) -> Job:
        nodes = [
            ClusterNode(
                name=name,
                role="control-plane" if name.startswith("control") else "cpu-worker",
                address="127.0.0.1",
                access=to or HERE,
                memory_gib=4,
            )
            for name in NAMES
        ]
        hosts = inventory(nodes)
        for host in hosts["all"]["hosts"].values():
            # the user of the test may not be one who can become root
            host.update(ansible_become=False, ansible_python_interpreter=sys.executable)
            if to is None:
                host["ansible_connection"] = "local"
        return Job(
            playbook=playbook,
            checkout=tmp_path / "checkout",
            environment=environment,
            workspace=Workspace(root=tmp_path / "workspace"),
            hosts=yaml_text(hosts, head="test"),
            variables=yaml_text({"kube_version": "1.35.4"}, head="test"),
            nodes=NAMES,
            log=tmp_path / "logs" / "kubespray.log",
            extra_vars={"greeting": "hello"},
        )

    return make


@pytest.mark.parametrize("connection", ["local", "ssh"])
def test_a_playbook_runs_on_every_host_and_is_followed(
    job: MakeJob, connection: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a user's own settings must not reach the run
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    monkeypatch.setenv("ANSIBLE_ROLES_PATH", "/nowhere")
    seen: list[Progress] = []
    one = job("ok.yml", to=request.getfixturevalue("target") if connection == "ssh" else None)
    assert one.expected_s is None
    last = run_playbook(one, report=seen.append)
    assert {name: host.state for name, host in last.hosts.items()} == dict.fromkeys(NAMES, "ok")
    assert last.failures == ()
    assert any(host.state == "working" for progress in seen for host in progress.hosts.values())
    assert one.expected_s is not None
    log = one.log.read_text(encoding="utf-8")
    assert "worker-1 hello 1.35.4" in log or "changed: [worker-1]" in log
    assert "\x1b" not in log
    assert stat.S_IMODE(one.log.stat().st_mode) == 0o600
    assert "control-1" in "\n".join(progress_lines(last, elapsed_s=3, expected_s=one.expected_s))


def test_a_failing_task_is_told_with_its_host_message_and_remedy(job: MakeJob) -> None:
    with pytest.raises(ProviderError) as caught:
        run_playbook(job("failing.yml"), report=lambda _progress: None)
    assert caught.value.brief == "failing.yml failed on worker-1"
    assert "task: downloads: Get a file" in caught.value.evidence
    assert "HTTP Error 429" in caught.value.evidence
    assert "the registry limits how often it may be asked" in caught.value.next_step


def test_another_host_key_is_refused(job: MakeJob, target: SshTarget, tmp_path: Path) -> None:
    other = " ".join((target.key_file.parent / "other.pub").read_text().split()[:2])
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{target.port} {other}\n")
    with pytest.raises(ProviderError) as caught:
        run_playbook(job("ok.yml", to=replace(target, known_hosts=known)), report=lambda _progress: None)
    assert caught.value.brief in {f"{name} does not answer" for name in NAMES}
    assert "shows another host key than the one that is pinned" in caught.value.next_step


def test_a_machine_that_is_off_is_told_as_such(job: MakeJob) -> None:
    with pytest.raises(ProviderError) as caught:
        run_playbook(job("ok.yml", to=HERE), report=lambda _progress: None)
    assert caught.value.brief in {f"{name} does not answer" for name in NAMES}
    assert "failed too: " in caught.value.evidence
    assert "start the machine" in caught.value.next_step


def test_a_playbook_that_cannot_be_read(job: MakeJob) -> None:
    with pytest.raises(ProviderError) as caught:
        run_playbook(job("broken.yml"), report=lambda _progress: None)
    assert caught.value.brief == "broken.yml did not run"
    assert "broken.yml" in caught.value.evidence


def sleepers() -> list[int]:
    return [one.pid for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "86399"]]


@pytest.mark.parametrize("way", ["cancelled", "ctrl-c"])
def test_a_run_that_is_broken_off_leaves_no_process_here(job: MakeJob, way: str) -> None:
    mine = psutil.Process()
    before = {one.pid for one in mine.children(recursive=True)}
    started: list[Progress] = []

    def report(progress: Progress) -> None:
        if any(host.state == "working" for host in progress.hosts.values()):
            started.append(progress)
            if way == "ctrl-c":
                raise KeyboardInterrupt

    expected = TryAgainError if way == "cancelled" else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        run_playbook(job("slow.yml"), report=report, cancelled=lambda: way == "cancelled" and bool(started))
    assert [one for one in mine.children(recursive=True) if one.pid not in before] == []
    assert sleepers() == []
    if isinstance(caught.value, TryAgainError):
        assert "at: Wait long" in caught.value.evidence
        assert caught.value.next_step == "ai-how up goes on from there"
