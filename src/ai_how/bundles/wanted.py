"""What a bundle is asked to hold: files by address, container images by reference, charts by name. Pure.

This is the whole interface to those who want something: an iterable of ``File``, ``Image`` and ``Chart``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from ai_how.errors import SpecError

DOCKER_HUB = "docker.io"
_API_HOSTS = {DOCKER_HUB: "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}
_LENGTHS = {"sha256": 64, "sha512": 128}
_NAME = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class File:
    """A file at an address. ``digest`` is ``sha256:HEX`` or ``sha512:HEX``; empty where nobody states one."""

    url: str
    digest: str = ""
    kind: Literal["file", "wheel", "manifest"] = "file"
    """``wheel`` for a package of Kubespray's Python environment, ``manifest`` for what is applied from this host."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """A container image. ``digest`` is that of its manifest or index; None: what the reference stands for today."""

    reference: str
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A Helm chart of a repository: ``https://...`` with an index, or ``oci://...``."""

    repository: str
    name: str
    version: str


Wanted = File | Image | Chart


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An image's reference with everything said that people leave out."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}{f'@{self.digest}' if self.digest else ''}"

    @property
    def api(self) -> str:
        """Where its registry is asked; plain HTTP on loopback only, as other clients do."""
        host = _API_HOSTS.get(self.registry, self.registry)
        return f"{'http' if _on_loopback(host) else 'https'}://{host}/v2/{self.repository}"


def parse_reference(text: str) -> Reference:
    """Read a reference as container engines do: ``busybox`` is ``docker.io/library/busybox:latest``.

    Raises:
        SpecError: it is none.
    """
    rest, at, digest = text.strip().partition("@")
    first, slash, others = rest.partition("/")
    named = bool(slash) and (any(sign in first for sign in ".:") or first == "localhost")
    registry = first if named else DOCKER_HUB
    path = others if named else rest
    repository, colon, tag = path.partition(":")
    if registry in _API_HOSTS:
        registry = DOCKER_HUB
        repository = repository if "/" in repository else f"library/{repository}"
    good = _NAME.fullmatch(repository) and (not colon or _TAG.fullmatch(tag)) and _HOST.fullmatch(registry)
    if not good or (at and not is_digest(digest)):
        raise SpecError(f"{text!r} is no reference of an image", next_step="write it as REGISTRY/NAME:TAG")
    return Reference(registry=registry, repository=repository, tag=tag or ("" if at else "latest"), digest=digest)


def is_digest(text: str) -> bool:
    """Whether a text is ``sha256:HEX`` or ``sha512:HEX``."""
    algorithm, _, digits = text.partition(":")
    return len(digits) == _LENGTHS.get(algorithm) and re.fullmatch(r"[0-9a-f]+", digits) is not None


def parse_platform(text: str) -> tuple[str, str]:
    """``linux/amd64`` -> its two halves.

    Raises:
        SpecError: it is not one that clusters can be made of.
    """
    system, _, machine = text.partition("/")
    if system != "linux" or machine not in ("amd64", "arm64"):
        raise SpecError(f"there are no bundles for platform {text!r}", next_step="write linux/amd64 or linux/arm64")
    return system, machine


def _on_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] or host
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost"
