"""Serves a bundle to nodes: its files by their addresses, and its images as a read-only container registry.

    GET /files/HOST/PATH                    what https://HOST/PATH was
    GET /v2/NAME/manifests/TAG|DIGEST       OCI distribution; ?ns=REGISTRY says whose NAME it is, as containerd does
    GET /v2/NAME/blobs/DIGEST
    GET /bundle                             which bundle this is

It gives out what the manifest names and nothing else, and takes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from ai_how.bundles.manifest import NAME, Blob, Entry, Manifest, read_manifest
from ai_how.bundles.store import Store
from ai_how.bundles.wanted import Reference, parse_reference
from ai_how.errors import AiHowError

_BINARY = "application/octet-stream"
_REGISTRY = {"Docker-Distribution-Api-Version": "registry/2.0"}
_CACHE = {"Cache-Control": "public, max-age=31536000, immutable"}


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """What is given out: blobs by address, and by registry and repository. Pure."""

    files: Mapping[str, Blob]
    manifests: Mapping[tuple[str, str, str], Blob]
    """By registry, repository, and tag or digest."""
    blobs: Mapping[tuple[str, str], Mapping[str, Blob]]

    def manifest(self, namespace: str, name: str, which: str) -> Blob | None:
        """A manifest; without a namespace the registry is taken from the name's beginning, or is the only one."""
        return next((self.manifests[place, each, which] for place, each in self._places(namespace, name)
                     if (place, each, which) in self.manifests), None)  # fmt: skip

    def blob(self, namespace: str, name: str, digest: str) -> Blob | None:
        """A layer or configuration of an image."""
        return next((self.blobs[place][digest] for place in self._places(namespace, name)
                     if digest in self.blobs.get(place, ())), None)  # fmt: skip

    def _places(self, namespace: str, name: str) -> list[tuple[str, str]]:
        if namespace:
            reference = _reference(f"{namespace}/{name}")
            return [(reference.registry, reference.repository)] if reference else []
        first, _, rest = name.partition("/")
        return [(first, rest), *(place for place in self.blobs if place[1] == name)]


def shelve(manifest: Manifest) -> Shelf:
    """Put a bundle's content where requests look for it."""
    files: dict[str, Blob] = {}
    manifests: dict[tuple[str, str, str], Blob] = {}
    blobs: dict[tuple[str, str], dict[str, Blob]] = {}
    for entry in manifest.entries:
        reference = _image_reference(entry)
        if reference is None:
            if entry.kind == "chart":
                continue  # nodes ask for none
            address = urlsplit(entry.source)
            files[f"{address.netloc}{address.path}"] = entry.blobs[0]
            continue
        place = (reference.registry, reference.repository)
        for blob in entry.blobs:
            blobs.setdefault(place, {})[blob.digest] = blob
            manifests[(*place, blob.digest)] = blob
        if reference.tag:
            manifests[(*place, reference.tag)] = entry.blobs[0]
    return Shelf(files=files, manifests=manifests, blobs=blobs)


def _image_reference(entry: Entry) -> Reference | None:
    if entry.kind == "image":
        return parse_reference(entry.name)
    if entry.kind == "chart" and entry.source.startswith("oci://"):
        return _reference(f"{entry.source.removeprefix('oci://')}:{entry.version.replace('+', '_')}")
    return None


def _reference(text: str) -> Reference | None:
    from ai_how.errors import SpecError

    try:
        return parse_reference(text)
    except SpecError:
        return None


def application(folder: Path) -> web.Application:
    """The application that serves the bundle of a folder.

    Raises:
        NotFoundError, SpecError: there is no whole bundle.
    """
    serving = _Serving(folder)
    app = web.Application()
    app.add_routes(
        [
            web.get("/bundle", serving.about),
            web.get("/files/{address:.+}", serving.file),
            web.get("/v2/", serving.base),
            web.get("/v2/{name:.+}/manifests/{which}", serving.manifest),
            web.get("/v2/{name:.+}/blobs/{digest}", serving.blob),
        ]
    )
    return app


class _Serving:
    def __init__(self, folder: Path) -> None:
        self._store = Store(folder)
        self._read()

    def _read(self) -> None:
        # looked at first: what is written while it is read is read once more
        seen = self._look()
        self._manifest = read_manifest(self._store.root)
        self._seen, self._shelf = seen, shelve(self._manifest)

    def _look(self) -> tuple[int, int] | None:
        try:
            found = (self._store.root / NAME).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _current(self) -> Shelf:
        """What is there now: ``bundle create`` may have made the bundle anew, which removes what it left out."""
        if self._look() != self._seen:
            try:
                self._read()
            except AiHowError as error:
                raise web.HTTPInternalServerError(text=f"{error.brief}: ai-how bundle verify\n") from error
        return self._shelf

    async def about(self, _request: web.Request) -> web.Response:
        self._current()
        found = self._manifest
        return web.json_response({"bundle": found.identity, "release": found.release, "platform": found.platform})

    async def base(self, _request: web.Request) -> web.Response:
        return web.json_response({}, headers=_REGISTRY)

    async def file(self, request: web.Request) -> web.StreamResponse:
        address = request.match_info["address"]
        blob = self._current().files.get(address)
        if blob is None:
            raise web.HTTPNotFound(text=f"{address} is not in this bundle\n")
        return self._send(blob, {"Content-Type": _BINARY})

    async def manifest(self, request: web.Request) -> web.StreamResponse:
        name, which = request.match_info["name"], request.match_info["which"]
        blob = self._current().manifest(request.query.get("ns", ""), name, which)
        if blob is None:
            return _refused("MANIFEST_UNKNOWN", f"{name} {which} is not in this bundle")
        headers = {**_REGISTRY, "Content-Type": blob.media_type or _BINARY, "Docker-Content-Digest": blob.digest}
        return self._send(blob, headers)

    async def blob(self, request: web.Request) -> web.StreamResponse:
        name, digest = request.match_info["name"], request.match_info["digest"]
        blob = self._current().blob(request.query.get("ns", ""), name, digest)
        if blob is None:
            return _refused("BLOB_UNKNOWN", f"{digest} of {name} is not in this bundle")
        return self._send(blob, {**_REGISTRY, **_CACHE, "Content-Type": _BINARY, "Docker-Content-Digest": blob.digest})

    def _send(self, blob: Blob, headers: Mapping[str, str]) -> web.StreamResponse:
        path = self._store.path(blob.digest)
        if not path.is_file():
            raise web.HTTPInternalServerError(text=f"{blob.digest} is gone from the bundle: ai-how bundle verify\n")
        # it answers ranges and HEAD, and the kernel moves the bytes
        return web.FileResponse(path, headers=headers)


def _refused(code: str, message: str) -> web.Response:
    text = json.dumps({"errors": [{"code": code, "message": message}]})
    return web.Response(status=404, text=text, content_type="application/json", headers=_REGISTRY)
