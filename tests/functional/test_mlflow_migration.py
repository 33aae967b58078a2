"""The container that changes MLflow's tables before a new version of the server starts: on a real PostgreSQL."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest

from ai_how.backups.databases import PostgresServer
from ai_how.stack.components.mlflow import MIGRATION

from .stores import mlflow_python
from .test_backup_postgresql import server as postgres
from .test_backup_postgresql import sql

__all__ = ["postgres"]
pytestmark = pytest.mark.slow

OLDER = """\
import os
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.store.db import utils
from mlflow.store.db.utils import InitialBase
engine = utils.create_sqlalchemy_engine_with_retry(os.environ["MLFLOW_BACKEND_STORE_URI"])
InitialBase.metadata.create_all(engine)
config = utils._get_alembic_config(os.environ["MLFLOW_BACKEND_STORE_URI"])
revisions = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()]
with engine.begin() as connection:
    config.attributes["connection"] = connection
    command.upgrade(config, revisions[3])
print(revisions[3], revisions[0])
"""


def run(server: PostgresServer, program: str, *, database: str) -> subprocess.CompletedProcess[str]:
    address = f"postgresql+psycopg2://{server.user}@{server.host}:{server.port}/{database}"
    # as the container has it: the password in the environment, none in the address
    env = {**os.environ, "MLFLOW_BACKEND_STORE_URI": address, **server.env, "MLFLOW_DISABLE_TELEMETRY": "true"}
    words = [str(mlflow_python()), "-c", program]
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False)


def test_tables_of_an_older_version_are_changed_once_and_an_empty_database_is_left(postgres: PostgresServer) -> None:
    sql(postgres, "CREATE DATABASE empty")
    done = run(postgres, MIGRATION, database="empty")
    assert (done.returncode, "the server makes its tables" in done.stdout) == (0, True), done.stderr
    assert sql(replace(postgres, database="empty"), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"

    sql(postgres, "CREATE DATABASE older")
    made = run(postgres, OLDER, database="older")
    assert made.returncode == 0, made.stderr
    before, newest = made.stdout.split()[-2:]
    at = "SELECT version_num FROM alembic_version"
    older = replace(postgres, database="older")
    assert sql(older, at) == before != newest
    sql(older, "INSERT INTO registered_models (name, creation_time) VALUES ('kept', 1)")
    for _ in range(2):
        done = run(postgres, MIGRATION, database="older")
        assert done.returncode == 0, done.stderr
        assert sql(older, at) == newest
    assert sql(older, "SELECT name FROM registered_models") == "kept"

    # a database that a newer version has had is refused, and stays as it is
    sql(older, "UPDATE alembic_version SET version_num = 'newer'")
    done = run(postgres, MIGRATION, database="older")
    assert done.returncode != 0 and "Can't locate revision" in done.stderr
    assert sql(older, at) == "newer"
