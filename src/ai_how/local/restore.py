"""Puts a backup into a local site: what is there of registry, objects, endpoints and keys is replaced.

The site is stopped, gets its keys and its database, is brought up, gets its objects, and last its endpoints, whose
engines want the objects. Every step may be done again: a restore that was broken off is begun anew and sends only what
is missing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ai_how.apply.events import EventLog
from ai_how.apply.provider import Say
from ai_how.apply.site_folder import make_site_folder
from ai_how.backups.databases import load_postgresql
from ai_how.backups.manifest import Manifest, database_of, version_numbers
from ai_how.backups.put_back import ObjectsBack
from ai_how.backups.store import BackupStore, pieces_of
from ai_how.errors import AiHowError, ConflictError, InterruptionError, ProviderError
from ai_how.local import environment
from ai_how.local.components.gateway import NAME as GATEWAY
from ai_how.local.components.object_store import RESERVE_MIB
from ai_how.local.components.registry import NAME as REGISTRY
from ai_how.local.components.watchdog import NAME as WATCHDOG
from ai_how.local.kept import MLFLOW, LocalSource, bucket_names, postgres_server, sqlite_file
from ai_how.local.provider import LocalProvider
from ai_how.models.meter import Progress
from ai_how.run.process import run

_BACK = ("endpoints/", "reports/")
_OF_EXTERNAL_STORE = ("secrets/s3.json", "secrets/s3.env")
_OF_DATABASE = "secrets/database.env"


@dataclass(frozen=True, kw_only=True)
class Existing:
    """What of a site a restore replaces. ``counted`` is False where it does not run, so that nobody knows."""

    counted: bool
    models: int = 0
    objects: int = 0
    size_bytes: int = 0
    endpoints: int = 0

    @property
    def empty(self) -> bool:
        return self.counted and not (self.models or self.objects or self.endpoints)


def existing(provider: LocalProvider) -> Existing:
    """What is there of the site. Changes nothing."""
    if not provider.exists():
        return Existing(counted=True)
    endpoints = len(list(provider.layout.endpoints.glob("[!.]*.json")))
    source = LocalSource(provider)
    try:
        models = len(source.models())
        listed = [found for bucket in source.buckets for found in bucket.listing()]
    except AiHowError:
        # it is stopped, or broken: that is when a restore is wanted
        data = provider.layout.data
        return Existing(counted=not (data.exists() and any(data.iterdir())), endpoints=endpoints)
    size = sum(found.size_bytes for found in listed)
    return Existing(counted=True, models=models, objects=len(listed), size_bytes=size, endpoints=endpoints)


def check_fits(provider: LocalProvider, manifest: Manifest) -> None:
    """Make sure that the site file asks for a site that can take the backup.

    Raises:
        ConflictError: it does not; the next step says what to write.
    """
    site = provider.site
    if manifest.provider != site.provider:
        raise _other("provider", manifest.provider, site.provider)
    if manifest.buckets != bucket_names(provider):
        # the registry and the endpoints name the files by their bucket
        raise _other("object_store.bucket", manifest.buckets[0], site.object_store.bucket)
    kind = "sqlite" if site.registry.database == "sqlite" else "postgresql"
    if database_of(manifest).kind != kind:
        raise _other("registry.database", database_of(manifest).kind, kind)
    kept, ours = manifest.versions.get(MLFLOW, ""), environment.mlflow_version()
    if version_numbers(kept) > version_numbers(ours):
        raise ConflictError(
            "the backup is of a newer MLflow, whose tables this one cannot read",
            evidence=f"backup {manifest.id}: MLflow {kept}; this ai-how: MLflow {ours}",
            next_step="install the ai-how that made it, or a newer one",
        )


def check_room(provider: LocalProvider, manifest: Manifest) -> None:
    """Make sure that the site's disk takes the backup; what a restore will remove is not counted as room.

    Raises:
        ProviderError: it does not.
    """
    there = {(bucket, key) for bucket, key in _there(provider)}
    ours = provider.site.object_store.type != "external"
    needed = sum(one.size_bytes for one in manifest.objects if ours and (one.bucket, one.key) not in there)
    needed += database_of(manifest).size_bytes + (RESERVE_MIB << 20)
    root = provider.layout.root
    where = next(path for path in (root, *root.parents) if path.exists())
    found = os.statvfs(where)
    free = found.f_bavail * found.f_frsize
    if needed > free:
        raise ProviderError(
            f"there is not enough room for backup {manifest.id} in {root}",
            evidence=f"{needed / 2**20:.0f} MiB are needed, {free / 2**20:.0f} MiB are free",
            next_step="free some space there, or write another state_dir in the site file",
        )


def _there(provider: LocalProvider) -> list[tuple[str, str]]:
    try:
        source = LocalSource(provider)
        return [(bucket.access.bucket, found.key) for bucket in source.buckets for found in bucket.listing()]
    except AiHowError:
        return []


def restore(
    provider: LocalProvider,
    manifest: Manifest,
    store: BackupStore,
    *,
    bring_up: Callable[[], None],
    say: Say,
    progress: Progress | None = None,
) -> None:
    """Make the site what the backup says; the backup has been verified, and the caller holds the site's lock.

    Args:
        bring_up: Does what ``ai-how up`` does.

    Raises:
        InterruptionError: Ctrl-C; the site is half restored.
        ProviderError: what is there afterwards is not what the backup says.
    """
    make_site_folder(provider.layout, provider.site.name)
    events = EventLog(provider.layout.events)
    events.append("site", "restore", "started", detail=manifest.id)
    try:
        _Restore(provider, manifest, store, bring_up=bring_up, say=say, progress=progress).run()
    except KeyboardInterrupt:
        events.append("site", "restore", "failed", detail="interrupted")
        raise InterruptionError(
            "interrupted: the site is half restored", next_step="run the same command again: it goes on"
        ) from None
    except AiHowError as error:
        events.append("site", "restore", "failed", detail=error.brief)
        raise
    events.append("site", "restore", "done", detail=manifest.id)


class _Restore:
    def __init__(
        self,
        provider: LocalProvider,
        manifest: Manifest,
        store: BackupStore,
        *,
        bring_up: Callable[[], None],
        say: Say,
        progress: Progress | None,
    ) -> None:
        self._provider = provider
        self._layout = provider.layout
        self._manifest = manifest
        self._store = store
        self._bring_up = bring_up
        self._say = say
        self._progress = progress

    def run(self) -> None:
        self._provider.stop(self._say)
        self._write_secrets()
        # engines of endpoints that were there would start with what is no longer there
        shutil.rmtree(self._layout.endpoints, ignore_errors=True)
        self._place_database()
        self._bring_up()
        self._load_database()
        self._objects()
        for folder in _BACK:
            self._write_files(folder)
        self._say("starting the endpoints")
        self._provider.restart((GATEWAY,))
        self._check()

    def _write_secrets(self) -> None:
        site = self._provider.site
        kept_back: tuple[str, ...] = ()
        if site.object_store.type == "external":
            kept_back += _OF_EXTERNAL_STORE
        if site.registry.database not in ("sqlite", "postgresql"):
            kept_back += (_OF_DATABASE,)
        self._say("putting back the keys")
        self._write_files("secrets/", leave=kept_back)

    def _write_files(self, folder: str, *, leave: tuple[str, ...] = ()) -> None:
        for file in self._manifest.files:
            if file.name.startswith(folder) and file.name not in leave:
                self._place(file.sha256, self._layout.root / file.name)

    def _place(self, sha256: str, to: Path) -> None:
        for parent in reversed([to.parent, *to.parent.parents]):
            if parent.is_relative_to(self._layout.root):
                parent.mkdir(exist_ok=True, mode=0o700)
        part = to.with_name(f".{to.name}.part")
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        with part.open("wb") as file:
            for piece in pieces_of(self._store.path(sha256)):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        part.replace(to)

    def _place_database(self) -> None:
        """SQLite's file is put in its place; PostgreSQL's files here are made anew, as they know another password."""
        if self._provider.site.registry.database == "postgresql":
            shutil.rmtree(self._layout.data / "database", ignore_errors=True)
        kept = database_of(self._manifest)
        if kept.kind != "sqlite":
            return
        file = sqlite_file(self._layout)
        for rest in ("-wal", "-shm", "-journal"):
            file.with_name(file.name + rest).unlink(missing_ok=True)
        self._place(kept.sha256, file)
        self._upgrade(f"sqlite:///{file}", {})

    def _load_database(self) -> None:
        server = postgres_server(self._provider)
        if server is None:
            return
        self._say("putting back the database")
        # the watchdog would start what has been stopped on purpose
        for name in (WATCHDOG, REGISTRY):
            self._provider.supervisor.stop_process(name)
        load_postgresql(server, self._store.path(database_of(self._manifest).sha256))
        address = f"postgresql+psycopg2://{server.user}@{server.host}:{server.port}/{server.database}"
        self._upgrade(address, server.env)
        self._provider.restart((REGISTRY, WATCHDOG))

    def _upgrade(self, address: str, env: dict[str, str]) -> None:
        """Let a newer MLflow change the tables that an older one wrote; ``db upgrade`` is MLflow's own command."""
        kept, ours = self._manifest.versions.get(MLFLOW, ""), environment.mlflow_version()
        if version_numbers(kept) == version_numbers(ours):
            return
        self._say(f"changing the database from MLflow {kept} to {ours}")
        path = environment.environment_path()
        environment.install(path)
        words: list[str | Path] = [path / "bin" / "python", "-m", "mlflow", "db", "upgrade", address]
        run(words, env={**env, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}, timeout_s=1800)

    def _objects(self) -> None:
        source = LocalSource(self._provider)
        back = ObjectsBack(self._store, source.buckets, self._manifest.objects, self._progress)
        back.run()
        if self._provider.site.object_store.type == "external":
            # what else lies in a store of the user's may be somebody else's
            return
        for bucket, key in back.extra():
            bucket.delete([key])

    def _check(self) -> None:
        source = LocalSource(self._provider)
        if source.models() != self._manifest.models:
            raise ProviderError(
                "the registry does not show what the backup lists",
                evidence=f"{len(source.models())} versions, {len(self._manifest.models)} in backup {self._manifest.id}",
                next_step="ai-how logs registry, then run the same command again",
            )
        there = {
            (bucket.access.bucket, found.key, found.size_bytes)
            for bucket in source.buckets
            for found in bucket.listing()
        }
        missing = [one for one in self._manifest.objects if (one.bucket, one.key, one.size_bytes) not in there]
        if missing:
            raise ProviderError(
                f"the object store did not keep {len(missing)} of {len(self._manifest.objects)} objects",
                evidence="\n".join(f"{one.bucket}/{one.key}" for one in missing[:8]),
                next_step="ai-how logs object-store, then run the same command again",
            )


def _other(key: str, kept: str, wanted: str) -> ConflictError:
    return ConflictError(
        f"the backup is of a site with another {key}",
        evidence=f"the backup: {kept}; the site file: {wanted}",
        next_step=f"write {key}: {kept} in the site file",
    )
