"""The state file of a site: what was made that cannot be read off the machine. Versioned, atomic, without secrets."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from ai_how.apply.files import write_atomic, write_json
from ai_how.apply.site_folder import SiteFolder, read_state
from ai_how.errors import ConflictError

VERSION = 1


class State:
    """Settings of the applied resources by name. What is lost with the file, ``up`` finds or makes again.

    A damaged file counts as lost, and is kept beside the new one.
    """

    def __init__(self, folder: SiteFolder, site: str) -> None:
        self._folder = folder
        self._site = site
        self._guard = threading.Lock()

    def exists(self) -> bool:
        return self._folder.state.exists()

    def resources(self) -> dict[str, dict[str, Any]]:
        """Resource name -> the settings that it was made with.

        Raises:
            ConflictError: the folder belongs to another site, or to a newer version of ai-how.
        """
        data = read_state(self._folder)
        if data is None:
            return {}
        if data["version"] != VERSION:
            raise ConflictError(
                "the state was written by another version of ai-how",
                evidence=f"{self._folder.state}: version {data['version']}, this one reads {VERSION}",
                next_step="use that version, or destroy the site with it",
            )
        if data.get("site") != self._site:
            raise ConflictError(
                f"the state folder belongs to site {data.get('site')!r}",
                evidence=f"{self._folder.root}, wanted by site {self._site!r}",
                next_step="give this site another state_dir",
            )
        found = data.get("resources", {})
        return found if isinstance(found, dict) else {}

    def record(self, name: str, settings: Mapping[str, Any] | None) -> None:
        """Remember a resource, or forget it where settings are None."""
        with self._guard:
            resources = self.resources()
            if settings is None:
                resources.pop(name, None)
            else:
                resources[name] = dict(settings)
            self._folder.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.exists() and read_state(self._folder) is None:
                self._folder.state.replace(self._folder.damaged_state)
            write_json(self._folder.state, {"version": VERSION, "site": self._site, "resources": resources})
            ignore = self._folder.root / ".gitignore"
            if not ignore.exists():
                write_atomic(ignore, "*\n")
