"""Where what ai-how keeps of a site lies, whatever provides it. Pure: names paths, makes none."""

from __future__ import annotations

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


def site_root(site: Site, site_file: Path) -> Path:
    """A site's folder: ``state_dir``, or ``.ai-how/<name>`` beside the site file."""
    base = site_file.resolve().parent
    chosen = Path(site.state_dir).expanduser() if site.state_dir else Path(".ai-how") / site.name
    return base / chosen
