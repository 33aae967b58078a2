"""The script that writes a Kubespray release's facts, on a small repository of the same form."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    "roles/kubespray_defaults/vars/main/checksums.yml": """
kubelet_checksums: {arm64: {1.36.2: x}, amd64: {1.36.2: x, 1.36.1: x}}
containerd_archive_checksums: {amd64: {2.3.4: x, 2.2.7: x}}
calicoctl_binary_checksums: {amd64: {v3.32.1: x}}
""",
    "roles/kubespray_defaults/defaults/main/main.yml": 'kube_version: v1.36.1\ncalico_version: "{{ first }}"\n',
    "roles/kubespray_defaults/defaults/main/download.yml": 'containerd_version: "{{ first }}"\n',
    "README.md": "- **Debian** Bookworm, Trixie\n- **Ubuntu** 24.04, 26.04\n",
    "playbooks/ansible_version.yml": "  minimal_ansible_version: 2.19.0\n  maximal_ansible_version: 2.20.0\n",
    "docs/ansible/ansible.md": "| Ansible | Python |\n|---|---|\n| >=2.19.0, <2.20.0 | 3.11-3.13 |\n",
}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "release")
    git(tmp_path, "tag", "v2.99.0")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True)


def facts(clone: Path, tag: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/kubespray_facts.py"), str(clone), tag]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_facts_are_those_of_the_tag_and_load(clone: Path) -> None:
    from ai_how.releases.schema import KubesprayFile

    result = facts(clone, "v2.99.0")
    assert result.returncode == 0, result.stderr
    file = KubesprayFile.model_validate(tomllib.loads(result.stdout))
    assert file.version == "2.99.0"
    assert file.commit == subprocess.check_output(["git", "-C", clone, "rev-parse", "HEAD"], text=True).strip()
    assert file.offers["kubernetes"].versions == ["1.36.2", "1.36.1"]
    assert file.offers["kubernetes"].default == "1.36.1"
    assert file.offers["containerd"].default == "2.3.4"
    assert file.offers["calico"].versions == ["3.32.1"]
    assert file.offers["guest"].versions == ["debian-13", "debian-12", "ubuntu-26.04", "ubuntu-24.04"]
    assert file.needs["ansible-core"].constraint == ">=2.19.0,<2.20.0"
    assert file.needs["python"].constraint == ">=3.11,<3.14"


def test_a_tag_of_another_form_is_refused_and_writes_nothing(clone: Path) -> None:
    git(clone, "rm", "--quiet", "playbooks/ansible_version.yml")
    (clone / "README.md").write_text("nothing of use\n", encoding="utf-8")
    git(clone, "commit", "--quiet", "-a", "-m", "another form")
    git(clone, "tag", "v3.0.0")
    result = facts(clone, "v3.0.0")
    assert (result.returncode, result.stdout) == (1, "")
    assert "README.md does not list Debian and Ubuntu" in result.stderr
