"""Requests to one API server: headers, retries, and one clear message where it cannot be reached.

Owns what is tried again: a request that the server turned away unread (429), and requests that may be repeated
without harm where no answer came. Knows no kinds and no objects.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from ai_how import __version__
from ai_how.errors import AiHowError, ProviderError, TryAgainError
from ai_how.kubernetes_api.kubeconfig import Access
from ai_how.kubernetes_api.refusals import AccessRefusedError, RefusedError, error_for, read_refusal
from ai_how.run.http import Response
from ai_how.run.tls_http import NoAnswerError, Silence, TlsSession

APPLY_TYPE = "application/apply-patch+yaml"
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_PASSING = (429, 502, 503, 504)
_WEBHOOK = b"failed calling webhook"
_TRANSIENT = (Silence.REFUSED, Silence.UNREACHABLE, Silence.TIMED_OUT, Silence.BROKEN)

Query = Mapping[str, str]


class UnreachableError(TryAgainError):
    """The API server gave no answer; ``silence`` says why."""

    silence = Silence.BROKEN


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a request is tried again (seconds from its first try), and how long one answer may take."""

    total_s: float = 20
    answer_s: float = 30


class Connection:
    """One API server, as one user. Safe to use from several threads."""

    def __init__(
        self,
        access: Access,
        *,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.access = access
        self._patience = patience or Patience()
        self._sleep = sleep
        self._clock = clock
        self._session = TlsSession(
            access.server,
            authority_pem=access.authority_pem,
            certificate_pem=access.certificate_pem,
            key_pem=access.key_pem,
            server_name=access.server_name,
            verify=access.verify,
        )

    def ask(
        self,
        method: str,
        path: str,
        *,
        what: str,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Any:
        """Send a request and return the JSON that comes back.

        Raises:
            RefusedError: the server refused (a subclass says how).
            UnreachableError: it gave no answer.
        """
        answer = self._answer(method, _url(path, query), what=what, body=body, types=(content_type, accept))
        found = answer.json()
        if found is None:
            raise ProviderError(f"could not {what}: the answer is not JSON", evidence=answer.text[:200])
        return found

    def text(self, path: str, *, what: str, query: Query | None = None) -> str:
        """GET something that is not JSON, such as a log."""
        return self._answer("GET", _url(path, query), what=what).text

    @contextmanager
    def stream(self, path: str, *, what: str, query: Query, silence_s: float) -> Iterator[Iterator[str]]:
        """GET something line by line as it comes; the caller begins anew where it breaks (UnreachableError)."""
        lines_of = self._session.stream_lines(_url(path, query), headers=self._headers(), timeout_s=silence_s)
        try:
            with lines_of as (status, lines):
                if status >= 400:
                    text = "\n".join(lines)
                    raise self._refused(Response(status=status, headers={}, body=text.encode()), what)
                yield lines
        except NoAnswerError as error:
            raise self._unreachable(error, what) from error

    def close(self) -> None:
        """Let go of idle connections."""
        self._session.close()

    def _answer(
        self,
        method: str,
        url: str,
        *,
        what: str,
        body: Mapping[str, Any] | None = None,
        types: tuple[str, str] = ("application/json", "application/json"),
    ) -> Response:
        content_type, accept = types
        until = self._clock() + self._patience.total_s
        repeatable = method in ("GET", "DELETE") or content_type == APPLY_TYPE
        data = None if body is None else json.dumps(body).encode()
        headers = {**self._headers(accept), **({} if data is None else {"content-type": content_type})}
        pause_s = _FIRST_PAUSE_S
        while True:
            failure: AiHowError
            try:
                answer = self._session.request(
                    method, url, body=data, headers=headers, timeout_s=self._patience.answer_s
                )
            except NoAnswerError as error:
                unreachable = self._unreachable(error, what)
                unreachable.__cause__ = error
                failure, again = unreachable, repeatable and unreachable.silence in _TRANSIENT
                wait_s = pause_s
            else:
                if answer.status < 400:
                    return answer
                refused = self._refused(answer, what)
                failure = refused
                again = answer.status == 429 or (repeatable and _may_pass(answer))
                wait_s = max(pause_s, refused.refusal.retry_after_s or 0)
            if not again or self._clock() + wait_s > until:
                raise failure
            self._sleep(wait_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _headers(self, accept: str = "application/json") -> dict[str, str]:
        headers = {"accept": accept, "user-agent": f"ai-how/{__version__}"}
        if self.access.token:
            headers["authorization"] = f"Bearer {self.access.token}"
        return headers

    def _refused(self, answer: Response, what: str) -> RefusedError:
        names = {name.lower(): value for name, value in answer.headers.items()}
        refusal = read_refusal(answer.status, answer.json(), text=answer.text, retry_after=names.get("retry-after"))
        error = error_for(refusal, what)
        if isinstance(error, AccessRefusedError) and refusal.code == 401:
            ended = self._expiry()
            if ended:
                error.brief, error.evidence = f"could not {what}: {ended}", self._where()
        return error

    def _unreachable(self, error: NoAnswerError, what: str) -> UnreachableError:
        silence, evidence, ended = error.silence, error.evidence, self._expiry()
        if ended and silence in (Silence.UNWANTED, Silence.BROKEN):
            # the server's refusal is sometimes lost with the connection that it ends
            silence, evidence = Silence.UNWANTED, ended
        brief = f"could not {what}: no answer from the API server at {self.access.server}: {silence}"
        failure = UnreachableError(brief, evidence=f"{evidence}\n{self._where()}", next_step=_NEXT_STEP[silence])
        failure.silence = silence
        return failure

    def _where(self) -> str:
        return f"context '{self.access.context}' of {self.access.source}"

    def _expiry(self) -> str:
        expires = self.access.expires
        if expires is None or expires > datetime.now(UTC):
            return ""
        return f"the client certificate expired on {expires:%Y-%m-%d %H:%M} UTC"


def _may_pass(answer: Response) -> bool:
    """Whether the same request may soon do: the server is starting, or a webhook that it asks is."""
    return answer.status in _PASSING or (answer.status == 500 and _WEBHOOK in answer.body)


_FETCH = "fetch a new kubeconfig: ai-how kubeconfig"
_NEXT_STEP = {
    Silence.REFUSED: "see whether the control plane runs, and whether this is its address: ai-how status",
    Silence.UNREACHABLE: "see whether the control plane's machine runs and can be reached: ai-how status",
    Silence.TIMED_OUT: "see whether the control plane's machine is overloaded: ai-how status",
    Silence.UNTRUSTED: f"the cluster was made anew, or another server answers there; {_FETCH}",
    Silence.EXPIRED: "renew the control plane's certificates",
    Silence.WRONG_NAME: "use an address that the certificate names, or set tls-server-name in the kubeconfig",
    Silence.UNWANTED: _FETCH,
    Silence.BROKEN: "try again in a minute",
}


def _url(path: str, query: Query | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path
