"""Read a PEFT LoRA adapter and add it to its base's weights, one tensor at a time.

Owns which adapters can be added to their base exactly; every other kind is refused by name. Source of names and
scaling: PEFT's ``LoraConfig`` and ``peft.utils.other.get_pattern_key``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ai_how.endpoints.engines.safetensors import Tensor, open_checkpoint
from ai_how.errors import SpecError
from ai_how.models import lora_config

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PREFIX = "base_model.model."
_LOW_RANK = re.compile(r"(.+)\.lora_([AB])(?:\.default)?\.weight")
# Settings that do not change W + scale * B @ A. Every other one that is set, those of later PEFT releases too, may
# (DoRA, QALoRA, layer replication, single tokens, activation by tokens, ...), so it is refused.
_PLAIN = frozenset(
    """alpha_pattern auto_mapping base_model_name_or_path bias ensure_weight_tying eva_config exclude_modules
    inference_mode init_lora_weights layers_pattern layers_to_transform lora_alpha lora_dropout megatron_core
    modules_to_save peft_type peft_version qalora_group_size r rank_pattern revision target_modules task_type
    use_rslora""".split()  # noqa: SIM905 (one name a line would be the longest list of the module)
)
# ways to begin training that leave the base's weights alone; PiSSA, OLoRA, CorDA and LoftQ change them
_KEEP_THE_BASE = ("gaussian", "eva", "orthogonal")


@dataclass(frozen=True, kw_only=True)
class Delta:
    """One pair of low-rank matrices: W + scale * up @ down."""

    down: Tensor
    up: Tensor
    scale: float


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter by the names of the base's tensors: ``deltas`` are added, ``replacements`` take their place."""

    deltas: Mapping[str, Delta]
    replacements: Mapping[str, Tensor]

    def merged(self, name: str, tensor: Tensor) -> NDArray[np.float32]:
        """The base's tensor with the adapter in it, as float32."""
        weights = self.replacements.get(name, tensor).float32()
        delta = self.deltas.get(name)
        if delta is not None:
            weights += delta.scale * (delta.up.float32() @ delta.down.float32())
        return weights


NO_ADAPTER = Adapter(deltas={}, replacements={})


def load_adapter(folder: Path, base: Mapping[str, Tensor], *, tied: bool) -> Adapter:
    """Read an adapter for a base whose tensors are ``base``; ``tied``: input and output embeddings are one tensor.

    Raises:
        SpecError: it is damaged, is of another kind than plain LoRA, or does not fit the base.
    """
    config = _read_config(folder)
    tensors = open_checkpoint(folder, "adapter_model")
    _require_plain_lora(config)
    for problem in lora_config.problems(config, {name: tensor.shape for name, tensor in tensors.items()}):
        raise _damaged(problem)
    trained_on = _trained_on(config)
    downs: dict[str, Tensor] = {}
    ups: dict[str, Tensor] = {}
    replacements: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        module, kind = _split(name)
        if module not in base and not (tied and module == "lm_head.weight"):
            raise _for_another_base(f"the base has no such tensor ({module})", trained_on)
        {"A": downs, "B": ups, "": replacements}[kind][module] = tensor
    deltas = _pairs(config, downs, ups)
    shapes = {name: tensor.shape for name, tensor in replacements.items()}
    shapes |= {name: (delta.up.shape[0], delta.down.shape[1]) for name, delta in deltas.items()}
    _require_untied(shapes.keys(), tied=tied)
    _require_sizes(base, shapes, trained_on)
    _require_numbers(tensors)
    return Adapter(deltas=deltas, replacements=replacements)


def check_sizes(adapter: Path, checkpoint: Path) -> None:
    """Refuse an adapter whose matrices are not of its base's sizes, by headers alone; the rest an engine says.

    Raises:
        SpecError: it was trained on another base, or it cannot be read.
    """
    config = _read_config(adapter)
    try:
        base = open_checkpoint(checkpoint)
    except SpecError:
        return  # quantized: its shapes are those of packed numbers
    if _no_plain_lora(config):
        return
    found = open_checkpoint(adapter, "adapter_model")
    parts = {_LOW_RANK.fullmatch(name.removeprefix(_PREFIX)): tensor for name, tensor in found.items()}
    sides = {(part[1] + ".weight", part[2]): tensor.shape for part, tensor in parts.items() if part}
    shapes = {
        name: (*sides[name, "B"][:1], *down[1:])
        for (name, side), down in sides.items()
        if side == "A" and (name, "B") in sides
    }
    _require_sizes(base, {name: shape for name, shape in shapes.items() if name in base}, _trained_on(config))


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "adapter_config.json").read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError("adapter_config.json cannot be read", evidence=str(error)) from error
    if not isinstance(config, dict):
        raise _damaged("adapter_config.json holds no JSON object")
    return config


def _require_plain_lora(config: Mapping[str, Any]) -> None:
    reason = _no_plain_lora(config)
    if reason:
        raise _of_other_kind(reason)


def _no_plain_lora(config: Mapping[str, Any]) -> str:
    """What is beyond W + scale * B @ A in an adapter, or nothing."""
    if config.get("peft_type") != "LORA":
        return f"adapter of type {config.get('peft_type')}"
    for key, value in config.items():
        if value and key not in _PLAIN:
            return f"it is no plain LoRA: {key} is set (adapter_config.json)"
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start not in _KEEP_THE_BASE:
        return f"training began with changed base weights ({start}) (init_lora_weights)"
    return ""


def _split(name: str) -> tuple[str, str]:
    """A tensor's name -> the module or tensor of the base, and A, B or nothing for a whole tensor."""
    name = name.removeprefix(_PREFIX)
    found = _LOW_RANK.fullmatch(name)
    if found:
        return found[1] + ".weight", found[2]
    if "lora_" in name:
        raise _of_other_kind(f"a low-rank part that is not a linear layer's ({name})")
    return name.replace(".modules_to_save.default", "").replace(".base_layer", ""), ""


def _pairs(config: Mapping[str, Any], downs: Mapping[str, Tensor], ups: Mapping[str, Tensor]) -> dict[str, Delta]:
    for name in sorted(downs.keys() ^ ups.keys()):
        raise _damaged(f"a low-rank matrix lacks its partner ({name})")
    for name, down in downs.items():
        shapes = (ups[name].shape, down.shape)
        if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][0]:
            raise _damaged(f"its two matrices cannot be multiplied: {_sizes(*shapes)} ({name})")
    return {
        name: Delta(down=down, up=ups[name], scale=_scale(config, name, down.shape[0])) for name, down in downs.items()
    }


def _scale(config: Mapping[str, Any], name: str, rank: int) -> float:
    default = config.get("lora_alpha", lora_config.DEFAULT_ALPHA)
    alpha = lora_config.of_module(config.get("alpha_pattern"), name.removesuffix(".weight"), default)
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _require_sizes(base: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], trained_on: str) -> None:
    for name, shape in shapes.items():
        if shape != base[name].shape:
            reason = f"it is for {_sizes(shape)}, the base has {_sizes(base[name].shape)} ({name})"
            raise _for_another_base(reason, trained_on)


def _require_untied(names: Collection[str], *, tied: bool) -> None:
    changed = {"model.embed_tokens.weight", "lm_head.weight"}.intersection(names)
    if tied and changed:
        # trained apart, the two would no longer be one tensor: which one the answer needs is not written down
        raise _of_other_kind(f"it changes embeddings that the base ties together ({min(changed)})")


def _require_numbers(tensors: Mapping[str, Tensor]) -> None:
    import numpy as np

    for name, tensor in tensors.items():
        numbers = tensor.float32()
        unsound = numbers.size - np.count_nonzero(np.isfinite(numbers))
        if unsound:
            raise SpecError(
                "the adapter's weights are no numbers",
                evidence=f"{unsound} of {numbers.size} are NaN or infinite ({name})",
                next_step="its training broke down: push a checkpoint from before that",
            )


def _trained_on(config: Mapping[str, Any]) -> str:
    return str(config.get("base_model_name_or_path") or "")


def _sizes(*shapes: tuple[int, ...]) -> str:
    return " and ".join(" x ".join(map(str, shape)) for shape in shapes)


def _of_other_kind(reason: str) -> SpecError:
    return SpecError(
        "the adapter cannot be added to its base exactly",
        evidence=reason,
        next_step="serve it as a whole model, on an endpoint of its own: PEFT's merge_and_unload, then save_pretrained",
    )


def _for_another_base(reason: str, trained_on: str) -> SpecError:
    return SpecError(
        "the adapter was trained on another base",
        evidence=reason,
        next_step=f"serve it on the base that it was trained on{f': {trained_on}' if trained_on else ''}",
    )


def _damaged(reason: str) -> SpecError:
    return SpecError(
        "the adapter is damaged",
        evidence=reason,
        next_step="copy adapter_config.json and adapter_model.safetensors again, both from the same training",
    )
