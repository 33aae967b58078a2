"""What engines say when they refuse or fail, turned into OpenAI's form. Pure.

Engines have forms of their own: llama.cpp and vLLM put the HTTP status into ``code``, leave ``param`` out, and let
texts of their libraries through. OpenAI's clients read ``code`` and ``param`` as a text or null.

Source of the fields' types: OpenAI's API reference, "Create chat completion" and "Create completion".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ai_how.gateway.api_errors import ApiError

_TYPES = (
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "rate_limit_error",
    "server_error",
)
# llama.cpp's own type -> OpenAI's code for the same
_CODES = {"exceed_context_size_error": "context_length_exceeded"}
_NOT_OF_THIS_MODEL = re.compile("(image|audio|video) input is not supported")
_LIBRARY = re.compile(r"\[json\.exception\.[a-z_]+\.\d+\]\s*")
_QUOTED = re.compile(r"'([a-z_]+)'")
_LONGEST_MESSAGE = 2000
_NUMBER = (int, float)
_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "messages": list,
    "prompt": (str, list),
    "max_tokens": int,
    "max_completion_tokens": int,
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "n": int,
    "stop": (str, list),
    "seed": int,
    "stream": bool,
    "stream_options": dict,
    "frequency_penalty": _NUMBER,
    "presence_penalty": _NUMBER,
    "logprobs": (bool, int),
    "top_logprobs": int,
    "logit_bias": dict,
    "response_format": dict,
    "tools": list,
    "user": str,
}


def refusal(endpoint: str, *, status: int, answer: bytes, request: bytes) -> ApiError:
    """The error for an engine's answer of ``status`` 400 or more; ``request`` tells which field it was about."""
    error = _error_in(_json(answer))
    if error is None and status >= 500:
        said = " ".join(answer.decode(errors="replace").split())[:300]
        return ApiError(502, "engine_error", f"The engine of {endpoint!r} answered {status}: {said or 'nothing'}")
    if error is not None and _NOT_OF_THIS_MODEL.match(str(error.get("message"))):
        # the client's mistake, which llama.cpp calls its own: OpenAI's clients would ask again
        return _clean({**error, "type": "invalid_request_error", "param": "messages"}, status=400)
    found = _clean(error or {"message": answer.decode(errors="replace").strip()}, status=status)
    if found.param is None and status == 400:
        found.param = _named_field(found.message) or _wrong_field(_json(request))
    return found


def with_openai_errors(events: bytes) -> bytes:
    """Whole server-sent events with the engine's errors among them in OpenAI's form; the others as they are."""
    if b'"error"' not in events and b"error:" not in events:
        return events
    return b"".join(_rewritten(line) for line in events.splitlines(keepends=True))


def _rewritten(line: bytes) -> bytes:
    field, _, value = line.partition(b":")
    if field not in (b"data", b"error"):
        return line
    data = _json(value)
    # a field named error, as older llama.cpp sends it, holds the error itself
    error = data if field == b"error" and isinstance(data, dict) and "message" in data else _error_in(data)
    if error is None:
        return line
    end = line[len(line.rstrip(b"\r\n")) :]
    # the answer's own status went out as 200 long since
    code = error.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return b"data: " + _clean(error, status=status).body() + end


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _error_in(data: Any) -> dict[str, Any] | None:
    """The error that a JSON answer is, in any of the engines' forms; None where it is none."""
    if not isinstance(data, dict):
        return None
    error = data.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {**data, "message": error}
    return data if data.get("object") == "error" else None


def _clean(error: dict[str, Any], *, status: int) -> ApiError:
    kind, code, param = error.get("type"), error.get("code"), error.get("param")
    message = _LIBRARY.sub("", str(error.get("message") or "")).strip()[:_LONGEST_MESSAGE]
    return ApiError(
        status,
        code if isinstance(code, str) and not code.isdecimal() else _CODES.get(str(kind)),
        message or "The engine refused the request and did not say why.",
        param=param if isinstance(param, str) else None,
        kind=kind if kind in _TYPES else None,
    )


def _named_field(message: str) -> str | None:
    """The first field of OpenAI's that a message has in quotes, as llama.cpp's do."""
    return next((name for name in _QUOTED.findall(message) if name in _FIELDS), None)


def _wrong_field(request: Any) -> str | None:
    """The first field of a request whose value has another type than OpenAI's reference says."""
    if not isinstance(request, dict):
        return None
    for name, kinds in _FIELDS.items():
        value = request.get(name)
        of_kind = isinstance(value, kinds) and not (isinstance(value, bool) and kinds in (int, _NUMBER))
        if value is not None and not of_kind:
            return name
    return None
