"""Removes what bears our mark, and nothing else.

A namespace goes only when nothing of others is left in it, a definition only when no object of its kind is left, and
what holds data only when told so: deleting one of them would take things along that are not ours to take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ai_how.errors import AiHowError
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.discovery import Kind
from ai_how.kubernetes_api.failures import raise_all
from ai_how.kubernetes_api.marks import Mark, holds_data
from ai_how.kubernetes_api.objects import ApiObject, Ref, has_owner, ref_of
from ai_how.kubernetes_api.order import propagation_of, waves
from ai_how.kubernetes_api.refusals import NotThereError
from ai_how.kubernetes_api.side_by_side import side_by_side
from ai_how.kubernetes_api.waiting import wait_until_gone

_GONE_S = 120
_NEEDED_VERBS = frozenset({"list", "delete"})
_PASSING_KINDS = frozenset({"Event", "Endpoints", "EndpointSlice", "PodMetrics", "Lease"})
# who writes what Kubernetes itself puts into every namespace
_SYSTEM = frozenset({"kube-controller-manager", "kube-apiserver", "kube-scheduler", "kubelet"})
_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Found:
    """An object of ours: its name, its identity, and its metadata."""

    ref: Ref
    uid: str
    thing: ApiObject


@dataclass(frozen=True, kw_only=True)
class Marked:
    """What bears a mark, in the order of its names, and a line for each group that could not be looked at."""

    objects: tuple[Found, ...]
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What was removed, what stays and why, and which groups could not be looked at."""

    removed: tuple[Ref, ...]
    kept: tuple[tuple[Ref, str], ...]
    unseen: tuple[str, ...]


def marked_objects(client: Client, mark: Mark) -> Marked:
    """Every object that bears the mark, of whatever kind. Reads metadata alone."""
    kinds, unseen = client.kinds.all()
    found: dict[str, Found] = {}
    for thing in _listed(client, [kind for kind in kinds if kind.verbs >= _NEEDED_VERBS], labels=mark.selector):
        if mark.is_on(thing):
            uid = thing["metadata"].get("uid", "")
            # some kinds are served by two groups: one identity is one object
            found.setdefault(uid, Found(ref=ref_of(thing), uid=uid, thing=thing))
    return Marked(objects=tuple(sorted(found.values(), key=lambda one: one.ref)), unseen=tuple(unseen))


def remove_marked(
    client: Client, mark: Mark, *, data: bool = False, report: Callable[[Ref], None] = lambda _: None
) -> Removal:
    """Remove everything that bears the mark.

    Args:
        data: Volume claims and other holders of data too.
        report: Told of each object once it is gone.

    Raises:
        NotWellError: something did not go in its time; the evidence says what holds it.
    """
    there = marked_objects(client, mark)
    found = there.objects
    kept = [(one.ref, "it holds data") for one in found if holds_data(one.thing) and not data]
    held = {ref for ref, _ in kept}
    doomed = [one for one in found if one.ref not in held]
    guarded = [one for one in doomed if one.ref.kind in ("Namespace", "CustomResourceDefinition")]
    remove_all(client, [(one.ref, one.uid) for one in doomed if one not in guarded], report=report)
    # definitions before namespaces: their objects may lie in one
    for one in sorted(guarded, key=lambda one: one.ref.kind):
        reason = why_kept(client, one, mark, data=data)
        if reason:
            kept.append((one.ref, reason))
        else:
            remove_all(client, [(one.ref, one.uid)], report=report)
    gone = [one.ref for one in found if one.ref not in {ref for ref, _ in kept}]
    return Removal(removed=tuple(gone), kept=tuple(sorted(kept)), unseen=there.unseen)


def remove_all(
    client: Client, doomed: Iterable[tuple[Ref, str]], *, report: Callable[[Ref], None] = lambda _: None
) -> None:
    """Delete objects, given by name and identity, what stands on others first; wait until they are gone."""

    def remove(item: tuple[Ref, str]) -> AiHowError | None:
        ref, uid = item
        try:
            remove_one(client, ref, uid=uid)
        except AiHowError as error:
            return error
        report(ref)
        return None

    for wave in waves(((item[0], item) for item in doomed), reverse=True):
        raise_all("removed", [error for error in side_by_side(remove, wave) if error is not None], of=len(wave))


def remove_one(client: Client, ref: Ref, *, uid: str, timeout_s: float = _GONE_S) -> None:
    """Delete an object, given by name and identity, and wait until it is gone."""
    if client.delete(ref, propagation=propagation_of(ref), uid=uid):
        wait_until_gone(client, ref, uid=uid, timeout_s=timeout_s)


def why_kept(client: Client, one: Found, mark: Mark, *, data: bool) -> str:
    """Why a namespace or a definition must stay; empty where it may go."""
    if one.ref.kind == "CustomResourceDefinition":
        return _why_kept_definition(client, one.ref)
    kinds, unseen = client.kinds.all()
    inside = [kind for kind in kinds if kind.namespaced and kind.verbs >= _NEEDED_VERBS]
    others = [
        ref_of(thing)
        for thing in _listed(client, inside, namespace=one.ref.name)
        if _is_anothers(thing, mark, data=data)
    ]
    if unseen:
        return f"not all of it could be looked at: {unseen[0]}"
    return f"what is in it is not of {mark.site}: {_few(others)}" if others else ""


def _why_kept_definition(client: Client, ref: Ref) -> str:
    definition = client.get(ref)
    if definition is None:
        return ""
    spec = definition["spec"]
    version = next(entry["name"] for entry in spec["versions"] if entry.get("served"))
    try:
        left = client.list_objects(f"{spec['group']}/{version}", spec["names"]["kind"]).items
    except NotThereError:
        return ""
    return f"there are objects of its kind: {_few([ref_of(thing) for thing in left])}" if left else ""


def _is_anothers(thing: ApiObject, mark: Mark, *, data: bool) -> bool:
    if thing.get("kind") in _PASSING_KINDS or has_owner(thing):
        return False
    if thing.get("kind") == "PersistentVolumeClaim":
        return not data
    if Mark(site=mark.site).is_on(thing):
        return holds_data(thing) and not data
    managers = {entry.get("manager") for entry in thing["metadata"].get("managedFields") or []}
    if not managers:
        # it has no field that anybody could own
        return (thing.get("kind"), thing["metadata"]["name"]) != ("ServiceAccount", "default")
    return not managers <= _SYSTEM


def _listed(client: Client, kinds: Iterable[Kind], *, namespace: str = "", labels: str = "") -> list[ApiObject]:
    def listed(kind: Kind) -> list[dict[str, object]]:
        try:
            return client.list_kind(kind, namespace, labels=labels, metadata_only=True).items
        except NotThereError:
            return []  # its definition went meanwhile

    return [thing for found in side_by_side(listed, kinds) for thing in found]


def _few(refs: list[Ref]) -> str:
    names = ", ".join(str(ref) for ref in sorted(refs)[:_MOST_NAMED])
    return names + (f" and {len(refs) - _MOST_NAMED} more" if len(refs) > _MOST_NAMED else "")
