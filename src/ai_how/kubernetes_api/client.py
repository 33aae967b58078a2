"""The verbs: get, list, create, apply, delete, watch, logs, events.

Owns how a verb becomes a request. Decides nothing about what should be there: that is ``apply``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_how.kubernetes_api.connection import APPLY_TYPE, Connection, Patience
from ai_how.kubernetes_api.discovery import Kind, Kinds, UnknownKindError
from ai_how.kubernetes_api.kubeconfig import Access, load_kubeconfig
from ai_how.kubernetes_api.marks import FIELD_MANAGER
from ai_how.kubernetes_api.objects import ApiObject, Ref, ref_of
from ai_how.kubernetes_api.refusals import GoneError, NotThereError, error_for, read_refusal

_PAGE = "500"
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_WATCH_S = 300


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Objects of one kind, and the version of the whole list, from which a watch goes on."""

    items: list[dict[str, Any]]
    version: str


class Client:
    """One API server, spoken to as one user. Safe to use from several threads."""

    def __init__(self, access: Access, *, patience: Patience | None = None) -> None:
        self.connection = Connection(access, patience=patience)
        self.kinds = Kinds(self.connection)

    @classmethod
    def from_kubeconfig(cls, path: Path, context: str = "") -> Client:
        """A client for a kubeconfig's context (its current one)."""
        return cls(load_kubeconfig(path, context))

    def close(self) -> None:
        """Let go of idle connections."""
        self.connection.close()

    def version(self) -> str:
        """The API server's version, such as ``1.35.4``; also the cheapest way to ask whether it answers."""
        found = self.connection.ask("GET", "/version", what="ask for the server's version")
        return str(found.get("gitVersion", "")).removeprefix("v")

    def get(self, ref: Ref) -> dict[str, Any] | None:
        """The object as it is, or None where it (or its kind) is not there."""
        try:
            return self._ask("GET", ref, "read")
        except (NotThereError, UnknownKindError):
            return None

    def list_objects(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Listing:
        """Objects of a kind, in one namespace or all; ``labels`` and ``fields`` are selectors as the API has them."""
        found = self.kinds.find(api_version, kind)
        return self.list_kind(found, namespace, labels=labels, fields=fields)

    def list_kind(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", metadata_only: bool = False
    ) -> Listing:
        """As ``list_objects``, for a kind that was looked up; with metadata alone no secret leaves the server."""
        accept = _METADATA_ONLY if metadata_only else "application/json"
        query = {"limit": _PAGE, **_selectors(labels, fields)}
        items: list[dict[str, Any]] = []
        more = ""
        what = f"list {kind.plural}" + (f" in {namespace}" if namespace else "")
        while True:
            try:
                asked = {**query, "continue": more} if more else query
                page = self._sent("GET", kind.path(namespace), what, query=asked, accept=accept)
            except GoneError:
                if not more:
                    raise
                items, more = [], ""  # the list changed too much while it was read: begin anew
                continue
            # a list leaves these two out of its items, or says PartialObjectMetadata
            items += [{**item, "apiVersion": kind.api_version, "kind": kind.kind} for item in page.get("items") or []]
            more = page["metadata"].get("continue") or ""
            if not more:
                return Listing(items=items, version=page["metadata"].get("resourceVersion", ""))

    def create(self, thing: ApiObject) -> dict[str, Any]:
        """Make an object that is not there yet."""
        ref = ref_of(thing)
        kind = self.kinds.find(ref.api_version, ref.kind)
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return self._sent("POST", kind.path(self._namespace(kind, ref)), f"create {ref}", query=query, body=thing)

    def apply(self, thing: ApiObject, *, dry_run: bool = False, force: bool = False) -> dict[str, Any]:
        """Server-side apply as field manager ``ai-how``; unknown fields are refused.

        Args:
            dry_run: Only say what the object would be.
            force: Take fields that others own.

        Raises:
            FieldConflictError: others own fields that would change.
            InvalidObjectError: it does not fit its kind.
        """
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        return self._ask("PATCH", ref_of(thing), "apply", query=query, body=thing, content_type=APPLY_TYPE)

    def delete(self, ref: Ref, *, propagation: str = "Background", uid: str = "") -> bool:
        """Ask for an object's end; False where it was not there.

        Args:
            propagation: ``Foreground`` (what it owns goes first), ``Background`` or ``Orphan``.
            uid: Only if it is still this very object.

        Raises:
            ChangedMeanwhileError: another object has that name now.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self._ask("DELETE", ref, "delete", body=options)
        except (NotThereError, UnknownKindError):
            return False
        return True

    @contextmanager
    def watch(
        self, kind: Kind, namespace: str, *, version: str, fields: str = "", labels: str = "", silence_s: float = 30
    ) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
        """Changes from ``version`` on, as (ADDED, MODIFIED or DELETED, object); ends when the server ends it.

        Raises:
            GoneError: the version is too old: list again.
            UnreachableError: the connection broke, or nothing came for ``silence_s``.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(min(_WATCH_S, max(1, int(silence_s)))),
            **_selectors(labels, fields),
        }
        what = f"watch {kind.plural}"
        with self.connection.stream(kind.path(namespace), what=what, query=query, silence_s=silence_s + 5) as lines:
            yield _changes(lines, what)

    def log(self, namespace: str, pod: str, *, container: str = "", lines: int = 50, previous: bool = False) -> str:
        """The end of a container's log; ``previous``: of its run before the last restart."""
        query = {"tailLines": str(lines)}
        if container:
            query["container"] = container
        if previous:
            query["previous"] = "true"
        path = self.kinds.find("v1", "Pod").path(namespace, pod) + "/log"
        return self.connection.text(path, what=f"read the log of pod {namespace}/{pod}", query=query)

    def log_begin(self, namespace: str, pod: str, *, container: str, limit_bytes: int) -> str:
        """The beginning of a container's log, each line after its time (RFC 3339 with nanoseconds)."""
        query = {"container": container, "timestamps": "true", "limitBytes": str(limit_bytes)}
        path = self.kinds.find("v1", "Pod").path(namespace, pod) + "/log"
        return self.connection.text(path, what=f"read the log of pod {namespace}/{pod}", query=query)

    def node_disk(self, node: str) -> tuple[int, int]:
        """Free and all bytes of the disk that a node's pods lie on, as its kubelet says.

        Source: kubelet's ``stats/v1alpha1``, Summary.
        """
        path = self.kinds.find("v1", "Node").path(name=node) + "/proxy/stats/summary"
        disk = self._sent("GET", path, f"ask the kubelet of {node} for its disk")["node"]["fs"]
        return int(disk["availableBytes"]), int(disk["capacityBytes"])

    def events(self, ref: Ref) -> list[dict[str, Any]]:
        """What was noted about an object, oldest first."""
        fields = f"involvedObject.kind={ref.kind},involvedObject.name={ref.name}"
        found = self.list_objects("v1", "Event", ref.namespace or "default", fields=fields).items
        return sorted(found, key=event_time)

    def _ask(self, method: str, ref: Ref, verb: str, **more: Any) -> dict[str, Any]:
        kind = self.kinds.find(ref.api_version, ref.kind)
        return self._sent(method, kind.path(self._namespace(kind, ref), ref.name), f"{verb} {ref}", **more)

    def _sent(self, method: str, path: str, what: str, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.connection.ask(method, path, what=what, **more)
        return answer

    def _namespace(self, kind: Kind, ref: Ref) -> str:
        return (ref.namespace or self.connection.access.namespace) if kind.namespaced else ""


def event_time(event: Mapping[str, Any]) -> str:
    """When an event happened last (RFC 3339); empty where it does not say."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def _changes(lines: Iterator[str], what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in lines:
        if not re.search(r"\S", line):
            continue
        change = json.loads(line)
        if change["type"] == "ERROR":
            raise error_for(read_refusal(int(change["object"].get("code") or 500), change["object"]), what)
        if change["type"] != "BOOKMARK":
            yield change["type"], change["object"]


def _selectors(labels: str, fields: str) -> dict[str, str]:
    return {**({"labelSelector": labels} if labels else {}), **({"fieldSelector": fields} if fields else {})}
