"""Does an adapter's configuration make sense, and do its tensors agree with it? Pure: JSON and shapes, never weights.

Owns what is refused of a LoRA adapter whatever its base is. What PEFT itself writes must pass, so that other kinds of
adapters, and settings that nothing here depends on, are not looked at.
Source: PEFT's ``LoraConfig``, ``peft.utils.other.get_pattern_key`` and ``PeftModelForSequenceClassification``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

DEFAULT_ALPHA = 8
"""PEFT's, where a configuration has none."""

_PREFIX = "base_model.model."
# what float32 can hold
_LARGEST = 3.4e38


def problems(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """What is wrong with an adapter: of its configuration, each setting; then of its tensors, by name and shape."""
    if config.get("peft_type") == "LORA":
        unsound = [*_of_settings(config)]
        yield from (f"adapter_config.json: {problem}" for problem in unsound)
        if not unsound and shapes:
            yield from _of_ranks(config, shapes)
            yield from _of_whole_modules(config, shapes)
    if not shapes:
        yield "the adapter holds no tensors: nothing was trained, or the weights were not there when it was saved"


def of_module(pattern: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """The value that a ``rank_pattern`` or ``alpha_pattern`` has for a module: that of the first key that matches."""
    found = (value for key, value in (pattern or {}).items() if re.match(rf"(?:.*\.)?({key})$", module))
    return next(found, default)


def _of_settings(config: Mapping[str, Any]) -> Iterator[str]:
    if not _is_rank(config.get("r", 1)):
        yield f"r is {config['r']!r}, not a rank: a whole number from 1"
    if not _is_number(config.get("lora_alpha", DEFAULT_ALPHA)):
        yield f"lora_alpha is {config['lora_alpha']!r}, not a number"
    if type(config.get("use_rslora")) not in (bool, type(None)):
        yield f"use_rslora is {config['use_rslora']!r}, neither true nor false"
    yield from _of_pattern(config, "rank_pattern", _is_rank, "ranks")
    yield from _of_pattern(config, "alpha_pattern", _is_number, "numbers")
    targets = config.get("target_modules")
    if targets is None and not config.get("target_parameters"):
        # PEFT has put its own choice there by the time it saves
        yield "target_modules is not set: which modules were trained is not said"
    elif not (targets is None or isinstance(targets, str) or _are_names(targets)):
        yield f"target_modules is {targets!r}, neither a text nor a list of names"
    whole = config.get("modules_to_save")
    if not (whole is None or _are_names(whole)):
        yield f"modules_to_save is {whole!r}, not a list of names"


def _of_pattern(config: Mapping[str, Any], key: str, is_sound: Callable[[Any], bool], kind: str) -> Iterator[str]:
    pattern = config.get(key)
    if pattern is None:
        return
    if not isinstance(pattern, dict):
        yield f"{key} is {pattern!r}, not a mapping from modules to {kind}"
        return
    yield from (
        f"{key} has {value!r} for {name}: its values are {kind}"
        for name, value in pattern.items()
        if not is_sound(value)
    )
    yield from (f"{key}: {name} is no regular expression" for name in pattern if not _is_expression(name))


def _of_ranks(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """The first dimension of each A; that of B, and those of experts' parameters, depend on the kind of module."""
    if "r" not in config or config.get("target_parameters"):
        return
    others = []
    for name, shape in shapes.items():
        found = re.fullmatch(r"(.+)\.lora_A(?:\.[^.]+)?\.weight", name.removeprefix(_PREFIX))
        rank = found and of_module(config.get("rank_pattern"), found[1], config["r"])
        if found and shape[:1] != (rank,):
            others.append(
                f"{found[1]} has rank {shape[0] if shape else 'none'} in the weights, {rank} in the configuration"
            )
    if others:
        yield others[0] + (f"; so have {len(others) - 1} more modules" if len(others) > 1 else "")


def _of_whole_modules(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """PEFT adds names of its own for classifiers, of which a model has one: so not every name has tensors."""
    names = config.get("modules_to_save") or ()
    parents = [name.removeprefix(_PREFIX).split(".")[:-1] for name in shapes if "lora_" not in name]
    modules = [".".join(parent[: depth + 1]) for parent in parents for depth in range(len(parent))]
    if names and not any(module.endswith(name) for module in modules for name in names):
        yield f"modules_to_save names {', '.join(names)}, but the weights have no tensor of it"


def _is_rank(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -_LARGEST < value < _LARGEST


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_expression(text: str) -> bool:
    try:
        re.compile(rf"(?:.*\.)?({text})$")
    except re.error:
        return False
    return True
