"""Models in the object store: where a version lies, putting it there, fetching it, removing it.

Owns the keys (docs/explanation/architecture.md). A folder is named after the model's digest: it is written once, and
what lies in it never changes.
"""

from __future__ import annotations

from pathlib import Path

from ai_how.errors import SpecError
from ai_how.models.download import download
from ai_how.models.manifest import MANIFEST_NAME, LocalModel
from ai_how.models.meter import Progress
from ai_how.models.s3 import Bucket
from ai_how.models.types import ObjectStoreAccess
from ai_how.models.upload import UploadReport, upload

_DIGEST_IN_KEY = 16


def model_uri(access: ObjectStoreAccess, name: str, digest: str) -> str:
    """The folder of a model's version: ``s3://<bucket>/<name>/<start of the digest>``."""
    return uri_in(access.bucket, name, digest)


def uri_in(bucket: str, name: str, digest: str) -> str:
    """As ``model_uri``, for a store that is not at hand."""
    return f"s3://{bucket}/{name}/{digest[:_DIGEST_IN_KEY]}"


def upload_model(
    access: ObjectStoreAccess, uri: str, model: LocalModel, *, progress: Progress | None = None
) -> UploadReport:
    """Make the folder ``uri`` hold the model, whole; sends only what is not there.

    Raises:
        WorldChangedError: a local file changed meanwhile; nothing was made visible.
        TryAgainError: the store went away; the next call goes on where this one was.
    """
    return upload(Bucket(access), _prefix(access, uri), model, progress=progress)


def download_model(
    access: ObjectStoreAccess, uri: str, digest: str, dest: Path, *, progress: Progress | None = None
) -> None:
    """Make ``dest`` the verified folder of the model with ``digest``; does nothing where it is there already.

    Safe with several processes at once: one fetches, the others wait for it.

    Raises:
        NotFoundError: the folder in the store holds no whole model.
        ProviderError: the disk is full, or what the store holds is not what was registered.
        TryAgainError: the store went away; the next call goes on where this one was.
    """
    download(Bucket(access), _prefix(access, uri), digest, dest, progress=progress)


def delete_model(access: ObjectStoreAccess, uri: str) -> int:
    """Remove a version's folder and what unfinished uploads left there; returns the number of objects removed.

    The manifest goes first, so that what is left by a crash in the middle no longer passes for a model.
    """
    bucket, prefix = Bucket(access), _prefix(access, uri)
    for key, upload_id in bucket.unfinished_uploads(prefix):
        bucket.abort_upload(key, upload_id)
    keys = sorted(bucket.sizes(prefix), key=lambda key: (key != prefix + MANIFEST_NAME, key))
    bucket.delete(keys)
    return len(keys)


def _prefix(access: ObjectStoreAccess, uri: str) -> str:
    """The key of a folder with a slash at the end.

    Raises:
        SpecError: the folder lies in another store, or is no version's folder.
    """
    start = f"s3://{access.bucket}/"
    key = uri.removeprefix(start).strip("/")
    if not uri.startswith(start) or key.count("/") != 1:
        raise SpecError(
            f"{uri} is not a model's folder in this site's object store",
            evidence=f"they begin with {start}",
            next_step="push the model again: ai-how model push SOURCE --name NAME",
        )
    return f"{key}/"
