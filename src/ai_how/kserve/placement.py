"""Where a model goes: which kind of GPU, on which nodes, and why not the others. Pure.

The smallest GPU that fits is taken, so that the large ones stay free for what needs them; of equal ones, a node that
then has the fewest left. The kind is what the pods ask for; the node is the scheduler's to choose.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ai_how.accelerators.catalogue import by_name
from ai_how.capacity.fit_advice import advice
from ai_how.capacity.gpu_memory import UsableGpu
from ai_how.capacity.model_memory import GIB, Fits, Load, ModelInMemory, judge
from ai_how.endpoints.engines.vllm import LEAST_COMPUTE_CAPABILITY
from ai_how.endpoints.types import ANY_ACCELERATOR, Hardware
from ai_how.errors import SpecError
from ai_how.kserve.node_facts import SHARED, card, label_values
from ai_how.kserve.nodes import GpuNode, GpuPool, Placement

CPU = "cpu"


@dataclass(frozen=True, kw_only=True)
class Option:
    """GPUs of one kind on one node. ``refusal`` says why they cannot be taken; ``full``: could be, but are in use."""

    node: str
    pool: GpuPool
    fits: Fits
    refusal: str = ""
    full: bool = False

    @property
    def words(self) -> str:
        """Why not, in a few words; empty where it could go there now."""
        taken = f"in use: {self.pool.taken} of {self.pool.count}" if self.full else ""
        return self.refusal or taken


@dataclass(frozen=True, kw_only=True)
class Placing:
    """What was looked at, node by node, and what was chosen. ``waits``: it could go there, but nothing is free now."""

    options: tuple[Option, ...]
    chosen: Option
    placement: Placement
    waits: bool = False


def place(model: ModelInMemory, nodes: Sequence[GpuNode], *, wanted: Hardware, load: Load) -> Placing:
    """Where the model goes.

    Args:
        wanted: ``auto`` or a GPU's name, and how many for each replica.
        load: What each replica is asked for; its ``gpus`` are ``wanted.count``.

    Raises:
        SpecError: it can go nowhere; the evidence has a line for each node, the next step what would help.
    """
    if wanted.accelerator == CPU:
        raise SpecError(
            "this cluster serves on GPUs only",
            evidence="hardware.accelerator is cpu",
            next_step="leave hardware out, or serve it on a site of provider local",
        )
    options = tuple(_option(model, node, pool, wanted, load) for node in nodes for pool in node.pools)
    able = [option for option in options if not option.refusal]
    if not able:
        raise _nowhere(model, options, wanted, load)
    free = [option for option in able if not option.full]
    chosen = min(free or able, key=_size)
    return Placing(options=options, chosen=chosen, placement=_placement(chosen, options, wanted), waits=not free)


def rows(placing: Placing) -> list[tuple[str, str, str, str, str]]:
    """A table for people: node, GPU, free, whether it fits, why not."""
    found = []
    for option in placing.options:
        if option is placing.chosen:
            why = f"chosen, and waits: {option.words}" if placing.waits else "chosen"
        else:
            alike = option.pool.product == placing.chosen.pool.product
            why = option.words or ("may be taken as well" if alike else "larger than needed")
        free = f"{option.pool.free} of {option.pool.count}"
        found.append((option.node, spelling(option.pool.product), free, str(option.fits), why))
    return found


def spelling(product: str) -> str:
    """A product's label as a name for ``hardware.accelerator``: Oumi's where it has one, else ours alike."""
    known = card(product)
    if known and known.oumi_names:
        return known.oumi_names[0]
    words = re.findall(r"[a-z0-9.]+", product.removesuffix(SHARED).lower())
    return "_".join(["nvidia", *(word for word in words if word not in ("nvidia", "tesla", "quadro", "geforce"))])


def _option(model: ModelInMemory, node: GpuNode, pool: GpuPool, wanted: Hardware, load: Load) -> Option:
    refusal = node.closed or _other_kind(pool, wanted) or _too_few(pool, wanted.count) or _too_old(pool)
    gpu = _usable(pool)
    if not pool.memory_gib:
        fits = Fits.UNKNOWN
    else:
        verdict = judge(model, gpu, load)
        fits = verdict.fits
        lacking = -verdict.waterfall.free_bytes / GIB if verdict.waterfall else 0.0
        if fits is Fits.NO:
            refusal = refusal or verdict.refusal or f"too small: {lacking:.1f} GiB short on each GPU"
    full = not refusal and pool.free < wanted.count
    return Option(node=node.name, pool=pool, fits=fits, refusal=refusal, full=full)


def _usable(pool: GpuPool) -> UsableGpu:
    """One GPU as a replica finds it: of a shared one its part."""
    return UsableGpu(
        name=pool.product.replace("-", " "),
        nominal_gib=pool.memory_gib,
        usable_gib=pool.memory_gib / pool.turns,
        source="the node's labels",
        compute_capability=pool.compute_capability,
    )


def _other_kind(pool: GpuPool, wanted: Hardware) -> str:
    if wanted.accelerator in (ANY_ACCELERATOR, spelling(pool.product)):
        return ""
    asked, has = by_name(wanted.accelerator), card(pool.product)
    # Oumi's name means a board, people mean a chip with so much memory
    same_chip = (
        asked is not None
        and has is not None
        and asked.memory_gib == has.memory_gib
        and _chip(asked.name) == _chip(has.name)
    )
    return "" if same_chip else f"not the {wanted.accelerator} that was asked for"


def _chip(name: str) -> str:
    """The name without vendor, form and memory: ``A100`` of ``NVIDIA A100 PCIe 80GB``."""
    left_out = re.compile(r"nvidia|tesla|quadro|geforce|sxm\d*|pcie|nvl|\d+gb")
    return " ".join(word for word in re.findall(r"[a-z0-9]+", name.lower()) if not left_out.fullmatch(word))


def _too_few(pool: GpuPool, count: int) -> str:
    if count > 1 and pool.mig:
        return "slices of MIG cannot share a model"
    if count > 1 and pool.turns > 1:
        return "GPUs that are shared in turns cannot share a model"
    return f"{count} GPUs are wanted of one node, it has {pool.count}" if pool.count < count else ""


def _too_old(pool: GpuPool) -> str:
    least, has = LEAST_COMPUTE_CAPABILITY, pool.compute_capability
    if has is None or has[0] + has[1] / 10 >= least:
        return ""
    return f"too old for vLLM: compute {has[0]}.{has[1]}, needs {least}"


def _size(option: Option) -> tuple[float, tuple[int, int], int, str]:
    pool = option.pool
    # of unknown size: last
    return pool.memory_gib / pool.turns or math.inf, pool.compute_capability or (0, 0), pool.free, option.node


def _placement(chosen: Option, options: Sequence[Option], wanted: Hardware) -> Placement:
    pool = chosen.pool
    alike = [each for each in options if (each.pool.product, each.pool.resource) == (pool.product, pool.resource)]
    return Placement(
        accelerator=spelling(pool.product),
        products=(pool.product, *pool.spellings) if pool.product else (),
        count=wanted.count,
        resource=pool.resource,
        memory_share=1 / pool.turns,
        compute_capability=pool.compute_capability,
        nodes=tuple(dict.fromkeys(each.node for each in alike)),
        total=sum(each.pool.count for each in alike),
    )


def planned_placement(wanted: Hardware) -> Placement:
    """The placement for a GPU that is named, while nothing is known of nodes.

    Raises:
        SpecError: none is named, or none that the catalogue knows.
    """
    known = None if wanted.accelerator in (ANY_ACCELERATOR, CPU) else by_name(wanted.accelerator)
    if known is None:
        raise SpecError(
            f"no GPU is known by {wanted.accelerator!r}, and the site file says nothing of the nodes' GPUs",
            next_step="name one in the deploy file, as hardware.accelerator, or as gpu_model in the site file",
        )
    return Placement(
        accelerator=wanted.accelerator,
        products=label_values(known),
        count=wanted.count,
        compute_capability=known.compute_capability,
    )


def _nowhere(model: ModelInMemory, options: Sequence[Option], wanted: Hardware, load: Load) -> SpecError:
    asked = f"{wanted.count}x {wanted.accelerator}" if wanted.accelerator != ANY_ACCELERATOR else "any GPU here"
    if not options:
        return SpecError(
            "no node of this cluster has a GPU",
            next_step="ai-how status shows the nodes; GPUs appear once the GPU Operator is well",
        )
    lines = [
        f"{each.node}  {each.pool.count}x {spelling(each.pool.product)}: {each.words or each.fits}" for each in options
    ]
    small = [each for each in options if each.fits is Fits.NO and each.pool.memory_gib]
    largest = max(small, key=_size, default=None)
    helps = advice(model, _usable(largest.pool), load) if largest and model.shape is not None else ""
    step = f"what would help on {spelling(largest.pool.product)}: {helps}" if largest and helps else ""
    return SpecError(
        f"the model can be served nowhere in this cluster on {asked}",
        evidence="\n".join(lines),
        next_step=step or "change hardware in the deploy file, or free a node; ai-how deploy list-hardware shows them",
    )
