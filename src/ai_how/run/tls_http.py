"""HTTPS to one server with an authority and a client certificate of its own: what a Kubernetes API server asks for.

Owns the connection and the words for why no answer came. Never decides whether to try again. Keys that come as text
are handed to TLS through memory: nothing is written to a disk.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

from ai_how.errors import SpecError, TryAgainError
from ai_how.run.http import Response, lines_of, reason_of

if TYPE_CHECKING:
    import urllib3


class Silence(StrEnum):
    """Why a server gave no answer."""

    REFUSED = "nothing listens there"
    UNREACHABLE = "it cannot be reached"
    TIMED_OUT = "it said nothing in time"
    UNTRUSTED = "its certificate is not from the expected authority"
    EXPIRED = "its certificate has expired"
    WRONG_NAME = "its certificate is for another name"
    UNWANTED = "it refused the client's certificate"
    BROKEN = "the connection broke"


class NoAnswerError(TryAgainError):
    """No answer came; ``silence`` says why."""

    def __init__(self, brief: str, *, silence: Silence, evidence: str = "") -> None:
        super().__init__(brief, evidence=evidence)
        self.silence = silence


class TlsSession:
    """Pooled connections to one server; safe to use from several threads.

    Args:
        base_url: ``https://host:port``; ``http://`` is taken too, for a proxy on this machine.
        authority_pem: The certificate authority that signs the server; empty: the system's.
        certificate_pem, key_pem: The client's certificate and key; empty: none.
        server_name: The name in the server's certificate, where it is not the host in ``base_url``.
        verify: False takes any certificate.

    Raises:
        SpecError: a certificate or key cannot be read, or they do not belong together.
    """

    def __init__(
        self,
        base_url: str,
        *,
        authority_pem: str = "",
        certificate_pem: str = "",
        key_pem: str = "",
        server_name: str = "",
        verify: bool = True,
    ) -> None:
        import urllib3

        self.base_url = base_url.rstrip("/")
        context = _context(authority_pem, certificate_pem, key_pem, verify=verify)
        name = server_name if verify and server_name else None
        self._pool = urllib3.PoolManager(
            num_pools=2, maxsize=16, retries=False, ssl_context=context, server_hostname=name
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30,
    ) -> Response:
        """Send one request and read the whole answer; any status is an answer.

        Raises:
            NoAnswerError: none came.
        """
        import urllib3

        try:
            answer = self._pool.request(
                method, self.base_url + path, body=body, headers=dict(headers or {}), timeout=timeout_s, redirect=False
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._no_answer(error) from error
        return Response(status=answer.status, headers=dict(answer.headers), body=answer.data)

    @contextmanager
    def stream_lines(
        self, path: str, *, headers: Mapping[str, str] | None = None, timeout_s: float = 60
    ) -> Iterator[tuple[int, Iterator[str]]]:
        """GET something and read it line by line as it comes; silence for ``timeout_s`` ends it.

        Yields:
            The status and the lines, which raise NoAnswerError where the connection breaks.
        """
        import urllib3

        try:
            answer = self._pool.request(
                "GET", self.base_url + path, headers=dict(headers or {}), timeout=timeout_s, preload_content=False
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._no_answer(error) from error
        try:
            yield answer.status, self._lines(answer)
        finally:
            answer.close()

    def close(self) -> None:
        """Let go of idle connections."""
        self._pool.clear()

    def _lines(self, answer: urllib3.BaseHTTPResponse) -> Iterator[str]:
        import urllib3

        try:
            yield from lines_of(answer)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._no_answer(error) from error

    def _no_answer(self, error: Exception) -> NoAnswerError:
        silence = why_silent(error)
        return NoAnswerError(f"no answer from {self.base_url}: {silence}", silence=silence, evidence=reason_of(error))


def why_silent(error: BaseException) -> Silence:
    """The reason behind what urllib3, ssl or the operating system raised."""
    import urllib3

    chain = _chain(error)
    for link in chain:
        if isinstance(link, ssl.SSLCertVerificationError):
            return _verification(link)
    text = " ".join(f"{type(link).__name__} {link}" for link in chain)
    if re.search(r"ALERT_(BAD_CERTIFICATE|CERTIFICATE|UNKNOWN_CA)|CERTIFICATE_REQUIRED", text, re.IGNORECASE):
        return Silence.UNWANTED
    kinds = (
        (Silence.REFUSED, (ConnectionRefusedError,)),
        (Silence.UNREACHABLE, (urllib3.exceptions.NameResolutionError, urllib3.exceptions.ConnectTimeoutError)),
        (Silence.TIMED_OUT, (urllib3.exceptions.TimeoutError, TimeoutError)),
        (Silence.BROKEN, (ConnectionError, urllib3.exceptions.ProtocolError)),
        (Silence.UNREACHABLE, (urllib3.exceptions.NewConnectionError,)),
    )
    for silence, types in kinds:
        if any(isinstance(link, types) for link in chain):
            return silence
    return Silence.BROKEN


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


def _verification(error: ssl.SSLCertVerificationError) -> Silence:
    if "mismatch" in error.verify_message.lower():
        return Silence.WRONG_NAME
    return Silence.EXPIRED if "expired" in error.verify_message else Silence.UNTRUSTED


def trusting(authority_pem: str) -> ssl.SSLContext:
    """A client's context that takes what this authority signed; empty: what the system's authorities signed.

    Raises:
        SpecError: it cannot be read.
    """
    if not authority_pem:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=authority_pem)
    except (ssl.SSLError, ValueError) as error:
        raise SpecError("the certificate authority cannot be read", evidence=str(error)) from error
    return context


def _context(authority_pem: str, certificate_pem: str, key_pem: str, *, verify: bool) -> ssl.SSLContext:
    context = trusting(authority_pem)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate_pem:
        _load_chain(context, certificate_pem, key_pem)
    return context


def _load_chain(context: ssl.SSLContext, certificate_pem: str, key_pem: str) -> None:
    """ssl reads keys from files alone: a file in memory keeps them off the disk."""
    handle = os.memfd_create("client")
    try:
        os.write(handle, f"{certificate_pem.strip()}\n{key_pem.strip()}\n".encode())
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    except (ssl.SSLError, OSError) as error:
        raise SpecError("the client's certificate and key cannot be used", evidence=str(error)) from error
    finally:
        os.close(handle)
