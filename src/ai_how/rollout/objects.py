"""A part's objects as they are applied: its own, and those that others publish as a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ai_how.errors import ProviderError
from ai_how.kubernetes_api.objects import ApiObject
from ai_how.rollout.documents import objects_in, without_status
from ai_how.rollout.supply import Supply
from ai_how.stack.part import Part


def published(part: Part, supply: Supply, *, fetch: bool) -> tuple[list[ApiObject], list[str]]:
    """The objects of a part's published files, and the names of those files that are not on this host yet.

    Args:
        fetch: Get what is not there.

    Raises:
        As ``Supply.manifest``, and ProviderError where a file holds no objects.
    """
    found: list[ApiObject] = []
    missing: list[str] = []
    for manifest in part.manifests:
        path = supply.manifest(manifest) if fetch else supply.manifest_here(manifest)
        if path is None:
            missing.append(manifest.name)
        else:
            found += _read(path, manifest.url)
    return found, missing


def _read(path: Path, url: str) -> Iterator[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProviderError(f"{url} holds no objects", evidence=str(error)[:300]) from error
    for document in objects_in(text, url):
        yield without_status(document)
