"""The machine that a figure was measured on, as far as it bears on the figure."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_how.errors import AiHowError
from ai_how.run.process import run, which


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One NVIDIA GPU at one moment."""

    name: str
    utilization_percent: float


def describe_machine() -> dict[str, Any]:
    """CPU model, cores, memory, load before the measurement, GPUs, kernel, Python."""
    import psutil

    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average_before": round(os.getloadavg()[0], 2),
        "gpus": [gpu.name for gpu in observe_gpus()],
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def observe_gpus() -> list[Gpu]:
    """The NVIDIA GPUs that a driver shows; none where there is no driver."""
    if which("nvidia-smi") is None:
        return []
    try:
        said = run(
            ["nvidia-smi", "--query-gpu=name,utilization.gpu", "--format=csv,noheader,nounits"], timeout_s=10
        ).stdout
    except AiHowError:
        return []
    found = []
    for line in said.splitlines():
        name, _, percent = line.rpartition(",")
        try:
            found.append(Gpu(name=name.strip(), utilization_percent=float(percent)))
        except ValueError:
            # "[N/A]": a card that does not report it
            continue
    return found


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.machine()
    return platform.machine()
