"""Applies a set of objects, and only what differs: plan by a dry run, apply in waves, prune what is no longer wanted.

Owns the steps. Touches nothing that does not bear the given mark, and takes no field from another manager unless told
to. A run that was broken off is taken further by the next one: what is done is then found as it should be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ai_how.errors import AiHowError, ConflictError, SpecError, TryAgainError
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.discovery import UnknownKindError
from ai_how.kubernetes_api.failures import raise_all
from ai_how.kubernetes_api.marks import Mark, holds_data, marked
from ai_how.kubernetes_api.object_plan import plan_object
from ai_how.kubernetes_api.objects import ApiObject, Ref, ref_of
from ai_how.kubernetes_api.order import propagation_of, wave_of, waves
from ai_how.kubernetes_api.plans import ObjectChange, ObjectPlan, OnConflict, Verb
from ai_how.kubernetes_api.removal import Marked, marked_objects, remove_all
from ai_how.kubernetes_api.side_by_side import side_by_side
from ai_how.kubernetes_api.terminating import why_still_there
from ai_how.kubernetes_api.waiting import wait_until_gone, wait_until_served, wait_until_well

_ESTABLISH_S = 60
_GONE_S = 120
_MOST_LINES = 10
Report = Callable[[ObjectChange], None]
"""Told of each change once it is made."""


def plan_objects(
    client: Client,
    things: Iterable[ApiObject],
    mark: Mark,
    *,
    on_conflict: OnConflict = OnConflict.REFUSE,
    prune: bool = True,
    there: Marked | None = None,
) -> ObjectPlan:
    """What has to be done so that these objects, and with ``prune`` no others of this mark, are there. Changes nothing.

    Args:
        there: What was found to bear the site's mark, where several sets are planned: looking takes a request a kind.

    Raises:
        SpecError: one is given twice, lacks its namespace, or does not fit its kind.
    """
    wanted = _by_ref(things, mark)
    not_yet = _namespaces_to_come(client, wanted)
    defined = {_defined(thing) for ref, thing in wanted.items() if ref.kind == "CustomResourceDefinition"}

    def planned(ref: Ref) -> ObjectChange:
        thing = wanted[ref]
        if not _is_served(client, ref):
            reason = "" if (ref.group, ref.kind) in defined else "once the cluster knows its kind"
            return ObjectChange(ref=ref, verb=Verb.CREATE, reason=reason, thing=thing)
        if ref.namespace in not_yet:
            return ObjectChange(ref=ref, verb=Verb.CREATE, thing=thing)
        return plan_object(client, thing, mark, on_conflict)

    changes = side_by_side(planned, sorted(wanted, key=lambda ref: (wave_of(ref), ref)))
    if not prune:
        return ObjectPlan(changes=tuple(changes))
    found = there or marked_objects(client, mark)
    return ObjectPlan(changes=(*changes, *_doomed(wanted, mark, found)), unseen=found.unseen)


def apply_plan(client: Client, plan: ObjectPlan, *, report: Report = lambda _: None) -> None:
    """Carry a plan out: namespaces, definitions, then the rest side by side; what goes, goes last.

    Raises:
        ConflictError: it has objects that must not be touched; nothing was done.
        AiHowError: some could not be applied (the evidence names them); what comes later was not begun.
    """
    _stop_at_refusals(plan.of(Verb.REFUSE))
    todo = [change for change in plan.changes if change.verb in (Verb.CREATE, Verb.CHANGE, Verb.REPLACE)]
    for wave in waves((change.ref, change) for change in todo):
        _apply_wave(client, wave, report)
        for change in wave:
            if change.ref.kind == "CustomResourceDefinition":
                _wait_for_kind(client, change)
    doomed = {change.ref: change for change in plan.of(Verb.DELETE)}
    remove_all(client, [(ref, change.uid) for ref, change in doomed.items()], report=lambda ref: report(doomed[ref]))


def apply_objects(
    client: Client,
    things: Iterable[ApiObject],
    mark: Mark,
    *,
    on_conflict: OnConflict = OnConflict.REFUSE,
    there: Marked | None = None,
    report: Report = lambda _: None,
) -> ObjectPlan:
    """Plan and apply; return what was done."""
    plan = plan_objects(client, things, mark, on_conflict=on_conflict, there=there)
    apply_plan(client, plan, report=report)
    return plan


def _apply_wave(client: Client, wave: list[ObjectChange], report: Report) -> None:
    def attempt(change: ObjectChange) -> AiHowError | None:
        try:
            if change.verb is Verb.REPLACE:
                client.delete(change.ref, propagation=propagation_of(change.ref), uid=change.uid)
                wait_until_gone(client, change.ref, uid=change.uid, timeout_s=_GONE_S)
            client.apply(change.thing, force=change.force)
        except AiHowError as error:
            return error
        report(change)
        return None

    raise_all("applied", [error for error in side_by_side(attempt, wave) if error is not None], of=len(wave))


def _wait_for_kind(client: Client, change: ObjectChange) -> None:
    wait_until_well(client, change.ref, timeout_s=_ESTABLISH_S)
    spec = change.thing["spec"]
    for version in spec["versions"]:
        if version.get("served"):
            api_version = f"{spec['group']}/{version['name']}"
            wait_until_served(client, api_version, spec["names"]["kind"], timeout_s=_ESTABLISH_S)


def _by_ref(things: Iterable[ApiObject], mark: Mark) -> dict[Ref, ApiObject]:
    wanted: dict[Ref, ApiObject] = {}
    for thing in things:
        ref = ref_of(thing)
        if ref in wanted:
            raise SpecError(f"{ref} is given twice")
        wanted[ref] = marked(thing, mark)
    return wanted


def _namespaces_to_come(client: Client, wanted: Iterable[Ref]) -> set[str]:
    """The namespaces that are to be made.

    Raises:
        TryAgainError: one that is needed is going away; the evidence says what holds it.
    """
    needed = {ref.namespace for ref in wanted if ref.namespace} | {
        ref.name for ref in wanted if ref.kind == "Namespace"
    }
    to_come = set()
    for name in sorted(needed):
        live = client.get(Ref(api_version="v1", kind="Namespace", namespace="", name=name))
        if live is None:
            to_come.add(name)
        elif live["metadata"].get("deletionTimestamp"):
            raise TryAgainError(
                f"the namespace {name} is going away",
                evidence="\n".join(why_still_there(live)),
                next_step="wait until it is gone; if it stays, have what holds it finish, then run this again",
            )
    return to_come


def _is_served(client: Client, ref: Ref) -> bool:
    try:
        kind = client.kinds.find(ref.api_version, ref.kind)
    except UnknownKindError:
        return False
    if kind.namespaced and not ref.namespace:
        raise SpecError(f"{ref} names no namespace", evidence=f"objects of kind {ref.kind} lie in one")
    return True


def _defined(definition: ApiObject) -> tuple[str, str]:
    return definition["spec"]["group"], definition["spec"]["names"]["kind"]


def _doomed(wanted: Iterable[Ref], mark: Mark, there: Marked) -> list[ObjectChange]:
    """What bears the mark and is no longer wanted; what holds data or objects of others is kept."""
    # a kind's version is no part of what an object is
    kept = {(ref.group, ref.kind, ref.namespace, ref.name) for ref in wanted}
    changes = []
    for one in there.objects:
        ref = one.ref
        if not mark.is_on(one.thing) or (ref.group, ref.kind, ref.namespace, ref.name) in kept:
            continue
        if holds_data(one.thing) or ref.kind in ("Namespace", "CustomResourceDefinition"):
            reason = "no longer wanted, but kept: " + ("it holds data" if holds_data(one.thing) else "it holds others")
            changes.append(ObjectChange(ref=ref, verb=Verb.KEEP, reason=reason, uid=one.uid))
            continue
        changes.append(ObjectChange(ref=ref, verb=Verb.DELETE, reason="no longer wanted", uid=one.uid))
    return changes


def _stop_at_refusals(refused: list[ObjectChange]) -> None:
    if not refused:
        return
    lines = [f"{change.ref} {change.reason}" for change in refused]
    lines += [f"{change.ref} {entry.path} is owned by {entry.manager}" for change in refused for entry in change.left]
    raise ConflictError(
        f"{len(refused)} objects must not be touched" if len(refused) > 1 else f"{refused[0].ref} must not be touched",
        evidence="\n".join(lines[:_MOST_LINES]),
        next_step="remove or rename what is in the way, or let its owner keep those fields",
    )
