"""The verbs of the registry: push, list, resolve, promote, delete, pull.

Joins checkpoint, object store and MLflow; knows neither endpoints nor how the stores are run. The order of steps makes
every verb safe to break off and to run again.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ai_how.errors import ConflictError, SpecError
from ai_how.models import hub
from ai_how.models.checkpoint import Checkpoint, inspect
from ai_how.models.digests import DigestCache
from ai_how.models.manifest import LocalModel, build_manifest
from ai_how.models.meter import Progress
from ai_how.models.object_store import delete_model, download_model, model_uri, upload_model
from ai_how.models.registry import Registry, check_alias, check_name
from ai_how.models.types import NOT_REGISTERED, ModelFormat, RegisteredVersion, Stores


@dataclass(frozen=True, kw_only=True)
class PushReport:
    """What a push found and did. ``sent_bytes`` is 0 where the store had everything."""

    version: RegisteredVersion
    registered: bool
    sent_bytes: int
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Looked:
    """A model before it is pushed: what it is, where its files go, and the versions of its name."""

    recorded: str
    checkpoint: Checkpoint
    model: LocalModel
    uri: str
    existing: Sequence[RegisteredVersion]


@dataclass(frozen=True, kw_only=True)
class Served:
    """A version that an endpoint uses: the folder of its files, and their digest, which other versions may share.

    ``remedy`` is what to type so that the endpoint lets go of it.
    """

    uri: str
    digest: str
    remedy: str = ""


def push(
    source: str, stores: Stores, *, name: str, aliases: Sequence[str] = (), progress: Progress | None = None
) -> PushReport:
    """Check a model, upload what the store lacks of it, and register it, unless the same one is registered already.

    Args:
        source: A checkpoint folder, a GGUF file, or ``hf://org/name[@revision]``.
        aliases: Set on the version in any case.

    Raises:
        SpecError: the model, the name or an alias is not sound.
    """
    for alias in aliases:
        check_alias(alias)
    registry = Registry(stores.registry_url)
    looked = _look(source, stores, name, registry, progress=progress)
    checkpoint, model, uri = looked.checkpoint, looked.model, looked.uri
    sent = upload_model(stores.access, uri, model, progress=progress)
    version = _same(looked.existing, model, uri)
    registered = version is None
    if version is None:
        # somebody may have registered it while we were sending
        version = _same(registry.versions(name), model, uri) or registry.create_version(
            name,
            uri=uri,
            digest=model.manifest.digest,
            size_bytes=model.manifest.size_bytes,
            info=checkpoint.info,
            source=looked.recorded,
        )
    for alias in aliases:
        version = promote_version(registry, version, alias)
    full = stores.trouble()
    return PushReport(
        version=version,
        registered=registered,
        sent_bytes=sent.sent_bytes,
        skipped=checkpoint.skipped,
        warnings=(
            *checkpoint.warnings,
            *(_other_kind(looked.existing, version) if registered else ()),
            *([f"now the object store {full}"] if full else ()),
        ),
    )


def foresee(source: str, stores: Stores, *, name: str, progress: Progress | None = None) -> RegisteredVersion:
    """The version that a push would give, with nothing sent and nothing registered: ``NOT_REGISTERED`` where it is new.

    Raises:
        SpecError: the model or the name is not sound.
    """
    looked = _look(source, stores, name, Registry(stores.registry_url), progress=progress)
    return _same(looked.existing, looked.model, looked.uri) or RegisteredVersion(
        name=name,
        version=NOT_REGISTERED,
        uri=looked.uri,
        digest=looked.model.manifest.digest,
        size_bytes=looked.model.manifest.size_bytes,
        info=looked.checkpoint.info,
        source=looked.recorded,
        created_at="",
    )


def list_models(stores: Stores, name: str | None = None) -> list[RegisteredVersion]:
    """All versions, of one model or of all, by name and then newest first."""
    return Registry(stores.registry_url).versions(name and check_name(name))


def resolve(reference: str, stores: Stores) -> RegisteredVersion:
    """The version that ``name`` (its champion, or else its latest), ``name@alias`` or ``name/3`` means.

    Raises:
        NotFoundError: there is none; the evidence names those that exist.
    """
    return Registry(stores.registry_url).resolve(reference)


def promote(reference: str, stores: Stores, *, alias: str) -> RegisteredVersion:
    """Point an alias at a version; it leaves the version that it pointed at before."""
    registry = Registry(stores.registry_url)
    return promote_version(registry, registry.resolve(reference), alias)


def promote_version(registry: Registry, version: RegisteredVersion, alias: str) -> RegisteredVersion:
    """As ``promote``, for a version that has been resolved already."""
    if check_alias(alias) in version.aliases:
        return version
    registry.set_alias(version.name, alias, version.version)
    return replace(version, aliases=tuple(sorted({*version.aliases, alias})))


def delete(version: RegisteredVersion, stores: Stores, *, in_use: Mapping[str, Collection[Served]]) -> int:
    """Remove a version, and its files unless another version has the same; returns the number of files removed.

    The files go first: a deletion that is broken off can be repeated, and leaves nothing that nobody knows of.

    Args:
        in_use: The versions that each endpoint serves, by the endpoint's name.

    Raises:
        ConflictError: an endpoint serves it.
    """
    # where both revisions of a rollout use it, the old one counts: it stays
    uses = {name: one for name, served in in_use.items() for one in reversed([*served]) if one.uri == version.uri}
    if uses:
        users = sorted(uses)
        raise ConflictError(
            f"{version.name}/{version.version} is served by {', '.join(users)}",
            evidence=f"its files are {version.uri}",
            next_step=f"{uses[users[0]].remedy or f'ai-how deploy delete {users[0]}'}, then delete the model",
        )
    registry = Registry(stores.registry_url)
    others = [other for other in registry.versions(version.name) if other.version != version.version]
    removed = 0
    if all(other.uri != version.uri for other in others):
        removed = delete_model(stores.access, version.uri)
    registry.delete_version(version.name, version.version)
    if not any(one.digest == version.digest for served in in_use.values() for one in served):
        _forget_cached(stores.cache_dir, version.digest)
    return removed


def _forget_cached(cache_dir: Path, digest: str) -> None:
    """Remove what replicas fetched of a model and derived from it; no endpoint serves this content any more."""
    for folder in (cache_dir / "models" / digest, *(cache_dir / "derived").glob(f"{digest[:16]}*")):
        shutil.rmtree(folder, ignore_errors=True)


def pull(version: RegisteredVersion, stores: Stores, dest: Path, *, progress: Progress | None = None) -> None:
    """Fetch a version's files, verified, into a folder that does not exist yet or is empty.

    Raises:
        ConflictError: there is something at ``dest``.
    """
    if dest.is_dir() and not any(dest.iterdir()):
        dest.rmdir()
    if dest.exists() or dest.is_symlink():
        raise ConflictError(
            f"{dest} is there already",
            evidence="a model is never mixed with other files",
            next_step="name a new folder",
        )
    download_model(stores.access, version.uri, version.digest, dest.absolute(), progress=progress)


def _look(source: str, stores: Stores, name: str, registry: Registry, *, progress: Progress | None) -> _Looked:
    check_name(name)
    path, recorded = _local(source, stores)
    checkpoint = inspect(path)
    # asked before the upload: a registry that is down must not cost an hour of sending first
    existing = registry.versions(name)
    model = build_manifest(
        checkpoint.root, checkpoint.files, cache=DigestCache(stores.cache_dir / "digests.json"), progress=progress
    )
    uri = model_uri(stores.access, name, model.manifest.digest)
    return _Looked(recorded=recorded, checkpoint=checkpoint, model=model, uri=uri, existing=existing)


def _local(source: str, stores: Stores) -> tuple[Path, str]:
    """The path of a source on this machine, and what is recorded as its origin."""
    if source.startswith(hub.SCHEME):
        return hub.fetch(source, stores.cache_dir / "hub")
    if not source.strip():
        raise SpecError("no model is named", next_step="give a folder, a .gguf file, or hf://org/name")
    if "://" in source:
        scheme = source.split("://", 1)[0]
        raise SpecError(
            f"cannot read models from {scheme}://",
            evidence=source,
            next_step="give a folder, a .gguf file, or hf://org/name",
        )
    path = Path(source).expanduser()
    return path, str(path.absolute())


def _other_kind(before: Sequence[RegisteredVersion], new: RegisteredVersion) -> tuple[str, ...]:
    """What to say where a name that meant an adapter means a whole model from now on, or the other way round."""
    newest = max(before, key=lambda one: one.version, default=new)
    was, is_now = (one.info.format is ModelFormat.PEFT_ADAPTER for one in (newest, new))
    if was == is_now:
        return ()
    kinds = {True: "an adapter", False: "a whole model"}
    said = f"{new.name}/{new.version} is {kinds[is_now]}, {newest.name}/{newest.version} is {kinds[was]}"
    return (f"{said}: {new.name} alone means the champion, or else the newest; use another name to keep them apart",)


def _same(versions: Sequence[RegisteredVersion], model: LocalModel, uri: str) -> RegisteredVersion | None:
    digest = model.manifest.digest
    return next((version for version in versions if version.digest == digest and version.uri == uri), None)
