"""Puts a bundle where ``up`` takes it: Kubespray's source and environment, the rest beside them for the server.

Everything is verified first. The loaded copy lies in the user's cache, under the bundle's identity.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ai_how.apply.files import shared_cache
from ai_how.apply.lock import locked
from ai_how.bundles.archive import extract
from ai_how.bundles.manifest import NAME, Manifest, read_manifest, write_manifest
from ai_how.bundles.source import unpack
from ai_how.bundles.store import Store
from ai_how.bundles.verify import verify
from ai_how.bundles.wheels import running_python
from ai_how.errors import AiHowError, NotFoundError, SpecError
from ai_how.kubernetes.checkout import Checkout
from ai_how.kubernetes.environment import environment_of
from ai_how.models.meter import Progress


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A whole bundle on this machine."""

    path: Path
    manifest: Manifest


def bundles_folder() -> Path:
    """Where loaded bundles lie."""
    return shared_cache() / "bundles"


def load_bundle(path: Path, *, progress: Progress | None = None) -> Bundle:
    """Verify a bundle, folder or tar, and put it where ``up`` takes it. What is there already stays.

    Raises:
        ProviderError: it is damaged, or the disk is full.
        NotFoundError, SpecError: it is no whole bundle, or its wheels are for another Python.
        LockedError: another command is loading one.
    """
    with locked(bundles_folder() / ".lock", what="another command is loading a bundle"):
        loaded = _take_over(path, progress)
    checkout = take_source(loaded)
    if checkout is not None:
        install_wheels(loaded, checkout)
    return loaded


def _take_over(path: Path, progress: Progress | None) -> Bundle:
    if not path.is_file():
        manifest = verify(path, progress=progress)
        target = bundles_folder() / manifest.identity
        if target.resolve() == path.resolve():
            return Bundle(path=target, manifest=manifest)
        return _copy(path, target, manifest)
    work = Path(tempfile.mkdtemp(prefix=".loading-", dir=bundles_folder()))
    try:
        extract(path, work, progress=progress)
        manifest = verify(work, called=path, progress=progress)
        target = bundles_folder() / manifest.identity
        shutil.rmtree(target, ignore_errors=True)
        work.chmod(0o755)
        work.replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Bundle(path=target, manifest=manifest)


def _copy(path: Path, target: Path, manifest: Manifest) -> Bundle:
    """A copy that shares its bytes with the original where both lie on one file system."""
    store, source = Store(target), Store(path)
    store.begin()
    for digest in manifest.blobs():
        store.link(source.path(digest), digest)
    store.write_index(manifest.of_kind("image"))
    write_manifest(target, manifest)
    return Bundle(path=target, manifest=manifest)


def take_source(bundle: Bundle) -> Checkout | None:
    """Kubespray's source into the user's cache; None where the bundle has none (the site names a checkout)."""
    entry = next(iter(bundle.manifest.of_kind("source")), None)
    return unpack(entry, Store(bundle.path).path(entry.digest)) if entry else None


def install_wheels(bundle: Bundle, checkout: Checkout) -> None:
    """Kubespray's Python environment from the bundle's wheels, without an index.

    Raises:
        SpecError: the wheels are for another Python.
        ProviderError: they do not suffice.
    """
    wheels = bundle.manifest.of_kind("wheel")
    pythons = bundle.manifest.python.split()
    if not wheels:
        return
    if running_python() not in pythons:
        raise SpecError(
            f"the bundle's wheels are for Python {' and '.join(pythons)}, ai-how runs on {running_python()}",
            next_step=f"create it with: ai-how bundle create ... --python {running_python()}",
        )
    environment = environment_of(checkout.path, checkout.version)
    with tempfile.TemporaryDirectory(prefix="ai-how-") as text:
        for entry in wheels:
            (Path(text) / entry.name).symlink_to(Store(bundle.path).path(entry.digest).absolute())
        environment.install(wheels=Path(text))


def loaded_bundles() -> tuple[Bundle, ...]:
    """The bundles that were loaded on this machine, the newest first; damaged manifests are left out."""
    found = []
    for folder in sorted(bundles_folder().glob("[0-9a-f]*")):
        try:
            found.append(Bundle(path=folder, manifest=read_manifest(folder)))
        except AiHowError:
            continue
    return tuple(sorted(found, key=lambda one: one.manifest.created_at, reverse=True))


def unload(identity: str) -> Path:
    """Remove a loaded bundle; gives the folder that went.

    Raises:
        NotFoundError: none of that identity is loaded.
    """
    found = next((one for one in loaded_bundles() if one.path.name == identity), None)
    if found is None:
        have = ", ".join(one.path.name for one in loaded_bundles())
        raise NotFoundError(
            f"bundle {identity!r} is not loaded",
            evidence=f"there are: {have}" if have else "none is loaded",
            next_step="ai-how bundle show",
        )
    # the manifest first: what is left of a broken-off removal is no bundle
    (found.path / NAME).unlink()
    shutil.rmtree(found.path)
    return found.path


def bundle_for(versions: Mapping[str, str], *, named: Path | None = None) -> Bundle | None:
    """The bundle that ``up`` takes for a cluster of these versions: the one that the site names, or a loaded one.

    Args:
        named: The site's ``kubernetes.bundle``: a bundle's folder.

    Raises:
        SpecError: the named bundle is for other versions, or a tar.
        NotFoundError: there is no whole bundle at that place.
    """
    if named is None:
        return next((one for one in loaded_bundles() if not _differing(one.manifest, versions)), None)
    if named.is_file():
        raise SpecError(
            f"{named} is a tar",
            next_step=f"ai-how bundle load {named}, then remove kubernetes.bundle from the site file",
        )
    bundle = Bundle(path=named, manifest=read_manifest(named))
    differing = _differing(bundle.manifest, versions)
    if differing:
        raise SpecError(
            f"the bundle {named} is for other versions than the site",
            evidence="\n".join(differing),
            next_step=f"ai-how bundle create {named} --site ai-how.yaml, or change the site's release and pins",
        )
    return bundle


def _differing(manifest: Manifest, versions: Mapping[str, str]) -> list[str]:
    """What Kubespray brings, where a bundle has another version of it."""
    relevant = ("kubespray", "kubernetes", "containerd", "calico")
    return [
        f"{name}: the bundle has {manifest.versions.get(name, 'none')}, the site wants {versions[name]}"
        for name in relevant
        if name in versions and manifest.versions.get(name) != versions[name]
    ]


def chart_file(bundle: Bundle, *, repository: str, name: str, version: str) -> Path:
    """The archive of a chart in a bundle.

    Raises:
        NotFoundError: it does not have it.
    """
    from ai_how.bundles.plan import chart_blob

    source = f"{repository.rstrip('/')}/{name}"
    for entry in bundle.manifest.of_kind("chart"):
        if entry.name == name and entry.version == version and entry.source == source:
            return Store(bundle.path).path(chart_blob(entry))
    raise NotFoundError(
        f"the bundle has no chart {name} {version}",
        evidence=str(bundle.path),
        next_step=f"ai-how bundle create {bundle.path} --site ai-how.yaml adds it",
    )
