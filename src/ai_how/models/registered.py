"""What memory planning needs of a registered model: its configuration, read from the object store. Never weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ai_how.capacity.model_memory import ModelInMemory
from ai_how.capacity.weight_types import plain_type
from ai_how.errors import NotFoundError, SpecError
from ai_how.models import huggingface
from ai_how.models.s3 import Bucket
from ai_how.models.shape import adapter_rank, read_model
from ai_how.models.types import ModelFormat, ModelInfo, ObjectStoreAccess, RegisteredVersion


def registered_memory(
    version: RegisteredVersion, access: ObjectStoreAccess, *, base: RegisteredVersion | None = None
) -> ModelInMemory:
    """A registered model as it would be loaded; of an adapter, its base with room for it.

    Where its architecture is not known to planning, only the size of its files is: ``shape`` is None then.

    Raises:
        SpecError: an adapter's configuration is not sound.
        TryAgainError: the store does not answer.
    """
    bucket = Bucket(access)
    loaded = base or version
    found = _by_configuration(loaded, bucket) or sized_memory(loaded.info, loaded.size_bytes)
    if version.info.format is not ModelFormat.PEFT_ADAPTER:
        return found
    config = _read(version, bucket, huggingface.ADAPTER_CONFIG) or {}
    return replace(found, adapter_rank=adapter_rank(config))


def registered_rank(version: RegisteredVersion, access: ObjectStoreAccess) -> int:
    """The rank of a registered adapter; 0 of one that is not in the store yet.

    Raises:
        SpecError: its configuration is not sound.
    """
    config = _read(version, Bucket(access), huggingface.ADAPTER_CONFIG)
    return 0 if config is None else adapter_rank(config)


def sized_memory(info: ModelInfo, size_bytes: int) -> ModelInMemory:
    """A model of which only the size is known: whether its cache has room is not told. Pure."""
    kind = plain_type("float32" if info.dtype == "float32" else "bfloat16")
    return ModelInMemory(shape=None, kind=kind, stored_bytes=size_bytes)


def _by_configuration(version: RegisteredVersion, bucket: Bucket) -> ModelInMemory | None:
    config = _read(version, bucket, huggingface.CONFIG)
    if config is None:
        return None
    with TemporaryDirectory(prefix="ai-how-config-") as folder:
        file = Path(folder) / huggingface.CONFIG
        file.write_text(json.dumps(config), encoding="utf-8")
        try:
            return read_model(file).memory
        except SpecError:
            # an architecture that planning does not know may well be one that the engine does
            return None


def _read(version: RegisteredVersion, bucket: Bucket, name: str) -> dict[str, Any] | None:
    """A JSON file of the version's folder; None where it has none."""
    key = version.uri.removeprefix("s3://").partition("/")[2].strip("/")
    try:
        content = json.loads(bucket.get(f"{key}/{name}"))
    except NotFoundError:
        return None
    except ValueError as error:
        what = f"{version.uri}/{name} is not JSON"
        raise SpecError(what, evidence=str(error), next_step="push the model again") from error
    return content if isinstance(content, dict) else None
