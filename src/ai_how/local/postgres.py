"""Finds an installed PostgreSQL server and makes its data folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ai_how.apply.files import write_atomic
from ai_how.errors import MissingToolError, ProviderError
from ai_how.local.components.database import init_command
from ai_how.local.secrets import read_env_file
from ai_how.run.process import run, which

_DEBIAN = Path("/usr/lib/postgresql")


def find_server() -> Path:
    """The folder with ``postgres`` and ``initdb``: on PATH, or where Debian and Ubuntu put the newest one.

    Raises:
        MissingToolError: none is installed.
        ProviderError: this is root, and PostgreSQL refuses to run as root.
    """
    if os.geteuid() == 0:
        raise ProviderError(
            "PostgreSQL refuses to run as root",
            next_step="run ai-how as an ordinary user, or give registry.database a postgresql:// address, or sqlite",
        )
    on_path = which("postgres")
    if on_path and which("initdb"):
        return on_path.resolve().parent
    versions = sorted(_DEBIAN.glob("*/bin/postgres"), key=lambda path: _number(path.parts[-3]))
    if versions:
        return versions[-1].parent
    raise MissingToolError(
        "registry.database is postgresql, but no PostgreSQL server is installed",
        next_step="sudo apt-get install postgresql, or write sqlite, or give a postgresql:// address",
    )


def make_files(data: Path, bin_dir: Path, password_env: Path) -> None:
    """Make the database's files, whole or not at all."""
    half_made = data.with_name(f"{data.name}.new")
    shutil.rmtree(half_made, ignore_errors=True)
    data.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    password_file = password_env.with_name("database-password")
    write_atomic(password_file, read_env_file(password_env)["PGPASSWORD"] + "\n")
    try:
        run(init_command(half_made, bin_dir, password_file), timeout_s=120)
    finally:
        password_file.unlink()
    half_made.rename(data)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
