"""The deploy file: the YAML that `oumi deploy up` takes, and the flags that replace its values.

Keys, defaults and limits are Oumi's, with three differences: ``provider`` may be left out (it is ``ai-how``),
``hardware.accelerator`` defaults to ``auto``: what this machine has, and ``model_name`` must do as a part of addresses.
Source: ``oumi.deploy.deploy_config`` of Oumi 0.9.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ai_how.endpoints.types import ANY_ACCELERATOR, OTHER_PROVIDERS, PROVIDER, TAG_PATTERN, Autoscaling, Hardware
from ai_how.site.mistakes import Key, Mistake, in_order, spec_error
from ai_how.site.yaml_lines import Document, Place, parse, read_text, shown_path


class ModelType(StrEnum):
    """Whole weights, or an adapter on top of a base model."""

    FULL = "full"
    ADAPTER = "adapter"


@dataclass(frozen=True, kw_only=True)
class DeployFile:
    """What to deploy. ``model_source`` is as written: a relative path starts from the current folder, as in Oumi.

    ``base_model`` is set where ``model_type`` is adapter. ``adapters`` are more on the same base, tag to source.
    """

    model_source: str
    provider: str = PROVIDER
    model_name: str = "deployed-model"
    model_type: ModelType = ModelType.FULL
    base_model: str | None = None
    adapters: Mapping[str, str] = field(default_factory=dict)
    hardware: Hardware = field(default_factory=lambda: Hardware(accelerator=ANY_ACCELERATOR))
    autoscaling: Autoscaling = field(default_factory=Autoscaling)
    test_prompts: tuple[str, ...] = ()


AdapterTag = Annotated[str, Field(pattern=f"^{TAG_PATTERN}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class HardwareKeys(_Section):
    """What each replica runs on."""

    accelerator: Annotated[str, Field(min_length=1)] = ANY_ACCELERATOR
    """auto (a GPU where there is one), cpu, or a GPU in Oumi's spelling, such as nvidia_a100_80gb; `ai-how deploy
    list-hardware` shows yours."""
    count: Annotated[int, Field(ge=1)] = Hardware.count
    """GPUs of one replica; 1 for cpu."""


class AutoscalingKeys(_Section):
    """How many replicas there may be; min_replicas at most max_replicas."""

    min_replicas: Annotated[int, Field(ge=0)] = Autoscaling.min_replicas
    """Replicas that are kept even when nobody asks; 0 lets the model sleep until a request wakes it."""
    max_replicas: Annotated[int, Field(ge=1)] = Autoscaling.max_replicas
    """Replicas under load."""


class DeployKeys(_Section):
    """The file's keys; the schema behind messages and the reference page."""

    model_source: Annotated[str, Field(min_length=1)]
    """Checkpoint folder, GGUF file, hf://org/name or model://name@alias; paths are relative to the current folder."""
    provider: Literal["ai-how", "kserve"] = "ai-how"
    """ai-how: your own machines, as the site has them; kserve: only on a cluster with KServe."""
    model_name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")] = "deployed-model"
    """Name of the endpoint, which clients send as `model`."""
    model_type: Literal["full", "adapter"] = "full"
    """Whole weights, or an adapter (LoRA) on top of `base_model`."""
    base_model: str | None = None
    """The model that an adapter belongs to; needed for `model_type: adapter`."""
    adapters: dict[AdapterTag, Annotated[str, Field(min_length=1)]] = {}
    """More LoRA adapters on the same base, which is loaded once: a tag, and a folder, hf://org/name or
    model://name@alias. Clients send `NAME:TAG` as `model`."""
    hardware: HardwareKeys = HardwareKeys()
    autoscaling: AutoscalingKeys = AutoscalingKeys()
    test_prompts: list[str] = []
    """Prompts that the endpoint must answer before `deploy up` ends."""


_REMARKS: dict[tuple[str, str | None], tuple[str, str]] = {
    **{
        ("provider", other): (f"{other} is another provider", f"write {PROVIDER} here for your own machines")
        for other in OTHER_PROVIDERS
    },
    ("model_source", None): ("has no value", "write model_source: and a path, or pass --model-path"),
    ("model_source", ""): ("has no value", "write model_source: and a path, or pass --model-path"),
    ("hardware.accelerator", ""): ("has no value", "write cpu, or a GPU such as nvidia_a100_80gb"),
}


def load_deploy_file(
    path: Path | None,
    *,
    model_path: str | None = None,
    hardware: str | None = None,
    name: str | None = None,
    provider: str | None = None,
    endpoint: str | None = None,
    adapters: Mapping[str, str] | None = None,
) -> tuple[DeployFile, list[Mistake]]:
    """Read and check a deploy file, with the flags that replace what it says; None for flags alone.

    Args:
        endpoint: An endpoint that is there and is changed: the name in the file does not count, and is warned of.
        adapters: Tag to source, beside those of the file, or instead of one of the same tag.

    Returns:
        What to deploy, and a warning for each unknown key: these are ignored, as Oumi does.

    Raises:
        SpecError: the evidence lists every mistake as ``file:line:column: message``.
    """
    document = _read(path)
    other_name = _other_name(document, endpoint)
    _apply_flags(
        document,
        {
            ("model_source",): ("--model-path", model_path),
            ("hardware", "accelerator"): ("--hardware", hardware),
            ("model_name",): ("--name", endpoint or name),
            ("provider",): ("--provider", provider),
            **{("adapters", tag): (f"--adapter {tag}", source) for tag, source in (adapters or {}).items()},
        },
    )
    _lower_case(document)
    deploy, mistakes, warnings = _check(document)
    if deploy is None:
        raise _refusal(path, mistakes)
    return deploy, in_order([*warnings, *other_name])


def _other_name(document: Document, endpoint: str | None) -> list[Mistake]:
    written = document.get(("model_name",))
    if endpoint is None or written in (None, endpoint):
        return []
    return [document.at_value(("model_name",), f"is {written}, and is not taken: the endpoint is {endpoint}")]


def _read(path: Path | None) -> Document:
    if path is None:
        return Document(file="command line", places={(): Place(file="command line")})
    text, mistakes = read_text(path, where_from="give the path of a deploy file, or --model-path without a file")
    document = parse(text, shown_path(path)) if not mistakes else Document(file=str(path), mistakes=mistakes)
    if document.mistakes and not document.data:
        raise _refusal(path, document.mistakes)
    return document


def _refusal(path: Path | None, mistakes: list[Mistake]) -> Exception:
    what = "the command line" if path is None else shown_path(path)
    return spec_error(what, mistakes, next_step="correct it and run the command again")


def _apply_flags(document: Document, flags: dict[Key, tuple[str, str | None]]) -> None:
    """Put flags in the place of the file's values, so that a value that is replaced is not checked."""
    for key, (flag, value) in flags.items():
        if value is None:
            continue
        section: Any = document.data
        for part in key[:-1]:
            section = section.setdefault(part, {})
        if isinstance(section, dict):
            section[key[-1]] = value
            document.places[key] = Place(file=flag, text=value)


def _lower_case(document: Document) -> None:
    """Oumi reads these without regard to case."""
    for key in (("provider",), ("model_type",), ("hardware", "accelerator")):
        value, section = document.get(key), document.get(key[:-1])
        if isinstance(value, str):
            section[key[-1]] = value.lower()


def _check(document: Document) -> tuple[DeployFile | None, list[Mistake], list[Mistake]]:
    """Deploy file, mistakes, warnings; the deploy file is None where there are mistakes. Pure."""
    from ai_how.site.check import check

    checked = check(DeployKeys, document, remarks=_REMARKS | _name_remark(document))
    mistakes = in_order([*document.mistakes, *checked.mistakes, *_across_keys(document)])
    if checked.value is None or mistakes:
        # an unknown key may be the slip that a mistake comes from
        return None, in_order([*mistakes, *checked.unknown_keys]), []
    return _deploy_file(checked.value), [], in_order(checked.unknown_keys)


def _name_remark(document: Document) -> dict[tuple[str, str | None], tuple[str, str]]:
    """Oumi takes any name; here it becomes part of addresses and file names, so a near one is offered."""
    name = document.get(("model_name",))
    if not isinstance(name, str):
        return {}
    near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "my-model"
    problem = "takes lower-case letters, digits and dashes, 40 at most"
    return {("model_name", name): (problem, f"write {near}")}


def _across_keys(document: Document) -> list[Mistake]:
    mistakes = []
    low, high = document.get(("autoscaling", "min_replicas")), document.get(("autoscaling", "max_replicas"))
    low = Autoscaling.min_replicas if low is None else low
    high = Autoscaling.max_replicas if high is None else high
    if isinstance(low, int) and isinstance(high, int) and 1 <= high < low:
        problem = f"{low} is more than max_replicas, {high}"
        mistakes.append(document.at_value(("autoscaling", "min_replicas"), problem, "write max_replicas or less"))
    if document.get(("model_type",)) == ModelType.ADAPTER and not document.get(("base_model",)):
        remedy = "write base_model: and the model that the adapter belongs to"
        mistakes.append(document.at_value(("model_type",), "adapter needs base_model", remedy))
    return mistakes


def _deploy_file(keys: DeployKeys) -> DeployFile:
    return DeployFile(
        model_source=keys.model_source,
        provider=keys.provider,
        model_name=keys.model_name,
        model_type=ModelType(keys.model_type),
        base_model=keys.base_model,
        adapters=dict(sorted(keys.adapters.items())),
        hardware=Hardware(accelerator=keys.hardware.accelerator, count=keys.hardware.count),
        autoscaling=Autoscaling(min_replicas=keys.autoscaling.min_replicas, max_replicas=keys.autoscaling.max_replicas),
        test_prompts=tuple(keys.test_prompts),
    )
