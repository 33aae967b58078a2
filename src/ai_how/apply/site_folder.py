"""Where what ai-how keeps of a site lies, whatever provides it, and removing it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ai_how.site.spec import Site


@dataclass(frozen=True, kw_only=True)
class SiteFolder:
    """The folder of one site, mode 0700."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def cache(self) -> Path:
        """Files of models, fetched and checked; all of it can be fetched again."""
        return self.root / "cache"

    @property
    def kubernetes(self) -> Path:
        """Where Kubernetes is set up from: a folder for each cluster."""
        return self.root / "kubernetes"


def site_root(site: Site, site_file: Path) -> Path:
    """A site's folder: ``state_dir``, or ``.ai-how/<name>`` beside the site file."""
    base = site_file.resolve().parent
    chosen = Path(site.state_dir).expanduser() if site.state_dir else Path(".ai-how") / site.name
    return base / chosen


def remove_folder(folder: SiteFolder, *more: Path) -> list[str]:
    """Remove what every provider keeps there and ``more``; names what was left because we did not make it."""
    known = (
        folder.secrets,
        folder.kubernetes,
        folder.logs,
        folder.cache,
        folder.events,
        folder.root / ".gitignore",
        folder.lock,
        folder.state,
    )
    for path in (*more, *known):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    foreign = sorted(path.name for path in folder.root.iterdir()) if folder.root.exists() else []
    if not foreign and folder.root.exists():
        folder.root.rmdir()
        parent = folder.root.parent
        if parent.name == ".ai-how" and not any(parent.iterdir()):
            parent.rmdir()
    return foreign
