"""Prints the verdicts of ``ai-how model fit`` for people: the model, one GPU's memory, a table, how to start it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from ai_how.capacity.engine_overhead import ERROR_GIB, GIB
from ai_how.capacity.fit_advice import advice, remarks, serve_arguments
from ai_how.capacity.model_memory import MOST_SEQUENCES, Engine, Fits, Load, Verdict
from ai_how.cli.output import human_count, print_table
from ai_how.models.shape import PlannedModel

_WIDTH = 80
_NAME_WIDTH = 27


def print_fit(planned: PlannedModel, load: Load, verdicts: Sequence[Verdict]) -> None:
    """Print everything, in 80 columns."""
    _print_model(planned, load)
    shown = _most_telling(verdicts)
    if shown is not None:
        _print_waterfall(planned, shown, load)
    click.echo()
    _print_table(planned, load, verdicts)
    if shown is None or shown.fits not in (Fits.YES, Fits.TIGHT):
        return
    known = remarks(planned.memory, shown.gpu, load)
    served = planned.memory.engine is Engine.VLLM
    if known or served:
        click.echo(f"\nOn {_short(shown)}:")
    for remark in known:
        _print_wrapped("  ", remark, hanging="  ")
    if served:
        _print_command(
            ["vllm", "serve", shlex.quote(planned.served_path), *serve_arguments(planned.memory, shown.gpu, load)]
        )


def _print_model(planned: PlannedModel, load: Load) -> None:
    stored, loaded = planned.stored_as, planned.memory.kind.name
    types = stored if stored == loaded else f"{stored}, loaded as {loaded}"
    many = f"{load.sequences} requests" if load.sequences > 1 else "one request"
    longest = f"{planned.longest_context_tokens} tokens at most" if planned.longest_context_tokens else "unknown"
    for label, text in (
        ("model", planned.name),
        ("architecture", planned.architecture),
        ("parameters", f"{human_count(planned.parameters)} ({types})"),
        ("context", longest),
        ("asked for", f"{many} at once of {load.context_tokens} tokens each, {load.kv_bits}-bit KV cache"),
    ):
        click.echo(f"{label:<13} {text}")
    for note in planned.notes:
        _print_wrapped("note          ", note, hanging=" " * 14)


def _print_wrapped(first: str, text: str, *, hanging: str) -> None:
    click.echo(click.wrap_text(text, width=_WIDTH, initial_indent=first, subsequent_indent=hanging))


def _most_telling(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The first that fits, or else the one that lacks least; None where memory decides nowhere."""
    weighed = [verdict for verdict in verdicts if verdict.waterfall is not None]
    fitting = [verdict for verdict in weighed if verdict.fits is Fits.YES] or [
        verdict for verdict in weighed if verdict.fits is Fits.TIGHT
    ]
    if fitting:
        return fitting[0]
    return max(weighed, key=lambda verdict: verdict.waterfall.free_bytes if verdict.waterfall else 0, default=None)


def _print_waterfall(planned: PlannedModel, verdict: Verdict, load: Load) -> None:
    water, gpu = verdict.waterfall, verdict.gpu
    if water is None:
        return
    each = f"each of {verdict.gpus} GPUs" if verdict.gpus > 1 else "one GPU"
    click.echo(f"\nMemory of {each}, {gpu.name}: {gpu.usable_gib:.1f} GiB usable of {gpu.nominal_gib:g}")
    known = planned.memory.shape is not None
    lines = [
        ("weights", water.weights_bytes, True),
        ("LoRA adapter", water.adapter_bytes, bool(planned.memory.adapter_rank)),
        ("KV cache", water.kv_cache_bytes, known),
        ("activations", water.activations_bytes, known),
        ("CUDA graphs", water.graphs_bytes, known and planned.memory.engine is Engine.VLLM),
        ("CUDA libraries", water.runtime_bytes, known),
        (f"reserve ({1 - load.utilization:.0%})", water.reserve_bytes, True),
        ("left" if water.free_bytes >= 0 else "lacking", abs(water.free_bytes), True),
    ]
    for label, size_bytes, is_shown in lines:
        if is_shown:
            click.echo(f"  {label:<16} {size_bytes / GIB:8.2f} GiB")
    if known:
        click.echo(f"  (activations, graphs and libraries are estimated within {ERROR_GIB} GiB)")


def _print_table(planned: PlannedModel, load: Load, verdicts: Sequence[Verdict]) -> None:
    rows = []
    for verdict in verdicts:
        most = verdict.most_sequences
        row = (
            _short(verdict),
            verdict.fits,
            "-" if verdict.longest_context_tokens is None else str(verdict.longest_context_tokens),
            "-" if most is None else f"{most}+" if most == MOST_SEQUENCES else str(most),
        )
        rows.append((*row, advice(planned.memory, verdict.gpu, load)))
    headers = ("GPU", "FITS", "CONTEXT", "REQUESTS", "ADVICE")
    widths = [max(len(str(row[i])) for row in (headers, *rows)) for i in range(4)]
    room = _WIDTH - sum(widths) - 2 * len(widths)
    print_table(headers, [(*row[:4], _cut(row[4], room)) for row in rows])
    at_once = f"with {load.sequences} at once" if load.sequences > 1 else "of one request"
    click.echo(f"CONTEXT: longest {at_once}. REQUESTS: most at once of {load.context_tokens} tokens.")


def _short(verdict: Verdict) -> str:
    name = verdict.gpu.name.removeprefix("NVIDIA ").replace("Generation", "").strip()
    if len(name) > _NAME_WIDTH:
        name = name[: _NAME_WIDTH - 3] + "..."
    return f"{verdict.gpus} x {name}" if verdict.gpus > 1 else name


def _cut(text: str, room: int) -> str:
    """Whole remedies only, as many as there is room for; a sentence is cut."""
    if len(text) <= room:
        return text
    parts = text.split(" or ")
    while len(parts) > 1 and len(" or ".join(parts)) > room:
        parts.pop()
    shorter = " or ".join(parts)
    return shorter if len(shorter) <= room else shorter[: room - 3] + "..."


def _print_command(words: Sequence[str]) -> None:
    """Options in pairs, broken so that the lines can be pasted."""
    line = "  " + " ".join(words[:3])
    options = list(words[3:])
    while options:
        take = 2 if len(options) > 1 and not options[1].startswith("--") else 1
        pair, options = " ".join(options[:take]), options[take:]
        if len(line) + 1 + len(pair) > _WIDTH - 2:
            click.echo(line + " \\")
            line = "    " + pair
        else:
            line += " " + pair
    click.echo(line)
