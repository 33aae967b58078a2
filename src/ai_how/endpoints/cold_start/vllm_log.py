"""What vLLM's log says of its own start: how long which part took. Pure.

Source: the log lines of vLLM 0.10 to 0.23: ``vllm/v1/worker/gpu_model_runner.py`` (model loading, graph capturing),
``vllm/v1/engine/core.py`` (init engine), ``vllm/compilation/monitor.py`` ("torch.compile takes", later "took"),
``vllm/compilation/backends.py`` (compiled graphs from the cache). Each is printed when its part ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ai_how.kubernetes_api.times import epoch_s

_SECONDS = r"(\d+(?:\.\d+)?)"
_LOADED = re.compile(rf"Model loading took \S+ GiB (?:memory )?and {_SECONDS} seconds")
_COMPILED = re.compile(rf"torch\.compile t(?:ook|akes) {_SECONDS} s in total")
_CACHED = re.compile(r"Directly load (?:the compiled graph|AOT compilation)")
_CAPTURED = re.compile(rf"Graph capturing finished in {_SECONDS} secs")
_INITIALIZED = re.compile(rf"init engine \([^)]*\) took {_SECONDS} s")
_PARTS = {"load": _LOADED, "compile": _COMPILED, "capture": _CAPTURED, "initialize": _INITIALIZED}
_SERVING = re.compile(r"Application startup complete|Starting vLLM (?:API )?server")
# what the API server puts before each line when it is asked for times
_STAMP = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) ?")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the engine's start. ``ended_at`` is seconds since the epoch, None without a time in the log."""

    took_s: float
    ended_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class EngineStart:
    """What the log tells; None where it does not. ``from_cache``: compiled graphs were read, not made."""

    load: Part | None = None
    compile: Part | None = None
    capture: Part | None = None
    initialize: Part | None = None
    from_cache: bool = False
    first_line_at: float | None = None
    serving_at: float | None = None

    @property
    def told(self) -> bool:
        """Whether the log tells anything."""
        return any((self.load, self.compile, self.capture, self.initialize))


def read_start(lines: Iterable[str]) -> EngineStart:
    """The start that a log tells of; of several (a container that was started again in one log) the last.

    With several GPUs each worker prints its own lines: the slowest counts, since all wait for it.
    """
    found: dict[str, Part] = {}
    from_cache, serves = False, False
    first_at, serving_at = None, None
    for line in lines:
        at = stamp(line)
        if serves and _LOADED.search(line):
            found, from_cache, serves, first_at, serving_at = {}, False, False, at, None
        first_at = at if first_at is None else first_at
        from_cache = from_cache or _CACHED.search(line) is not None
        if not serves and _SERVING.search(line):
            serves, serving_at = True, at
        for name, pattern in _PARTS.items():
            match = pattern.search(line)
            if match:
                part = Part(took_s=float(match.group(1)), ended_at=at)
                found[name] = part if name not in found or part.took_s >= found[name].took_s else found[name]
    return EngineStart(
        load=found.get("load"),
        compile=found.get("compile"),
        capture=found.get("capture"),
        initialize=found.get("initialize"),
        from_cache=from_cache,
        first_line_at=first_at,
        serving_at=serving_at,
    )


def stamp(line: str) -> float | None:
    """The time that stands before a log line, in seconds since the epoch; None where there is none."""
    match = _STAMP.match(line)
    return epoch_s(match.group(1)) if match else None
