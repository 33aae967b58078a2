"""Kubespray's files: the release's tag fetched once and verified by its commit id, or a checkout that the user names.

Never runs anything of a checkout that is not verified or named by the user.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ai_how.apply.files import shared_cache
from ai_how.apply.lock import locked
from ai_how.errors import AiHowError, ConflictError, MissingToolError, NotFoundError, ProviderError, SpecError
from ai_how.releases.files import KUBESPRAY, load_world
from ai_how.run.process import run, which

SOURCE = "https://github.com/kubernetes-sigs/kubespray"
_FETCH_TIMEOUT_S = 600
_NO_QUESTION = {"GIT_TERMINAL_PROMPT": "0"}
_PLAIN = {**_NO_QUESTION, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
"""Without the settings of the user and of the machine."""


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """Kubespray on disk. ``commit`` is empty where a user's folder is no git checkout."""

    path: Path
    version: str
    commit: str = ""


def find_checkout(version: str, *, own: Path | None = None, source: str = SOURCE) -> Checkout:
    """The checkout of a release; it is fetched where it is not there yet.

    Args:
        own: The user's, which must be of this very version.
        source: Where the tag is fetched from, as git takes it.

    Raises:
        SpecError, ConflictError: the user's folder is no Kubespray, or of another version.
        ProviderError: it could not be fetched, or it is not what the release's commit id says.
    """
    return user_checkout(own, version) if own else fetched_checkout(version, source=source)


def user_checkout(path: Path, version: str) -> Checkout:
    """A user's checkout, as it is: changed files are the user's business, another version is not."""
    found = declared_version(path)
    if found != version:
        raise ConflictError(
            f"the Kubespray in {path} is of another version",
            evidence=f"its galaxy.yml says {found}, the release set says {version}",
            next_step=f"git -C {path} checkout v{version}, or write pins: {{kubespray: {found}}}",
        )
    return Checkout(path=path, version=version, commit=_head(path))


def declared_version(path: Path) -> str:
    """The version that a checkout says it is.

    Raises:
        SpecError: the folder is no checkout of Kubespray.
    """
    file = path / "galaxy.yml"
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError) as error:
        raise SpecError(
            f"{path} is no checkout of Kubespray",
            evidence=f"{file} is damaged" if isinstance(error, UnicodeDecodeError) else f"{file} is missing",
            next_step="correct kubernetes.kubespray_path, or remove it: the release is fetched then",
        ) from error
    name, version = (re.search(rf"^{key}:\s*(\S+)\s*$", text, re.MULTILINE) for key in ("name", "version"))
    if name is None or version is None or name[1] != "kubespray":
        raise SpecError(f"{path} is no checkout of Kubespray", evidence=f"{file} does not name it")
    return version[1].strip("'\"")


def fetched_checkout(version: str, *, source: str = SOURCE) -> Checkout:
    """The release's tag in the user's cache, fetched once; each time its commit id and its files are verified."""
    commit = known_commit(version)
    path = shared_cache() / "kubespray" / f"v{version}"
    if which("git") is None:
        raise MissingToolError("git is not installed", next_step="sudo apt-get install git")
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock")):
        if _problem(path, commit):
            shutil.rmtree(path, ignore_errors=True)
            _fetch(path, version, source)
            problem = _problem(path, commit)
            if problem:
                shutil.rmtree(path, ignore_errors=True)
                raise ProviderError(
                    f"what {source} gives for v{version} is not that release",
                    evidence=problem,
                    next_step="do not use it; find out why the tag was moved",
                )
    return Checkout(path=path, version=version, commit=commit)


def known_commit(version: str) -> str:
    """The commit id of a release.

    Raises:
        NotFoundError: it is not among the facts.
    """
    commit = load_world().find(KUBESPRAY).release(version).commit
    if not commit:
        raise NotFoundError(
            f"the commit id of Kubespray {version} is not known",
            next_step="name a checkout of yours: kubernetes.kubespray_path",
        )
    return commit


def _fetch(path: Path, version: str, source: str) -> None:
    words = ["git", "clone", "--quiet", "--depth", "1", "--branch", f"v{version}", source, str(path)]
    try:
        # with the user's own settings: a proxy or a mirror may stand there
        run([*words, "--config", "advice.detachedHead=false"], timeout_s=_FETCH_TIMEOUT_S, env=_NO_QUESTION)
    except AiHowError as error:
        raise ProviderError(
            f"Kubespray {version} could not be fetched from {source}",
            evidence=error.evidence or error.brief,
            next_step="check the network, then: ai-how up; without one: kubernetes.kubespray_path",
        ) from error


def _problem(path: Path, commit: str) -> str:
    """What tells the folder from the release; empty where nothing does."""
    if not (path / ".git").is_dir():
        return f"{path} is no git checkout"
    found = _head(path)
    if found != commit:
        return f"its commit is {found or 'unknown'}, the release's is {commit}"
    words = ["git", "-C", str(path), "-c", "core.fsmonitor=false", "status", "--porcelain", "--untracked-files=all"]
    changed = run(words, check=False, env=_PLAIN).stdout.splitlines()
    return f"its files were changed: {', '.join(line[3:] for line in changed[:3])}" if changed else ""


def _head(path: Path) -> str:
    if which("git") is None or not (path / ".git").exists():
        return ""
    found = run(["git", "-C", path, "rev-parse", "HEAD"], check=False, env=_PLAIN)
    return found.stdout.strip() if found.returncode == 0 else ""
