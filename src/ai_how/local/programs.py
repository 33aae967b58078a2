"""Finds programs that come inside Python packages."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from ai_how.errors import MissingToolError


def packaged_program(package: str, name: str) -> Path:
    """The program that a package brought, wherever this environment keeps its programs.

    Raises:
        MissingToolError: the package is not installed, or was installed without its programs.
    """
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name:
            path = Path(str(file.locate())).resolve()
            if path.exists():
                return path
    raise MissingToolError(
        f"{name} is not installed", evidence=f"it belongs to the package {package}", next_step="install ai-how again"
    )
