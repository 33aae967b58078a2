"""Python environments of their own, for programs whose packages must not bind ai-how's.

Made by uv from requirements with exact versions, wheels only; shared by all sites of a user, and installed once: other
requirements or another Python are another folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ai_how.apply.files import shared_cache
from ai_how.apply.lock import locked
from ai_how.errors import AiHowError, ProviderError
from ai_how.run.process import run

_READY = "ai-how-ready"


@dataclass(frozen=True, kw_only=True)
class PythonEnvironment:
    """One environment. ``what`` is what people call it; ``requirements`` is a requirements file's text.

    ``hashed``: every package, its needs included, is listed with its hashes.
    """

    name: str
    what: str
    requirements: str
    hashed: bool = True

    @property
    def path(self) -> Path:
        """The folder where it belongs."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        digest = hashlib.sha256(f"{version}\n{self.requirements}".encode()).hexdigest()[:12]
        return shared_cache() / "environments" / f"{self.name}-{digest}"

    def program(self, name: str) -> Path:
        """One of its programs."""
        return self.path / "bin" / name

    def install(self, at: Path | None = None, *, wheels: Path | None = None) -> None:
        """Make it where it is not ready; what a broken-off installation left is removed first.

        Args:
            at: Another folder than its own.
            wheels: A folder with all its packages: no index is asked then.

        Raises:
            ProviderError: the packages could not be installed.
        """
        path = at or self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")):
            if is_ready(path):
                return
            shutil.rmtree(path, ignore_errors=True)
            listed = path.with_suffix(".txt")
            listed.write_text(self.requirements, encoding="utf-8")
            try:
                self._fill(path, listed, wheels)
            except AiHowError as error:
                raise ProviderError(
                    f"{self.what} could not be installed",
                    evidence=f"{error.brief}\n{error.evidence}".strip(),
                    next_step=f"check the {'bundle' if wheels else 'network'} and the free disk space, then: ai-how up",
                ) from error
            finally:
                listed.unlink(missing_ok=True)
            (path / _READY).touch()

    def _fill(self, path: Path, listed: Path, wheels: Path | None) -> None:
        uv = [sys.executable, "-m", "uv"]
        hashes = ["--require-hashes"] if self.hashed else []
        run([*uv, "venv", "--quiet", "--python", sys.executable, path], env=index_settings(), timeout_s=120)
        words = [*uv, "pip", "install", "--quiet", "--python", str(path / "bin" / "python"), *hashes]
        words += ["--no-index", "--offline", "--find-links", str(wheels)] if wheels else []
        run([*words, "--only-binary", ":all:", "-r", str(listed)], env=index_settings(), timeout_s=1800)


def is_ready(path: Path) -> bool:
    """Whether an environment's installation was completed."""
    return (path / _READY).exists()


def index_settings() -> dict[str, str]:
    """pip's own index settings count for uv too, which does not read them."""
    pairs = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX", "PIP_CERT": "SSL_CERT_FILE"}
    found = {uv: os.environ[pip] for pip, uv in pairs.items() if pip in os.environ and uv not in os.environ}
    return {**found, "VIRTUAL_ENV": ""}
