"""What has to be done to one object: it is read, and a dry run says what would become of it. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ai_how.errors import SpecError
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.differences import differences
from ai_how.kubernetes_api.field_paths import without_fields
from ai_how.kubernetes_api.marks import FIELD_MANAGER, SITE, Mark, is_managed
from ai_how.kubernetes_api.objects import ApiObject, Ref, labels_of, ref_of
from ai_how.kubernetes_api.plans import ObjectChange, OnConflict, Verb
from ai_how.kubernetes_api.refusals import FieldConflict, FieldConflictError, InvalidObjectError

_MOST_ROUNDS = 5
_MADE_ANEW = ("Job",)


def plan_object(client: Client, thing: ApiObject, mark: Mark, on_conflict: OnConflict) -> ObjectChange:
    """Compare the object with what is there.

    Raises:
        InvalidObjectError: it does not fit its kind, or changes what cannot be changed.
    """
    ref = ref_of(thing)
    live = client.get(ref)
    if live is not None:
        reason = _not_ours(live, mark) if on_conflict is not OnConflict.TAKE else ""
        if live["metadata"].get("deletionTimestamp"):
            reason = "is going away"
        if reason:
            return ObjectChange(ref=ref, verb=Verb.REFUSE, reason=reason)
    try:
        return _compared(client, thing, live, on_conflict)
    except InvalidObjectError as error:
        if live is None or ref.kind not in _MADE_ANEW or not _is_immutable(error):
            raise
        return ObjectChange(
            ref=ref,
            verb=Verb.REPLACE,
            reason="it cannot be changed: it is made anew",
            thing=thing,
            uid=live["metadata"]["uid"],
        )


def _compared(client: Client, thing: ApiObject, live: ApiObject | None, on_conflict: OnConflict) -> ObjectChange:
    ref = ref_of(thing)
    left: list[FieldConflict] = []
    force = on_conflict is OnConflict.TAKE
    sent: Mapping[str, Any] = thing
    for _ in range(_MOST_ROUNDS):
        try:
            after = client.apply(sent, dry_run=True, force=force)
        except FieldConflictError as error:
            if {conflict.manager for conflict in error.conflicts} <= {FIELD_MANAGER}:
                force = True  # what we once made in another way is ours all the same
            elif on_conflict is OnConflict.LEAVE:
                sent, missed = without_fields(sent, [conflict.path for conflict in error.conflicts])
                left += [conflict for conflict in error.conflicts if conflict.path not in missed]
                if missed:
                    return _in_conflict(ref, error)
            else:
                return _in_conflict(ref, error)
            continue
        changes = differences(live, after) if live is not None else ()
        verb = Verb.CREATE if live is None else Verb.CHANGE if changes else Verb.KEEP
        return ObjectChange(ref=ref, verb=verb, fields=changes, left=tuple(left), thing=sent, force=force)
    raise SpecError(f"{ref}: others' fields could not be left out", evidence="\n".join(c.path for c in left))


def _in_conflict(ref: Ref, error: FieldConflictError) -> ObjectChange:
    return ObjectChange(ref=ref, verb=Verb.REFUSE, reason="has fields that others own", left=error.conflicts)


def _not_ours(live: ApiObject, mark: Mark) -> str:
    if not is_managed(live):
        return "exists, and ai-how did not make it"
    site = labels_of(live).get(SITE)
    return "" if site in (None, mark.site) else f"exists, and belongs to the site {site}"


def _is_immutable(error: InvalidObjectError) -> bool:
    return "immutable" in error.refusal.message
