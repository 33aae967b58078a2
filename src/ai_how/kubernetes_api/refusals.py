"""What an API server says when it refuses (its ``Status`` object), as errors that say what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ai_how.errors import AiHowError, ConflictError, NotFoundError, ProviderError, SpecError, TryAgainError

_MANAGER = re.compile(r'conflict with "(?P<manager>[^"]*)"(?: with subresource "(?P<subresource>[^"]*)")?')
_NOT_IN_SCHEMA = ("field not declared in schema", "failed to create typed patch object", "strict decoding error")
_MOST_LINES = 8


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A ``Status`` of the API: HTTP code, reason, message, and causes as (reason, field, message)."""

    code: int
    reason: str = ""
    message: str = ""
    causes: tuple[tuple[str, str, str], ...] = ()
    retry_after_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class FieldConflict:
    """A field that another manager owns with another value; ``path`` as the API writes it (``.spec.replicas``)."""

    path: str
    manager: str


class RefusedError(AiHowError):
    """The API server refused; ``refusal`` says all that it said."""

    refusal = Refusal(code=0)


class NotThereError(NotFoundError, RefusedError):
    """404: no such object, or no such kind."""


class AlreadyThereError(ConflictError, RefusedError):
    """409 AlreadyExists."""


class ChangedMeanwhileError(ConflictError, RefusedError):
    """409 Conflict: it is no longer the object, or the version of it, that was meant."""


class FieldConflictError(ConflictError, RefusedError):
    """409 on server-side apply: others own fields that we would change."""

    conflicts: tuple[FieldConflict, ...] = ()


class InvalidObjectError(SpecError, RefusedError):
    """The object does not fit its kind: a field that is not known, a value that may not be."""


class AccessRefusedError(RefusedError):
    """401 or 403: who we are is not known there, or may not do this."""


class TerminatingError(TryAgainError, RefusedError):
    """403: the namespace is going away."""


class GoneError(TryAgainError, RefusedError):
    """410: a watch or a list has to begin anew."""


class BusyError(TryAgainError, RefusedError):
    """429, 502, 503 or 504, again and again."""


class ServerError(ProviderError, RefusedError):
    """Anything else."""


_DOES_NOT_FIT = (InvalidObjectError, "it does not fit its kind", "")
_BUSY = (BusyError, "the API server is busy or not ready", "try again in a minute")
_SHAPES: Mapping[int | str, tuple[type[RefusedError], str, str]] = {
    400: _DOES_NOT_FIT,
    401: (
        AccessRefusedError,
        "the API server does not know who we are",
        "fetch a new kubeconfig: ai-how kubeconfig",
    ),
    403: (
        AccessRefusedError,
        "not allowed",
        "use a kubeconfig with more rights, or have a cluster administrator grant them",
    ),
    404: (NotThereError, "it is not there", ""),
    410: (GoneError, "the server has moved on", "try again"),
    415: _DOES_NOT_FIT,
    422: _DOES_NOT_FIT,
    429: _BUSY,
    502: _BUSY,
    503: _BUSY,
    504: _BUSY,
    "terminating": (TerminatingError, "its namespace is going away", ""),
}


def read_refusal(code: int, body: Any, *, text: str = "", retry_after: str | None = None) -> Refusal:
    """What the answer says; ``body`` is its JSON, or None where it had none (a proxy's page, plain text)."""
    wait_s = float(retry_after) if retry_after and retry_after.isdigit() else None
    if not isinstance(body, Mapping) or body.get("kind") != "Status":
        return Refusal(code=code, message=" ".join(text.split())[:300], retry_after_s=wait_s)
    details = body.get("details") or {}
    causes = tuple(
        (str(c.get("reason") or ""), str(c.get("field") or ""), str(c.get("message") or ""))
        for c in details.get("causes") or []
    )
    asked_s = details.get("retryAfterSeconds")
    return Refusal(
        code=int(body.get("code") or code),
        reason=str(body.get("reason") or ""),
        message=str(body.get("message") or ""),
        causes=causes,
        retry_after_s=wait_s if wait_s is not None else (float(asked_s) if asked_s else None),
    )


def error_for(refusal: Refusal, what: str) -> RefusedError:
    """The error for a refusal; ``what`` names the deed and its object: ``apply Deployment mlops/mlflow``."""
    error = _error_for(refusal, what)
    error.refusal = refusal
    return error


def _error_for(refusal: Refusal, what: str) -> RefusedError:
    if refusal.code == 409:
        return _conflict(refusal, what)
    kind, words, next_step = _SHAPES.get(_case(refusal), (ServerError, "", ""))
    brief = f"could not {what}" + (f": {words}" if words else "")
    return kind(brief, evidence=_evidence(refusal), next_step=next_step)


def _case(refusal: Refusal) -> int | str:
    """What it is about: the code, unless the server's words say more than its code does."""
    if any(words in refusal.message for words in _NOT_IN_SCHEMA):
        return 422  # an unknown field is a 500 in some versions
    if refusal.code == 403 and any(reason == "NamespaceTerminating" for reason, _, _ in refusal.causes):
        return "terminating"
    return refusal.code


def _conflict(refusal: Refusal, what: str) -> RefusedError:
    conflicts = field_conflicts(refusal)
    if conflicts:
        error = FieldConflictError(
            f"could not {what}: others own fields that would change",
            evidence="\n".join(f"{c.path} is owned by {c.manager}" for c in conflicts[:_MOST_LINES]),
            next_step="leave those fields out, or have their owner give them up",
        )
        error.conflicts = conflicts
        return error
    if refusal.reason == "AlreadyExists":
        return AlreadyThereError(f"could not {what}: it exists already", evidence=_evidence(refusal))
    return ChangedMeanwhileError(f"could not {what}: it was changed meanwhile", evidence=_evidence(refusal))


def field_conflicts(refusal: Refusal) -> tuple[FieldConflict, ...]:
    """Who owns which field, from a 409's causes."""
    found = []
    for reason, field, message in refusal.causes:
        owner = _MANAGER.search(message)
        if reason == "FieldManagerConflict" and owner is not None:
            found.append(FieldConflict(path=field, manager=owner["manager"]))
    return tuple(found)


def _evidence(refusal: Refusal) -> str:
    lines = [f"{field}: {message}" if field else message for _, field, message in refusal.causes]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"and {len(lines) - _MOST_LINES} more"]
    return "\n".join(lines) or refusal.message or f"HTTP {refusal.code} {refusal.reason}".strip()
