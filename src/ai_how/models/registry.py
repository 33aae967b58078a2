"""MLflow's model registry, through its REST API.

Owns the paths, the tags (prefix ``ai_how.``) and the meaning of references: ``name``, ``name@alias``, ``name/3``.
Source: https://mlflow.org/docs/latest/api_reference/rest-api.html, API 2.0.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from ai_how.errors import AiHowError, ConflictError, NotFoundError, ProviderError, SpecError, TryAgainError
from ai_how.models.types import ModelFormat, ModelInfo, RegisteredVersion
from ai_how.run.http import Response, request

DEFAULT_ALIAS = "champion"
"""What a plain name means, where it is set."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# MLflow keeps these two for itself
_RESERVED_ALIAS = re.compile(r"latest|v\d+")
_ALIAS = re.compile(r"[a-z0-9_-]{1,64}")
_TAG = "ai_how."
_PAGE = 200
_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a user names a version by; with neither alias nor version, the champion or else the latest."""

    name: str
    alias: str | None = None
    version: int | None = None


def parse_reference(text: str) -> Reference:
    """``name``, ``name@alias`` or ``name/3``.

    Raises:
        SpecError: it is none of these.
    """
    name, at, alias = text.partition("@")
    name, slash, version = name.partition("/")
    if slash and (at or not version.isdecimal() or int(version) < 1):
        raise SpecError(f"{text!r} names no model", next_step=f"write it as {name}, {name}@{DEFAULT_ALIAS} or {name}/3")
    return Reference(
        name=check_name(name), alias=check_alias(alias) if at else None, version=int(version) if slash else None
    )


def check_name(name: str) -> str:
    """The name of a model, as it appears in references and object keys.

    Raises:
        SpecError: it has other characters, with a name that would do.
    """
    if _NAME.fullmatch(name):
        return name
    near = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:64]
    raise SpecError(
        f"{name!r} cannot be the name of a model",
        evidence="1 to 64 lower-case letters, digits, dots, dashes and underscores, beginning with a letter or digit",
        next_step=f"use {near}" if near else "use a name such as my-model",
    )


def check_alias(alias: str) -> str:
    """The name of an alias.

    Raises:
        SpecError: it has other characters, or MLflow keeps it for itself.
    """
    if _ALIAS.fullmatch(alias) and not _RESERVED_ALIAS.fullmatch(alias):
        return alias
    raise SpecError(
        f"{alias!r} cannot be an alias",
        evidence="1 to 64 lower-case letters, digits, dashes and underscores; not latest, and not v1, v2, ...",
        next_step=f"use an alias such as {DEFAULT_ALIAS}",
    )


@dataclass(frozen=True)
class Registry:
    """The registered models of a site. ``url`` has no slash at the end.

    Versions that something else registered (without our tags) are left alone and not shown.
    """

    url: str

    def is_healthy(self) -> bool:
        """Whether MLflow answers."""
        try:
            return request("GET", f"{self.url}/health").status == 200
        except TryAgainError:
            return False

    def versions(self, name: str | None = None) -> list[RegisteredVersion]:
        """All versions, of one model or of all, by name and then newest first."""
        aliases = {model["name"]: model.get("aliases", ()) for model in self._models(name)}
        wanted = {"filter": f"name='{name}'"} if name else {}
        found = []
        for item in self._pages("model-versions/search", "model_versions", wanted):
            version = _version(item, aliases.get(item["name"], ()))
            if version:
                found.append(version)
        return sorted(found, key=lambda version: (version.name, -version.version))

    def resolve(self, reference: str) -> RegisteredVersion:
        """The version that a reference means.

        Raises:
            NotFoundError: no such model, alias or version; the evidence names those that exist.
        """
        wanted = parse_reference(reference)
        versions = self.versions(wanted.name)
        if not versions:
            raise self._no_such_model(wanted.name)
        by_alias = {alias: version for version in versions for alias in version.aliases}
        if wanted.version is not None:
            found = next((version for version in versions if version.version == wanted.version), None)
        elif wanted.alias is not None:
            found = by_alias.get(wanted.alias)
        else:
            found = by_alias.get(DEFAULT_ALIAS, versions[0])
        if found:
            return found
        what = f"alias {wanted.alias!r}" if wanted.alias else f"version {wanted.version}"
        numbers = ", ".join(str(version.version) for version in reversed(versions[:20]))
        raise NotFoundError(
            f"model {wanted.name} has no {what}",
            evidence=f"versions: {numbers}; aliases: {', '.join(sorted(by_alias)) or 'none'}",
            next_step=f"ai-how model show {wanted.name}",
        )

    def create_version(
        self, name: str, *, uri: str, digest: str, size_bytes: int, info: ModelInfo, source: str
    ) -> RegisteredVersion:
        """Register a version whose files lie at ``uri``; makes the model where it is new."""
        with contextlib.suppress(ConflictError):
            self._send("POST", "registered-models/create", {"name": name})
        tags = {
            "digest": digest,
            "size_bytes": size_bytes,
            "format": info.format,
            "architecture": info.architecture,
            "parameters": info.parameters,
            "dtype": info.dtype,
            "context_tokens": info.context_tokens,
            "chat_template": str(info.chat_template).lower(),
            "base_model": info.base_model,
            "source": source,
        }
        body = {
            "name": name,
            "source": uri,
            "tags": [{"key": _TAG + key, "value": str(value)} for key, value in tags.items() if value is not None],
        }
        item = self._send("POST", "model-versions/create", body)["model_version"]
        version = _version(item, ())
        if version is None:
            raise ProviderError("MLflow did not keep our tags", evidence=str(item)[:200])
        return version

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; it leaves the version that it pointed at before."""
        body = {"name": name, "alias": check_alias(alias), "version": str(version)}
        self._send("POST", "registered-models/alias", body)

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; the version stays."""
        self._send("DELETE", "registered-models/alias", {"name": name, "alias": alias})

    def delete_version(self, name: str, version: int) -> None:
        """Remove a version and the aliases that point at it; with its last version goes the model."""
        self._send("DELETE", "model-versions/delete", {"name": name, "version": str(version)})
        left = next(self._pages("model-versions/search", "model_versions", {"filter": f"name='{name}'"}), None)
        if left is None:
            self._send("DELETE", "registered-models/delete", {"name": name})

    def _models(self, name: str | None) -> Iterator[dict[str, Any]]:
        wanted = {"filter": f"name='{name}'"} if name else {}
        return self._pages("registered-models/search", "registered_models", wanted)

    def _no_such_model(self, name: str) -> NotFoundError:
        names = sorted({version.name for version in self.versions()})
        near = difflib.get_close_matches(name, names, n=1)
        return NotFoundError(
            f"there is no model {name!r}",
            evidence=f"there are: {', '.join(names[:20])}" if names else "no model is registered yet",
            next_step=f"did you mean {near[0]}?"
            if near
            else "ai-how model list, or: ai-how model push SOURCE --name NAME",
        )

    def _pages(self, path: str, key: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = query | {"max_results": str(_PAGE)} | ({"page_token": token} if token else {})
            answer = self._send("GET", f"{path}?{urlencode(page)}")
            yield from answer.get(key, ())
            token = answer.get("next_page_token", "")
            if not token:
                return

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        url = f"{self.url}/api/2.0/mlflow/{path}"
        try:
            answer = request(method, url, json_body=body, timeout_s=_TIMEOUT_S)
        except TryAgainError as error:
            raise TryAgainError(
                f"the registry at {self.url} does not answer",
                evidence=error.evidence,
                next_step="ai-how up, then run the same command again",
            ) from error
        content = answer.json()
        if answer.status == 200 and isinstance(content, dict):
            return content
        raise _refusal(answer, content)


def _refusal(answer: Response, content: Any) -> AiHowError:
    code, message = "", answer.text.strip()[:300]
    if isinstance(content, dict):
        code, message = str(content.get("error_code", "")), str(content.get("message", message))
    brief = f"the registry refused it: {message.splitlines()[0] if message else answer.status}"
    evidence = f"MLflow answered {answer.status} {code}".rstrip()
    if code == "RESOURCE_DOES_NOT_EXIST":
        return NotFoundError(brief, evidence=evidence, next_step="ai-how model list")
    if code == "RESOURCE_ALREADY_EXISTS":
        return ConflictError(brief, evidence=evidence, next_step="ai-how model list")
    if code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST"):
        return SpecError(brief, evidence=evidence)
    if code in ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED") or answer.status in (502, 503, 504):
        return TryAgainError(brief, evidence=evidence, next_step="wait a little, then run the same command again")
    return ProviderError(brief, evidence=evidence, next_step="ai-how logs registry")


def _version(item: dict[str, Any], aliases: Sequence[dict[str, Any]]) -> RegisteredVersion | None:
    """One of our versions, or None for one that lacks our tags."""
    tags = {tag["key"].removeprefix(_TAG): tag["value"] for tag in item.get("tags", ()) if tag["key"].startswith(_TAG)}
    number = int(item["version"])
    try:
        info = ModelInfo(
            format=ModelFormat(tags["format"]),
            architecture=tags["architecture"],
            parameters=int(tags["parameters"]),
            dtype=tags["dtype"],
            context_tokens=int(tags["context_tokens"]) if "context_tokens" in tags else None,
            chat_template=tags["chat_template"] == "true",
            base_model=tags.get("base_model"),
        )
        return RegisteredVersion(
            name=item["name"],
            version=number,
            uri=item["source"],
            digest=tags["digest"],
            size_bytes=int(tags["size_bytes"]),
            info=info,
            source=tags["source"],
            created_at=datetime.fromtimestamp(int(item["creation_timestamp"]) / 1000, UTC).isoformat(
                timespec="seconds"
            ),
            aliases=tuple(sorted(entry["alias"] for entry in aliases if int(entry["version"]) == number)),
        )
    except (KeyError, ValueError):
        return None
