"""Dumps of a real PostgreSQL server, which runs as an ordinary user: made, checked, put back; damage is seen."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_how.backups.databases import PostgresServer, dump_postgresql, find_program, load_postgresql, postgresql_trouble
from ai_how.errors import MissingToolError, ProviderError
from ai_how.models.types import SecretText

from .stores import Server

pytestmark = pytest.mark.slow

PASSWORD = "pass word"


class Postgres(Server):
    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.argv[-1].partition("=")[2]))) == 0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    try:
        bin_dir = find_program("initdb").parent
    except MissingToolError:
        pytest.skip("no PostgreSQL server is installed")
    folder = Path(tempfile.mkdtemp(prefix="ai-how-postgresql-"))
    (folder / "password").write_text(PASSWORD)
    as_user: list[str] = []
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (folder, folder / "password"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        as_user = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    init = [bin_dir / "initdb", f"--pgdata={folder / 'data'}", "--username=aihow", f"--pwfile={folder / 'password'}"]
    subprocess.run([*as_user, *init, "--auth=scram-sha-256", "--no-sync"], check=True, capture_output=True, cwd="/")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [*as_user, str(bin_dir / "postgres"), "-D", str(folder / "data"), "-c", "unix_socket_directories="]
    running = Postgres(
        argv=[*words, "-c", "listen_addresses=127.0.0.1", "-c", f"port={port}"], health_url="", log=folder / "log"
    )
    try:
        running.start()
        made = PostgresServer(
            host="127.0.0.1",
            port=port,
            user="aihow",
            database="postgres",
            password=SecretText(PASSWORD),
            bin_dir=bin_dir,
        )
        wait_ready(made)
        yield made
    finally:
        running.kill()
        shutil.rmtree(folder)


def wait_ready(server: PostgresServer) -> None:
    words = [server.program("pg_isready"), "--host", server.host, "--port", str(server.port), "--timeout=30"]
    for _ in range(50):
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return
    pytest.fail("PostgreSQL does not answer")


def sql(server: PostgresServer, text: str) -> str:
    words = [server.program("psql"), *server.words, "--tuples-only", "--no-align", "--command", text]
    done = subprocess.run(words, env={**os.environ, **server.env}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_dump_comes_back_over_what_is_there(server: PostgresServer, tmp_path: Path) -> None:
    sql(server, "CREATE TABLE model_versions (name text PRIMARY KEY); INSERT INTO model_versions VALUES ('tiny')")
    dump_postgresql(server, tmp_path / "dump")
    assert (tmp_path / "dump").stat().st_mode & 0o077 == 0
    assert postgresql_trouble(tmp_path / "dump") == ""
    sql(server, "INSERT INTO model_versions VALUES ('later')")
    load_postgresql(server, tmp_path / "dump")
    assert sql(server, "SELECT name FROM model_versions") == "tiny"
    sql(server, "DROP TABLE model_versions")
    load_postgresql(server, tmp_path / "dump")
    assert sql(server, "SELECT name FROM model_versions") == "tiny"


def test_a_damaged_dump_is_seen_and_changes_nothing(server: PostgresServer, tmp_path: Path) -> None:
    sql(
        server,
        "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT md5(n::text) AS word FROM generate_series(1, 9000) n",
    )
    dump_postgresql(server, tmp_path / "dump")
    content = (tmp_path / "dump").read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) * 2 // 3])
    (tmp_path / "text").write_text("no dump")
    for name in ("cut", "text"):
        assert postgresql_trouble(tmp_path / name)
        with pytest.raises(ProviderError, match="pg_restore failed"):
            load_postgresql(server, tmp_path / name)
    assert sql(server, "SELECT count(*) FROM kept") == "9000"


def test_a_wrong_password_is_said_and_not_shown(server: PostgresServer, tmp_path: Path) -> None:
    stranger = PostgresServer(
        host=server.host,
        port=server.port,
        user=server.user,
        database=server.database,
        password=SecretText("not-it"),
        bin_dir=server.bin_dir,
    )
    with pytest.raises(ProviderError, match="pg_dump failed") as error:
        dump_postgresql(stranger, tmp_path / "dump")
    assert "password authentication failed" in error.value.evidence
    assert "not-it" not in str(error.value)


def test_a_dump_that_is_too_new_for_the_programs_here_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pg_restore"
    program.write_text("#!/bin/sh\necho 'pg_restore: error: unsupported version (1.99) in file header' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr("ai_how.backups.databases.find_program", lambda _name: program)
    with pytest.raises(MissingToolError, match="too old"):
        postgresql_trouble(tmp_path / "dump")
