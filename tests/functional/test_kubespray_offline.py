"""What nodes are told of a bundle, against Kubespray itself: every file comes from our server, every image too.

KUBESPRAY_DIR names a checkout of the current release set's version; nothing of it is changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ai_how.apply.python_environment import PythonEnvironment
from ai_how.bundles.kubespray_list import kubespray_wants
from ai_how.bundles.wanted import File, Image, parse_reference
from ai_how.errors import ProviderError
from ai_how.kubernetes.environment import environment_of
from ai_how.kubernetes.group_vars import all_vars, cluster_vars
from ai_how.kubernetes.offline import offline_vars
from ai_how.kubernetes.setup import PACKAGES_TAG
from ai_how.kubernetes.variables import check_names
from ai_how.kubernetes.yaml_text import yaml_text
from ai_how.machines.images.recipe import find_recipe
from ai_how.releases.sets import load_set
from ai_how.site.kubernetes import Kubernetes

KUBESPRAY_DIR = os.environ.get("KUBESPRAY_DIR", "")
VERSIONS = load_set().versions
pytestmark = pytest.mark.skipif(
    not KUBESPRAY_DIR, reason=f"needs KUBESPRAY_DIR: a checkout of Kubespray {VERSIONS['kubespray']}"
)
SERVER = "http://192.168.200.1:5080"


@pytest.fixture(scope="module")
def environment() -> PythonEnvironment:
    found = environment_of(Path(KUBESPRAY_DIR), VERSIONS["kubespray"])
    found.install()
    return found


def variables(**extra: Any) -> dict[str, Any]:
    return all_vars(cluster_vars(Kubernetes(), VERSIONS, credentials_dir=Path("/nonexistent")), extra)


@pytest.fixture(scope="module")
def offline(environment: PythonEnvironment) -> dict[str, Any]:
    wanted = kubespray_wants(Path(KUBESPRAY_DIR), environment, variables(), platform="linux/amd64")
    return offline_vars(
        SERVER,
        hosts=[urlsplit(one.url).netloc for one in wanted if isinstance(one, File)],
        registries=[parse_reference(one.reference).registry for one in wanted if isinstance(one, Image)],
    )


def test_every_file_comes_from_our_server_and_images_keep_their_names(
    environment: PythonEnvironment, offline: dict[str, Any]
) -> None:
    ask = (Path(KUBESPRAY_DIR), environment)
    before = kubespray_wants(*ask, variables(), platform="linux/amd64")
    after = kubespray_wants(*ask, variables(**offline), platform="linux/amd64")
    assert [one for one in before if isinstance(one, Image)] == [one for one in after if isinstance(one, Image)]
    files = [(one, other) for one, other in zip(before, after, strict=True) if isinstance(one, File)]
    for one, other in files:
        assert isinstance(other, File)
        parts = urlsplit(one.url)
        assert other.url == f"{SERVER}/files/{parts.netloc}{parts.path}"
        assert other.digest == one.digest
    assert len(files) == 11


def test_kubespray_knows_the_variables(offline: dict[str, Any]) -> None:
    check_names(offline, Path(KUBESPRAY_DIR), version=VERSIONS["kubespray"])
    assert {each["prefix"] for each in offline["containerd_registries_mirrors"]} == {
        "docker.io",
        "quay.io",
        "registry.k8s.io",
    }


def test_containerd_is_told_to_ask_us_first(
    environment: PythonEnvironment, offline: dict[str, Any], tmp_path: Path
) -> None:
    """Kubespray's own template, rendered by its own Ansible."""
    template = Path(KUBESPRAY_DIR) / "roles/container-engine/containerd/templates/hosts.toml.j2"
    task = {
        "ansible.builtin.template": {"src": str(template), "dest": str(tmp_path) + "/{{ item.prefix }}.toml"},
        "loop": "{{ containerd_registries_mirrors }}",
    }
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {**offline, "ansible_python_interpreter": sys.executable},
        "tasks": [task],
    }
    (tmp_path / "play.yml").write_text(yaml_text({"p": [play]}, head="test").replace("p:\n", ""), encoding="utf-8")
    env = {**os.environ, "ANSIBLE_HOME": str(tmp_path / "home"), "LC_ALL": "C.UTF-8"}
    words = [environment.program("ansible-playbook"), "-i", "localhost,", "-c", "local", tmp_path / "play.yml"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    own = {"docker.io": "registry-1.docker.io", "quay.io": "quay.io", "registry.k8s.io": "registry.k8s.io"}
    for registry, address in own.items():
        told = tomllib.loads((tmp_path / f"{registry}.toml").read_text(encoding="utf-8"))
        assert told["server"] == f"https://{address}"
        assert told["host"] == {
            SERVER: {"capabilities": ["pull", "resolve"], "skip_verify": False, "override_path": False}
        }


def test_what_kubespray_cannot_evaluate_is_said(environment: PythonEnvironment) -> None:
    with pytest.raises(ProviderError) as caught:
        kubespray_wants(
            Path(KUBESPRAY_DIR), environment, {**variables(), "kube_version": "1.99.0"}, platform="linux/amd64"
        )
    assert caught.value.brief == "Kubespray could not say what it downloads"
    assert "1.99" in caught.value.evidence
    assert "pins" in caught.value.next_step


def test_what_a_user_turns_on_is_wanted_too(environment: PythonEnvironment) -> None:
    wanted = kubespray_wants(
        Path(KUBESPRAY_DIR),
        environment,
        variables(helm_enabled=True, kube_network_plugin_multus=True, local_path_provisioner_enabled=False),
        platform="linux/arm64",
    )
    names = [one.url if isinstance(one, File) else one.reference for one in wanted]
    assert any(name.startswith("https://get.helm.sh/") and name.endswith("linux-arm64.tar.gz") for name in names)
    assert any("multus-cni" in name for name in names)
    assert not any("busybox" in name or "local-path" in name for name in names)


@pytest.mark.parametrize("recipe", ["cloud-base", "cloud-gpu-worker"])
def test_our_images_have_every_package_that_kubespray_installs(
    environment: PythonEnvironment, recipe: str, tmp_path: Path
) -> None:
    """As its own template decides for Debian 13; so its packages can be left out where there is no mirror."""
    checkout = Path(KUBESPRAY_DIR)
    chosen = "pkgs | dict2items | selectattr('value', 'ansible.builtin.all') | map(attribute='key') | list"
    content = f"{{{{ {chosen} | to_json }}}}"
    facts = {
        "ansible_os_family": "Debian",
        "ansible_distribution": "Debian",
        "ansible_distribution_major_version": "13",
        "ansible_distribution_version": "13",
        "ansible_python_interpreter": sys.executable,
        "group_names": ["k8s_cluster", "kube_node"],
        "is_fedora_coreos": False,
        "main_access_ip": "192.0.2.1",
    }
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {**variables(), **facts},
        "vars_files": [str(checkout / "roles/system_packages/vars/main.yml")],
        "roles": [{"role": "kubespray_defaults", "when": False}],
        "tasks": [{"ansible.builtin.copy": {"dest": str(tmp_path / "out"), "content": content}}],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    env = {**os.environ, "ANSIBLE_HOME": str(tmp_path / "home"), "LC_ALL": "C.UTF-8"}
    env["ANSIBLE_ROLES_PATH"] = str(checkout / "roles")
    words = [environment.program("ansible-playbook"), "-i", "localhost,", "-c", "local", tmp_path / "play.yml"]
    done = subprocess.run(words, env=env, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = set(json.loads((tmp_path / "out").read_text()))
    assert {"apparmor", "conntrack", "socat"} <= wanted
    assert wanted - set(find_recipe(recipe).all_packages) == set()


def test_leaving_packages_out_leaves_nothing_else_out() -> None:
    """The tag is on one role, which does nothing but packages."""
    found = subprocess.run(
        ["grep", "-rln", PACKAGES_TAG, "roles", "playbooks"],
        cwd=KUBESPRAY_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["roles/bootstrap_os/tasks/main.yml"]
