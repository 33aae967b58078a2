"""A cluster's context in the user's own kubeconfig: added when asked for, taken out again when the site goes.

Others' entries, comments and the file's mode stay as they are. What the user changed under our name is theirs.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from ai_how.apply.files import read_json, write_atomic, write_json
from ai_how.errors import ConflictError, SpecError
from ai_how.kubernetes.kubeconfig import Kubeconfig, entries
from ai_how.plan.model import settings_digest

_SECTIONS = ("clusters", "users", "contexts")
_PRIVATE = 0o600


def user_kubeconfig() -> Path:
    """The file that kubectl changes: the first of ``KUBECONFIG``, else ``~/.kube/config``."""
    named = [part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return Path(named[0]).expanduser() if named else Path.home() / ".kube" / "config"


class Merge:
    """The place of one cluster in the user's file, and the note beside ours that says what we put there."""

    def __init__(self, ours: Kubeconfig) -> None:
        self.ours = ours
        self.note = ours.path.with_name("merged.json")

    def add(self, into: Path) -> None:
        """Put our context, cluster and user into a kubeconfig; the current context stays where there is one.

        Raises:
            SpecError: the file is no kubeconfig.
            ConflictError: it has something of that name that we did not put there.
        """
        file = into.expanduser().resolve()
        own = entries(_read_text(self.ours.text(), self.ours.path), self.ours.context)
        data = _read(file)
        there = entries(data, self.ours.context)
        if there and not self._is_ours(there, file) and settings_digest(there) != settings_digest(own):
            raise ConflictError(
                f"{file} has a {self.ours.context} that ai-how did not put there",
                evidence=f"in its {', '.join(there)}",
                next_step=f"remove or rename it there, or use ours alone: export KUBECONFIG={self.ours.path}",
            )
        for section in _SECTIONS:
            _put(data, section, self.ours.context, own[section])
        if not data.get("current-context"):
            data["current-context"] = self.ours.context
        # the note first: what is half done can be undone
        write_json(self.note, {"file": str(file), "digests": [*self._digests(file), settings_digest(own)]})
        _write(file, data)

    def renew(self) -> None:
        """Put the present content where it was merged before."""
        kept = read_json(self.note)
        if isinstance(kept, dict):
            self.add(Path(kept["file"]))

    def undo(self) -> str:
        """Take out what we put there; says where something of our name was left because it was changed."""
        kept = read_json(self.note)
        if not isinstance(kept, dict):
            return ""
        file = Path(kept["file"])
        if file.exists():
            data = _read(file)
            there = entries(data, self.ours.context)
            if there and not self._is_ours(there, file):
                return f"{self.ours.context} in {file}: it was changed since ai-how put it there"
            if there:
                _take_out(data, self.ours.context)
                _write(file, data)
        self.note.unlink()
        return ""

    def _is_ours(self, there: Mapping[str, Any], file: Path) -> bool:
        return settings_digest(there) in self._digests(file)

    def _digests(self, file: Path) -> list[str]:
        kept = read_json(self.note)
        return list(kept["digests"]) if isinstance(kept, dict) and kept["file"] == str(file) else []


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 20
    return yaml


def _read(file: Path) -> CommentedMap:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{file} is no text: nothing was changed", evidence=str(error), next_step="name another one in KUBECONFIG"
        ) from error
    return _read_text(text, file)


def _read_text(text: str, file: Path) -> CommentedMap:
    try:
        data = _yaml().load(text) if text.strip() else CommentedMap({"apiVersion": "v1", "kind": "Config"})
    except YAMLError as error:
        raise SpecError(
            f"{file} is not YAML: nothing was changed", next_step=f"mend it: kubectl config view --kubeconfig={file}"
        ) from error
    wrong = not isinstance(data, CommentedMap) or any(
        not isinstance(data.get(section), list | None) for section in _SECTIONS
    )
    if wrong:
        raise SpecError(f"{file} is not a kubeconfig: nothing was changed", next_step="name another one in KUBECONFIG")
    return data


def _put(data: CommentedMap, section: str, name: str, content: Any) -> None:
    if data.get(section) is None:
        data[section] = []
    entry = {"name": name, section.removesuffix("s"): content}
    for index, found in enumerate(data[section]):
        if isinstance(found, Mapping) and found.get("name") == name:
            data[section][index] = entry
            return
    data[section].append(entry)


def _take_out(data: CommentedMap, name: str) -> None:
    for section in _SECTIONS:
        listed = data.get(section) or []
        for index in reversed(range(len(listed))):
            if isinstance(listed[index], Mapping) and listed[index].get("name") == name:
                del listed[index]
    if data.get("current-context") == name:
        data["current-context"] = ""


def _write(file: Path, data: CommentedMap) -> None:
    out = io.StringIO()
    _yaml().dump(data, out)
    mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else _PRIVATE
    write_atomic(file, out.getvalue(), mode=mode)
