"""Where everything of a local site lies. Pure: names paths, makes none."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ai_how.apply.site_folder import SiteFolder, site_root
from ai_how.site.spec import Site

# Linux allows 107 bytes for a socket's path; the supervisor adds a suffix of up to 8 while it binds
_LONGEST_SOCKET_PATH = 96


@dataclass(frozen=True, kw_only=True)
class Layout(SiteFolder):
    """The folders and files of one site below its state folder (see docs/explanation/architecture.md)."""

    @property
    def conf(self) -> Path:
        return self.root / "conf"

    @property
    def programs(self) -> Path:
        return self.conf / "programs"

    @property
    def processes(self) -> Path:
        return self.conf / "processes"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def endpoints(self) -> Path:
        return self.root / "endpoints"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def supervisor_socket(self) -> Path:
        """The supervisor's socket: in ``run/``, or in a folder of the user's own where that path is too long."""
        here = self.run / "supervisor.sock"
        if len(os.fsencode(here)) <= _LONGEST_SOCKET_PATH:
            return here
        base = os.environ.get("XDG_RUNTIME_DIR") or f"{tempfile.gettempdir()}/ai-how-{os.getuid()}"
        short = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        return Path(base) / f"ai-how-{short}.sock"


def layout_of(site: Site, site_file: Path) -> Layout:
    """The layout of a site."""
    return Layout(root=site_root(site, site_file))
