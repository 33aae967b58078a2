#!/usr/bin/env python3
"""Writes the facts of one Kubespray release as TOML, read from a clone of its repository.

    .venv/bin/python scripts/kubespray_facts.py CLONE TAG > src/ai_how/releases/data/kubespray/VERSION.toml

It reads what Kubespray itself reads: the table of checksums (what it can download), the check of Ansible's version,
the README's list of distributions. It only reads the clone and needs no network.
"""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess
import sys
import textwrap
from typing import Any

from ruamel.yaml import YAML

CHECKSUMS = (
    "roles/kubespray_defaults/vars/main/checksums.yml",
    "roles/kubespray-defaults/vars/main/checksums.yml",
    "roles/kubespray-defaults/defaults/main/checksums.yml",
)
DEFAULTS = ("roles/kubespray_defaults/defaults/main/", "roles/kubespray-defaults/defaults/main/")
PYTHON_TABLES = ("docs/ansible/ansible.md", "docs/ansible.md")
TABLES = {  # component: (table of checksums, file of the default, its variable)
    "kubernetes": ("kubelet_checksums", "main.yml", "kube_version"),
    "containerd": ("containerd_archive_checksums", "download.yml", "containerd_version"),
    "calico": ("calicoctl_binary_checksums", "download.yml", "calico_version"),
}
NAMES = {"bookworm": "12", "bullseye": "11", "buster": "10", "trixie": "13", "forky": "14"}


def main(clone: str, tag: str) -> None:
    """Print the facts of the release that the tag names."""
    release = Release(clone, tag)
    checksums, table = release.first(CHECKSUMS)
    tables = YAML(typ="safe").load(table)
    out = [
        f'version = "{tag.removeprefix("v")}"',
        f"released = {release.date()}",
        f"read = {datetime.datetime.now(tz=datetime.UTC).date()}",
        f'source = "kubernetes-sigs/kubespray, tag {tag}"',
        f'commit = "{release.commit()}"',
    ]
    for component, (name, file, variable) in TABLES.items():
        versions = [str(version).removeprefix("v") for version in tables[name]["amd64"]]
        default = release.default(file, variable) or versions[0]
        out += _offer(component, checksums, versions, default)
    out += _offer("guest", "README.md", release.guests(), None)
    out += ["", "[needs.ansible-core]", *release.ansible(), "", "[needs.python]", *release.python()]
    sys.stdout.write("\n".join(out) + "\n")


class Release:
    """The files of one tag."""

    def __init__(self, clone: str, tag: str) -> None:
        self.clone, self.tag, self.git = clone, tag, shutil.which("git") or "git"

    def run(self, *arguments: str) -> str:
        command = [self.git, "-C", self.clone, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def date(self) -> str:
        return self.run("log", "-1", "--format=%cs", self.tag).strip()

    def commit(self) -> str:
        return self.run("rev-parse", f"{self.tag}^{{commit}}").strip()

    def first(self, files: tuple[str, ...]) -> tuple[str, str]:
        for file in files:
            try:
                return file, self.run("show", f"{self.tag}:{file}")
            except subprocess.CalledProcessError:
                continue
        raise SystemExit(f"{self.tag} has none of: {', '.join(files)}")

    def default(self, file: str, variable: str) -> str | None:
        """The default where it stands as a version; None where Kubespray takes the table's first."""
        text = self.first(tuple(folder + file for folder in DEFAULTS))[1]
        found = re.search(rf'^{variable}: "?v?([0-9.]+)"?$', text, re.MULTILINE)
        return found[1] if found else None

    def guests(self) -> list[str]:
        text = self.run("show", f"{self.tag}:README.md")
        debian = re.search(r"^- \*\*Debian\*\* (.+)$", text, re.MULTILINE)
        ubuntu = re.search(r"^- \*\*Ubuntu\*\* (.+)$", text, re.MULTILINE)
        if not debian or not ubuntu:
            raise SystemExit(f"{self.tag}: README.md does not list Debian and Ubuntu as expected")
        names = [f"debian-{NAMES[name.strip().lower()]}" for name in debian[1].split(",")]
        return sorted(names, reverse=True) + sorted((f"ubuntu-{v.strip()}" for v in ubuntu[1].split(",")), reverse=True)

    def ansible(self) -> list[str]:
        file = "playbooks/ansible_version.yml"
        text = self.run("show", f"{self.tag}:{file}")
        low, high = (re.search(rf"{word}_ansible_version: (\S+)", text) for word in ("minimal", "maximal"))
        if not low or not high:
            raise SystemExit(f"{self.tag}: {file} does not name a range")
        return [f'constraint = ">={low[1]},<{high[1]}"', f'file = "{file}"']

    def python(self) -> list[str]:
        file, text = self.first(PYTHON_TABLES)
        found = re.search(r"^\|[^|]*\d[^|]*\| *3\.(\d+)-3\.(\d+) *\|", text, re.MULTILINE)
        if not found:
            raise SystemExit(f"{self.tag}: {file} has no table of Python versions as expected")
        return [f'constraint = ">=3.{found[1]},<3.{int(found[2]) + 1}"', f'file = "{file}"']


def _offer(component: str, file: str, versions: list[str], default: Any) -> list[str]:
    listed = textwrap.fill(", ".join(f'"{version}"' for version in versions), 110)
    lines = ["", f"[offers.{component}]", f'file = "{file}"']
    lines += [f'default = "{default}"'] if default else []
    return [*lines, "versions = [", textwrap.indent(listed + ",", "  "), "]"]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2])
