"""Whatever an engine says, clients get OpenAI's form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.gateway.engine_errors import refusal, with_openai_errors

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
error_keys = st.dictionaries(st.sampled_from(["message", "type", "param", "code", "object", "error"]), json_values)


def told(answer: Any, *, status: int = 400, request: Any = None) -> dict[str, Any]:
    raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    error = refusal("m", status=status, answer=raw, request=json.dumps(request).encode())
    found: dict[str, Any] = json.loads(error.body())["error"]
    return found


@given(
    st.binary(max_size=50) | error_keys | st.builds(lambda e: {"error": e}, error_keys | st.text()),
    st.integers(400, 599),
    json_values | st.dictionaries(st.sampled_from(["messages", "temperature", "n", "stream"]), json_values),
)
def test_the_form_is_always_the_same(answer: Any, status: int, request: Any) -> None:
    error = told(answer, status=status, request=request)
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["type"].endswith("_error")
    assert error["param"] is None or isinstance(error["param"], str)
    assert error["code"] is None or isinstance(error["code"], str)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        # llama.cpp
        (
            {"error": {"code": 400, "message": "[json.exception.out_of_range.403] key 'x' not found", "type": "x"}},
            ("key 'x' not found", "invalid_request_error", None),
        ),
        (
            {"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error", "n_ctx": 512}},
            ("too long", "invalid_request_error", "context_length_exceeded"),
        ),
        # vLLM, as it is and as it was
        (
            {"error": {"message": "bad", "type": "BadRequestError", "param": "n", "code": 400}},
            ("bad", "invalid_request_error", None),
        ),
        ({"object": "error", "message": "bad", "code": 400}, ("bad", "invalid_request_error", None)),
        ({"error": "bad"}, ("bad", "invalid_request_error", None)),
        ({"error": {"message": "m", "code": "own_code"}}, ("m", "invalid_request_error", "own_code")),
        (b"plain words", ("plain words", "invalid_request_error", None)),
        (b"", ("The engine refused the request and did not say why.", "invalid_request_error", None)),
    ],
)
def test_forms_of_engines(answer: Any, expected: tuple[str, str, str | None]) -> None:
    error = told(answer)
    assert (error["message"], error["type"], error["code"]) == expected


@pytest.mark.parametrize(
    ("request_body", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"messages": "hi", "temperature": "hot"}, "messages"),
        ({"messages": [], "n": True}, "n"),
        ({"messages": [], "stop": ["a"], "stream": True, "logprobs": 3, "top_p": 1}, None),
        ({"seed": None, "user": 5}, "user"),
        ([1], None),
    ],
)
def test_the_field_of_another_type_is_named(request_body: Any, param: str | None) -> None:
    assert told({"error": {"message": "m"}}, request=request_body)["param"] == param
    assert told({"error": {"message": "m", "param": "given"}}, request=request_body)["param"] == "given"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        # as llama.cpp says them
        ("Field 'max_tokens': [json.exception.type_error.302] type must be number, but is string", "max_tokens"),
        ("'messages' is required", "messages"),
        ("All non-assistant messages must contain 'content'", None),
    ],
)
def test_the_field_that_the_engine_names_comes_first(message: str, param: str | None) -> None:
    assert told({"error": {"message": message}}, request={"model": "m"})["param"] == param
    assert told({"error": {"message": message}}, request={"user": 5})["param"] == (param or "user")


def test_a_picture_for_a_model_that_sees_none_is_the_clients_mistake() -> None:
    said = "image input is not supported - hint: you may need to provide the mmproj"
    answer = {"error": {"code": 500, "message": said, "type": "server_error"}}
    found = refusal("m", status=500, answer=json.dumps(answer).encode(), request=b"{}")
    assert (found.status, found.param, found.message) == (400, "messages", said)
    assert told(answer, status=500)["type"] == "invalid_request_error"


def test_a_failure_without_words_is_a_bad_gateway() -> None:
    error = refusal("m", status=500, answer=b"engine\n exploded", request=b"{}")
    assert (error.status, error.code) == (502, "engine_error")
    assert error.message == "The engine of 'm' answered 500: engine exploded"


def test_only_errors_in_a_stream_change() -> None:
    chunk = b'data: {"choices":[{"delta":{"content":"say \\"error\\": {}"}}]}\r\n\r\n'
    named = b'data: {"choices":[{"delta":{"content":"x","error":null}}]}\n\ndata: "error"\n\nevent: "error"\n\n'
    assert with_openai_errors(chunk + named) == chunk + named
    error = b'{"code":503,"message":"[json.exception.x.1] no","type":"unavailable_error"}'
    expected = {"error": {"message": "no", "type": "server_error", "param": None, "code": None}}
    for event in (b'data: {"error":' + error + b"}", b'error: {"error":' + error + b"}", b"error: " + error):
        changed = with_openai_errors(chunk + event + b"\r\n\r\n")
        assert changed.startswith(chunk)
        assert changed.endswith(b"\r\n\r\n")
        assert json.loads(changed.removeprefix(chunk).removeprefix(b"data: ")) == expected


@given(st.lists(st.sampled_from([b"data: ", b"error: ", b'{"error":{}}', b'"error"', b"\n\n", b"\r\n", b"{", b"x"])))
def test_any_stream_keeps_its_line_ends(parts: list[bytes]) -> None:
    events = b"".join(parts)
    changed = with_openai_errors(events)
    assert changed.count(b"\n") == events.count(b"\n")
