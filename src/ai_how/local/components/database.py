"""The registry's database where it is PostgreSQL run here: Debian's or any other installed server, on loopback only."""

from __future__ import annotations

from pathlib import Path

from ai_how.local.components.base import Setting
from ai_how.local.process import ProcessSpec

NAME = "database"
USER = "aihow"


def database(setting: Setting, *, bin_dir: Path | None) -> ProcessSpec | None:
    """The process, or None where the site uses SQLite or an external PostgreSQL.

    Args:
        bin_dir: Where ``postgres`` and ``initdb`` lie; only used where the process is wanted.
    """
    if setting.site.registry.database != "postgresql" or bin_dir is None:
        return None
    port = setting.ports.port("postgresql")
    data = setting.layout.data / NAME
    return ProcessSpec(
        name=NAME,
        argv=(
            str(bin_dir / "postgres"),
            *("-D", str(data)),
            *("-c", "listen_addresses=127.0.0.1"),
            *("-c", f"port={port}"),
            *("-c", "unix_socket_directories="),
        ),
        ports={"postgresql": port},
        health=f"tcp://127.0.0.1:{port}",
        stop_wait_s=30,
    )


def init_command(setting_data: Path, bin_dir: Path, password_file: Path) -> list[str]:
    """The command that makes the database's files: UTF-8, passwords always asked for."""
    return [
        str(bin_dir / "initdb"),
        f"--pgdata={setting_data}",
        f"--username={USER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]


def backend_uri(setting: Setting, process: ProcessSpec | None) -> str:
    """MLflow's backend store URI; the password is not in it but in the process's environment (PGPASSWORD)."""
    wanted = setting.site.registry.database
    if wanted == "sqlite":
        return f"sqlite:///{setting.layout.data / 'registry' / 'mlflow.db'}"
    if process is None:
        return wanted.replace("postgresql://", "postgresql+psycopg2://", 1)
    # every server has a database named postgres; ours holds nothing else
    return f"postgresql+psycopg2://{USER}@127.0.0.1:{process.ports['postgresql']}/postgres"
