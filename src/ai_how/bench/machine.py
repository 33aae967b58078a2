"""The machine and the software that a figure was measured on, as far as they bear on the figure."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from ai_how import __version__
from ai_how.bench.result import Machine
from ai_how.errors import AiHowError
from ai_how.host.facts.limits import observe_limits
from ai_how.host.root import Root
from ai_how.run.process import run, which

_ENGINE_PACKAGES = {"llamacpp": "xllamacpp", "vllm": "vllm"}


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One NVIDIA GPU at one moment; ``utilization_percent`` None where the card does not report it."""

    name: str
    utilization_percent: float | None


def describe_machine() -> Machine:
    """CPU model, usable cores, memory, load before the measurement, GPUs, kernel, Python."""
    import psutil

    cores = len(os.sched_getaffinity(0))
    quota = observe_limits(Root()).cores
    return Machine(
        cpu=_cpu_model(),
        cores=cores if quota is None else min(cores, round(quota, 2)),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        load_average_before=round(os.getloadavg()[0], 2),
        gpus=tuple(gpu.name for gpu in observe_gpus()),
        kernel=platform.release(),
        python=platform.python_version(),
    )


def describe_software(engine: str) -> dict[str, str]:
    """Versions by package: this program's, and the engine's where it is a package of the same environment."""
    found = {"ai-how": __version__}
    package = _ENGINE_PACKAGES.get(engine, engine)
    try:
        found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        found[package] = "version unknown"
    return found


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
    return [_gpu(line) for line in said.splitlines() if "," in line]


def _gpu(line: str) -> Gpu:
    name, _, percent = line.rpartition(",")
    try:
        return Gpu(name=name.strip(), utilization_percent=float(percent))
    except ValueError:
        # "[N/A]"
        return Gpu(name=name.strip(), utilization_percent=None)


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.machine()
    return platform.machine()
