"""Read a PEFT LoRA adapter and add it to its base's weights, one tensor at a time.

Owns which adapters can be merged exactly; every other kind is refused by name. Source of names and scaling: PEFT's
``LoraConfig`` and ``peft.utils.other.get_pattern_key``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ai_how.endpoints.engines.safetensors import Tensor, open_checkpoint
from ai_how.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PREFIX = "base_model.model."
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
    try:
        config = json.loads((folder / "adapter_config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise SpecError("adapter_config.json cannot be read", evidence=str(error)) from error
    _require_plain_lora(config)
    downs: dict[str, Tensor] = {}
    ups: dict[str, Tensor] = {}
    replacements: dict[str, Tensor] = {}
    for name, tensor in open_checkpoint(folder, "adapter_model").items():
        module, kind = _split(name)
        target = {"A": downs, "B": ups, "": replacements}[kind]
        target[_base_name(module, base)] = tensor
    if downs.keys() != ups.keys():
        raise _refused("a low-rank matrix lacks its partner", sorted(downs.keys() ^ ups.keys())[0])
    deltas = {
        name: Delta(down=downs[name], up=ups[name], scale=_scale(config, name, downs[name].shape[0])) for name in downs
    }
    _require_fit(base, deltas, replacements, tied=tied)
    return Adapter(deltas=deltas, replacements=replacements)


def _require_plain_lora(config: Mapping[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise _refused(f"adapter of type {config.get('peft_type')}", "")
    for key, value in config.items():
        if value and key not in _PLAIN:
            raise _refused(f"it is no plain LoRA: {key} is set", "adapter_config.json")
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start not in _KEEP_THE_BASE:
        raise _refused(f"training began with changed base weights ({start})", "init_lora_weights")


def _split(name: str) -> tuple[str, str]:
    """A tensor's name -> the module or tensor of the base, and A, B or nothing for a whole tensor."""
    name = name.removeprefix(_PREFIX)
    found = re.fullmatch(r"(.+)\.lora_([AB])(?:\.default)?\.weight", name)
    if found:
        return found[1] + ".weight", found[2]
    if "lora_" in name:
        raise _refused("a low-rank part that is not a linear layer's", name)
    return name.replace(".modules_to_save.default", "").replace(".base_layer", ""), ""


def _base_name(name: str, base: Mapping[str, Tensor]) -> str:
    if name not in base and name != "lm_head.weight":
        raise _refused("the base has no such tensor", name)
    return name


def _scale(config: Mapping[str, Any], name: str, rank: int) -> float:
    module = name.removesuffix(".weight")
    patterns: Mapping[str, float] = config.get("alpha_pattern") or {}
    alpha = next(
        (value for key, value in patterns.items() if re.match(rf"(?:.*\.)?({key})$", module)),
        config["lora_alpha"],
    )
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _require_fit(
    base: Mapping[str, Tensor],
    deltas: Mapping[str, Delta],
    replacements: Mapping[str, Tensor],
    *,
    tied: bool,
) -> None:
    embeddings = {"model.embed_tokens.weight", "lm_head.weight"}
    changed = embeddings & (deltas.keys() | replacements.keys())
    if tied and changed:
        # trained apart, the two would no longer be one tensor: which one the answer needs is not written down
        raise _refused("it changes embeddings that the base ties together", sorted(changed)[0])
    for name, delta in deltas.items():
        if name not in base or (delta.up.shape[0], delta.down.shape[1]) != base[name].shape:
            raise _refused("its size is not the base's: is it the right base model?", name)
    for name, tensor in replacements.items():
        if name not in base or tensor.shape != base[name].shape:
            raise _refused("its size is not the base's: is it the right base model?", name)


def _refused(reason: str, where: str) -> SpecError:
    return SpecError(
        "this adapter cannot be merged into its base",
        evidence=f"{reason} ({where})" if where else reason,
        next_step="merge it with PEFT (merge_and_unload, save_pretrained) and push the merged model",
    )
