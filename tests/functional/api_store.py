"""What the API server's stand-in keeps, and its rules: kinds, objects, versions, owners of fields, what may not be.

Behaves as kube-apiserver does in what this project uses; the conformance suite runs on both.
"""

from __future__ import annotations

import base64
import copy
import itertools
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ai_how.stack.checks.fit import check_value
from ai_how.stack.checks.schemas import Schema, load_extracts, read_extract, write_extract

from . import api_fields as fields
from .api_refusal import RefusalError

VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
PLURALS = {"NetworkPolicy": "networkpolicies", "Endpoints": "endpoints", "Ingress": "ingresses"}
IMMUTABLE = {"Job": ("spec", "template"), "Deployment": ("spec", "selector")}
Object = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ServedKind:
    """A kind that is served."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    schema: Schema

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> tuple[str, str]:
        return self.group, self.plural


@dataclass(kw_only=True)
class Store:
    """Objects by (group, plural, namespace, name), and everything that ever happened to them."""

    kinds: dict[tuple[str, str, str], ServedKind] = field(default_factory=dict)
    objects: dict[tuple[str, str, str, str], Object] = field(default_factory=dict)
    history: list[tuple[int, str, tuple[str, str], Object]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))
    oldest: int = 0
    _versions: Any = field(default_factory=lambda: itertools.count(100))
    _now: int = 99

    def __post_init__(self) -> None:
        extract = next(found for found in load_extracts() if found.project == "kubernetes")
        for (api_version, kind), schema in extract.kinds.items():
            group, _, version = api_version.rpartition("/")
            namespaced = extract.namespaced[api_version, kind]
            self._serve(group, version, kind, PLURALS.get(kind, _plural(kind)), namespaced, schema)
        for name in ("default", "kube-system"):
            self.write(self.kind_of("", "v1", "namespaces"), "", name, _namespace(name), "kube-apiserver", "Update")

    def kind_of(self, group: str, version: str, plural: str) -> ServedKind:
        """The kind behind a path."""
        found = self.kinds.get((group, version, plural))
        if found is None:
            raise RefusalError(404, "NotFound", "the server could not find the requested resource")
        return found

    @property
    def version(self) -> str:
        return str(self._now)

    def get(self, kind: ServedKind, namespace: str, name: str) -> Object:
        """The object, or 404."""
        found = self.objects.get((*kind.resource, namespace, name))
        if found is None:
            raise RefusalError(404, "NotFound", f'{_resource_text(kind)} "{name}" not found', name=name)
        return {**copy.deepcopy(found), "apiVersion": kind.api_version, "kind": kind.kind}

    def listed(self, kind: ServedKind, namespace: str, accepts: Callable[[Object], bool]) -> list[Object]:
        """Objects of a kind, by namespace and name."""
        keys = sorted(key for key in self.objects if key[:2] == kind.resource and namespace in ("", key[2]))
        return [self.get(kind, *key[2:]) for key in keys if accepts(self.objects[key])]

    def apply(self, kind: ServedKind, namespace: str, sent: Object, manager: str, *, force: bool, dry: bool) -> Object:
        """Server-side apply."""
        name = sent["metadata"]["name"]
        self._check(kind, sent, apply=True)
        live = self.objects.get((*kind.resource, namespace, name))
        claimed = fields.field_set(sent, kind.schema)
        owners = _owners(live)
        if live is not None:
            self._conflicts(live, sent, claimed, owners, manager, force=force)
        merged = fields.merge(live or {}, sent, kind.schema)
        others = set().union(*(paths for (who, _), paths in owners.items() if who != manager), set())
        # an item before its parts: without its keys it would not be found any more
        for path in sorted(owners.get((manager, "Apply"), set()) - claimed - others, key=len):
            fields.remove(merged, path)
        owners[manager, "Apply"] = claimed
        return self._keep(kind, namespace, name, merged, owners, live, dry=dry)

    def write(
        self,
        kind: ServedKind,
        namespace: str,
        name: str,
        after: Object,
        manager: str,
        operation: str,
        dry: bool = False,
    ) -> Object:
        """Create, update or patch: what changed belongs to who changed it."""
        live = self.objects.get((*kind.resource, namespace, name))
        before, now = fields.leaves(live or {}, kind.schema), fields.leaves(after, kind.schema)
        touched = {path for path, value in now.items() if path not in before or before[path] != value}
        gone = set(before) - set(now)
        owners = {who: paths - touched - gone for who, paths in _owners(live).items()}
        owners[manager, operation] = owners.get((manager, operation), set()) | touched
        return self._keep(kind, namespace, name, copy.deepcopy(after), owners, live, dry=dry)

    def create(self, kind: ServedKind, namespace: str, sent: Object, manager: str, *, dry: bool) -> Object:
        """POST."""
        name = sent["metadata"]["name"]
        if (*kind.resource, namespace, name) in self.objects:
            raise RefusalError(409, "AlreadyExists", f'{_resource_text(kind)} "{name}" already exists', name=name)
        self._check(kind, sent, apply=False)
        return self.write(kind, namespace, name, sent, manager, "Update", dry=dry)

    def delete(self, kind: ServedKind, namespace: str, name: str, options: Mapping[str, Any]) -> Object:
        """DELETE: finalizers and propagation keep it until they are done."""
        live = self.get(kind, namespace, name)
        metadata = live["metadata"]
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted and wanted != metadata["uid"]:
            message = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {metadata['uid']}"
            raise RefusalError(409, "Conflict", message, name=name)
        finalizers = list(metadata.get("finalizers") or [])
        if options.get("propagationPolicy") == "Foreground" and "foregroundDeletion" not in finalizers:
            finalizers.append("foregroundDeletion")
        if not finalizers and kind.kind != "Namespace":
            self._drop(kind, namespace, name)
            return live
        live["metadata"] = {**metadata, **({"finalizers": finalizers} if finalizers else {})}
        live["metadata"].setdefault("deletionTimestamp", _now())
        if kind.kind == "Namespace":
            live["status"] = {**live.get("status", {}), "phase": "Terminating"}
        self._put(kind, namespace, name, live, "MODIFIED")
        return live

    def compact(self) -> None:
        """Forget what happened: watches from before are too old."""
        with self.changed:
            self.oldest = self._now
            self.history.clear()

    def _keep(
        self,
        kind: ServedKind,
        namespace: str,
        name: str,
        after: Object,
        owners: Mapping[tuple[str, str], set[fields.Path]],
        live: Object | None,
        *,
        dry: bool,
    ) -> Object:
        self._admit(kind, namespace, after, live)
        metadata = {k: v for k, v in after["metadata"].items() if k not in fields.SERVERS_OWN}
        old = live["metadata"] if live else {}
        metadata["uid"] = old.get("uid") or str(uuid.uuid4())
        metadata["creationTimestamp"] = old.get("creationTimestamp") or _now()
        same_spec = live is not None and live.get("spec") == after.get("spec")
        metadata["generation"] = old.get("generation", 0) + (0 if same_spec else 1)
        metadata["managedFields"] = _managed(owners, kind, old.get("managedFields") or [])
        after = {**_defaulted(kind, after), "metadata": metadata}
        if live is not None and _without_version(live) == _without_version(after):
            return self.get(kind, namespace, name)  # nothing changed: not even its version
        after["metadata"]["resourceVersion"] = old.get("resourceVersion", "")
        if not dry:
            self._put(kind, namespace, name, after, "MODIFIED" if live else "ADDED")
        return {**copy.deepcopy(after), "apiVersion": kind.api_version, "kind": kind.kind}

    def _put(self, kind: ServedKind, namespace: str, name: str, thing: Object, change: str) -> None:
        with self.changed:
            metadata = thing["metadata"]
            is_ending = "deletionTimestamp" in metadata and not metadata.get("finalizers")
            if is_ending and not (thing.get("spec") or {}).get("finalizers"):
                self._drop(kind, namespace, name)
                return
            self._now = next(self._versions)
            metadata["resourceVersion"] = str(self._now)
            self.objects[*kind.resource, namespace, name] = thing
            self.history.append((self._now, change, kind.resource, copy.deepcopy(thing)))
            if kind.kind == "CustomResourceDefinition":
                self._serve_definition(thing)
            self.changed.notify_all()

    def _drop(self, kind: ServedKind, namespace: str, name: str) -> None:
        with self.changed:
            gone = self.objects.pop((*kind.resource, namespace, name), None)
            if gone is None:
                return
            self._now = next(self._versions)
            gone["metadata"]["resourceVersion"] = str(self._now)
            self.history.append((self._now, "DELETED", kind.resource, gone))
            if kind.kind == "CustomResourceDefinition":
                spec = gone["spec"]
                doomed = [key for key in self.objects if key[:2] == (spec["group"], spec["names"]["plural"])]
                for key in doomed:
                    del self.objects[key]
                for version in spec["versions"]:
                    self.kinds.pop((spec["group"], version["name"], spec["names"]["plural"]), None)
            self.changed.notify_all()

    def _admit(self, kind: ServedKind, namespace: str, after: Object, live: Object | None) -> None:
        if kind.namespaced:
            space = self.objects.get(("", "namespaces", "", namespace))
            if space is None:
                raise RefusalError(404, "NotFound", f'namespaces "{namespace}" not found', name=namespace)
            if live is None and space["metadata"].get("deletionTimestamp"):
                name = after["metadata"]["name"]
                message = f"namespace {namespace} is being terminated"
                full = f'{_resource_text(kind)} "{name}" is forbidden: unable to create new content: {message}'
                causes = [{"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}]
                raise RefusalError(403, "Forbidden", full, name=name, causes=causes)
        path = IMMUTABLE.get(kind.kind)
        if live is not None and path and _inside(live, path) != _inside(after, path):
            raise _invalid(kind, after, [(".".join(path), "field is immutable")])

        if (
            kind.kind == "Secret"
            and live is not None
            and live.get("immutable")
            and live.get("data") != after.get("data")
        ):
            raise _invalid(kind, after, [("data", "field is immutable when `immutable` is set")])

    def _check(self, kind: ServedKind, sent: Object, *, apply: bool) -> None:
        name = sent["metadata"]["name"]
        plain = {key: value for key, value in sent.items() if key not in ("apiVersion", "kind")}
        mistakes = list(check_value({**plain, "apiVersion": kind.api_version, "kind": kind.kind}, kind.schema))
        unknown = [path for path, message in mistakes if "no such field" in message]
        wrong = [(path, message) for path, message in mistakes if re.search(r"and must be (a|an|true)\b", message)]
        if apply and (unknown or wrong):
            what = f"{sent['metadata'].get('namespace', '')}/{name}; {kind.api_version}, Kind={kind.kind}"
            said = f".{unknown[0]}: field not declared in schema" if unknown else f".{wrong[0][0]}: {wrong[0][1]}"
            # a plain 500: see Kubernetes' issue 139253
            raise RefusalError(500, "", f"failed to create typed patch object ({what}): {said}")
        if unknown:
            words = ", ".join(f'unknown field "{path}"' for path in unknown)
            raise RefusalError(
                400, "BadRequest", f"{kind.kind} in version {kind.version!r} strict decoding error: {words}"
            )
        if mistakes:
            raise _invalid(kind, sent, mistakes)
        if name != name.lower() or "_" in name:
            raise _invalid(kind, sent, [("metadata.name", f"Invalid value: {name!r}: a lowercase RFC 1123 subdomain")])

    def _conflicts(
        self,
        live: Object,
        sent: Object,
        claimed: set[fields.Path],
        owners: dict[tuple[str, str], set[fields.Path]],
        manager: str,
        *,
        force: bool,
    ) -> None:
        causes = []
        for (who, operation), paths in owners.items():
            if (who, operation) == (manager, "Apply"):
                continue
            lost = {path for path in claimed & paths if fields.value_at(live, path) != fields.value_at(sent, path)}
            lost = {path for path in lost if not _has_parts(path, claimed)}
            owners[who, operation] = paths - lost
            version = f"{live.get('apiVersion', 'v1')}"
            causes += [
                {
                    "reason": "FieldManagerConflict",
                    "message": f'conflict with "{who}" using {version}',
                    "field": fields.path_text(path),
                }
                for path in sorted(lost)
            ]
        if causes and not force:
            message = f"Apply failed with {len(causes)} conflicts: " + "; ".join(c["message"] for c in causes)
            raise RefusalError(409, "Conflict", message, causes=causes)

    def _serve(self, group: str, version: str, kind: str, plural: str, namespaced: bool, schema: Schema) -> None:
        self.kinds[group, version, plural] = ServedKind(
            group=group, version=version, kind=kind, plural=plural, namespaced=namespaced, schema=schema
        )

    def _serve_definition(self, definition: Object) -> None:
        spec = definition["spec"]
        names = spec["names"]
        for version in spec["versions"]:
            api_version = f"{spec['group']}/{version['name']}"
            namespaced = spec["scope"] == "Namespaced"
            entry = (api_version, names["kind"], namespaced, version["schema"]["openAPIV3Schema"])
            schema = read_extract(write_extract("test", "1", "test", [entry])).kinds[api_version, names["kind"]]
            if version.get("served"):
                self._serve(spec["group"], version["name"], names["kind"], names["plural"], namespaced, schema)
        definition["status"] = {
            "acceptedNames": names,
            "conditions": [{"type": name, "status": "True"} for name in ("NamesAccepted", "Established")],
            "storedVersions": [version["name"] for version in spec["versions"] if version.get("storage")],
        }


def _owners(live: Object | None) -> dict[tuple[str, str], set[fields.Path]]:
    entries = (live or {"metadata": {}})["metadata"].get("managedFields") or []
    return {(e["manager"], e["operation"]): fields.from_fields_v1(e["fieldsV1"]) for e in entries}


def _managed(
    owners: Mapping[tuple[str, str], set[fields.Path]], kind: ServedKind, before: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    old = {(entry["manager"], entry["operation"]): entry for entry in before}
    entries = []
    for (manager, operation), paths in owners.items():
        if not paths and (manager, operation) not in old:
            continue
        tree = fields.to_fields_v1(paths)
        if not tree:
            continue
        same = old.get((manager, operation))
        entries.append(
            {
                "manager": manager,
                "operation": operation,
                "apiVersion": kind.api_version,
                "time": same["time"] if same and same["fieldsV1"] == tree else _now(),
                "fieldsType": "FieldsV1",
                "fieldsV1": tree,
            }
        )
    return entries


def _defaulted(kind: ServedKind, thing: Object) -> Object:
    if kind.kind == "Namespace":
        return {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}, **thing}
    if kind.kind == "Secret" and thing.get("stringData"):
        plain = thing["stringData"]
        data = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
        kept = {key: value for key, value in thing.items() if key != "stringData"}
        return {**kept, "data": {**(thing.get("data") or {}), **data}}
    return thing


def _invalid(kind: ServedKind, thing: Object, mistakes: list[tuple[str, str]]) -> RefusalError:
    causes = [{"reason": "FieldValueInvalid", "message": message, "field": path} for path, message in mistakes]
    said = ", ".join(f"{path}: {message}" for path, message in mistakes)
    name = thing["metadata"]["name"]
    return RefusalError(422, "Invalid", f'{kind.kind} "{name}" is invalid: {said}', name=name, causes=causes)


def _has_parts(path: fields.Path, claimed: set[fields.Path]) -> bool:
    return any(other[: len(path)] == path and other != path for other in claimed)


def _inside(thing: Any, path: Iterable[str]) -> Any:
    for name in path:
        thing = (thing or {}).get(name)
    return thing


def _without_version(thing: Object) -> Object:
    metadata = {k: v for k, v in thing["metadata"].items() if k not in ("resourceVersion", "generation")}
    return {**{k: v for k, v in thing.items() if k not in ("apiVersion", "kind")}, "metadata": metadata}


def _resource_text(kind: ServedKind) -> str:
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def _plural(kind: str) -> str:
    low = kind.lower()
    return f"{low}es" if low.endswith("s") else f"{low}s"


def _namespace(name: str) -> Object:
    return {"metadata": {"name": name}}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
