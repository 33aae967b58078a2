"""What we tell Kubespray, against Kubespray itself: its names, its inventory, its syntax, its own checks.

KUBESPRAY_DIR names a checkout of the current release set's version; nothing of it is changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ai_how.apply.python_environment import PythonEnvironment, is_ready
from ai_how.kubernetes.checkout import user_checkout
from ai_how.kubernetes.environment import environment_of
from ai_how.kubernetes.group_vars import all_vars, cluster_vars, group_vars_text, names_in
from ai_how.kubernetes.inventory import inventory, inventory_text
from ai_how.kubernetes.playbooks import CLUSTER, FACTS, REMOVE, RESET, SCALE, UPGRADE
from ai_how.kubernetes.remedies import REMEDIES
from ai_how.kubernetes.variables import check_names, fixed_names, known_names, unheard_names
from ai_how.kubernetes.workspace import Workspace
from ai_how.kubernetes.yaml_text import yaml_text
from ai_how.site.kubernetes import Kubernetes
from tests.kubernetes_nodes import LAYOUTS, VERSIONS, WANTED, nodes_of

KUBESPRAY_DIR = os.environ.get("KUBESPRAY_DIR", "")
VERSION = "2.31.0"
pytestmark = pytest.mark.skipif(not KUBESPRAY_DIR, reason=f"needs KUBESPRAY_DIR: a checkout of Kubespray {VERSION}")


@pytest.fixture(scope="module")
def checkout() -> Path:
    return user_checkout(Path(KUBESPRAY_DIR), VERSION).path


@pytest.fixture(scope="module")
def environment(checkout: Path) -> PythonEnvironment:
    found = environment_of(checkout, VERSION)
    if not is_ready(found.path):
        found.install()
    return found


class Ansible:
    """Ansible's programs in Kubespray's environment, on a workspace as ai-how writes it."""

    def __init__(self, root: Path, checkout: Path, environment: PythonEnvironment) -> None:
        self.workspace, self.checkout, self.environment = Workspace(root=root), checkout, environment

    def write(self, layout: str, *, local: bool = False, hosts: Any = None, **extra: Any) -> None:
        decided = cluster_vars(WANTED[layout], VERSIONS, credentials_dir=self.workspace.root / "credentials")
        variables = {**all_vars(decided, WANTED[layout].extra_vars), **extra}
        data = hosts or inventory(nodes_of(layout))
        for host in data["all"]["hosts"].values() if local else ():
            host.update(ansible_connection="local", ansible_become=False, ansible_python_interpreter=sys.executable)
        self.workspace.write(
            hosts=yaml_text(data, head="test"),
            variables=group_vars_text(variables),
            checkout=self.checkout,
            control=self.workspace.root,
        )

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_CONFIG": str(self.workspace.settings),
            "ANSIBLE_HOME": str(self.workspace.root / "ansible"),
            "ANSIBLE_NOCOLOR": "True",
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        argv = [str(self.environment.program(program)), "-i", str(self.workspace.inventory), *words]
        return subprocess.run(argv, cwd=self.checkout, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def ansible(tmp_path: Path, checkout: Path, environment: PythonEnvironment) -> Ansible:
    return Ansible(tmp_path, checkout, environment)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_name_that_is_rendered_is_known(layout: str, checkout: Path) -> None:
    decided = cluster_vars(WANTED[layout], VERSIONS, credentials_dir=Path("/x"))
    names = names_in(inventory(nodes_of(layout)), all_vars(decided, WANTED[layout].extra_vars))
    check_names(names, checkout, version=VERSION)


def test_names_that_users_would_write(checkout: Path) -> None:
    known = known_names(checkout)
    assert {
        "node_labels", "node_taints", "ip", "access_ip", "supplementary_addresses_in_ssl_keys", "http_proxy",
        "containerd_registries_mirrors", "loadbalancer_apiserver", "audit_policy_custom_rules", "skip_confirmation",
        "upstream_dns_servers", "calico_mtu", "download_run_once",
    } <= known  # fmt: skip
    (slip,) = unheard_names(["kube_network_pluggin"], known)
    assert slip.near == ("kube_network_plugin",)
    # what went away is told: Kubespray says so itself only for the newest
    assert [each.name for each in unheard_names(["kube_master_port_old", "ingress_nginx_enabled"], known)] == [
        "ingress_nginx_enabled", "kube_master_port_old"
    ]  # fmt: skip
    assert fixed_names(checkout) & known == fixed_names(checkout) > {"etcd_binary_checksums", "kube_major_version"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ansible_reads_the_inventory_as_it_is_meant(layout: str, ansible: Ansible) -> None:
    ansible.write(layout)
    done = ansible.run("ansible-inventory", "--list")
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    groups = inventory(nodes_of(layout))["all"]["children"]
    for group in ("kube_control_plane", "etcd", "kube_node"):
        assert read[group]["hosts"] == list(groups[group]["hosts"])
    told = YAML(typ="safe").load(inventory_text(nodes_of(layout)))["all"]["hosts"]
    for name, host in read["_meta"]["hostvars"].items():
        assert host["kube_version"] == VERSIONS["kubernetes"]
        assert host["ansible_ssh_common_args"] == told[name]["ansible_ssh_common_args"]


@pytest.mark.parametrize("playbook", [CLUSTER, SCALE, REMOVE, RESET, UPGRADE, FACTS])
def test_the_playbooks_that_we_run_can_be_read(playbook: str, ansible: Ansible) -> None:
    ansible.write("high-availability")
    done = ansible.run("ansible-playbook", "--syntax-check", playbook, "-e", "node=cloud-gpu-worker-1")
    assert done.returncode == 0, done.stdout + done.stderr


CHECKS = """
- hosts: all
  gather_facts: false
  roles: [dynamic_groups, validate_inventory]
"""
PREINSTALL = """
- hosts: k8s_cluster
  gather_facts: false
  roles: [dynamic_groups]
  tasks:
    - import_role: {name: kubespray_defaults}
    - import_role: {name: network_facts}
    - setup:
    - set_fact: {ansible_service_mgr: systemd}
    - import_role: {name: kubernetes/preinstall, tasks_from: 0040-verify-settings.yml}
"""


def play(ansible: Ansible, text: str) -> subprocess.CompletedProcess[str]:
    file = ansible.workspace.root / "checks.yml"
    file.write_text(text, encoding="utf-8")
    return ansible.run("ansible-playbook", str(file))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kubesprays_own_checks_of_the_inventory_pass(layout: str, ansible: Ansible) -> None:
    ansible.write(layout, local=True)
    done = play(ansible, CHECKS)
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count("failed=0") == len(LAYOUTS[layout])


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"kube_version": "1.20.0"}, "The current release of Kubespray only support newer version"),
        ({"kube_pods_subnet": "10.60.0.0/18", "kube_service_addresses": "10.60.0.0/16"}, "same network segment"),
        ({"kube_proxy_mode": "userspace"}, "The selected choice is not supported"),
        ({"containerd_version": "1.0.0"}, "containerd_version is too low"),
    ],
)
def test_the_checks_can_fail(ansible: Ansible, extra: dict[str, str], words: str) -> None:
    ansible.write("minimal", local=True, **extra)
    done = play(ansible, CHECKS)
    assert done.returncode != 0
    assert words in " ".join(done.stdout.split())


def preinstall(ansible: Ansible, ip: str | None) -> subprocess.CompletedProcess[str]:
    """Kubespray's checks of nodes, every node being this machine; it need not have systemd, ping and a nameserver."""
    data = inventory(nodes_of("minimal"))
    for host in data["all"]["hosts"].values():
        host["ip"] = ip or host["ip"]
    ansible.write("minimal", local=True, hosts=data, ping_access_ip=False, upstream_dns_servers=["192.0.2.1"])
    return play(ansible, PREINSTALL)


def test_the_checks_of_nodes_pass_on_this_machine(ansible: Ansible) -> None:
    done = preinstall(ansible, "{{ ansible_all_ipv4_addresses | first }}")
    if "object has no element 0" in done.stdout or "No first item" in done.stdout:
        pytest.skip("needs an IPv4 address beside loopback's")
    assert done.returncode == 0, done.stdout[-3000:]


def test_an_address_that_a_node_does_not_have_is_found_and_has_a_remedy(ansible: Ansible) -> None:
    done = preinstall(ansible, None)
    assert done.returncode != 0
    assert "Stop if ip var does not match local ips" in done.stdout
    assert any(remedy.words.search(done.stdout) for remedy in REMEDIES)


def test_kubesprays_defaults_are_what_we_say_they_are(checkout: Path) -> None:
    defaults = YAML(typ="safe").load((checkout / "roles/kubernetes/node/defaults/main.yml").read_text())
    from ai_how.kubernetes import reservations

    assert defaults["system_memory_reserved"] == f"{reservations.SYSTEM_MEMORY_MIB}Mi"
    assert defaults["system_cpu_reserved"] == f"{reservations.SYSTEM_CPU_M}m"
    assert defaults["kube_cpu_reserved"] == f"{reservations.KUBE_CPU_M}m"
    main = YAML(typ="safe").load((checkout / "roles/kubespray_defaults/defaults/main/main.yml").read_text())
    assert (main["kube_pods_subnet"], main["kube_service_addresses"]) == (
        Kubernetes().pod_cidr,
        Kubernetes().service_cidr,
    )
