"""Reads a kubeconfig: where the API server is and how to show who we are.

Owns the file's meaning for us (format: Kubernetes' client configuration v1). Never writes one, runs no credential
plug-in, and never shows a key or token.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ai_how.errors import NotFoundError, SpecError
from ai_how.kubernetes_api.certificate import valid_until


@dataclass(frozen=True, kw_only=True)
class Access:
    """One context of a kubeconfig. PEM texts and the token are secrets and stay out of ``repr``."""

    server: str
    context: str
    source: str
    namespace: str = "default"
    user: str = ""
    authority_pem: str = field(default="", repr=False)
    certificate_pem: str = field(default="", repr=False)
    key_pem: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    server_name: str = ""
    verify: bool = True

    @property
    def expires(self) -> datetime | None:
        """When the client's certificate ends (UTC); None where there is none or it cannot be read."""
        return valid_until(self.certificate_pem)


def load_kubeconfig(path: Path, context: str = "") -> Access:
    """The access that a kubeconfig gives, through ``context`` or its current one.

    Raises:
        NotFoundError: there is no such file.
        SpecError: it is not a kubeconfig, lacks what its context names, or asks for what is not done here.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFoundError(
            f"there is no kubeconfig at {path}", next_step="name another one, or fetch it: ai-how kubeconfig"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read", evidence=str(error)) from error
    return access_from_text(text, source=str(path), folder=path.parent, context=context)


def access_from_text(text: str, *, source: str, folder: Path, context: str = "") -> Access:
    """As ``load_kubeconfig``; files that it names are looked for from ``folder``."""
    document = _parsed(text, source)
    name = context or document.get("current-context") or ""
    if not name:
        raise SpecError(f"{source} has no current context", next_step="name one of: " + _names(document, "contexts"))
    chosen = _entry(document, "contexts", name, source)
    cluster_name, user_name = str(chosen.get("cluster") or ""), str(chosen.get("user") or "")
    cluster = _entry(document, "clusters", cluster_name, source)
    user = _entry(document, "users", user_name, source) if user_name else {}
    _refuse_what_is_not_done(cluster, user, source)
    return Access(
        server=_server(cluster, source),
        context=name,
        source=source,
        namespace=chosen.get("namespace") or "default",
        user=user_name,
        authority_pem=_pem(cluster, "certificate-authority", source, folder),
        certificate_pem=_pem(user, "client-certificate", source, folder),
        key_pem=_pem(user, "client-key", source, folder),
        token=_token(user, source, folder),
        server_name=cluster.get("tls-server-name") or "",
        verify=not cluster.get("insecure-skip-tls-verify", False),
    )


def _parsed(text: str, source: str) -> Mapping[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe").load(text)
    except YAMLError as error:
        # its own message quotes the line, which may hold a key
        raise SpecError(f"{source} is not YAML", evidence=_where(error)) from error
    if not isinstance(document, dict) or not isinstance(document.get("clusters"), list):
        raise SpecError(f"{source} is not a kubeconfig", evidence="it has no list of clusters")
    return document


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: {getattr(error, 'problem', '')}" if mark is not None else ""


def _entry(document: Mapping[str, Any], section: str, name: str, source: str) -> Mapping[str, Any]:
    inner = section.removesuffix("s")
    for entry in document.get(section) or []:
        if isinstance(entry, dict) and entry.get("name") == name:
            content = entry.get(inner)
            return content if isinstance(content, dict) else {}
    raise SpecError(f"{source} has no {inner} named '{name}'", evidence=f"it has: {_names(document, section)}")


def _names(document: Mapping[str, Any], section: str) -> str:
    names = [str(entry.get("name")) for entry in document.get(section) or [] if isinstance(entry, dict)]
    return ", ".join(names) or "none"


def _server(cluster: Mapping[str, Any], source: str) -> str:
    server = cluster.get("server")
    if not isinstance(server, str) or not server.startswith(("https://", "http://")):
        raise SpecError(f"{source} names no address of an API server", evidence=f"server: {server}")
    return server


def _refuse_what_is_not_done(cluster: Mapping[str, Any], user: Mapping[str, Any], source: str) -> None:
    asked = [f"user.{key}" for key in ("exec", "auth-provider", "username") if user.get(key)]
    asked += [f"cluster.{key}" for key in ("proxy-url",) if cluster.get(key)]
    if asked:
        raise SpecError(
            f"{source} asks for what ai-how does not do: {', '.join(asked)}",
            next_step="use a kubeconfig with a client certificate or a token",
        )


def _pem(section: Mapping[str, Any], key: str, source: str, folder: Path) -> str:
    data, file = section.get(f"{key}-data"), section.get(key)
    if data:
        try:
            return base64.b64decode(str(data), validate=True).decode("ascii")
        except (binascii.Error, ValueError) as error:
            raise SpecError(f"{source}: {key}-data is not base64 of a PEM file") from error
    return _read(folder / str(file), source, key) if file else ""


def _token(user: Mapping[str, Any], source: str, folder: Path) -> str:
    if user.get("token"):
        return str(user["token"])
    file = user.get("tokenFile")
    return _read(folder / str(file), source, "tokenFile").strip() if file else ""


def _read(path: Path, source: str, key: str) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{source}: the file of {key} cannot be read", evidence=str(error)) from error
