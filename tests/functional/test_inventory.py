"""Provider ``inventory`` on servers that are there: sshd in namespaces of the test's own, real SSH, Ansible, records.

Kubespray's playbooks are stand-ins of the same names, and the API server is in memory; all else is real.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ai_how.apply.python_environment import is_ready
from ai_how.cli.app import root
from ai_how.errors import AiHowError, ConflictError, ProviderError, SpecError, TryAgainError
from ai_how.host.remote.capture import COMMAND, NO_PYTHON
from ai_how.kubernetes.checkout import user_checkout
from ai_how.kubernetes.environment import environment_of
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.run.ssh import SshTarget
from ai_how.servers.provider import InventoryProvider
from ai_how.site.load import load_site
from tests.fake_cluster import FakeCluster, admin_conf, cluster_of

from .kubespray_stand_in import KUBESPRAY, notes_of, write_checkout
from .servers import FakeFleet, fake_fleet

pytestmark = pytest.mark.slow
CONTROL, FIRST, SECOND = "control-1", "worker-1", "worker-2"
NAME = "kubernetes/cloud"


@dataclass
class Lab:
    """A site on servers of the test's own, and what its cluster's API server says."""

    folder: Path
    fleet: FakeFleet
    api: FakeCluster = field(default_factory=FakeCluster)

    @property
    def site_file(self) -> Path:
        return self.folder / "ai-how.yaml"

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def write(self, *names: str, more: str = "", section: str = "kubespray_path: checkout") -> None:
        """The site file: the first server is the control plane, the others are workers."""
        hosts = "".join(f"- {{name: {name}, address: {self.fleet.servers[name].address}}}\n" for name in names)
        nodes = "".join(f"    - {{role: {role_of(name)}, host: {name}}}\n" for name in names)
        self.site_file.write_text(
            f"name: lab\nprovider: inventory\nssh: {{user: root, key_file: {self.fleet.key_file}}}\nhosts:\n{hosts}"
            f"clusters:\n  cloud:\n    kubernetes: {{{section}}}\n    stack: {{enabled: false}}\n"
            f"    nodes:\n{nodes}{more}"
        )
        here = SshTarget(host="127.0.0.1", user="root", key_file=None, known_hosts=Path("/none"))
        ready = cluster_of(
            [
                ClusterNode(name=name, role=role_of(name), address="127.0.0.1", access=here, memory_gib=4)
                for name in names
            ]
        )
        self.api.nodes, self.api.pods = ready.nodes, ready.pods

    def run(self, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(root, list(words), standalone_mode=False)
        ended = result.return_value if isinstance(result.return_value, int) else result.exit_code
        assert ended == code, (result.output, result.exception)
        return result

    def refused(self, *words: str) -> AiHowError:
        error = CliRunner().invoke(root, list(words)).exception
        assert isinstance(error, AiHowError), error
        return error

    def plan(self, *, code: int = 2) -> dict[str, str]:
        said = json.loads(self.run("plan", "-o", "json", code=code).stdout)
        return {action["resource"]: action["reason"] for action in said["actions"]}

    def doctor(self, *, code: int) -> dict[str, dict[str, Any]]:
        said = json.loads(self.run("doctor", "--site", "ai-how.yaml", "-o", "json", code=code).stdout)
        return {each["name"]: {check["id"]: check for check in each["checks"]} for each in said["machines"]}


def role_of(name: str) -> Any:
    return "control-plane" if name.startswith("control") else "cpu-worker"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    (tmp_path / "servers").mkdir()
    with fake_fleet(tmp_path / "servers") as fleet:
        for name in (CONTROL, FIRST, SECOND):
            fleet.add(name)
        one = Lab(folder=tmp_path, fleet=fleet)
        one.write(CONTROL, FIRST, SECOND)
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("AI_HOW_SITE", raising=False)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        yield one


@pytest.fixture(scope="module")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Kubespray's Python environment, before the test goes where there is no internet."""
    environment = environment_of(tmp_path_factory.mktemp("environment"), KUBESPRAY)
    if not is_ready(environment.path):
        environment.install()


@pytest.fixture
def kubespray(ansible: None, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    lab.notes.mkdir()
    checkout = write_checkout(tmp_path / "checkout", lab.notes)
    with (checkout / "roles/names/defaults/main.yml").open("a") as file:
        file.write("override_system_hostname:\n")
    (tmp_path / "admin.conf").write_text(admin_conf())
    copy = f"mkdir -p /etc/kubernetes && cp {tmp_path}/admin.conf /etc/kubernetes/"
    for name, words in (("cluster.yml", copy), ("reset.yml", "rm -rf /etc/kubernetes")):
        with (checkout / name).open("a") as file:
            file.write(f"    - name: What a kubeadm leaves\n      raw: {words}\n")
    for module in ("finish", "status"):
        monkeypatch.setattr(f"ai_how.kubernetes.{module}.open_api", lambda *_words, **_options: nullcontext(lab.api))
    lab.run("hosts", "trust", "--yes")
    return lab


def test_servers_are_examined_side_by_side_once_their_keys_are_trusted(lab: Lab) -> None:
    found = lab.doctor(code=2)
    assert all(checks["node.ssh"]["fix"] == "ai-how hosts trust" for checks in found.values())
    assert "not trusted" in lab.run("hosts", "list").stdout
    assert "wants to be confirmed" in lab.refused("hosts", "trust").brief
    said = lab.run("hosts", "trust", "--yes").stdout
    assert said.count("SHA256:") == 3 and "3 trusted; kept in " in said
    assert "nothing new to trust" in lab.run("hosts", "trust", "--yes").stdout
    keys = json.loads(lab.run("hosts", "list", "-o", "json").stdout)["hosts"]
    assert {each["key"] for each in keys} == {"trusted"}

    found = lab.doctor(code=1)
    for name, checks in found.items():
        address = lab.fleet.servers[name].address
        assert checks["node.address"]["found"] == address
        assert checks["node.hostname"]["found"] == name
        assert checks["node.ports"]["found"] == "free"
        assert checks["node.sudo"]["found"] == "is root"
        others = ", ".join(other for other in found if other != name)
        assert checks["node.reach"]["found"] == f"reaches {others}"
        assert "fail" not in {check["verdict"] for check in checks.values()}
    text = lab.run("doctor", "--site", "ai-how.yaml", code=1).stdout
    assert f"{FIRST}   root@{lab.fleet.servers[FIRST].address}  cpu-worker of cloud" in text
    suites = ET.fromstring(lab.run("doctor", "--site", "ai-how.yaml", "-o", "junit", code=1).stdout)
    assert f"{SECOND}.node" in [suite.get("name") for suite in suites]
    assert "Rights of root" in lab.run("doctor", "--site", "ai-how.yaml", "--only", "node", code=1).stdout
    assert "no checks of kvm" in lab.refused("doctor", "--site", "ai-how.yaml", "--only", "kvm").brief


def test_the_stack_lets_the_servers_own_addresses_through(lab: Lab) -> None:
    lab.run("hosts", "trust", "--yes")
    lab.site_file.write_text(lab.site_file.read_text().replace("stack: {enabled: false}", "stack: {enabled: true}"))
    control, *workers = (f"{lab.fleet.servers[name].address}/32" for name in (CONTROL, FIRST, SECOND))

    def ranges(policy: str, way: str, at: str) -> set[str]:
        provider = InventoryProvider(load_site(lab.site_file), lab.site_file)
        objects = [found for wish in provider.stacks.wishes["cloud"] for found in wish.part.component.objects]
        space, _, name = policy.partition("/")
        wanted = {"namespace": space, "name": name}
        (one,) = (each for each in objects if each["kind"] == "NetworkPolicy" and each["metadata"] == wanted)
        rules = one["spec"][way]
        return {peer["ipBlock"]["cidr"] for rule in rules for peer in rule[at] if "ipBlock" in peer}

    pods = "10.233.64.0/18"
    assert ranges("cert-manager/allow-kubernetes-api", "egress", "to") == {control}
    assert ranges("cert-manager/allow-webhook", "ingress", "from") == {control, pods}
    assert ranges("monitoring/allow-scraping", "egress", "to") == {control, *workers, pods}
    # a network that the site file names stays as it is written, whoever joins
    lab.site_file.write_text(lab.site_file.read_text().replace("    stack:", "    subnet: 127.0.0.0/8\n    stack:"))
    assert ranges("cert-manager/allow-kubernetes-api", "egress", "to") == {"127.0.0.0/8"}
    assert ranges("monitoring/allow-scraping", "egress", "to") == {"127.0.0.0/8", pods}


def test_what_stands_against_a_server_is_found(lab: Lab) -> None:
    lab.run("hosts", "trust", "--yes")
    servers = lab.fleet.servers
    # a copy of another's disk, another site's node, a way that is closed, a port that is taken, a server that is off
    (servers[FIRST].folder / "etc" / "machine-id").write_text((servers[CONTROL].folder / "etc/machine-id").read_text())
    servers[FIRST].record.parent.mkdir()
    servers[FIRST].record.write_text('{"site": "other", "cluster": "cloud"}')
    servers[FIRST].run("ip", "route", "add", "blackhole", f"{servers[CONTROL].address}/32")
    third = lab.fleet.add("worker-3")
    third.stop()
    lab.write(CONTROL, FIRST, SECOND, "worker-3")
    lab.run("hosts", "trust", "--yes", code=1)
    found = lab.doctor(code=2)
    assert "does not answer" in found["worker-3"]["node.ssh"]["found"] and list(found["worker-3"]) == ["node.ssh"]
    assert found[FIRST]["node.owner"]["found"] == "cluster cloud of site other"
    assert f"is {CONTROL}'s too" in found[FIRST]["node.machine-id"]["found"]
    assert f"is {FIRST}'s too" in found[CONTROL]["node.machine-id"]["found"]
    assert f"{CONTROL} 6443/tcp: " in found[FIRST]["node.reach"]["found"]
    assert found[SECOND]["node.reach"]["verdict"] == "pass"
    assert found[SECOND]["node.machine-id"]["verdict"] == "pass"

    plan = lab.plan()
    assert plan["server/worker-3"].startswith("blocked: root@")
    assert "checks fail: Belongs to, Machine id, Way to other nodes; without that" in plan[f"server/{FIRST}"]
    refused = lab.refused("up", "--yes")
    assert isinstance(refused, (ProviderError, TryAgainError))
    assert json.loads(servers[FIRST].record.read_text())["site"] == "other"


def test_a_key_that_changed_is_loud_and_only_replaced_by_word(lab: Lab) -> None:
    lab.run("hosts", "trust", "--yes")
    server = lab.fleet.servers[SECOND]
    server.stop()
    server.make_host_key()
    server.start()
    found = lab.doctor(code=2)
    assert "SHOWS ANOTHER HOST KEY THAN ITS OWN" in found[SECOND]["node.ssh"]["found"]
    assert found[FIRST]["node.ssh"]["verdict"] == "pass"
    listed = lab.run("hosts", "list", code=1)
    assert "CHANGED" in listed.stdout and f"hosts trust {SECOND} --replace" in listed.stderr
    for words in (("hosts", "trust", "--yes"), ("hosts", "trust", SECOND, "--yes")):
        refused = lab.refused(*words)
        assert isinstance(refused, ConflictError)
        assert refused.next_step.endswith(f"ai-how hosts trust {SECOND} --replace")
    assert "wants the names" in lab.refused("hosts", "trust", "--yes", "--replace").brief
    lab.run("hosts", "trust", SECOND, "--yes", "--replace")
    assert lab.doctor(code=1)[SECOND]["node.ssh"]["verdict"] == "pass"
    assert "there is no server 'x'" in lab.refused("hosts", "trust", "x").brief


def test_a_key_that_the_site_file_names_needs_no_word(lab: Lab) -> None:
    states = json.loads(lab.run("hosts", "list", "-o", "json").stdout)["hosts"]
    prints = {each["name"]: each["fingerprint"] for each in states}
    text = lab.site_file.read_text()
    for name in (CONTROL, FIRST):
        text = text.replace(f"name: {name}, ", f"name: {name}, host_key: '{prints[name]}', ")
    # another's
    text = text.replace(f"name: {SECOND}, ", f"name: {SECOND}, host_key: '{prints[FIRST]}', ")
    lab.site_file.write_text(text)
    found = lab.doctor(code=2)
    assert found[CONTROL]["node.ssh"]["verdict"] == found[FIRST]["node.ssh"]["verdict"] == "pass"
    assert "SHOWS ANOTHER HOST KEY" in found[SECOND]["node.ssh"]["found"]
    assert not (lab.folder / ".ai-how").exists()
    assert "than the site file names" in lab.refused("hosts", "trust", SECOND, "--yes", "--replace").brief


def test_a_login_that_is_refused_is_told_with_what_to_do(lab: Lab) -> None:
    lab.run("hosts", "trust", "--yes")
    (lab.fleet.servers[FIRST].folder / "authorized").write_text("")
    found = lab.doctor(code=2)
    assert found[FIRST]["node.ssh"]["found"].startswith(f"{FIRST} does not let root in with the key ")
    assert "ssh-copy-id -i " in found[FIRST]["node.ssh"]["fix"]
    lab.site_file.write_text(lab.site_file.read_text().replace(str(lab.fleet.key_file), "no-such-key"))
    found = lab.doctor(code=2)
    assert "the key to log in with is not there" in found[CONTROL]["node.ssh"]["found"]


def test_keys_of_an_agent_let_in_too(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    text = lab.site_file.read_text().replace(f", key_file: {lab.fleet.key_file}", "")
    lab.site_file.write_text(text)
    lab.run("hosts", "trust", "--yes")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/none")
    assert "with your keys" in lab.doctor(code=2)[FIRST]["node.ssh"]["found"]
    with tempfile.TemporaryDirectory(prefix="aih") as folder:
        socket = f"{folder}/agent"
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
        try:
            while not Path(socket).exists():
                assert agent.poll() is None
                time.sleep(0.05)
            monkeypatch.setenv("SSH_AUTH_SOCK", socket)
            subprocess.run(["ssh-add", "-q", lab.fleet.key_file], check=True)
            assert lab.doctor(code=1)[FIRST]["node.ssh"]["verdict"] == "pass"
        finally:
            agent.terminate()
            agent.wait()


@pytest.mark.parametrize(
    ("sudo", "said"), [("exit 0", "sudo: yes"), ("exit 1", "sudo: no"), (None, "sudo: missing"), ("root", "sudo: root")]
)
def test_what_an_account_may_do_is_found_out_without_a_question(sudo: str | None, said: str) -> None:
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.geteuid() != 0:
        pytest.skip("needs root and setpriv, to be another user")
    with tempfile.TemporaryDirectory(prefix="aih") as folder:
        programs = Path(folder)
        programs.chmod(0o755)
        stubs = {"python3": 'echo "sudo: $2"', "sudo": sudo} if sudo else {"python3": 'echo "sudo: $2"'}
        for name, script in stubs.items():
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        (programs / "id").symlink_to("/usr/bin/id")
        words = [] if sudo == "root" else [setpriv, "--reuid=65534", "--clear-groups"]
        shell = [*words, "/bin/sh", "-c", COMMAND]
        env = {"PATH": folder}
        assert subprocess.run(shell, env=env, capture_output=True, text=True, check=True).stdout.strip() == said
        (programs / "python3").unlink()
        assert subprocess.run(shell, env=env, capture_output=True, text=True, check=True).stdout.strip() == NO_PYTHON


def test_servers_become_a_cluster_and_one_more_is_one_more_line(kubespray: Lab) -> None:
    lab = kubespray
    lab.write(CONTROL, FIRST)
    plan = lab.plan()
    assert plan == {
        f"server/{CONTROL}": "becomes a control-plane of cluster cloud",
        f"server/{FIRST}": "becomes a cpu-worker of cluster cloud",
        NAME: "cluster.yml: does not exist yet",
    }
    done = lab.run("up", "--yes")
    assert "2 nodes ready, a pod starts, DNS answers" in done.stderr
    assert notes_of(lab.notes) == {CONTROL: ["cluster.yml"], FIRST: ["cluster.yml"]}
    kept = json.loads(lab.fleet.servers[FIRST].record.read_text())
    assert (kept["site"], kept["cluster"], kept["node"], kept["role"]) == ("lab", "cloud", FIRST, "cpu-worker")
    hosts = (lab.folder / ".ai-how/lab/kubernetes/cloud/inventory/hosts.yml").read_text()
    assert f"ansible_host: {lab.fleet.servers[FIRST].address}" in hosts
    variables = (lab.folder / ".ai-how/lab/kubernetes/cloud/inventory/group_vars/k8s_cluster.yml").read_text()
    assert "override_system_hostname: false" in variables

    # nothing to do: no playbook
    assert lab.plan(code=0) == {}
    assert "nothing to do" in lab.run("up", "--yes").stdout
    found = json.loads(lab.run("status", "-o", "json").stdout)["components"]
    assert [(each["name"], each["condition"]) for each in found] == [
        (CONTROL, "healthy"),
        (FIRST, "healthy"),
        (NAME, "healthy"),
        (f"{NAME}/{CONTROL}", "healthy"),
        (f"{NAME}/{FIRST}", "healthy"),
    ]
    assert "cluster.yml" in lab.run("logs", NAME).stdout
    assert "there is no log of 'x'" in lab.refused("logs", "x").brief
    seen = json.loads(lab.run("topology", "-o", "json").stdout)
    assert [machine["state"] for host in seen["hosts"] for machine in host["machines"]] == ["running", "running"]

    # one more server is one more line
    lab.write(CONTROL, FIRST, SECOND)
    assert lab.plan() == {
        f"server/{SECOND}": "becomes a cpu-worker of cluster cloud",
        NAME: f"facts.yml: facts of all nodes; scale.yml: {SECOND} is added",
    }
    lab.run("up", "--yes")
    assert notes_of(lab.notes)[SECOND] == ["facts.yml", "scale.yml"]
    assert notes_of(lab.notes)[FIRST] == ["cluster.yml", "facts.yml"]

    # one line less: drained and removed, and still on; then again
    lab.write(CONTROL, FIRST)
    assert lab.plan()[NAME] == f"remove-node.yml: {SECOND} is drained and removed"
    lab.run("up", "--yes")
    assert notes_of(lab.notes)[SECOND] == ["facts.yml", "scale.yml", "remove-node.yml"]
    assert not lab.fleet.servers[SECOND].record.exists()
    assert lab.plan(code=0) == {}
    lab.write(CONTROL, FIRST, SECOND)
    lab.run("up", "--yes")

    # servers are not stopped
    refused = lab.refused("down")
    assert isinstance(refused, SpecError) and "not stopped" in refused.brief and "drain" in refused.next_step

    # a server that dies: told, nothing else touched; taken out of the file, it is removed as lost
    lab.fleet.servers[SECOND].stop()
    plan = lab.plan()
    assert list(plan) == [f"server/{SECOND}"] and "does not answer" in plan[f"server/{SECOND}"]
    assert "does not answer" in lab.refused("up", "--yes").brief
    assert lab.run("status", code=1).stdout.count("does not answer") == 1
    lab.write(CONTROL, FIRST)
    plan = lab.plan()
    assert plan[NAME] == f"remove-node.yml: {SECOND} is lost"
    assert plan[f"server/{SECOND}"].endswith("the server itself stays on")
    # the stand-in for remove-node.yml runs on the node itself, which Kubespray's leaves alone when it is lost
    playbook = lab.folder / "checkout" / "remove-node.yml"
    playbook.write_text(playbook.read_text().replace("{{ node | default('all') }}", CONTROL))
    lab.run("up", "--yes")
    assert notes_of(lab.notes)[CONTROL][-1] == "remove-node.yml"
    assert lab.plan(code=0) == {}


def test_destroy_takes_kubernetes_off_our_own_servers_alone(kubespray: Lab) -> None:
    lab = kubespray
    lab.run("up", "--yes")
    lab.write(CONTROL, FIRST, SECOND)
    other = lab.fleet.servers[SECOND]
    other.record.write_text('{"site": "other", "cluster": "cloud"}')
    downloads = [server.record.with_name("releases") for server in lab.fleet.servers.values()]
    for folder in downloads:
        folder.mkdir()
        (folder / "kubelet").touch()
    (lab.fleet.servers[FIRST].record.with_name("models")).mkdir()
    done = CliRunner().invoke(root, ["destroy"])
    assert isinstance(done.exception, SpecError)
    assert f"Kubernetes of cluster cloud is taken off {CONTROL}, {FIRST}, {SECOND}" in done.stderr
    done = lab.run("destroy", "--yes")
    assert f"{SECOND} is left as it is" in done.stderr
    notes = notes_of(lab.notes)
    assert notes[FIRST] == notes[CONTROL] == ["cluster.yml", "reset.yml"]
    assert notes[SECOND] == ["cluster.yml"]
    assert [path.name for path in lab.fleet.servers[FIRST].record.parent.iterdir()] == ["models"]
    assert not lab.fleet.servers[CONTROL].record.parent.exists()
    assert json.loads(other.record.read_text())["site"] == "other"
    assert [folder.exists() for folder in downloads].count(True) == 1 and other.record.with_name("releases").exists()
    assert not (lab.folder / ".ai-how").exists()
    assert all(server.process and server.process.poll() is None for server in lab.fleet.servers.values())


def test_destroy_names_a_server_that_it_cannot_reach_and_what_to_do_later(lab: Lab) -> None:
    section = "enabled: false"
    lab.write(CONTROL, FIRST, SECOND, section=section)
    lab.run("hosts", "trust", "--yes")
    lab.run("up", "--yes")
    lab.fleet.servers[SECOND].stop()
    done = lab.run("destroy", "--yes")
    assert f"{SECOND} is left as it is" in done.stderr and "kubeadm reset" in done.stderr
    assert f"{FIRST} is left" not in done.stderr
    assert not lab.fleet.servers[FIRST].record.exists() and lab.fleet.servers[SECOND].record.exists()


def test_a_server_that_was_installed_anew_is_a_new_node(kubespray: Lab) -> None:
    lab = kubespray
    lab.run("up", "--yes")
    server = lab.fleet.servers[FIRST]
    server.record.unlink()
    assert lab.plan() == {f"server/{FIRST}": "its record that it is this node is gone"}
    (server.folder / "etc" / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    plan = lab.plan()
    assert plan[f"server/{FIRST}"] == "another machine, or the same one installed anew, has its address"
    assert plan[NAME].startswith(f"remove-node.yml: {FIRST} is lost")
    lab.run("up", "--yes")
    assert notes_of(lab.notes)[FIRST] == ["cluster.yml", "remove-node.yml", "facts.yml", "scale.yml"]
    assert lab.plan(code=0) == {}


def test_kubernetes_that_is_not_wanted_any_more_is_taken_off(kubespray: Lab) -> None:
    lab = kubespray
    lab.run("up", "--yes")
    lab.write(CONTROL, FIRST, SECOND, section="kubespray_path: checkout, enabled: false")
    assert lab.plan()[NAME].startswith("reset.yml: all that runs on it is lost")
    lab.run("up", "--yes")
    assert notes_of(lab.notes)[FIRST] == ["cluster.yml", "reset.yml"]
    assert lab.plan(code=0) == {}


def test_a_cluster_that_left_the_file_is_taken_off_its_servers(kubespray: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = kubespray
    lab.write(CONTROL, FIRST)
    lab.run("up", "--yes")
    server = lab.fleet.servers[SECOND]
    lab.site_file.write_text(
        f"name: lab\nprovider: inventory\nhosts: [{{name: {SECOND}, address: root@{server.address}, "
        f"ssh: {{key_file: {lab.fleet.key_file}}}}}]\n"
        f"clusters: {{batch: {{kind: hpc, nodes: [{{role: hpc-controller, host: {SECOND}}}]}}}}\n"
    )
    plan = lab.plan()
    assert plan[NAME].startswith("reset.yml: all that runs on it is lost")
    assert plan[f"server/{SECOND}"] == "becomes a hpc-controller of cluster batch"
    # which Kubespray it was made with is known, where its checkout lay is not
    checkout = lab.folder / "checkout"
    monkeypatch.setattr(
        "ai_how.kubernetes.setup.find_checkout", lambda version, **_words: user_checkout(checkout, version)
    )
    lab.run("up", "--yes")
    assert notes_of(lab.notes)[FIRST] == ["cluster.yml", "reset.yml"]
    assert not lab.fleet.servers[FIRST].record.exists()
    assert json.loads(server.record.read_text())["cluster"] == "batch"
    assert lab.plan(code=0) == {}
