"""The official OpenAI client, unmodified, against the gateway."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from .gateway import KEY, GatewayUnderTest
from .site import eventually

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayUnderTest]:
    made = GatewayUnderTest(folder=tmp_path_factory.mktemp("gateway"), limits={"scaling.MAX_BACKOFF_S": 0.1})
    made.start()
    made.put("m")
    made.wait_state("running")
    yield made
    made.close()


@pytest.fixture
def client(gateway: GatewayUnderTest) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0, timeout=20) as made:
        yield made


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=HI)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == "t0 t1 t2 t3 t4 "
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert answer._request_id


def test_streaming(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="m", messages=HI, stream=True))  # type: ignore[arg-type]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "t0 t1 t2 t3 t4 "


def test_completions_and_models(client: openai.OpenAI) -> None:
    assert client.completions.create(model="m", prompt="x").choices[0].text == "t0 t1 t2 t3 t4 "
    assert [model.id for model in client.models.list()] == ["m"]
    assert client.models.retrieve("m").owned_by == "test"


def test_errors_are_the_clients_own(gateway: GatewayUnderTest, client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="mm", messages=HI)  # type: ignore[arg-type]
    assert unknown.value.code == "model_not_found"
    assert unknown.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("mm")
    gateway.tell_engines(status=400)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="m", messages=HI)  # type: ignore[arg-type]
    assert "context too long" in refused.value.message
    gateway.tell_engines(status=200)


def test_a_stopped_endpoint_is_not_asked_again_and_again(gateway: GatewayUnderTest, client: openai.OpenAI) -> None:
    gateway.put("off", stopped=True)
    with pytest.raises(openai.InternalServerError) as stopped:
        client.with_options(max_retries=5).chat.completions.create(model="off", messages=HI)  # type: ignore[arg-type]
    assert stopped.value.code == "endpoint_stopped"
    asked = eventually(lambda: [line for line in gateway.requests_logged() if line.get("endpoint") == "off"])
    assert isinstance(asked, list)
    assert len(asked) == 1


def test_an_engine_that_dies_in_a_stream_raises(gateway: GatewayUnderTest, client: openai.OpenAI) -> None:
    gateway.tell_engines(die="middle", tokens=4)
    read = []
    with pytest.raises(openai.APIError, match="broke off"):
        for chunk in client.chat.completions.create(model="m", messages=HI, stream=True):  # type: ignore[arg-type]
            read.append(chunk)
    assert read
