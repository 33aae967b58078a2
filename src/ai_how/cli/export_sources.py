"""Where ``deploy export`` finds models: a folder here, or the registry of a cluster, opened only when it is asked."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ai_how.cli.next_step import for_this_site
from ai_how.cli.output import note
from ai_how.errors import SpecError

if TYPE_CHECKING:
    from ai_how.capacity.model_memory import ModelInMemory
    from ai_how.models.types import RegisteredVersion, Stores
    from ai_how.stack_access.running import RunningStack

_REGISTERED = "model://"
_ONLY_PATHS = ("./", "../", "/", "~")


@contextmanager
def running(cluster: str | None, site_path: Path | None) -> Iterator[RunningStack]:
    """A cluster of a site with its stack, for the time of the block."""
    from ai_how.cli.open_site import open_kubernetes
    from ai_how.stack_access.running import open_running_stack

    with open_running_stack(open_kubernetes(site_path), cluster) as stack:
        yield stack


class ModelSources:
    """Models by where they are: a folder here, or the registry of the cluster, which is opened when it is asked."""

    def __init__(self, opened: ExitStack, *, bucket: str, cluster: str, site_path: Path | None) -> None:
        self._opened = opened
        self._bucket = bucket
        self._cluster = cluster
        self._site_path = site_path
        self._stores: Stores | None = None
        self._versions: dict[str, RegisteredVersion] = {}
        self._sized: dict[str, ModelInMemory] = {}

    def model(self, source: str, name: str) -> RegisteredVersion:
        """The model at a source; one that is not registered gets the folder that a push would give it."""
        from ai_how.models.checkpoint import inspect
        from ai_how.models.manifest import build_manifest
        from ai_how.models.object_store import uri_in
        from ai_how.models.registered import sized_memory
        from ai_how.models.types import NOT_REGISTERED, RegisteredVersion

        if not _is_local(source):
            return self._registered(source)
        checkpoint = inspect(Path(source).expanduser())
        for warning in checkpoint.warnings:
            note(f"Warning: {warning}")
        manifest = build_manifest(checkpoint.root, checkpoint.files).manifest
        self._sized[source] = sized_memory(checkpoint.info, manifest.size_bytes)
        uri = uri_in(self._bucket, name, manifest.digest)
        push = for_this_site(f"ai-how model push {shlex.quote(source)} --name {name}")
        note(f"{source} must be in the store before: {push}")
        return RegisteredVersion(
            name=name,
            version=NOT_REGISTERED,
            uri=uri,
            digest=manifest.digest,
            size_bytes=manifest.size_bytes,
            info=checkpoint.info,
            source=source,
            created_at="",
        )

    def memory(self, source: str, base: str | None) -> ModelInMemory:
        """What it takes when it is loaded."""
        from ai_how.models.registered import registered_memory
        from ai_how.models.shape import read_model

        if _is_local(source) and (base is None or _is_local(base)):
            try:
                below = Path(base).expanduser() if base else None
                return read_model(Path(source).expanduser(), base=below).memory
            except SpecError:
                # an architecture that planning does not know may well be one that vLLM does
                return self._sized[base or source]
        if _is_local(source):
            raise SpecError(
                "a model here and a base in the registry cannot be planned together",
                evidence=f"model_source: {source}, base_model: {base}",
                next_step=f"ai-how model push {source} --name NAME, then model_source: {_REGISTERED}NAME",
            )
        found = self._registered(source)
        on = self._registered(base) if base else None
        return registered_memory(found, self._open().access, base=on)

    def rank(self, source: str) -> int:
        """The rank of the adapter at a source; 0 where it is not known, as of what is no adapter."""
        from ai_how.models.registered import registered_rank
        from ai_how.models.shape import folder_rank

        if _is_local(source):
            return folder_rank(Path(source).expanduser())
        return registered_rank(self._registered(source), self._open().access)

    def _registered(self, reference: str) -> RegisteredVersion:
        from ai_how.models.library import resolve

        if reference not in self._versions:
            self._versions[reference] = resolve(reference.removeprefix(_REGISTERED), self._open())
        return self._versions[reference]

    def _open(self) -> Stores:
        from ai_how.stack_access.stores import open_cluster_stores

        if self._stores is None:
            stack = self._opened.enter_context(running(self._cluster, self._site_path))
            self._stores = self._opened.enter_context(open_cluster_stores(stack))
        return self._stores


def _is_local(source: str) -> bool:
    if source.startswith("hf://"):
        raise SpecError(
            f"{source} is not in the cluster's registry",
            next_step=f"ai-how model push {source} --name NAME, then model_source: {_REGISTERED}NAME",
        )
    if source.startswith(_REGISTERED):
        return False
    # what can only be a path is not looked for in a registry
    return source.startswith(_ONLY_PATHS) or Path(source).expanduser().exists()
