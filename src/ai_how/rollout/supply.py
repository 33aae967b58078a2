"""What is needed on this host to install the stack: charts, published manifests, and Helm itself.

Each comes from the cluster's bundle where it holds it, otherwise from where its authors publish it, once, into the
user's cache. What has a digest is taken with that digest alone.
"""

from __future__ import annotations

import hashlib
import platform
import tarfile
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Protocol

from ai_how.apply.files import shared_cache
from ai_how.bundles.create import Purpose, create_bundle
from ai_how.bundles.load import Bundle, bundle_for
from ai_how.bundles.manifest import Entry, read_manifest
from ai_how.bundles.plan import chart_blob
from ai_how.bundles.store import Store
from ai_how.bundles.wanted import Chart as WantedChart
from ai_how.bundles.wanted import File, Wanted
from ai_how.errors import AiHowError, MissingToolError, NotFoundError, SpecError
from ai_how.releases.pins import parse_version
from ai_how.run.process import run, which
from ai_how.site.kubernetes import Kubernetes
from ai_how.stack.objects import Chart
from ai_how.stack.part import Manifest
from ai_how.stack.upstream import Tool, tool

_PLATFORM = "linux/amd64"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class Supply(Protocol):
    """Where the stack's parts come from."""

    def helm(self) -> Path:
        """A Helm that can be run.

        Raises:
            MissingToolError, SpecError: there is none, or not one that will do.
        """

    def chart(self, chart: Chart) -> Path:
        """The archive of a chart.

        Raises:
            TryAgainError, ProviderError: it could not be fetched, or is not what it must be.
        """

    def manifest(self, manifest: Manifest) -> Path:
        """A published file; as ``chart``."""

    def manifest_here(self, manifest: Manifest) -> Path | None:
        """As ``manifest`` where it is on this host already; fetches nothing."""


class HostSupply:
    """Through this host, for one cluster."""

    def __init__(
        self, kubernetes: Kubernetes, versions: Mapping[str, str], *, helm_path: str | None, site_folder: Path
    ) -> None:
        self._named = site_folder / Path(kubernetes.bundle).expanduser() if kubernetes.bundle else None
        self._helm_path = site_folder / Path(helm_path).expanduser() if helm_path else None
        self._versions = versions
        self._guard = Lock()

    def chart(self, chart: Chart) -> Path:
        """As ``Supply``."""
        with self._guard:
            return self._fetched(WantedChart(repository=chart.repository, name=chart.name, version=chart.version))

    def manifest(self, manifest: Manifest) -> Path:
        """As ``Supply``."""
        with self._guard:
            return self._fetched(_file(manifest.url, manifest.sha256))

    def manifest_here(self, manifest: Manifest) -> Path | None:
        """As ``Supply``."""
        return self._here(_file(manifest.url, manifest.sha256))

    def helm(self) -> Path:
        """As ``Supply``: the site's own, one on PATH that will do, or the one that is known here, in that order."""
        with self._guard:
            return self._found_helm(_helm_here())

    def _found_helm(self, known: Tool) -> Path:
        if self._helm_path is not None:
            if not self._helm_path.is_file():
                raise SpecError(f"stack.helm_path: there is no {self._helm_path}", next_step="name Helm's program")
            _check_version(self._helm_path, known)
            return self._helm_path
        found = which("helm")
        if found is not None and _will_do(_version_of(found), known):
            return found
        try:
            return self._unpacked(known)
        except AiHowError as error:
            raise MissingToolError(
                f"Helm {known.version} could not be fetched, and none is installed",
                evidence=f"{error.brief}\n{error.evidence}".strip(),
                next_step=f"install Helm {known.since} or newer, or name it as stack.helm_path; then the same again",
            ) from error

    def _unpacked(self, known: Tool) -> Path:
        target = shared_cache() / "tools" / f"helm-{known.version}" / "helm"
        if target.exists():
            return target
        archive = self._fetched(_file(known.url, known.sha256))
        with tarfile.open(archive) as opened:
            member = opened.extractfile(known.member)
            if member is None:
                raise NotFoundError(f"{known.url} has no {known.member}")
            content = member.read()
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".helm-{hashlib.sha256(content).hexdigest()[:8]}")
        part.write_bytes(content)
        part.chmod(0o755)
        part.replace(target)
        return target

    def _fetched(self, wanted: Wanted) -> Path:
        here = self._here(wanted)
        if here is not None:
            return here
        place = _place(wanted)
        create_bundle(place, [wanted], Purpose(release="", versions=self._versions, platform=_PLATFORM))
        found = _in(place, wanted)
        if found is None:
            raise NotFoundError(f"{wanted} is not in {place}")
        return found

    def _here(self, wanted: Wanted) -> Path | None:
        bundle = self._bundle()
        found = _find(bundle.path, bundle.manifest.entries, wanted) if bundle else None
        return found or _in(_place(wanted), wanted)

    def _bundle(self) -> Bundle | None:
        return bundle_for(self._versions, named=self._named)


def _file(url: str, sha256: str) -> File:
    return File(url=url, digest=f"sha256:{sha256}" if sha256 else "", kind="manifest")


def _place(wanted: Wanted) -> Path:
    return shared_cache() / "stack" / hashlib.sha256(repr(wanted).encode()).hexdigest()[:16]


def _in(place: Path, wanted: Wanted) -> Path | None:
    try:
        return _find(place, read_manifest(place).entries, wanted)
    except NotFoundError:
        return None


def _find(place: Path, entries: tuple[Entry, ...], wanted: Wanted) -> Path | None:
    """Where a thing lies in a bundle, whole; None where it does not."""
    for entry in entries:
        digest = ""
        if isinstance(wanted, WantedChart):
            source = f"{wanted.repository.rstrip('/')}/{wanted.name}"
            if (entry.kind, entry.source, entry.version) == ("chart", source, wanted.version):
                digest = chart_blob(entry)
        elif isinstance(wanted, File) and (entry.kind, entry.source) == (wanted.kind, wanted.url):
            digest = entry.digest if wanted.digest in ("", entry.digest) else ""
        store = Store(place)
        if digest and store.sound(digest) is not None:
            return store.path(digest)
    return None


def _helm_here() -> Tool:
    machine = platform.machine()
    if machine not in _MACHINES:
        raise MissingToolError(
            f"no Helm for {machine} is known", next_step="install Helm and name it as stack.helm_path"
        )
    return tool("helm", machine=_MACHINES[machine])


def _version_of(program: Path) -> str:
    done = run([program, "version", "--template", "{{.Version}}"], check=False, timeout_s=30)
    return done.stdout.strip().removeprefix("v") if done.returncode == 0 else ""


def _will_do(version: str, known: Tool) -> bool:
    try:
        return parse_version(version) >= parse_version(known.since)
    except (AiHowError, ValueError):
        return False


def _check_version(program: Path, known: Tool) -> None:
    version = _version_of(program)
    if not _will_do(version, known):
        raise SpecError(
            f"{program} is no Helm that will do",
            evidence=f"it says it is {version or 'nothing'}; wanted is {known.since} or newer",
            next_step="name another one as stack.helm_path, or leave it out",
        )
