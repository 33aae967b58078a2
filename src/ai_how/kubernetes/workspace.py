"""The folder that a cluster's playbooks run from: inventory, variables, Ansible's settings, facts, earlier runs.

It lies in the site's own folder and is written anew before each run. It holds no secret: keys are named by path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_how.apply.files import read_json, write_atomic, write_json
from ai_how.apply.python_environment import PythonEnvironment

FORKS = 20
"""Nodes at once; with Ansible's own 5, larger clusters wait for each other."""
_SSH_TIMEOUT_S = 30
_KEEP_OPEN_S = 60
_FACTS_TIMEOUT_S = 86400


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The folder of one cluster."""

    root: Path

    @property
    def inventory(self) -> Path:
        return self.root / "inventory"

    @property
    def settings(self) -> Path:
        return self.root / "ansible.cfg"

    @property
    def facts(self) -> Path:
        """What Ansible learnt of the nodes: a playbook that is limited to some needs the others' too."""
        return self.root / "facts"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def running(self) -> Path:
        """Names the process that runs now, or did when ai-how was killed."""
        return self.root / "running.json"

    @property
    def durations(self) -> Path:
        return self.root / "durations.json"

    def write(self, *, hosts: str, variables: str, checkout: Path, control: Path, forks: int = FORKS) -> None:
        """Write the inventory, the variables and the settings.

        Args:
            control: A short path, as sockets lie in it.
        """
        write_atomic(self.inventory / "hosts.yml", hosts)
        write_atomic(self.inventory / "group_vars" / "k8s_cluster.yml", variables)
        write_atomic(self.settings, self._settings_text(checkout, control, forks))
        # else ansible-runner gives each run a new folder for facts, whatever Ansible's own settings say
        write_atomic(self.root / "env" / "settings", json.dumps({"fact_cache": str(self.facts)}) + "\n")
        # ansible-runner keeps the tags of a run here, and would take them for the next one that names none
        (self.root / "env" / "cmdline").unlink(missing_ok=True)
        self.runs.mkdir(parents=True, exist_ok=True, mode=0o700)

    def variables_of_process(self, environment: PythonEnvironment) -> dict[str, str]:
        """What a process of Ansible is told by its own environment, wherever it runs from."""
        return {
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(self.settings),
            "ANSIBLE_HOME": str(self.root / "ansible"),
            "ANSIBLE_NOCOLOR": "True",
            # compiled once, and nothing is added to the checkout
            "PYTHONPYCACHEPREFIX": str(environment.path / "bytecode"),
        }

    def write_extra_vars(self, extra: Mapping[str, Any]) -> None:
        """Write the variables that hold for one run."""
        write_atomic(self.root / "env" / "extravars", json.dumps(dict(extra)) + "\n")

    def _settings_text(self, checkout: Path, control: Path, forks: int) -> str:
        # not the checkout's own settings: they turn the check of host keys off
        return "\n".join(
            [
                "[defaults]",
                f"roles_path = {checkout / 'roles'}",
                f"library = {checkout / 'library'}",
                "host_key_checking = True",
                f"forks = {forks}",
                f"timeout = {_SSH_TIMEOUT_S}",
                "force_valid_group_names = ignore",
                "deprecation_warnings = False",
                "interpreter_python = auto_silent",
                "gathering = smart",
                "fact_caching = jsonfile",
                f"fact_caching_connection = {self.facts}",
                f"fact_caching_timeout = {_FACTS_TIMEOUT_S}",
                "[ssh_connection]",
                "pipelining = True",
                f"ssh_args = -o ControlMaster=auto -o ControlPersist={_KEEP_OPEN_S}s -o ServerAliveInterval=15",
                f"control_path_dir = {control}",
                "retries = 3",
                "",
            ]
        )

    def expected_s(self, playbook: str, hosts: int) -> float | None:
        """How long this playbook took the last time with as many hosts, seconds; None where it never ended well."""
        known = read_json(self.durations)
        found = known.get(_key(playbook, hosts)) if isinstance(known, dict) else None
        return float(found) if isinstance(found, int | float) else None

    def remember_duration(self, playbook: str, hosts: int, duration_s: float) -> None:
        """Keep how long a playbook took that ended well."""
        known = read_json(self.durations)
        known = known if isinstance(known, dict) else {}
        write_json(self.durations, {**known, _key(playbook, hosts): round(duration_s, 1)})


def _key(playbook: str, hosts: int) -> str:
    return f"{playbook} on {hosts}"
