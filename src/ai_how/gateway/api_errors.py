"""The errors that clients see, in OpenAI's form. Pure.

Source of the form and the codes: OpenAI's API reference, ``{"error": {"message", "type", "param", "code"}}``.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence

_TYPES = {401: "authentication_error", 404: "not_found_error", 408: "timeout_error", 429: "rate_limit_error"}
_NAMES_SHOWN = 20
# OpenAI's own clients try again after 409, 429 and 5xx unless this header tells them not to
_NO_RETRY = {"x-should-retry": "false"}


class ApiError(Exception):
    """A failed request: the HTTP status and what the answer says; ``kind`` is its type, by the status where None.

    ``next_step`` is not in OpenAI's form: our own command line shows it.
    """

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        *,
        param: str | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
        next_step: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.kind = kind or _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.headers = dict(headers or {})
        self.next_step = next_step

    def body(self) -> bytes:
        """The answer's JSON."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        if self.next_step:
            error["next_step"] = self.next_step
        return json.dumps({"error": error}).encode()

    def event(self) -> bytes:
        """The error as a server-sent event; the empty line first ends an event that was broken off."""
        return b"\n\ndata: " + self.body() + b"\n\n"


class MovedError(ApiError):
    """The revision that a request waits for takes no more: it goes to the one whose turn it is now."""


class CannotStartError(ApiError):
    """The revision has no replica that answers, and does not get one: another revision may answer instead."""


def wrong_key() -> ApiError:
    return ApiError(
        401,
        "invalid_api_key",
        "Incorrect or missing API key. Send it as 'Authorization: Bearer <key>'; 'ai-how key show' prints one.",
        headers={"www-authenticate": "Bearer"},
    )


def adapter_not_loaded(name: str) -> ApiError:
    """503: it was just added, and the replicas that have it are not ready yet."""
    message = f"The adapter {name!r} is being loaded. Try again later."
    return ApiError(503, "adapter_loading", message, headers={"retry-after": "5"})


def unknown_model(name: str, available: Sequence[str]) -> ApiError:
    """404 that names the nearest model and those that there are."""
    near = difflib.get_close_matches(name, available, n=1)
    parts = [f"The model {name[:200]!r} does not exist."]
    if near:
        parts.append(f"Did you mean {near[0]!r}?")
    if available:
        more = ", ..." if len(available) > _NAMES_SHOWN else ""
        parts.append(f"Available: {', '.join(available[:_NAMES_SHOWN])}{more}.")
    else:
        parts.append("None is deployed; deploy one with 'ai-how deploy up'.")
    return ApiError(404, "model_not_found", " ".join(parts), param="model")


def unknown_revision(name: str, asked: str, available: Sequence[int]) -> ApiError:
    there = ", ".join(map(str, available))
    message = f"The model {name!r} has no revision {asked[:20]!r}. Available: {there}."
    return ApiError(404, "revision_not_found", message)


def moved(name: str) -> MovedError:
    return MovedError(503, "revision_gone", f"This revision of {name!r} takes no more requests. Try again.")


def too_large(limit_bytes: int) -> ApiError:
    return ApiError(
        413,
        "request_too_large",
        f"The request body is larger than {limit_bytes / 2**20:g} MiB, the limit of this gateway (max_request_mib).",
    )


def stopped(name: str) -> ApiError:
    message = f"The endpoint {name!r} is stopped. Start it with 'ai-how deploy start {name}'."
    return ApiError(503, "endpoint_stopped", message, param="model", headers=_NO_RETRY)


def in_error(name: str, reason: str) -> CannotStartError:
    message = f"The endpoint {name!r} cannot start: {reason}"
    return CannotStartError(503, "endpoint_error", message, param="model", headers=_NO_RETRY)


def hold_timeout(name: str, waited_s: float) -> ApiError:
    message = f"No replica of {name!r} had room within {waited_s:g} s (hold_timeout_s). Try again later."
    return ApiError(503, "hold_timeout", message, headers={"retry-after": "10"})


def too_many_held(name: str, limit: int) -> ApiError:
    message = f"{limit} requests already wait for {name!r} (max_held_requests). Try again later."
    return ApiError(429, "too_many_requests", message, headers={"retry-after": "2"})


def shutting_down() -> ApiError:
    return ApiError(503, "gateway_stopping", "The gateway is stopping. Try again later.", headers={"retry-after": "5"})


def engine_died(name: str) -> ApiError:
    return ApiError(502, "engine_died", f"The engine of {name!r} broke off while it worked on this request. Try again.")
