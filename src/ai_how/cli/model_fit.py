"""``ai-how model fit``: will the model fit, on which GPU, with which context, and how is it started."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ai_how.cli.options import Number, named_site_option, output_option
from ai_how.cli.output import note, print_json, print_table
from ai_how.errors import SpecError

if TYPE_CHECKING:
    from ai_how.capacity.gpu_memory import UsableGpu
    from ai_how.capacity.model_memory import Load, Verdict
    from ai_how.capacity.types import HostCapacity
    from ai_how.models.shape import PlannedModel

_CONTEXT_TOKENS = 8192
DOES_NOT_FIT = 2
"""Exit code where the model fits on none of the GPUs, or is not known to."""

_QUANTIZATIONS = ("fp8", "int8", "awq", "gptq", "nf4", "q8_0", "q6_k", "q5_k", "q4_k", "q4_0")


def _gpu_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from ai_how.accelerators.catalogue import load_catalogue

    names = (alias for gpu in load_catalogue() for alias in (*gpu.aliases, gpu.name))
    return [CompletionItem(name) for name in names if name.lower().startswith(incomplete.lower())]


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option(
    "--gpu",
    "gpu_names",
    multiple=True,
    metavar="NAME",
    shell_complete=_gpu_names,
    help="Kind of GPU, such as T4 or A6000; may be given several times. Default: all that are known.",
)
@click.option(
    "--gpus",
    "--tensor-parallel",
    "gpus",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Equal GPUs that share the model (tensor parallelism).",
)
@click.option(
    "--context",
    "context_tokens",
    type=click.IntRange(1),
    default=None,
    help="Longest prompt plus answer, tokens. Default: 8192, or what the model can read.",
)
@click.option("--sequences", type=click.IntRange(1, 1024), default=8, show_default=True, help="Requests at once.")
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float16", "float32"]),
    default=None,
    help="Type of the weights in memory. Default: as they are stored.",
)
@click.option(
    "--quantization",
    type=click.Choice(_QUANTIZATIONS),
    default=None,
    help="Plan for weights quantized so; the names with q are GGUF's.",
)
@click.option(
    "--kv-dtype",
    type=click.Choice(["auto", "fp8"]),
    default="auto",
    show_default=True,
    help="Type of the KV cache; auto is 16 bits, fp8 is llama.cpp's q8_0 for a GGUF file.",
)
@click.option(
    "--gpu-memory-utilization",
    "utilization",
    type=Number(0.1, 1.0),
    default=0.9,
    show_default=True,
    help="Share of a GPU's memory that the engine may take.",
)
@click.option(
    "--base", type=click.Path(path_type=Path), default=None, help="Base model of an adapter: its folder or config.json."
)
@named_site_option("Judge the GPUs of this site's hosts: declared, or this machine's.", envvar=None)
@click.option("--list-gpus", is_flag=True, help="List the GPUs that are known, with what a program gets of each.")
@output_option
def fit(
    model: Path | None,
    gpu_names: tuple[str, ...],
    gpus: int,
    context_tokens: int | None,
    sequences: int,
    dtype: str | None,
    quantization: str | None,
    kv_dtype: str,
    utilization: float,
    base: Path | None,
    site_path: Path | None,
    list_gpus: bool,
    output: str,
) -> None:
    """Tell whether a model fits on a GPU, and how far it would go.

    MODEL is a checkpoint folder, a PEFT adapter (with --base), a GGUF file, or
    a config.json alone, to plan before a download. Nothing is loaded. Exit
    code 0: it fits on a GPU that was named; 2: on none.

    \b
    Example:
      ai-how model fit output/my-model --gpu T4 --gpu A6000
      ai-how model fit config.json --gpu A6000 --gpus 2 --quantization fp8
      ai-how model fit output/my-model --site ai-how.yaml
      ai-how model fit --list-gpus
    """
    from ai_how.capacity.model_memory import Load, judge

    kinds = _kinds(gpu_names) if site_path is None else _kinds_of_site(site_path, gpu_names, gpus)
    if list_gpus:
        _print_gpus(kinds, output)
        return
    planned = _read(model, dtype=dtype, quantization=quantization, base=base)
    load = Load(
        context_tokens=_context(context_tokens, planned),
        sequences=sequences,
        gpus=gpus,
        kv_bits=8 if kv_dtype == "fp8" else 16,
        utilization=utilization,
    )
    verdicts = [judge(planned.memory, gpu, load) for gpu in kinds]
    if output == "json":
        print_json(_as_data(planned, load, verdicts))
    else:
        from ai_how.cli.model_fit_text import print_fit

        print_fit(planned, load, verdicts)
    if not any(verdict.fits in ("yes", "tight") for verdict in verdicts):
        raise SystemExit(DOES_NOT_FIT)


def _kinds(names: tuple[str, ...]) -> list[UsableGpu]:
    """The GPUs to judge, once each, the smallest first unless they were named."""
    from ai_how.accelerators.catalogue import find, load_catalogue
    from ai_how.capacity.gpu_memory import usable_gpu

    if names:
        return [usable_gpu(gpu) for gpu in dict.fromkeys(find(name) for name in names)]
    return sorted((usable_gpu(gpu) for gpu in load_catalogue()), key=lambda gpu: (gpu.usable_gib, gpu.name))


def _kinds_of_site(site_path: Path, names: tuple[str, ...], gpus: int) -> list[UsableGpu]:
    """The kinds of GPU of the site's hosts, of which one host has as many as asked for; by name."""
    from ai_how.capacity.gpu_memory import kinds_on_hosts
    from ai_how.host.site_hosts import site_hosts
    from ai_how.machines.far_hosts import ask_far_host
    from ai_how.site.load import load_site

    if names:
        raise SpecError("--gpu and --site exclude each other", next_step="give one of them")
    site = load_site(site_path)
    hosts = site_hosts(site, ask_far=ask_far_host)
    has = "\n".join(f"host {host.name}: {_counted(host)}" for host in hosts)
    kinds = kinds_on_hosts(hosts, gpus=gpus)
    if kinds:
        note(has)
        return kinds
    if gpus > 1 and any(host.gpus for host in hosts):
        raise SpecError(f"no host of site {site.name} has {gpus} equal GPUs", evidence=has, next_step="fewer --gpus")
    raise SpecError(
        f"no host of site {site.name} has an NVIDIA GPU of known memory",
        evidence=has,
        next_step="name a kind of GPU: ai-how model fit MODEL --gpu NAME",
    )


def _counted(host: HostCapacity) -> str:
    from collections import Counter

    counts = Counter(gpu.name.removeprefix("NVIDIA ") for gpu in host.gpus)
    return ", ".join(f"{count}x {name}" for name, count in sorted(counts.items())) or "no NVIDIA GPU"


def _read(model: Path | None, *, dtype: str | None, quantization: str | None, base: Path | None) -> PlannedModel:
    from ai_how.capacity.weight_types import WEIGHT_TYPES
    from ai_how.models.shape import read_model

    if model is None:
        raise SpecError("no model was named", next_step="ai-how model fit MODEL --gpu NAME")
    if dtype and quantization:
        raise SpecError("--dtype and --quantization exclude each other", next_step="give one of them")
    wanted = quantization or dtype
    return read_model(model, kind=WEIGHT_TYPES[wanted] if wanted else None, base=base)


def _context(asked: int | None, planned: PlannedModel) -> int:
    longest = planned.longest_context_tokens
    if asked is None:
        return min(_CONTEXT_TOKENS, longest or _CONTEXT_TOKENS)
    if longest is not None and asked > longest:
        raise SpecError(
            f"the model reads {longest} tokens at most",
            evidence=f"--context asks for {asked}",
            next_step=f"give --context {longest} or less",
        )
    return asked


def _print_gpus(kinds: list[UsableGpu], output: str) -> None:
    if output == "json":
        print_json(kinds)
        return
    rows = [
        (
            gpu.name.removeprefix("NVIDIA "),
            f"{gpu.nominal_gib:g} GiB",
            f"{gpu.usable_gib:.1f} GiB",
            "{}.{}".format(*gpu.compute_capability) if gpu.compute_capability else "unknown",
        )
        for gpu in kinds
    ]
    print_table(("GPU", "MEMORY", "USABLE", "COMPUTE"), rows)


def _as_data(planned: PlannedModel, load: Load, verdicts: list[Verdict]) -> dict[str, Any]:
    from ai_how.capacity.engine_overhead import ERROR_GIB
    from ai_how.capacity.fit_advice import remarks, remedies, serve_arguments

    memory = planned.memory
    return {
        "model": {
            "name": planned.name,
            "architecture": planned.architecture,
            "parameters": planned.parameters,
            "stored_as": planned.stored_as,
            "loaded_as": memory.kind.name,
            "engine": memory.engine,
            "longest_context_tokens": planned.longest_context_tokens,
            "weights_from_headers": memory.stored_bytes is not None,
            "notes": planned.notes,
        },
        "load": dataclasses.asdict(load),
        "error_gib": ERROR_GIB,
        "gpus": [
            dataclasses.asdict(verdict)
            | {
                "free_bytes": verdict.waterfall.free_bytes if verdict.waterfall else None,
                "remedies": [remedy.text for remedy in remedies(memory, verdict.gpu, load)],
                "remarks": remarks(memory, verdict.gpu, load),
                "vllm_arguments": serve_arguments(memory, verdict.gpu, load),
            }
            for verdict in verdicts
        ],
    }
