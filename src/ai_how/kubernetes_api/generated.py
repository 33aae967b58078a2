"""Secrets that are made in the cluster, once: their values are known to nobody but the cluster.

Owns how such a value is made. Never reads one back, and never writes one to a file or a message.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from typing import Any

from ai_how.errors import SpecError
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.marks import DATA, Mark
from ai_how.kubernetes_api.objects import Ref
from ai_how.kubernetes_api.refusals import AlreadyThereError

# letters and digits alone: they need no quoting in an address, a shell or a settings file
_LETTERS = string.ascii_letters + string.digits


def make_secret(
    client: Client,
    name: str,
    *,
    namespace: str,
    random: Mapping[str, int],
    texts: Mapping[str, str],
    mark: Mark,
    type_name: str = "Opaque",
) -> bool:
    """Make the Secret where there is none; return whether it was made.

    It cannot be changed afterwards, and counts as data: it is neither pruned nor removed unless data may go.

    Args:
        random: Keys with the length of their random value, in characters.
        texts: Keys with texts that may name others: ``postgresql://mlflow:${password}@db/mlflow``.

    Raises:
        SpecError: a text names a key that is not there.
    """
    ref = Ref(api_version="v1", kind="Secret", namespace=namespace, name=name)
    if client.get(ref) is not None:
        return False
    values = {key: "".join(secrets.choice(_LETTERS) for _ in range(length)) for key, length in random.items()}
    labels = {**mark.labels, DATA: "true"}
    thing: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "type": type_name,
        "immutable": True,
        "stringData": {**values, **{key: _filled(text, values, ref) for key, text in texts.items()}},
    }
    try:
        client.create(thing)
    except AlreadyThereError:
        return False  # made by another run meanwhile: that one counts
    return True


def _filled(text: str, values: Mapping[str, str], ref: Ref) -> str:
    try:
        return string.Template(text).substitute(values)
    except (KeyError, ValueError) as error:
        raise SpecError(f"{ref}: a text of it cannot be made", evidence=f"no value for {error}") from None
