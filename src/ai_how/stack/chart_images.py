"""The images that objects name, wherever kinds put them: what a chart makes is looked through for them. Pure.

Containers name theirs under ``image``; operators get those of the pods that they make as arguments, variables,
settings in a ConfigMap, or as repository, name and version apart. What is switched off names none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_VERSION = r"(?::\w[\w.-]*)?(?:@sha256:[0-9a-f]{64})?"
_REFERENCE = re.compile(rf"{_PART}(?::\d+)?(?:/{_PART})*{_VERSION}")
_WITHIN_TEXT = re.compile(
    rf"(?:--[\w-]+=)?({_PART}\.[a-z]+(?::\d+)?(?:/{_PART})+:\w[\w.-]*(?:@sha256:[0-9a-f]{{64}})?)"
)
"""With a registry and a tag: other texts have slashes and colons too."""
_NO_IMAGES = ("CustomResourceDefinition", "ClusterServingRuntime")
"""Kinds that name none that runs: definitions, and KServe's own model servers, as endpoints bring theirs."""
_NOT_RUN = ("--thanos-default-base-image=",)
"""Arguments whose image runs only where somebody asks for more than we do."""


def images_of(things: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The images that objects name, each once, in the order of their names."""
    found: set[str] = set()
    for thing in things:
        if thing.get("kind") not in _NO_IMAGES:
            found.update(_in_mapping(thing))
    return tuple(sorted(found))


def _in_mapping(thing: Mapping[str, Any]) -> Iterator[str]:
    if thing.get("enabled") is False:
        return
    yield from _apart(thing)
    for key, value in thing.items():
        if isinstance(value, str) and key.lower().endswith("image"):
            if _REFERENCE.fullmatch(value) and any(sign in value for sign in ":@"):
                yield value
        else:
            yield from _in_value(value)


def _in_value(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from _in_mapping(value)
    elif isinstance(value, list):
        for each in value:
            yield from _in_value(each)
    elif isinstance(value, str):
        yield from _in_text(value)


def _in_text(text: str) -> Iterator[str]:
    if text.startswith(_NOT_RUN):
        return
    named = _WITHIN_TEXT.fullmatch(text)
    if named:
        yield named[1]
    elif text.lstrip().startswith("{"):
        try:
            within = json.loads(text)
        except ValueError:
            return  # a template of something else
        yield from _in_value(within)


def _apart(thing: Mapping[str, Any]) -> Iterator[str]:
    """An image in pieces, as the GPU Operator and the gateway's controller name theirs."""
    repository, name = thing.get("repository"), thing.get("image")
    version = thing.get("version") or thing.get("tag")
    if isinstance(name, Mapping) or not all(isinstance(each, str) and each for each in (repository, version)):
        return
    whole = f"{repository}/{name}" if isinstance(name, str) and name else str(repository)
    yield f"{whole}{'@' if str(version).startswith('sha256:') else ':'}{version}"
