"""Where what ai-how keeps of a site lies, whatever provides it: making that folder, and removing it.

A folder is ours by the mark in it. A site file may name any folder, and what lies in others is never touched.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_how.apply.files import read_json, write_atomic
from ai_how.errors import SpecError
from ai_how.site.spec import Site

_OURS = ".ai-how"
_NOBODYS = {"lock", "lost+found"}
"""What lies in folders that hold nothing: a command's lock, and what a file system brings."""
_ANOTHER = "write another state_dir in the site file"


@dataclass(frozen=True, kw_only=True)
class SiteFolder:
    """The folder of one site, mode 0700."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def damaged_state(self) -> Path:
        """A state that could not be read, kept for people."""
        return self.root / "state.json.damaged"

    @property
    def mark(self) -> Path:
        """Says that ai-how made the folder, and for which site."""
        return self.root / ".ai-how-site"

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
    def reports(self) -> Path:
        """Results that were measured: of endpoints, and of roll-outs."""
        return self.root / "reports"

    @property
    def kubernetes(self) -> Path:
        """Where Kubernetes is set up from: a folder for each cluster."""
        return self.root / "kubernetes"


def site_root(site: Site, site_file: Path) -> Path:
    """A site's folder: ``state_dir``, or ``.ai-how/<name>`` beside the site file."""
    base = site_file.resolve().parent
    chosen = Path(site.state_dir).expanduser() if site.state_dir else Path(_OURS) / site.name
    return base / chosen


def make_site_folder(folder: SiteFolder, site: str) -> None:
    """Make a site's folder, in which everything else of it lies; one that is there must be ours, or empty.

    Raises:
        SpecError: there can be no such folder, or it holds something else.
    """
    root = folder.root
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _no_folder(root, "cannot be made", error) from error
    check_site_folder(folder)
    if not folder.mark.exists():
        write_atomic(folder.mark, f"{site}\n")


def check_site_folder(folder: SiteFolder) -> None:
    """Whether a site's folder is ours or empty, or not there yet; nothing is made.

    Raises:
        SpecError: it holds something else, or cannot be read.
    """
    root = folder.root
    try:
        held = [] if is_site_folder(folder) else sorted({path.name for path in root.iterdir()} - _NOBODYS)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _no_folder(root, "cannot be read", error) from error
    if held:
        more = f" and {len(held) - 5} more" if len(held) > 5 else ""
        raise SpecError(
            f"{root} is no folder of ai-how's, and is not empty",
            evidence=f"in it: {', '.join(held[:5])}{more}",
            next_step=f"{_ANOTHER}: a folder of its own, which need not be there",
        )


def _no_folder(root: Path, why: str, error: OSError) -> SpecError:
    return SpecError(f"the state folder {root} {why}", evidence=error.strerror or str(error), next_step=_ANOTHER)


def is_site_folder(folder: SiteFolder) -> bool:
    """Whether ai-how made the folder: its mark says so, its place, or the state of a site in it."""
    if folder.mark.exists() or (folder.root.parent.name == _OURS and folder.root.is_dir()):
        return True
    return read_state(folder) is not None


def read_state(folder: SiteFolder) -> dict[str, Any] | None:
    """The state file's content; None where there is none, or it is damaged: no version, no site."""
    data = read_json(folder.state)
    whole = isinstance(data, dict) and isinstance(data.get("version"), int) and isinstance(data.get("site"), str)
    return data if whole else None


def remove_folder(folder: SiteFolder, *more: Path) -> list[str]:
    """Remove what every provider keeps there and ``more``; names what was left because we did not make it.

    Nothing of a folder that is not ours.
    """
    if not is_site_folder(folder):
        return []
    known = (
        folder.secrets,
        folder.kubernetes,
        folder.logs,
        folder.reports,
        folder.cache,
        folder.events,
        folder.root / ".gitignore",
        folder.lock,
        folder.state,
        folder.damaged_state,
        # last: what is broken off before can be removed by the next try
        folder.mark,
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
        if parent.name == _OURS and not any(parent.iterdir()):
            parent.rmdir()
    return foreign
