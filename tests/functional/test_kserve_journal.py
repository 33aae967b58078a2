"""What is remembered of revisions on a cluster: kept, read again, forgotten, and damaged by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_how.endpoints.rollout.journal import Journal, Outcome, Rollout, begun
from ai_how.endpoints.types import EndpointSpec
from ai_how.errors import SpecError
from ai_how.kserve.journal import forget, journal_ref, read_journal, write_journal
from ai_how.kserve.setting import ServingSetting
from ai_how.kubernetes_api.client import Client
from ai_how.site.spec import Serving

from .api_server import stand_in

SETTING = ServingSetting(
    site="test",
    cluster="cloud",
    domain="ai-how.internal",
    https_port=443,
    image="vllm",
    initializer_image="storage-initializer",
    s3_url="http://store",
    s3_region="us-east-1",
    versions={},
    serving=Serving(),
    namespace="default",
)
SPEC = EndpointSpec(
    name="m", model_name="m", model_version=1, model_uri="s3://models/m/1", model_digest="1" * 64, engine="vllm"
)
ROLLOUT = Rollout(id="a", old=1, new=2, steps=(10, 100), started_at="t", heard_at="t", step=1)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with stand_in(tmp_path) as (endpoint, _):
        yield endpoint.client()


def test_a_journal_is_kept_changed_and_forgotten(client: Client) -> None:
    assert read_journal(client, SETTING, "m") == Journal()
    first = begun(Journal(rollout=ROLLOUT), 1, SPEC, at="t", outcome=Outcome.SERVING)
    write_journal(client, SETTING, "m", first)
    assert read_journal(client, SETTING, "m") == first
    second = begun(Journal(history=first.history), 2, SPEC, at="t", outcome=Outcome.UNDER_WAY)
    write_journal(client, SETTING, "m", second)
    assert read_journal(client, SETTING, "m") == second
    assert read_journal(client, SETTING, "other") == Journal()
    forget(client, SETTING, "m")
    forget(client, SETTING, "m")
    assert read_journal(client, SETTING, "m") == Journal()


@pytest.mark.parametrize(
    "data", [{}, {"journal.json": "{"}, {"journal.json": '{"history": [5]}'}, {"journal.json": "[]"}]
)
def test_what_was_damaged_by_hand_is_named(client: Client, data: dict[str, str]) -> None:
    ref = journal_ref(SETTING, "m")
    metadata = {"name": ref.name, "namespace": ref.namespace}
    client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    with pytest.raises(SpecError, match="damaged") as error:
        read_journal(client, SETTING, "m")
    assert "m-history" in error.value.evidence
    assert "kubectl delete configmap -n default m-history" in error.value.next_step
