"""Which Secrets of a backup go back into a cluster, and how: a plan, then the writing. Restarts are not done here.

Only what a part of the stack has kept is put back, and only where ai-how or a certificate of the stack made what is
there. Values are never shown: a plan names Secrets, and says what happens to each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from ai_how.apply.provider import Say
from ai_how.backups.manifest import KeptFile, Manifest
from ai_how.backups.store import BackupStore
from ai_how.errors import SpecError
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.marks import DATA, Mark
from ai_how.kubernetes_api.objects import ApiObject, Ref
from ai_how.kubernetes_api.removal import remove_one
from ai_how.stack.objects import GeneratedSecret
from ai_how.stack.part import Part
from ai_how.stack.stack import render_parts
from ai_how.stack_access.running import RunningStack

_GONE_S = 60
_ISSUED = "cert-manager.io/certificate-name"
"""The annotation of a Secret that cert-manager keeps for a Certificate."""
_KEY = "tls.key"


class Way(StrEnum):
    """What happens to a Secret."""

    SAME = "is as in the backup"
    MAKE = "is made"
    REPLACE = "is replaced"
    LEAVE = "stays"


@dataclass(frozen=True, kw_only=True)
class SecretBack:
    """A Secret and what happens to it; ``reason`` says why it stays.

    ``in_place``: its controller would make a new one at once if it were gone.
    """

    ref: Ref
    way: Way
    reason: str = ""
    uid: str = ""
    in_place: bool = False
    thing: ApiObject = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.ref} {self.way}" + (f": {self.reason}" if self.reason else "")


def plan_secrets(stack: RunningStack, manifest: Manifest, store: BackupStore) -> tuple[SecretBack, ...]:
    """What a restore does to each Secret that the stack's parts want kept, in the parts' order. Changes nothing.

    Raises:
        SpecError: what is kept is no Secret.
    """
    files = {file.name: file for file in manifest.files}
    return tuple(
        planned
        for part in render_parts(stack.setting)
        for kept in part.backups
        if kept.kind == "secrets"
        for name in kept.items
        for planned in _planned(stack, part, kept.namespace, name, files=files, store=store)
    )


def _planned(
    stack: RunningStack, part: Part, namespace: str, name: str, *, files: dict[str, KeptFile], store: BackupStore
) -> Iterator[SecretBack]:
    """A Secret in each namespace that has it."""
    made = next((secret for secret in part.component.secrets if secret.name == name), None)
    file = files.get(f"secrets/{namespace}/{name}.json")
    ref = Ref(api_version="v1", kind="Secret", namespace=namespace, name=name)
    if file is None:
        yield SecretBack(ref=ref, way=Way.LEAVE, reason="the backup does not have it")
        return
    kept = _read(store.read(file), file.name)
    lacking = sorted({*made.random, *made.texts} - set(kept["data"])) if made else []
    for space in (namespace, *(made.also_in if made else ())):
        there = replace(ref, namespace=space)
        if lacking:
            yield SecretBack(ref=there, way=Way.LEAVE, reason=f"the backup's has no {', '.join(lacking)}")
        else:
            yield _compared(stack.api, there, kept, made, Mark(site=stack.site.name, component=part.name))


def _compared(client: Client, ref: Ref, kept: dict[str, Any], made: GeneratedSecret | None, mark: Mark) -> SecretBack:
    live, in_place = client.get(ref), made is None
    thing: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": ref.name, "namespace": ref.namespace},
        "type": kept.get("type", "Opaque"),
        "data": kept["data"],
    }
    if made is not None:
        thing["metadata"]["labels"] = {**made.labels, **mark.labels, DATA: "true"}
        thing["immutable"] = True
    if live is None:
        return SecretBack(ref=ref, way=Way.MAKE, in_place=in_place, thing=thing)
    uid, data = str(live["metadata"]["uid"]), live.get("data") or {}
    # of a certificate the key counts: its controller may have renewed the rest
    same = data.get(_KEY) == kept["data"].get(_KEY) if in_place else data == kept["data"]
    if same:
        return SecretBack(ref=ref, way=Way.SAME, uid=uid, in_place=in_place)
    annotations = live["metadata"].get("annotations") or {}
    if not (_ISSUED in annotations if in_place else Mark(site=mark.site).is_on(live)):
        return SecretBack(ref=ref, way=Way.LEAVE, reason="ai-how did not make it", uid=uid)
    return SecretBack(ref=ref, way=Way.REPLACE, uid=uid, in_place=in_place, thing=thing)


def _read(content: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
        if found["kind"] == "Secret" and isinstance(found["data"], dict):
            return dict(found)
    except (ValueError, KeyError, TypeError):
        pass
    # the content is not quoted: it may be a key
    raise SpecError(f"{name} of the backup is no Secret", next_step="take another backup: ai-how backup list FOLDER")


def write_secrets(client: Client, planned: Sequence[SecretBack], *, say: Say) -> None:
    """Put the Secrets back; one that may not be changed is made anew. Done again, it does what is left.

    Raises:
        AiHowError: the API server refuses one, or an old one does not go.
    """
    for one in planned:
        if one.way in (Way.SAME, Way.LEAVE):
            continue
        say(str(one))
        if one.way is Way.REPLACE and not one.in_place:
            remove_one(client, one.ref, uid=one.uid, timeout_s=_GONE_S)
        client.apply(one.thing, force=True)
