"""What this machine offers to engines: GPUs as the NVIDIA driver shows them, vLLM, CPU cores."""

from __future__ import annotations

import os
import re

from ai_how.endpoints.engines.base import Accelerator, EngineHost
from ai_how.errors import AiHowError
from ai_how.host.facts.limits import observe_limits
from ai_how.host.root import Root
from ai_how.run.process import run, which

_QUERY = "--query-gpu=name,memory.total,compute_cap"
_FIELDS = 3


def observe_engine_host() -> EngineHost:
    """The host as it is now. A driver that does not answer counts as no GPU: nothing could be run on it."""
    return EngineHost(accelerators=_observe_gpus(), vllm=which("vllm"), cpu_cores=_cpu_cores())


def parse_gpus(text: str) -> tuple[Accelerator, ...]:
    """GPUs from ``nvidia-smi --query-gpu=name,memory.total,compute_cap --format=csv,noheader,nounits``.

    One line a GPU, in the order of their PCI addresses; memory in MiB. Lines of another shape are left out.
    """
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != _FIELDS:
            continue
        name, memory_mib, capability = parts
        try:
            memory_gib = round(float(memory_mib) / 1024, 1)
        except ValueError:
            continue
        try:
            compute_capability = float(capability)
        except ValueError:
            # drivers before 2021 do not know the field
            compute_capability = None
        found.append(Accelerator(name=oumi_name(name), memory_gib=memory_gib, compute_capability=compute_capability))
    return tuple(found)


def oumi_name(product: str) -> str:
    """The driver's product name in Oumi's spelling: ``NVIDIA A100-SXM4-80GB`` is ``nvidia_a100_80gb``.

    Lower case, words joined by underscores, ``nvidia_`` in front; the form factor (SXM, PCIe, HBM3) is left out, as
    Oumi's names do not tell it.
    """
    words = re.findall(r"[a-z0-9]+", product.lower())
    left_out = re.compile(r"sxm\d*|pcie|hbm\d*e?|nvl|nvidia|geforce")
    return "_".join(["nvidia", *(word for word in words if not left_out.fullmatch(word))])


def _observe_gpus() -> tuple[Accelerator, ...]:
    program = which("nvidia-smi")
    if program is None:
        return ()
    try:
        return parse_gpus(run([program, _QUERY, "--format=csv,noheader,nounits"], timeout_s=10).stdout)
    except AiHowError:
        return ()


def _cpu_cores() -> int:
    """Physical cores that this process may use: more threads than that only wait for each other."""
    import psutil

    usable = len(os.sched_getaffinity(0))
    logical, physical = psutil.cpu_count() or usable, psutil.cpu_count(logical=False) or usable
    quota = observe_limits(Root()).cores
    return max(1, min(usable, usable * physical // logical, usable if quota is None else int(quota)))
