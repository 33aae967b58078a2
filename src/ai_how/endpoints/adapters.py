"""LoRA adapters that share an endpoint's base: which may, and what the spec keeps of them. Pure.

Whether an adapter's matrices fit the base is the engine's check: it alone reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from ai_how.capacity.model_memory import ModelInMemory
from ai_how.endpoints.types import EndpointSpec, ServedAdapter
from ai_how.errors import SpecError
from ai_how.models.shape import DEFAULT_RANK
from ai_how.models.types import NOT_REGISTERED, ModelFormat, ModelInfo


class Version(Protocol):
    """A version of a model, registered or about to be."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def uri(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def info(self) -> ModelInfo: ...
    @property
    def source(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class WantedAdapter:
    """A version to be served under a tag. ``rank`` and ``model_ref`` as in ``ServedAdapter``."""

    tag: str
    version: Version
    rank: int = 0
    model_ref: str = ""


def served_adapters(
    wanted: Sequence[WantedAdapter],
    *,
    version: Version,
    base: Version | None,
) -> tuple[ServedAdapter, ...]:
    """What the spec keeps of adapters beside ``version``, ordered by tag.

    Raises:
        SpecError: one is no adapter, or the model that they share takes none.
    """
    if wanted:
        _check_base(wanted[0].tag, base or version)
    return tuple(_served(one) for one in sorted(wanted, key=lambda one: one.tag))


def _check_base(tag: str, base: Version) -> None:
    if base.info.format is ModelFormat.HUGGING_FACE:
        return
    raise SpecError(
        f"{called(base)} cannot be the base of adapter {tag}",
        evidence=f"its format is {base.info.format}; adapters share a Hugging Face checkpoint",
        next_step="name one: model_source with model_type: full, or base_model with model_type: adapter",
    )


def _served(wanted: WantedAdapter) -> ServedAdapter:
    version = wanted.version
    if version.info.format is not ModelFormat.PEFT_ADAPTER:
        raise SpecError(
            f"{called(version)} is no adapter, and cannot be served as {wanted.tag}",
            evidence=f"its format is {version.info.format}",
            next_step="give a whole model an endpoint of its own: ai-how deploy up --model-path ...",
        )
    return ServedAdapter(
        tag=wanted.tag,
        model_name=version.name,
        model_version=version.version,
        model_uri=version.uri,
        model_digest=version.digest,
        rank=wanted.rank,
        model_ref=wanted.model_ref,
    )


@contextmanager
def named_in_errors(tag: str, version: str = "") -> Iterator[None]:
    """Let an error that is about an adapter say which one it is."""
    try:
        yield
    except SpecError as error:
        brief = f"adapter {tag} ({version}): {error.brief}" if version else f"adapter {tag}: {error.brief}"
        raise SpecError(brief, evidence=error.evidence, next_step=error.next_step) from error


def called(version: Version) -> str:
    """What a user knows a version by: before it is registered, where its files are."""
    return version.source if version.version == NOT_REGISTERED else f"{version.name}/{version.version}"


def base_warnings(version: Version, wanted: Sequence[WantedAdapter]) -> tuple[str, ...]:
    """What to say where adapters name different bases: they may well mean the same one, from another folder."""
    named = {one.tag: one.version.info.base_model for one in wanted}
    if version.info.format is ModelFormat.PEFT_ADAPTER:
        named = {version.name: version.info.base_model, **named}
    bases = {(base or "").rstrip("/").rpartition("/")[2].lower() for base in named.values() if base}
    if len(bases) < 2:
        return ()
    said = ", ".join(f"{name}: {base}" for name, base in named.items())
    return (f"warning: the adapters name different bases ({said}); one that does not fit is refused at the start",)


def removal_note(spec: EndpointSpec, present: EndpointSpec | None) -> tuple[str, ...]:
    """What to say where an endpoint would lose adapters that it serves now: a set that is named is the whole set."""
    kept = {one.tag for one in spec.adapters}
    gone = [one.tag for one in (present.adapters if present else ()) if one.tag not in kept]
    if not gone:
        return ()
    return (f"removes adapters: {', '.join(gone)} (those that are to stay must be named too)",)


def with_adapters(memory: ModelInMemory, adapters: Sequence[ServedAdapter]) -> ModelInMemory:
    """The model with room for adapters beside it: vLLM makes the same room for each, by the largest."""
    if not adapters:
        return memory
    ranks = [memory.adapter_rank, *(one.rank or DEFAULT_RANK for one in adapters)]
    return replace(memory, adapter_rank=max(ranks), adapters=len(adapters) + bool(memory.adapter_rank))
