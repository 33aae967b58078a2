"""What a provider offers to be kept. Data and one protocol; no effects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, Protocol

from ai_how.backups.manifest import ModelVersion
from ai_how.models.s3 import Bucket
from ai_how.models.types import RegisteredVersion


class Source(Protocol):
    """A site whose stack runs, or a cluster that has none."""

    @property
    def site(self) -> str: ...

    @property
    def provider(self) -> str: ...

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the programs that wrote what is kept."""

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """The buckets whose every object is kept."""

    @property
    def snapshot_bytes(self) -> int:
        """About how much a snapshot of etcd adds; 0 where none is kept."""

    def files(self) -> Iterable[tuple[str, bytes]]:
        """Name below the site's folder and content of every file that is kept."""

    def models(self) -> tuple[ModelVersion, ...]:
        """What the registry shows now."""

    def dump(self, to: Path) -> Literal["sqlite", "postgresql"] | None:
        """Write the registry's database into a new file, as of one moment; says of which kind it is.

        None where there is no registry.
        """


def kept_version(version: RegisteredVersion) -> ModelVersion:
    """A registered version as a backup lists it."""
    return ModelVersion(
        name=version.name,
        version=version.version,
        uri=version.uri,
        digest=version.digest,
        size_bytes=version.size_bytes,
        aliases=version.aliases,
    )
