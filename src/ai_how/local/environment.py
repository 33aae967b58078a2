"""The registry's own Python environment: MLflow's server needs packages that must not bind ai-how's.

Made by uv from a lock with hashes, wheels only; shared by all sites of a user, so that it is installed once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from importlib import resources
from pathlib import Path

from ai_how.apply.files import shared_cache
from ai_how.apply.lock import locked
from ai_how.errors import AiHowError, ProviderError
from ai_how.run.process import run

_READY = "ai-how-ready"


def lock_text() -> str:
    """The locked requirements that belong to this version of ai-how."""
    return resources.files("ai_how.local").joinpath("mlflow.lock").read_text(encoding="utf-8")


def environment_path() -> Path:
    """Where the environment belongs; another lock or another Python is another folder."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(f"{version}\n{lock_text()}".encode()).hexdigest()[:12]
    return shared_cache() / "environments" / f"mlflow-{digest}"


def is_ready(path: Path) -> bool:
    """Whether the installation was completed."""
    return (path / _READY).exists()


def install(path: Path) -> None:
    """Make the environment; what a broken-off installation left is removed first.

    Raises:
        ProviderError: the packages could not be installed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock")):
        if is_ready(path):
            return
        shutil.rmtree(path, ignore_errors=True)
        requirements = path.with_suffix(".txt")
        requirements.write_text(lock_text(), encoding="utf-8")
        try:
            run([*_uv(), "venv", "--quiet", "--python", sys.executable, path], env=_index(), timeout_s=120)
            run(
                [
                    *(*_uv(), "pip", "install", "--quiet", "--python", str(path / "bin" / "python")),
                    *("--require-hashes", "--only-binary", ":all:", "-r", str(requirements)),
                ],
                env=_index(),
                timeout_s=1800,
            )
        except AiHowError as error:
            raise ProviderError(
                "the registry's environment could not be installed",
                evidence=f"{error.brief}\n{error.evidence}".strip(),
                next_step="check the network and the free disk space, then: ai-how up",
            ) from error
        finally:
            requirements.unlink(missing_ok=True)
        (path / _READY).touch()


def _uv() -> list[str]:
    return [sys.executable, "-m", "uv"]


def _index() -> dict[str, str]:
    """pip's own index settings count for uv too, which does not read them."""
    pairs = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX", "PIP_CERT": "SSL_CERT_FILE"}
    found = {uv: os.environ[pip] for pip, uv in pairs.items() if pip in os.environ and uv not in os.environ}
    return {**found, "VIRTUAL_ENV": ""}
