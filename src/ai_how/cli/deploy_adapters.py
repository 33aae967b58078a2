"""Adapters that share an endpoint's base, as the ``deploy`` commands take and find them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ai_how.endpoints.types import TAG_PATTERN
from ai_how.errors import AiHowError, SpecError

if TYPE_CHECKING:
    from pathlib import Path

    from ai_how.endpoints.adapters import Version, WantedAdapter
    from ai_how.endpoints.types import EndpointSpec, ServedAdapter
    from ai_how.models.types import RegisteredVersion, Stores

Function = TypeVar("Function", bound=Callable[..., Any])
REGISTERED = "model://"


def adapter_option(help_text: str) -> Callable[[Function], Function]:
    """``--adapter TAG=SOURCE``, as a mapping from tag to source."""
    return click.option("--adapter", "adapters", multiple=True, metavar="TAG=SOURCE", callback=_by_tag, help=help_text)


def _by_tag(_context: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        tag, equals, source = value.partition("=")
        if not equals or not source or not re.fullmatch(TAG_PATTERN, tag):
            raise SpecError(
                f"--adapter {value} names no adapter",
                evidence="a tag of lower-case letters, digits and dashes, 20 at most, and where the adapter is",
                next_step="for example: --adapter support=output/support-adapter",
            )
        if tag in found:
            raise SpecError(
                f"two adapters have the tag {tag}",
                evidence=f"{found[tag]}, {source}",
                next_step="give each its own tag",
            )
        found[tag] = source
    return found


def find_adapters(
    sources: Mapping[str, str], *, name: str, stores: Stores, push: bool, quiet: bool
) -> tuple[WantedAdapter, ...]:
    """The versions that sources mean; one that is not registered is pushed as ``NAME-TAG``.

    Args:
        push: False: nothing is sent, and what is not registered is what a push would make of it.
    """
    from ai_how.cli.model import foresee_with_progress, push_with_progress
    from ai_how.endpoints.adapters import named_in_errors
    from ai_how.endpoints.rollout.journal import may_move
    from ai_how.models.library import resolve

    found = []
    for tag, source in sources.items():
        if source.startswith(REGISTERED):
            version = resolve(source.removeprefix(REGISTERED), stores)
            found.append(_wanted(tag, version, stores, model_ref=may_move(source)))
            continue
        model = f"{name}-{tag}"
        with named_in_errors(tag):
            check_is_path(source, stores)
            if push:
                version = push_with_progress(source, name=model, aliases=(), stores=stores, quiet=quiet)
            else:
                version = foresee_with_progress(source, name=model, stores=stores, quiet=quiet)
        found.append(_wanted(tag, version, stores))
    return tuple(found)


def _wanted(tag: str, version: RegisteredVersion, stores: Stores, *, model_ref: str = "") -> WantedAdapter:
    from ai_how.endpoints.adapters import WantedAdapter, called, named_in_errors
    from ai_how.models.registered import registered_rank
    from ai_how.models.shape import folder_rank

    folder = _folder_here(version, stores)
    with named_in_errors(tag, called(version)):
        rank = folder_rank(folder) if folder else registered_rank(version, stores.access)
    return WantedAdapter(tag=tag, version=version, rank=rank, model_ref=model_ref)


def check_fit(
    adapters: Sequence[WantedAdapter],
    stores: Stores,
    *,
    name: str,
    version: RegisteredVersion,
    base: RegisteredVersion | None,
) -> None:
    """Refuse adapters that were trained on another base, as far as the files are on this machine: nothing is fetched.

    Raises:
        SpecError: one is for a base of other sizes.
    """
    from ai_how.endpoints.adapters import called, named_in_errors
    from ai_how.endpoints.engines.lora import check_sizes
    from ai_how.models.types import ModelFormat

    shared = _folder_here(base or version, stores)
    on_it = {one.tag: one.version for one in adapters} | ({name: version} if base else {})
    for tag, adapter in on_it.items():
        folder = _folder_here(adapter, stores)
        if shared and folder and adapter.info.format is ModelFormat.PEFT_ADAPTER:
            with named_in_errors(tag, called(adapter)):
                check_sizes(folder, shared)


def _folder_here(version: Version, stores: Stores) -> Path | None:
    """Where a version's files are on this machine: where they are pushed from, or as replicas have fetched them."""
    from pathlib import Path

    from ai_how.models.types import NOT_REGISTERED

    folder = stores.cache_dir / "models" / version.digest
    if version.version == NOT_REGISTERED and Path(version.source).is_dir():
        folder = Path(version.source)
    return folder if folder.is_dir() else None


def check_is_path(source: str, stores: Stores) -> None:
    """A registered version that is named as if it were a path is told what to write."""
    from pathlib import Path

    from ai_how.models.library import resolve

    if "://" in source or Path(source).expanduser().exists():
        return
    try:
        found = resolve(source, stores)
    except AiHowError:
        return  # it is no version either: that the path is wrong is said by who reads it
    raise SpecError(
        f"{source} does not exist here",
        evidence=f"model {found.name}/{found.version} is registered",
        next_step=f"write {REGISTERED}{source}",
    )


def registered_adapters(references: Mapping[str, str], stores: Stores) -> tuple[WantedAdapter, ...]:
    """The versions that references to registered models mean."""
    sources = {tag: f"{REGISTERED}{ref.removeprefix(REGISTERED)}" for tag, ref in references.items()}
    return find_adapters(sources, name="", stores=stores, push=False, quiet=True)


def present_adapters(spec: EndpointSpec, stores: Stores, *, follow: bool) -> tuple[WantedAdapter, ...]:
    """The adapters that an endpoint has.

    Args:
        follow: Those that were named by an alias are what the alias means now.
    """
    from ai_how.models.library import resolve

    def version(one: ServedAdapter) -> RegisteredVersion:
        moved = follow and one.model_ref
        return resolve(one.model_ref if moved else f"{one.model_name}/{one.model_version}", stores)

    return tuple(_wanted(one.tag, version(one), stores, model_ref=one.model_ref) for one in spec.adapters)
