"""The registry on PostgreSQL by one line of the site file, as an ordinary user: PostgreSQL refuses to run as root."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.tiny_model import write_tiny_gguf

pytestmark = pytest.mark.slow


def server_is_installed() -> bool:
    return bool(shutil.which("postgres")) or any(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@pytest.mark.timeout(900)
@pytest.mark.skipif(not server_is_installed(), reason="no PostgreSQL server is installed")
def test_the_registry_runs_on_postgresql() -> None:
    # not pytest's own folder: it is made private to root again whenever another run starts
    folder = Path(tempfile.mkdtemp(prefix="ai-how-postgresql-"))
    (folder / "ai-how.yaml").write_text("name: pg\nregistry:\n  database: postgresql\n")
    as_user: list[str] = []
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AI_HOW_", "COV_"))}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        if not shutil.which("setpriv"):
            pytest.skip("this is root, and there is no setpriv to become somebody else")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        as_user = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        env |= {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": ":".join(sys.path)}
    python = next((one for one in interpreters() if works([*as_user, one], env)), None)
    if python is None:
        pytest.skip("no interpreter of this version may be read by an ordinary user")

    def ai_how(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*as_user, python, "-m", "ai_how", *words],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )

    try:
        made = ai_how("up", "--yes")
        assert made.returncode == 0, made.stdout + made.stderr
        components = {c["name"]: c for c in json.loads(ai_how("status", "-o", "json").stdout)["components"]}
        assert components["database"]["condition"] == "healthy"
        assert components["registry"]["condition"] == "healthy"
        password = (folder / ".ai-how/pg/secrets/database.env").read_text().split("=", 1)[1].strip()
        shown = ai_how("plan", "-o", "json")
        assert shown.returncode == 0
        assert password not in shown.stdout
        assert "postgresql+psycopg2://" in shown.stdout
        # what was registered is in PostgreSQL and outlives a restart
        listed = ai_how("model", "list")
        assert listed.returncode == 0, listed.stderr
        write_tiny_gguf(folder / "tiny.gguf")
        (folder / "tiny.gguf").chmod(0o644)
        pushed = ai_how("model", "push", "tiny.gguf", "--name", "tiny")
        assert pushed.returncode == 0, pushed.stderr
        kept = ai_how("backup", "create", "backups", "-o", "json")
        assert kept.returncode == 0, kept.stderr
        assert json.loads(kept.stdout)["database"]["kind"] == "postgresql"
        assert ai_how("backup", "verify", "backups").returncode == 0
        # its server is made anew and has the kept password; with it everything starts again after a stop
        assert ai_how("model", "delete", "tiny", "--yes").returncode == 0
        (folder / ".ai-how/pg/secrets/database.env").unlink()
        restored = ai_how("backup", "restore", "backups", "--yes")
        assert restored.returncode == 0, restored.stderr
        assert "tiny/1" in ai_how("model", "list").stdout
        assert (folder / ".ai-how/pg/secrets/database.env").read_text().split("=", 1)[1].strip() == password
        assert ai_how("plan").returncode == 0
    finally:
        ai_how("destroy", "--yes")
        left = (folder / ".ai-how" / "pg").exists()
        shutil.rmtree(folder)
    assert not left


def interpreters() -> list[str]:
    """This one, and the system's of the same version: root's own may lie where nobody else may read."""
    return [sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"]


def works(python: list[str], env: dict[str, str]) -> bool:
    """Whether it starts, and can start itself again."""
    code = "import subprocess, sys, ai_how; subprocess.run([sys.executable, '-V'], check=True)"
    try:
        return subprocess.run([*python, "-c", code], env=env, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")
def test_root_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "ai-how.yaml").write_text("name: pg\nregistry:\n  database: postgresql\n")
    said = subprocess.run(
        [sys.executable, "-m", "ai_how", "plan"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert said.returncode == 1
    assert "refuses to run as root" in said.stderr
    assert "sqlite" in said.stderr
