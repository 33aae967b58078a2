"""A part's objects as they are applied: its own, and those that others publish as a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ai_how.errors import ProviderError
from ai_how.kubernetes_api.objects import ApiObject
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
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        documents = [each for each in YAML(typ="safe").load_all(path.read_text(encoding="utf-8")) if each]
    except (YAMLError, UnicodeDecodeError) as error:
        raise ProviderError(f"{url} holds no objects", evidence=str(error)[:300]) from error
    for document in documents:
        if not isinstance(document, Mapping):
            raise ProviderError(f"{url} holds no objects", evidence=f"it has {type(document).__name__}")
        # what its server has noted is not ours to apply
        yield {key: value for key, value in document.items() if key != "status"}
