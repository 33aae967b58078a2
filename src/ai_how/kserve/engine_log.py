"""Why vLLM, or KServe's fetcher of model files, ended: read from the end of its log. Pure.

Source of the texts: vLLM's ``v1/core/kv_cache_utils.py``, ``v1/worker/gpu_worker.py`` and ``platforms/cuda.py``,
PyTorch's OutOfMemoryError, and KServe's ``kserve_storage`` (``storage_errors.py``, ``kserve_storage.py``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ai_how.kserve.trouble import Trouble, shortened

_PREFIX = re.compile(
    r"^(?:\([A-Za-z_]\w*(?: [\w=]+)* ?pid=\d+\) )?"  # (EngineCore_DP0 pid=123)
    r"(?:(?:ERROR|WARNING|INFO|CRITICAL|DEBUG) [\d-]+ [\d:.]+ )?"  # ERROR 10-25 13:08:43
    r"(?:\[[\w./-]+:\d+\] ?)?"  # [core.py:708]
)
_ERROR = re.compile(r"^(?:[a-z_]\w*\.)*([A-Z]\w*(?:Error|Exception|Exit)): (\S.*)$")
_ONLY_AFTERMATH = ("Engine core initialization failed", "See root cause above", "EngineDeadError", "cancelled")
_LESS_MEMORY = "serve it with fewer tokens (serving.context_tokens), a smaller model or quantization, or more GPUs"
_KNOWN: Sequence[tuple[str, str, str]] = (
    (
        r"(?:torch\.)?(?:cuda\.)?OutOfMemoryError: |CUDA out of memory|CUDA error: out of memory",
        "the GPU's memory is too small for it",
        _LESS_MEMORY,
    ),
    (
        r"No available memory for the cache blocks",
        "its weights leave no room on the GPU for the KV cache",
        _LESS_MEMORY,
    ),
    (
        r"KV cache is needed, which is larger than the available KV cache memory",
        "the KV cache of one request of full length does not fit on the GPU",
        _LESS_MEMORY,
    ),
    (
        r"Free memory on device .* is less than desired GPU memory utilization",
        "another program holds memory of the GPU that it was given",
        "see who does: ai-how gpu list; a GPU must not be shared with programs outside Kubernetes",
    ),
    (
        r"Bfloat16 is only supported on GPUs with compute capability of at least",
        "this GPU cannot compute in bfloat16, the model's number format",
        "serve it on a GPU of compute capability 8.0 or more, or save the model as float16",
    ),
    (
        r"no kernel image is available for execution on the device|Minimum capability: \d+",
        "this GPU is too old for this version of vLLM or for the model's quantization",
        "serve it on a newer GPU (ai-how deploy list-hardware), or save the model without quantization",
    ),
    (
        r"driver version is insufficient|NVIDIA driver on your system is too old|CUDA_ERROR_COMPAT_NOT_SUPPORTED",
        "the node's NVIDIA driver is too old for this version of vLLM",
        "give the node a newer driver: ai-how status, then: ai-how logs stack/gpu-operator",
    ),
    (
        r"Model architectures? .* (?:is|are) not supported|has no vLLM implementation",
        "this version of vLLM does not know the model's architecture",
        "see which versions there are: ai-how versions",
    ),
    (
        r"No CUDA GPUs are available|Failed to infer device type|libcuda\.so\.1: cannot open shared object file",
        "it sees no GPU, although its node gave it one",
        "ai-how status, then: ai-how logs stack/gpu-operator",
    ),
    (
        r"No space left on device",
        "the node's disk is full",
        "give the node a larger disk, or stop what fills it",
    ),
    (r"Address already in use", "its port is taken on its node", ""),
)
_FETCH: Sequence[tuple[str, str, str]] = (
    (
        r"authentication failed|InvalidAccessKeyId|SignatureDoesNotMatch|\(403\)|Access ?[Dd]enied|Forbidden",
        "the object store refuses the keys that models are fetched with",
        "ai-how up puts them right; with a store of your own, check its keys and their rights",
    ),
    (
        r"No model found in|\(404\)|[Nn]ot found|NoSuchKey|NoSuchBucket|does not exist",
        "the model's files are not in the object store",
        "see what is registered: ai-how model list; push it again: ai-how model push",
    ),
    (
        r"Could not connect|EndpointConnectionError|[Cc]onnection (?:refused|reset|timed out)|timed? ?out|resolve",
        "the object store does not answer",
        "ai-how status, then: ai-how logs stack/object-store",
    ),
    (r"SSL|CERTIFICATE_VERIFY_FAILED", "the object store's certificate is not trusted", "ai-how status"),
    (
        r"No space left on device",
        "the node's disk is full",
        "give the node a larger disk, or stop what fills it",
    ),
)


def engine_trouble(log: str) -> Trouble | None:
    """Why the engine ended, from the end of its log; None where the log has no error."""
    for pattern, cause, remedy in _KNOWN:
        found = re.search(pattern, log)
        if found:
            return Trouble(cause=f"{cause}: {_line_at(log, found.start())}", remedy=remedy)
    last = last_error(log)
    return Trouble(cause=f"the engine ended: {last}", lasting=False) if last else None


def fetch_trouble(said: str) -> Trouble:
    """Why the model's files could not be fetched, from the end of the fetcher's log."""
    for pattern, cause, remedy in _FETCH:
        if re.search(pattern, said):
            return Trouble(cause=f"{cause} ({_fetchers_words(said)})", remedy=remedy)
    words = _fetchers_words(said)
    return Trouble(cause="the model's files could not be fetched" + (f": {words}" if words else ""))


def last_error(log: str) -> str:
    """The last line of a log that names an error, without time and place; empty where there is none."""
    lines = [_plain(line) for line in log.splitlines()]
    errors = [line for line in lines if _ERROR.match(line) and not any(text in line for text in _ONLY_AFTERMATH)]
    return shortened(errors[-1], 240) if errors else ""


def _line_at(log: str, place: int) -> str:
    begin = log.rfind("\n", 0, place) + 1
    end = log.find("\n", place)
    return shortened(_plain(log[begin:] if end < 0 else log[begin:end]), 240)


def _plain(line: str) -> str:
    return _PREFIX.sub("", line.strip(), count=1).strip()


def _fetchers_words(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    failed = [line for line in lines if "initialization failed:" in line or "during storage initialization:" in line]
    line = failed[-1].partition(": ")[2] if failed else (lines[-1] if lines else "")
    return shortened(line, 240)
