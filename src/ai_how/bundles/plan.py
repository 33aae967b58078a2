"""Finds out where each wanted thing lies and how large it is; what an earlier run of the same bundle recorded stays.

Reads from servers, writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event
from urllib.parse import unquote, urlsplit

from ai_how.bundles.charts import CONTENT, Indexes, chart_reference
from ai_how.bundles.download import Part, file_opener, stated_size
from ai_how.bundles.manifest import Entry, Kind, Manifest
from ai_how.bundles.registry import Registries, Resolved
from ai_how.bundles.store import Store
from ai_how.bundles.wanted import Chart, File, Image, Reference, Wanted, parse_reference
from ai_how.errors import AiHowError
from ai_how.run.outside import Patience, ask

JOBS = 6


@dataclass(frozen=True, kw_only=True)
class Item:
    """One wanted thing. ``ready`` is its entry where the bundle has it; ``problem`` says why it is not found."""

    kind: Kind
    name: str
    source: str
    version: str = ""
    parts: tuple[Part, ...] = ()
    image: Resolved | None = None
    ready: Entry | None = None
    problem: AiHowError | None = field(default=None, compare=False)

    @property
    def size_bytes(self) -> int | None:
        """Its size; None where no server says."""
        if self.ready is not None:
            return self.ready.size_bytes
        sizes = [part.size_bytes for part in self.parts]
        own = sum(len(content) for content in self.image.manifests.values()) if self.image else 0
        known = [size for size in sizes if size is not None]
        return own + sum(known) if len(known) == len(sizes) and not self.problem else None


def find_all(
    wanted: Iterable[Wanted],
    *,
    platform: str,
    store: Store,
    earlier: Manifest | None,
    stop: Event,
    jobs: int = JOBS,
    tries: int = 6,
) -> tuple[Item, ...]:
    """Where everything lies, each once and in order; problems stand in the items.

    Args:
        earlier: The same bundle as it was: what it has of the same name is kept, not looked for.
        tries: How often a server is asked that fails.
    """
    finder = _Finder(platform, store, earlier, stop, tries)
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            return tuple(pool.map(finder.find, dict.fromkeys(wanted)))
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class _Finder:
    def __init__(self, platform: str, store: Store, earlier: Manifest | None, stop: Event, tries: int) -> None:
        self._patience = Patience(stop=stop, tries=tries)
        # a size is a comfort: no long waiting for it
        self._hasty = Patience(stop=stop, tries=1)
        self._registries = Registries(patience=self._patience, platform=platform, store=store)
        self._indexes = Indexes(patience=self._patience)
        self._store = store
        same = earlier if earlier and earlier.platform == platform else None
        self._earlier = {(one.kind, one.source, one.version): one for one in same.entries} if same else {}

    def find(self, wanted: Wanted) -> Item:
        item = _named(wanted)
        ready = self._had(item, wanted)
        if ready is not None:
            return replace(item, ready=ready)
        try:
            return self._located(item, wanted)
        except AiHowError as problem:
            return replace(item, problem=problem)

    def _had(self, item: Item, wanted: Wanted) -> Entry | None:
        found = self._earlier.get((item.kind, item.source, item.version))
        if found is None or not all(self._store.sound(blob.digest) == blob.size_bytes for blob in found.blobs):
            return None
        stated = None if isinstance(wanted, Chart) else wanted.digest
        sha256 = stated if stated and stated.startswith("sha256:") else found.digest
        return found if found.digest == sha256 else None

    def _located(self, item: Item, wanted: Wanted) -> Item:
        if isinstance(wanted, File):
            return self._file(item, wanted.url, wanted.digest)
        if isinstance(wanted, Image):
            return self._image(item, _pinned(parse_reference(wanted.reference), wanted.digest))
        reference = chart_reference(wanted)
        if reference is not None:
            return self._image(item, reference)
        url, digest = self._indexes.find(wanted)
        return self._file(item, url, digest)

    def _file(self, item: Item, url: str, digest: str) -> Item:
        part = Part(
            what=item.name,
            source=url,
            digest=digest,
            size_bytes=self._size_of(url, digest),
            opener=file_opener(url, self._patience),
        )
        return replace(item, parts=(part,))

    def _size_of(self, url: str, digest: str) -> int | None:
        size = self._store.sound(digest) if digest.startswith("sha256:") else None
        if size is not None or urlsplit(url).scheme == "file":
            return size
        try:
            with ask(url, patience=self._hasty, method="HEAD", timeout_s=15) as answer:
                return stated_size(answer)
        except AiHowError:
            return None  # fetching it will say why

    def _image(self, item: Item, reference: Reference) -> Item:
        found = self._registries.resolve(reference)
        return replace(item, parts=found.parts, image=found)


def _named(wanted: Wanted) -> Item:
    """What a wanted thing is called; nothing is asked yet."""
    if isinstance(wanted, File):
        name = unquote(urlsplit(wanted.url).path.rsplit("/", 1)[-1]) if wanted.kind == "wheel" else wanted.url
        return Item(kind=wanted.kind, name=name, source=wanted.url)
    if isinstance(wanted, Image):
        name = str(parse_reference(wanted.reference))
        return Item(kind="image", name=name, source=name)
    source = f"{wanted.repository.rstrip('/')}/{wanted.name}"
    return Item(kind="chart", name=wanted.name, source=source, version=wanted.version)


def _pinned(reference: Reference, digest: str | None) -> Reference:
    return replace(reference, digest=digest) if digest else reference


def chart_blob(entry: Entry) -> str:
    """The digest of a chart's archive."""
    return next((blob.digest for blob in entry.blobs if blob.media_type == CONTENT), entry.digest)


def total_bytes(items: Sequence[Item]) -> tuple[int, int]:
    """Bytes of all items, each blob once, and how many items are of unknown size."""
    sizes: dict[str, int] = {}
    for item in items:
        if item.ready is not None:
            sizes.update({blob.digest: blob.size_bytes for blob in item.ready.blobs})
        elif item.image is not None:
            sizes.update({digest: len(content) for digest, content in item.image.manifests.items()})
        sizes.update({part.digest or part.source: part.size_bytes or 0 for part in item.parts})
    return sum(sizes.values()), sum(item.size_bytes is None for item in items)


def by_kind(items: Iterable[Item]) -> Mapping[Kind, tuple[Item, ...]]:
    """The items of each kind."""
    found: dict[Kind, tuple[Item, ...]] = {}
    for item in items:
        found[item.kind] = (*found.get(item.kind, ()), item)
    return found
