"""Secrets that are made in the cluster, once: their values are known to nobody but the cluster.

Owns how such a value is made. Never writes one to a file or a message; reads one only to copy it into a namespace more.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping, Sequence
from typing import Any

from ai_how.errors import SpecError
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.marks import DATA, Mark
from ai_how.kubernetes_api.objects import Ref
from ai_how.kubernetes_api.refusals import AlreadyThereError, ChangedMeanwhileError

# letters and digits alone: they need no quoting in an address, a shell or a settings file
_LETTERS = string.ascii_letters + string.digits


def make_secret(
    client: Client,
    name: str,
    *,
    namespaces: Sequence[str],
    random: Mapping[str, int],
    texts: Mapping[str, str],
    mark: Mark,
    labels: Mapping[str, str] | None = None,
    type_name: str = "Opaque",
) -> bool:
    """Make the Secret where there is none; return whether any was made.

    It cannot be changed afterwards, and counts as data: it is neither pruned nor removed unless data may go.

    Args:
        namespaces: Where it lies, with the same values in each: one that is there already is copied.
        random: Keys with the length of their random value, in characters.
        texts: Keys with texts that may name others: ``postgresql://mlflow:${password}@db/mlflow``.

    Raises:
        SpecError: a text names a key that is not there.
    """
    refs = [Ref(api_version="v1", kind="Secret", namespace=namespace, name=name) for namespace in namespaces]
    live = {ref: client.get(ref) for ref in refs}
    known = next((thing["data"] for thing in live.values() if thing is not None), None)
    content = {"data": known} if known is not None else {"stringData": _values(refs[0], random, texts)}
    made = False
    for ref in (ref for ref, thing in live.items() if thing is None):
        metadata = {
            "name": name,
            "namespace": ref.namespace,
            "labels": {**(labels or {}), **mark.labels, DATA: "true"},
        }
        head: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": type_name}
        try:
            client.create({**head, "immutable": True, **content})
        except AlreadyThereError as error:
            raise ChangedMeanwhileError(f"{ref} was made by another run", next_step="run this again") from error
        made = True
    return made


def _values(ref: Ref, random: Mapping[str, int], texts: Mapping[str, str]) -> dict[str, str]:
    values = {key: "".join(secrets.choice(_LETTERS) for _ in range(length)) for key, length in random.items()}
    return {**values, **{key: _filled(text, values, ref) for key, text in texts.items()}}


def _filled(text: str, values: Mapping[str, str], ref: Ref) -> str:
    try:
        return string.Template(text).substitute(values)
    except (KeyError, ValueError) as error:
        raise SpecError(f"{ref}: a text of it cannot be made", evidence=f"no value for {error}") from None
