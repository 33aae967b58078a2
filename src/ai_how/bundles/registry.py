"""Asks container registries, by the OCI distribution protocol: what a reference stands for, and its blobs.

Anonymous only: where a registry wants a bearer token it is asked for one, as it says. Nothing is sent to a registry
but questions.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ai_how.bundles.download import Opener, Part
from ai_how.bundles.store import Store
from ai_how.bundles.wanted import Reference, is_digest, parse_platform
from ai_how.errors import AiHowError, NotFoundError, ProviderError, TryAgainError
from ai_how.run.outside import Answer, Patience, ask

INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_ACCEPT = ", ".join((*INDEXES, *MANIFESTS))
_OK, _UNAUTHORIZED, _FORBIDDEN = 200, 401, 403
_MOST_BYTES = 4 << 20
"""The distribution specification lets registries refuse larger manifests."""
_FIELD = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What an image's reference stands for: manifests by digest, the outermost first, and the blobs that they lead to.

    ``media_types`` are those of the manifests.
    """

    digest: str
    manifests: Mapping[str, bytes]
    media_types: Mapping[str, str]
    parts: tuple[Part, ...]
    part_types: tuple[str, ...]


class Registries:
    """All registries, asked from several threads; tokens are kept for each repository."""

    def __init__(self, *, patience: Patience, platform: str, store: Store | None = None) -> None:
        """
        Args:
            store: Where manifests may lie that were fetched before.
        """
        self._patience = patience
        self._system, self._machine = parse_platform(platform)
        self._store = store
        self._tokens: dict[str, str] = {}
        self._guard = threading.Lock()

    def resolve(self, reference: Reference) -> Resolved:
        """Follow a reference to its manifest, for the platform where there are several, and list its blobs.

        Raises:
            NotFoundError: there is no such image, or it is not public, or not for this platform.
            ProviderError: what came is not what was asked for.
            TryAgainError: the registry failed or refuses for now.
        """
        outer, content, media_type = self._manifest(reference, reference.digest or reference.tag)
        manifests, types = {outer: content}, {outer: media_type}
        data = _parsed(content, reference)
        if media_type in INDEXES or "manifests" in data:
            inner = self._pick(data, reference)
            _, content, media_type = self._manifest(reference, inner)
            manifests[inner], types[inner] = content, media_type
            data = _parsed(content, reference)
        if "layers" not in data or "config" not in data:
            raise ProviderError(f"{reference} is of a form that is no longer used", evidence=f"type: {media_type}")
        try:
            described = {each["digest"]: each for each in (data["config"], *data["layers"])}
            parts = tuple(self._part(reference, each["digest"], int(each["size"])) for each in described.values())
            part_types = tuple(str(each.get("mediaType", "")) for each in described.values())
        except (KeyError, TypeError, ValueError) as error:
            raise _nonsense(reference, str(error)) from error
        return Resolved(digest=outer, manifests=manifests, media_types=types, parts=parts, part_types=part_types)

    def blob_opener(self, reference: Reference, digest: str) -> Opener:
        """The content of a blob."""
        return lambda headers: self._ask(reference, f"blobs/{digest}", headers=headers)

    def _part(self, reference: Reference, digest: str, size_bytes: int) -> Part:
        if not is_digest(digest) or not digest.startswith("sha256:"):
            raise _nonsense(reference, f"digest {digest[:80]!r}")
        source = f"{reference.api}/blobs/{digest}"
        opener = self.blob_opener(reference, digest)
        return Part(what=f"a layer of {reference}", source=source, digest=digest, size_bytes=size_bytes, opener=opener)

    def _pick(self, index: Mapping[str, Any], reference: Reference) -> str:
        """The manifest for our platform; one without a variant, or the first."""
        found = [
            each
            for each in index.get("manifests", ())
            if (each.get("platform") or {}).get("os") == self._system
            and (each.get("platform") or {}).get("architecture") == self._machine
        ]
        if not found:
            have = sorted({_platform(each) for each in index.get("manifests", ())} - {"unknown/unknown"})
            raise NotFoundError(
                f"{reference} is not there for {self._system}/{self._machine}",
                evidence=f"it is for: {', '.join(have) or 'no platform'}",
            )
        digest = str(next((one for one in found if not one["platform"].get("variant")), found[0]).get("digest"))
        if not is_digest(digest):
            raise _nonsense(reference, f"digest {digest[:80]!r}")
        return digest

    def _manifest(self, reference: Reference, which: str) -> tuple[str, bytes, str]:
        """Digest, content and media type of a manifest by tag or digest; what the store has is not sent again."""
        wanted = which if is_digest(which) else self._stands_for(reference, which)
        kept = self._kept(wanted)
        if kept is not None:
            return wanted, kept, str(_parsed(kept, reference).get("mediaType") or "")
        with self._ask(reference, f"manifests/{wanted or which}", headers={"accept": _ACCEPT}) as answer:
            _refuse(answer, reference)
            content = answer.read(_MOST_BYTES)
            stated = answer.headers.get("content-type", "").partition(";")[0]
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if wanted and digest != wanted:
            raise ProviderError(
                f"{reference.registry} sends another manifest of {reference} than was asked for",
                evidence=f"has    {digest}\nwanted {wanted}",
                next_step="do not use it; a proxy on the way may change it",
            )
        return digest, content, str(_parsed(content, reference).get("mediaType") or stated)

    def _stands_for(self, reference: Reference, tag: str) -> str:
        """The digest of a tag, empty where the registry does not say: asking so counts against no limit of pulls."""
        with self._ask(reference, f"manifests/{tag}", method="HEAD", headers={"accept": _ACCEPT}) as answer:
            digest = answer.headers.get("docker-content-digest", "")
            return digest if answer.status == _OK and is_digest(digest) and digest.startswith("sha256:") else ""

    def _kept(self, digest: str) -> bytes | None:
        if not digest or self._store is None or self._store.sound(digest) is None:
            return None
        return self._store.path(digest).read_bytes()

    @contextmanager
    def _ask(
        self, reference: Reference, path: str, *, headers: Mapping[str, str], method: str = "GET"
    ) -> Iterator[Answer]:
        """Ask a registry, with a token where it wants one."""
        place = f"{reference.registry}/{reference.repository}"
        url = f"{reference.api}/{path}"
        for token in (self._tokens.get(place), None):
            sent = {**headers, **({"authorization": f"Bearer {token}"} if token else {})}
            with ask(url, patience=self._patience, headers=sent, method=method) as answer:
                if answer.status != _UNAUTHORIZED:
                    yield answer
                    return
                challenge = answer.headers.get("www-authenticate", "")
            if token is None:
                break
        fresh = self._token(reference, challenge)
        with self._guard:
            self._tokens[place] = fresh
        sent = {**headers, "authorization": f"Bearer {fresh}"}
        with ask(url, patience=self._patience, headers=sent, method=method) as answer:
            yield answer

    def _token(self, reference: Reference, challenge: str) -> str:
        fields = dict(_FIELD.findall(challenge))
        if not challenge.lower().startswith("bearer ") or "realm" not in fields:
            raise ProviderError(
                f"{reference.registry} wants a login for {reference.repository}",
                evidence=f"it asks for: {challenge.partition(' ')[0] or 'nothing that is known'}",
                next_step="only public images can be bundled",
            )
        question = {"scope": fields.get("scope") or f"repository:{reference.repository}:pull"}
        if "service" in fields:
            question["service"] = fields["service"]
        url = fields["realm"] + ("&" if "?" in fields["realm"] else "?") + urlencode(question)
        with ask(url, patience=self._patience) as answer:
            body = answer.read(_MOST_BYTES)
            status = answer.status
        try:
            data = json.loads(body)
            token = data.get("token") or data.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if status != _OK or not token:
            raise ProviderError(
                f"{reference.registry} gives no token for {reference.repository}",
                evidence=f"{fields['realm']}: HTTP status {status}",
                next_step="only public images can be bundled; check the name",
            )
        return str(token)


def _refuse(answer: Answer, reference: Reference) -> None:
    if answer.status == _OK:
        return
    kind: type[AiHowError] = TryAgainError
    if answer.status in (_UNAUTHORIZED, _FORBIDDEN, 404):
        kind = NotFoundError
    raise kind(
        f"{reference.registry} has no image {reference}, or does not give it to everybody",
        evidence=f"HTTP status {answer.status}",
        next_step="check name and tag; only public images can be bundled",
    )


def _parsed(content: bytes, reference: Reference) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _nonsense(reference, "it is no JSON") from error
    if not isinstance(data, dict):
        raise _nonsense(reference, "it is no JSON object")
    return data


def _platform(described: Mapping[str, Any]) -> str:
    platform = described.get("platform") or {}
    return f"{platform.get('os', 'unknown')}/{platform.get('architecture', 'unknown')}"


def _nonsense(reference: Reference, evidence: str) -> ProviderError:
    return ProviderError(
        f"the manifest of {reference} cannot be read", evidence=evidence, next_step="a proxy may answer in its place"
    )
