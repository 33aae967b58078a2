"""Whether a backup holds every file of every registered version. Pure but for reading the models' own manifests."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ai_how.backups.manifest import Blob, KeptObject, ModelVersion
from ai_how.errors import AiHowError
from ai_how.models.manifest import MANIFEST_NAME, manifest_from_json

Read = Callable[[Blob], bytes]


def incomplete_versions(
    models: Iterable[ModelVersion], objects: Iterable[KeptObject], read: Read
) -> dict[ModelVersion, str]:
    """What is missing of each version that is not whole, in a few words.

    Args:
        read: Gives the content of a blob.
    """
    by_key = {f"s3://{one.bucket}/{one.key}": one for one in objects}
    found = {model: _missing(model, by_key, read) for model in models}
    return {model: missing for model, missing in found.items() if missing}


def _missing(model: ModelVersion, by_key: dict[str, KeptObject], read: Read) -> str:
    folder = model.uri.rstrip("/")
    listed = by_key.get(f"{folder}/{MANIFEST_NAME}")
    if listed is None:
        return f"{folder}/{MANIFEST_NAME} is not there"
    try:
        manifest = manifest_from_json(read(listed))
    except (AiHowError, OSError) as error:
        return f"{folder}/{MANIFEST_NAME} cannot be read: {error}".splitlines()[0]
    if manifest.digest != model.digest:
        return f"{folder} holds another model than the one that was registered"
    wrong = []
    for file in manifest.files:
        kept = by_key.get(f"{folder}/{file.path}")
        if kept is None or (kept.sha256, kept.size_bytes) != (file.sha256, file.size_bytes):
            wrong.append(file.path)
    if not wrong:
        return ""
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return f"{', '.join(wrong[:3])}{more}: not there, or not as registered"
