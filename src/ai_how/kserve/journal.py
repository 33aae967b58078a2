"""Keeps what is remembered of an endpoint's revisions in the cluster: one ConfigMap an endpoint.

Owns that object alone. It bears a mark of its own, so that changes of the endpoint leave it; who deletes the endpoint
calls ``forget``. What a journal says is the business of ``endpoints.rollout.journal``.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ai_how.endpoints.rollout.journal import Journal
from ai_how.endpoints.wire import journal_from_json
from ai_how.errors import SpecError
from ai_how.kserve.revision import ENDPOINT
from ai_how.kserve.setting import ServingSetting
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.marks import Mark, marked
from ai_how.kubernetes_api.objects import Ref

_KEY = "journal.json"


def journal_ref(setting: ServingSetting, name: str) -> Ref:
    """Where an endpoint's journal lies."""
    return Ref(api_version="v1", kind="ConfigMap", namespace=setting.namespace, name=f"{name}-history")


def read_journal(client: Client, setting: ServingSetting, name: str) -> Journal:
    """What is remembered of an endpoint; an empty journal where nothing is.

    Raises:
        SpecError: what is kept is damaged; the evidence names the object.
    """
    ref = journal_ref(setting, name)
    found = client.get(ref)
    if found is None:
        return Journal()
    try:
        return journal_from_json(json.loads(found["data"][_KEY]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpecError(
            f"what is remembered of endpoint {name} is damaged",
            evidence=f"{ref}: {type(error).__name__}: {error}",
            next_step=f"kubectl delete configmap -n {ref.namespace} {ref.name}, which forgets its history",
        ) from error


def write_journal(client: Client, setting: ServingSetting, name: str, journal: Journal) -> None:
    """Remember this instead of what was remembered."""
    ref = journal_ref(setting, name)
    thing: dict[str, Any] = {
        "apiVersion": ref.api_version,
        "kind": ref.kind,
        "metadata": {"name": ref.name, "namespace": ref.namespace, "labels": {ENDPOINT: name}},
        "data": {_KEY: json.dumps(asdict(journal), sort_keys=True)},
    }
    client.apply(marked(thing, Mark(site=setting.site, component=f"history-{name}")))


def forget(client: Client, setting: ServingSetting, name: str) -> None:
    """The endpoint is gone, and its history with it; one that is not there is fine."""
    client.delete(journal_ref(setting, name))
