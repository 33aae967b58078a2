"""Dumps of the registry's database: made while it is in use, checked, put back.

SQLite by its own online backup; PostgreSQL by ``pg_dump`` and ``pg_restore``, the password in their environment.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from ai_how.errors import MissingToolError, ProviderError, SpecError, TryAgainError
from ai_how.models.types import SecretText
from ai_how.run.process import run, which

_DEBIAN = Path("/usr/lib/postgresql")
_BUSY_S = 60.0
_LONGEST_S = 6 * 3600.0


@dataclass(frozen=True, kw_only=True)
class PostgresServer:
    """One database of a server.

    ``bin_dir``: where its programs lie; None looks for the newest that are installed. ``ssl_mode`` is libpq's; empty:
    its default.
    """

    host: str
    port: int
    user: str
    database: str
    password: SecretText = field(repr=False)
    bin_dir: Path | None = None
    ssl_mode: str = ""

    def program(self, name: str) -> Path:
        """One of PostgreSQL's programs."""
        return self.bin_dir / name if self.bin_dir else find_program(name)

    @property
    def words(self) -> list[str]:
        return [
            *("--host", self.host, "--port", str(self.port)),
            *("--username", self.user, "--dbname", self.database, "--no-password"),
        ]

    @property
    def env(self) -> dict[str, str]:
        found = {"PGPASSWORD": str(self.password), "PGCONNECT_TIMEOUT": "15"}
        return {**found, "PGSSLMODE": self.ssl_mode} if self.ssl_mode else found


def external_server(
    address: str, password: SecretText, *, key: str = "registry.database", ssl_mode: str = ""
) -> PostgresServer:
    """The server of a ``postgresql://`` address; ``key`` is where the site file says it.

    Raises:
        SpecError: it names no user, host or database.
    """
    parts = urlsplit(address)
    database = unquote(parts.path.lstrip("/"))
    if not (parts.hostname and parts.username and database):
        raise SpecError(
            f"{key} lacks a user, a host or a database",
            evidence="it must be postgresql://user@host:port/name",
            next_step="correct it in the site file, then: ai-how validate",
        )
    return PostgresServer(
        host=parts.hostname,
        port=parts.port or 5432,
        user=unquote(parts.username),
        database=database,
        password=password,
        ssl_mode=ssl_mode,
    )


def find_program(name: str) -> Path:
    """PostgreSQL's newest program of that name: Debian keeps one for each version.

    Raises:
        MissingToolError: none is installed.
    """
    found = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: _number(path.parts[-3]))
    program = found[-1] if found else which(name)
    if program is None:
        raise MissingToolError(
            f"the registry's database is PostgreSQL, and {name} is not installed here",
            next_step="sudo apt-get install postgresql-client (of the server's version or newer)",
        )
    return program


def dump_sqlite(file: Path, to: Path) -> None:
    """Copy a database that may be in use, as of one moment.

    Raises:
        ProviderError: it cannot be read.
        TryAgainError: it is written to without a pause.
    """
    to.touch(mode=0o600)
    try:
        address = f"file:{quote(str(file))}?mode=rw"
        with (
            closing(sqlite3.connect(address, uri=True, timeout=_BUSY_S)) as source,
            closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise TryAgainError(f"{file} is in use", evidence=str(error), next_step="run it again") from error
        raise _unreadable(file, error) from error
    except sqlite3.DatabaseError as error:
        raise _unreadable(file, error) from error
    trouble = sqlite_trouble(to)
    if trouble:
        raise ProviderError(
            "the registry's database is damaged", evidence=f"{file}: {trouble}", next_step="ai-how logs registry"
        )


def sqlite_trouble(file: Path) -> str:
    """What SQLite's own check says of a file that nobody writes to; empty where it is sound."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file.absolute()))}?immutable=1", uri=True)) as database:
            said = [str(row[0]) for row in database.execute("PRAGMA integrity_check(5)")]
            tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        return str(error)
    if said != ["ok"]:
        return "; ".join(said)
    return "" if "model_versions" in tables else "it has no table model_versions"


def dump_postgresql(server: PostgresServer, to: Path) -> None:
    """Write a dump as of one moment in pg_dump's custom format, without owners and rights."""
    to.touch(mode=0o600)
    words: list[str | Path] = [
        server.program("pg_dump"),
        "--format=custom",
        "--no-owner",
        "--no-privileges",
        f"--file={to}",
    ]
    run([*words, *server.words], env=server.env, timeout_s=_LONGEST_S)


def postgresql_trouble(file: Path) -> str:
    """What is wrong with a dump, all of its data read; empty where it is sound.

    Raises:
        MissingToolError: pg_restore is not installed here, or is older than the server that was dumped.
    """
    done = run([find_program("pg_restore"), f"--file={os.devnull}", file], check=False, timeout_s=_LONGEST_S)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["pg_restore refuses it"])[-1]
        if "unsupported version" in said:
            # of a newer server than the programs here: no damage
            raise MissingToolError(
                "pg_restore here is too old to read it", evidence=said, next_step="install a newer postgresql-client"
            )
        return said
    return ""


def load_postgresql(server: PostgresServer, file: Path) -> None:
    """Put a dump into a database, all of it or nothing; what the dump has is replaced."""
    words: list[str | Path] = [server.program("pg_restore"), "--clean", "--if-exists", "--no-owner"]
    words += ["--no-privileges", "--single-transaction", "--exit-on-error"]
    run([*words, *server.words, file], env=server.env, timeout_s=_LONGEST_S)


def _unreadable(file: Path, error: sqlite3.DatabaseError) -> ProviderError:
    return ProviderError(
        "the registry's database cannot be read", evidence=f"{file}: {error}", next_step="ai-how logs registry"
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
