"""What Kubespray downloads for a cluster: it evaluates its own templates, in its own environment, with our variables.

Nothing of its logic is copied: which files and images, of which version, with which checksum, it says itself. It runs
on this machine alone and reaches nobody.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ai_how.apply.python_environment import PythonEnvironment
from ai_how.bundles.wanted import File, Image, Wanted, is_digest, parse_platform
from ai_how.errors import AiHowError, ProviderError
from ai_how.kubernetes.group_vars import group_vars_text
from ai_how.kubernetes.inventory import inventory
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.kubernetes.workspace import Workspace
from ai_how.kubernetes.yaml_text import yaml_text
from ai_how.run.process import run
from ai_how.run.ssh import SshTarget
from ai_how.site.roles import Role

_TIMEOUT_S = 300
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
# roles whose defaults are read; they do nothing
_ROLES = ("kubespray_defaults", "download", "kubernetes-apps/external_provisioner/local_path_provisioner")
# an image that pods of the provisioner use and that is not among Kubespray's downloads
_HELPER = "local_path_provisioner_helper_image"
_OFFLINE_SCRIPT = Path("contrib/offline/generate_list.sh")


def kubespray_wants(
    checkout: Path, environment: PythonEnvironment, variables: Mapping[str, Any], *, platform: str
) -> tuple[Wanted, ...]:
    """The files and images of a cluster with these variables, as Kubespray says, each once.

    Args:
        environment: Kubespray's own, installed.
        variables: Its group variables, as ``up`` tells it.

    Raises:
        ProviderError: it could not say.
    """
    answer = _evaluate(checkout, environment, variables, platform)
    images = _kubeadm_images(checkout)
    return tuple(dict.fromkeys(_wanted(answer, images)))


def _wanted(answer: Mapping[str, Any], kubeadm_images: Sequence[str]) -> Iterator[Wanted]:
    try:
        for name, download in answer["downloads"].items():
            if not _true(download.get("enabled")):
                continue
            if _true(download.get("container")):
                digest = str(download.get("checksum") or "")
                reference = f"{download['repo']}:{download['tag']}"
                yield Image(reference=reference, digest=digest if is_digest(digest) else None)
            else:
                yield _file(name, str(download["url"]), str(download.get("checksum") or ""))
        for name in kubeadm_images:
            yield Image(reference=f"{answer['kubeadm_image_repo']}/{name}:v{answer['kube_version']}")
        if _true(answer["local_path_provisioner_enabled"]):
            yield Image(reference=answer[_HELPER])
    except (KeyError, AttributeError, TypeError) as error:
        raise ProviderError(
            "Kubespray's list of downloads is of another form than is known",
            evidence=f"{type(error).__name__}: {error}",
        ) from error


def _file(name: str, url: str, digest: str) -> File:
    if not is_digest(digest):
        raise ProviderError(f"Kubespray states no checksum of {name}", evidence=f"{url}: {digest or 'nothing'}")
    return File(url=url, digest=digest)


def _true(value: object) -> bool:
    """Templates give texts where data would be booleans."""
    return str(value).lower() in ("true", "yes", "1")


def _kubeadm_images(checkout: Path) -> tuple[str, ...]:
    """The images that kubeadm would name at run time, as Kubespray's own offline script lists them."""
    file = checkout / _OFFLINE_SCRIPT
    try:
        found = re.search(r'^KUBE_IMAGES="([a-z0-9 -]+)"', file.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    if found is None:
        raise ProviderError("this Kubespray does not list kubeadm's images", evidence=f"KUBE_IMAGES is not in {file}")
    return tuple(found[1].split())


def _evaluate(
    checkout: Path, environment: PythonEnvironment, variables: Mapping[str, Any], platform: str
) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory(prefix="ai-how-") as text:
        root = Path(text)
        workspace = Workspace(root=root / "work")
        # facts of machines that need not be there yet
        facts = {
            "ansible_system": "Linux",
            "ansible_architecture": _ARCHITECTURES[parse_platform(platform)[1]],
            "ansible_os_family": "Debian",
            "ansible_distribution": "Debian",
        }
        workspace.write(
            hosts=yaml_text(_on_this_machine(environment), head="a cluster of no machines"),
            variables=group_vars_text({**variables, **facts}),
            checkout=checkout,
            control=root,
        )
        answer, playbook = root / "answer.json", root / "list.yml"
        playbook.write_text(_play_text(answer), encoding="utf-8")
        # without the user's own settings of Ansible and Python, as in run_playbook
        own = [name for name in os.environ if name.startswith(("ANSIBLE_", "PYTHON"))]
        words: list[str | Path] = ["env", *(f"--unset={name}" for name in own)]
        words += [f"{name}={value}" for name, value in workspace.variables_of_process(environment).items()]
        words += [environment.program("ansible-playbook"), "--inventory", workspace.inventory, playbook]
        try:
            run(words, cwd=checkout, timeout_s=_TIMEOUT_S)
            return dict(json.loads(answer.read_text(encoding="utf-8")))
        except (AiHowError, OSError, ValueError) as error:
            raise ProviderError(
                "Kubespray could not say what it downloads",
                evidence=error.evidence if isinstance(error, AiHowError) else str(error),
                next_step="check kubernetes.extra_vars and the pins in the site file",
            ) from error


def _play_text(answer: Path) -> str:
    """A play that writes what Kubespray would download to a file, as JSON."""
    names = ("downloads", "kubeadm_image_repo", "kube_version", "local_path_provisioner_enabled")
    asked = ", ".join([*(f"'{name}': {name}" for name in names), f"'{_HELPER}': {_HELPER}_repo ~ ':' ~ {_HELPER}_tag"])
    content = f"{{{{ {{{asked}}} | to_json }}}}"
    play = {
        "hosts": "all",
        "gather_facts": False,
        "roles": [{"role": role, "when": False} for role in _ROLES],
        "tasks": [
            {
                "ansible.builtin.copy": {
                    "dest": str(answer),
                    "mode": "0600",
                    "content": content,
                },
                "run_once": True,
            }
        ],
    }
    return json.dumps([play])


def _on_this_machine(environment: PythonEnvironment) -> dict[str, Any]:
    """An inventory of one control plane and one worker, both this machine, which only evaluates templates."""
    roles: tuple[Role, ...] = ("control-plane", "cpu-worker")
    nodes = [
        ClusterNode(name=role, role=role, address=_ACCESS.host, access=_ACCESS, memory_gib=_ANY_GIB) for role in roles
    ]
    data = inventory(nodes)
    for host in data["all"]["hosts"].values():
        python = str(environment.program("python"))
        host.update(ansible_connection="local", ansible_become=False, ansible_python_interpreter=python)
    return dict(data)


_ANY_GIB = 16
_ACCESS = SshTarget(host="192.0.2.1", user="nobody", key_file=Path("/nonexistent"), known_hosts=Path("/nonexistent"))
