"""What memory planning reads of a registered model: a configuration out of the store, never weights."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ai_how.errors import NotFoundError, SpecError
from ai_how.models import registered
from ai_how.models.registered import registered_memory
from ai_how.models.types import ModelInfo, ObjectStoreAccess, RegisteredVersion, SecretText
from tests.kserve import ADAPTER, INFO
from tests.unit.test_model_memory import LLAMA

ACCESS = ObjectStoreAccess(
    endpoint_url="http://127.0.0.1:1", region="us-east-1", bucket="models", access_key="a", secret_key=SecretText("s")
)


def version(name: str, info: ModelInfo = INFO) -> RegisteredVersion:
    return RegisteredVersion(
        name=name,
        version=1,
        uri=f"s3://models/{name}/0123456789abcdef",
        digest="0123456789abcdef" * 4,
        size_bytes=5 * 1024**3,
        info=info,
        source="",
        created_at="",
    )


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A bucket of small files."""
    held: dict[str, bytes] = {}

    class Bucket:
        def __init__(self, access: ObjectStoreAccess) -> None:
            assert access is ACCESS

        def get(self, key: str) -> bytes:
            if key not in held:
                raise NotFoundError(key)
            return held[key]

    monkeypatch.setattr(registered, "Bucket", Bucket)
    return held


def put(store: dict[str, bytes], name: str, file: str, content: Any) -> None:
    store[f"{name}/0123456789abcdef/{file}"] = content if isinstance(content, bytes) else json.dumps(content).encode()


def test_a_known_architecture_is_planned_by_its_configuration(store: dict[str, bytes]) -> None:
    put(store, "chat", "config.json", LLAMA)
    found = registered_memory(version("chat"), ACCESS)
    assert found.shape is not None
    assert found.shape.architecture == "LlamaForCausalLM"


@pytest.mark.parametrize("config", [None, {"architectures": ["NewForCausalLM"]}, []])
def test_of_another_only_the_size_is_known(store: dict[str, bytes], config: Any) -> None:
    if config is not None:
        put(store, "chat", "config.json", config)
    found = registered_memory(version("chat"), ACCESS)
    assert (found.shape, found.stored_bytes) == (None, 5 * 1024**3)


def test_an_adapter_is_its_base_with_room_for_its_rank(store: dict[str, bytes]) -> None:
    put(store, "base", "config.json", LLAMA)
    put(store, "tuned", "adapter_config.json", {"r": 64})
    found = registered_memory(version("tuned", ADAPTER), ACCESS, base=version("base"))
    assert found.shape is not None
    assert found.adapter_rank == 64


@pytest.mark.parametrize("content", [b"{", b'{"r": "many"}'])
def test_a_damaged_configuration_is_told(store: dict[str, bytes], content: bytes) -> None:
    put(store, "base", "config.json", LLAMA)
    put(store, "tuned", "adapter_config.json", content)
    with pytest.raises(SpecError) as caught:
        registered_memory(version("tuned", ADAPTER), ACCESS, base=version("base"))
    assert "JSON" in caught.value.brief or "r is 'many'" in caught.value.brief
