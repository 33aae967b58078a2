"""The list of one backup: every file, object and dump in it with size and SHA-256. Its presence says that it is whole.

Owns the JSON form. Pure.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ai_how.errors import SpecError

FORMAT: Literal[1] = 1
FORMAT_WITHOUT_STACK: Literal[2] = 2
"""Of a cluster that has no stack: no database. A program that knows only format 1 says that it wants a newer one."""
SITE_FILE = "site-file.yaml"
"""The name under which the site file is kept."""
ETCD, AUTHORITY = "etcd/snapshot.db", "etcd/authority.pem"
"""The snapshot, and the certificate of the authority of the cluster that it is of."""


def _inside(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or name != "/".join(parts) or ".." in parts or "\0" in name or name.startswith("/"):
        raise ValueError(f"{name!r} does not stay inside the site's folder")
    return name


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Blob(_Strict):
    """Bytes in the backup's folder, under their SHA-256."""

    sha256: Sha256
    size_bytes: Size


class KeptFile(Blob):
    """A file of the site. ``name`` is its path below the site's folder, with forward slashes."""

    name: Annotated[str, AfterValidator(_inside)]


class KeptObject(Blob):
    """An object of the store. ``etag`` and ``modified`` are the store's: what has the same is not read again."""

    bucket: str
    key: str
    etag: str
    modified: str
    content_type: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)

    @property
    def stamp(self) -> tuple[str, str, str, str]:
        """What tells that an object is still the same."""
        return self.bucket, self.key, self.etag, self.modified


class Dump(Blob):
    """The registry's database. sqlite: the database file; postgresql: the custom format of ``pg_dump``."""

    kind: Literal["sqlite", "postgresql"]


class ModelVersion(_Strict):
    """A version as the registry showed it. ``digest`` is that of the model's manifest."""

    name: str
    version: int
    uri: str
    digest: str
    size_bytes: Size
    aliases: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


class Manifest(_Strict):
    """A whole backup.

    ``versions`` are those of the programs that wrote what is kept. ``incomplete`` says of each registered version whose
    files were not all in the store what was missing. Without a stack there are neither database nor buckets.
    """

    format: Literal[1, 2] = FORMAT
    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*-\d{8}t\d{6}z(-\d+)?$")]
    site: str
    provider: str
    made_at: str
    made_by: str
    versions: dict[str, str]
    buckets: tuple[str, ...]
    database: Dump | None
    files: tuple[KeptFile, ...]
    objects: tuple[KeptObject, ...]
    models: tuple[ModelVersion, ...]
    incomplete: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _format_says_what_there_is(self) -> Manifest:
        stores = (self.database, self.buckets, self.objects, self.models)
        if self.format == FORMAT and self.database is None:
            raise ValueError(f"format {FORMAT} has a database")
        if self.format == FORMAT_WITHOUT_STACK and any(stores):
            raise ValueError(f"format {FORMAT_WITHOUT_STACK} has neither database nor objects")
        return self

    def blobs(self) -> dict[str, Blob]:
        """Everything that it needs, once, by SHA-256."""
        database = [self.database] if self.database else []
        return {one.sha256: one for one in (*database, *self.files, *self.objects)}

    @property
    def size_bytes(self) -> int:
        return sum(blob.size_bytes for blob in self.blobs().values())

    @property
    def etcd_bytes(self) -> int:
        """Of the snapshot of etcd; 0 where there is none."""
        return next((file.size_bytes for file in self.files if file.name == ETCD), 0)


def database_of(manifest: Manifest, *, otherwise: str = "") -> Dump:
    """The registry's database.

    Args:
        otherwise: The command that puts etcd back, for the error.

    Raises:
        SpecError: it is the backup of a cluster without a stack.
    """
    if manifest.database is None:
        raise SpecError(
            f"backup {manifest.id} holds etcd alone",
            evidence="the cluster had no stack: there are no Secrets, objects or database of one to put back",
            next_step=otherwise or f"ai-how backup restore FOLDER {manifest.id} --only etcd",
        )
    return manifest.database


def manifest_text(manifest: Manifest) -> str:
    """The file's text: the list, and the SHA-256 of it, so that damage to the list itself is noticed."""
    data = manifest.model_dump(mode="json")
    return json.dumps({"sha256": _digest(data), "backup": data}, indent=1, sort_keys=True) + "\n"


def parse_manifest(text: bytes | str, *, where: str) -> Manifest:
    """Read the text; ``where`` is named in errors.

    Raises:
        SpecError: it is damaged, or was made by a newer ai-how.
    """
    try:
        outer = json.loads(text)
        data = outer["backup"]
        if data["format"] not in (FORMAT, FORMAT_WITHOUT_STACK):
            raise SpecError(
                f"{where} was written by another version of ai-how",
                evidence=f"its format is {data['format']}, this one reads {FORMAT} and {FORMAT_WITHOUT_STACK}",
                next_step="install a newer ai-how",
            )
        if outer["sha256"] != _digest(data):
            raise _damaged(where, "its content is not what its SHA-256 says")
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _damaged(where, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except json.JSONDecodeError as error:
        raise _damaged(where, f"it is no JSON: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(where, f"{type(error).__name__}: {error}") from error


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _damaged(where: str, evidence: str) -> SpecError:
    return SpecError(
        f"the list of a backup is damaged: {where}",
        evidence=evidence,
        next_step="take another backup: ai-how backup list FOLDER",
    )


def version_numbers(version: str) -> tuple[int, ...]:
    """What versions of one component are compared by; empty where none was kept."""
    return tuple(int(word) for word in version.split(".")[:3] if word.isdecimal())
