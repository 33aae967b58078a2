"""Becomes an engine replica: ``python -m ai_how.local.replica SPEC.json``.

What KServe's storage initializer and container are on the cluster, in one process: fetches the model from the object
store into the site's cache (once, verified), lets the engine derive what it needs, and replaces itself by the engine.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ai_how import __version__
from ai_how.apply.files import read_json
from ai_how.endpoints.cold_start.replica import ReplicaMarks
from ai_how.endpoints.engines.base import AdapterFiles, ReplicaLaunch
from ai_how.endpoints.engines.choose import engine_named
from ai_how.endpoints.types import loaded_names
from ai_how.errors import AiHowError
from ai_how.models.checkpoint import inspect
from ai_how.models.object_store import download_model
from ai_how.models.types import ModelFormat, ModelInfo, ObjectStoreAccess, SecretText

_INFO = "model-info.json"


def main(spec_file: Path) -> None:
    """Fetch, prepare, and become the engine; ends with code 1 and the error's text where that fails."""
    begun_s = time.monotonic()
    spec: dict[str, Any] = json.loads(spec_file.read_text(encoding="utf-8"))
    try:
        launch, fetched = _launch(spec)
        fetched_s = time.monotonic()
        engine = engine_named(spec["engine"])
        derived = _names(launch)
        engine.prepare(launch)
        command = engine.command(launch)
    except AiHowError as error:
        print(f"Error: {error}", flush=True)  # noqa: T201 - into the replica's log
        raise SystemExit(1) from None
    marks = ReplicaMarks(
        begun_s=begun_s,
        fetched_s=fetched_s,
        prepared_s=time.monotonic(),
        fetched="from the object store" if fetched else "in the cache",
        prepared=_prepared(derived, _names(launch)),
    )
    if spec.get("marks"):
        _leave(Path(spec["marks"]), asdict(marks))
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    os.execve(command.argv[0], list(command.argv), {**env, **command.env})  # noqa: S606 - becoming it is the purpose


def _launch(spec: dict[str, Any]) -> tuple[ReplicaLaunch, bool]:
    """What to serve, and whether files had to be fetched for it."""
    access = ObjectStoreAccess(
        endpoint_url=spec["s3"]["endpoint_url"],
        region=spec["s3"]["region"],
        bucket=spec["s3"]["bucket"],
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=SecretText(os.environ["AWS_SECRET_ACCESS_KEY"]),
    )
    cache = Path(spec["cache"])
    loads = _several(spec) if spec.get("adapters") else _Loads(uri=spec["model_uri"], digest=spec["model_digest"])
    model_dir, fetched = _fetch(access, cache, loads.uri, loads.digest)
    base_dir, base_fetched = None, False
    if spec.get("base_uri") and not loads.adapters:
        base_dir, base_fetched = _fetch(access, cache, spec["base_uri"], spec["base_digest"])
    scratch = _scratch(cache, loads.digest, spec.get("base_digest") if base_dir else None)
    adapters = []
    for one in loads.adapters:
        folder, new = _fetch(access, cache, one.uri, one.digest)
        fetched = fetched or new
        scratch_dir = _scratch(cache, one.digest, loads.digest)
        adapters.append(AdapterFiles(name=one.name, folder=folder, scratch_dir=scratch_dir, version=one.version))
    launch = ReplicaLaunch(
        served_name=spec["served_name"],
        model_dir=model_dir,
        info=_info(model_dir, scratch),
        scratch_dir=scratch,
        host="127.0.0.1",
        port=spec["port"],
        **spec["serving"],
        gpu_count=len(spec["gpus"]),
        base_dir=base_dir,
        adapters=tuple(adapters),
    )
    return launch, fetched or base_fetched


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """An adapter: its name, its address and digest, and what it is registered as, where the spec says so."""

    name: str
    uri: str
    digest: str
    version: str


@dataclass(frozen=True, kw_only=True)
class _Loads:
    """The model that is loaded whole, and the adapters that lie beside it."""

    uri: str
    digest: str
    adapters: tuple[_Stored, ...] = ()


def _several(spec: dict[str, Any]) -> _Loads:
    """One base and all its adapters, the model itself among them where it is one."""
    itself = {"uri": spec["model_uri"], "digest": spec["model_digest"]}
    is_adapter = bool(spec.get("base_uri"))
    uri, digest = (spec["base_uri"], spec["base_digest"]) if is_adapter else (itself["uri"], itself["digest"])
    tags = [one["tag"] for one in spec["adapters"]]
    names = loaded_names(spec["served_name"], tags, model_is_adapter=is_adapter)
    files = [*([itself] if is_adapter else []), *spec["adapters"]]
    adapters = tuple(
        _Stored(name=name, uri=file["uri"], digest=file["digest"], version=file.get("version", ""))
        for name, file in zip(names, files, strict=True)
    )
    return _Loads(uri=uri, digest=digest, adapters=adapters)


def _scratch(cache: Path, digest: str, base_digest: str | None) -> Path:
    """Where files derived from a model are: an adapter's depend on its base too."""
    scratch = cache / "derived" / "-".join(each[:16] for each in (digest, base_digest) if each)
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    return scratch


def _fetch(access: ObjectStoreAccess, cache: Path, uri: str, digest: str) -> tuple[Path, bool]:
    """Where the files are, and whether they had to be fetched."""
    target = cache / "models" / digest
    if target.exists():
        return target, False
    print(f"fetching {uri}", flush=True)  # noqa: T201 - into the replica's log
    download_model(access, uri, digest, target)
    return target, True


def _info(model_dir: Path, scratch: Path) -> ModelInfo:
    """What the checkpoint says of itself: read and checked once, since a GGUF file's header takes numpy to read."""
    kept = scratch / _INFO
    found = read_json(kept)
    if isinstance(found, dict) and found.pop("version", "") == __version__:
        with contextlib.suppress(TypeError, ValueError, KeyError):
            return ModelInfo(**{**found, "format": ModelFormat(found["format"])})
    info = inspect(model_dir).info
    _leave(kept, {"version": __version__, **asdict(info)})
    return info


def _leave(file: Path, data: dict[str, Any]) -> None:
    """Write what only saves time or tells of it: a disk without room for it stops no start."""
    try:
        file.write_text(json.dumps(data), encoding="utf-8")
    except OSError as error:
        print(f"{file.name} is not kept: {error}", flush=True)  # noqa: T201 - into the replica's log


def _names(launch: ReplicaLaunch) -> frozenset[str]:
    folders = (launch.scratch_dir, *(one.scratch_dir for one in launch.adapters))
    return frozenset(str(path) for folder in folders for path in folder.iterdir() if path.name != _INFO)


def _prepared(before: frozenset[str], after: frozenset[str]) -> str:
    if after != before:
        return "converted"
    return "kept from an earlier start" if after else "nothing to convert"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
