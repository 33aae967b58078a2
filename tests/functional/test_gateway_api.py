"""What clients of the gateway see: answers passed through, and one clear error for every mistake and failure."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ai_how.run.http import Response, request, stream_lines

from .gateway import CHAT, KEY, GatewayUnderTest
from .site import eventually


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayUnderTest]:
    made = GatewayUnderTest(folder=tmp_path_factory.mktemp("gateway"), gateway={"max_request_mib": 1})
    made.start()
    made.put("m")
    made.put("smollm2")
    made.wait_state("running", "m")
    made.wait_state("running", "smollm2")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def engines_as_new(gateway: GatewayUnderTest) -> Iterator[None]:
    yield
    gateway.tell_engines(status=200, error=None, odd="", latency_s=0, token_s=0, tokens=5, drop=0)


def error_of(answer: Any, status: int, code: str | None) -> dict[str, Any]:
    assert answer.status == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert answer.headers["x-request-id"]
    return error


def test_an_answer_passes_unchanged(gateway: GatewayUnderTest) -> None:
    direct = request("POST", f"http://127.0.0.1:{gateway.engines()[0]['port']}{CHAT}", json_body={"model": "m"})
    through = gateway.post({"model": "m"})
    assert (through.status, through.body) == (200, direct.body)
    assert gateway.post({"model": "m", "prompt": "x"}, path="/v1/completions").status == 200


def test_a_stream_passes_byte_for_byte_as_it_arrives(gateway: GatewayUnderTest) -> None:
    gateway.tell_engines(tokens=4, token_s=0.2)
    body = {"model": "m", "stream": True}
    direct = request("POST", f"http://127.0.0.1:{gateway.engines()[0]['port']}{CHAT}", json_body=body)
    began = time.monotonic()
    arrived = []
    headers = {"authorization": f"Bearer {KEY}"}
    with stream_lines("POST", gateway.url + CHAT, json_body=body, headers=headers) as (status, lines):
        assert status == 200
        received = []
        for line in lines:
            received.append(line)
            if line.startswith("data: {"):
                arrived.append(time.monotonic() - began)
    assert "\n".join(received) + "\n" == direct.text
    assert arrived[0] < arrived[-1] - 0.4, "it came in one piece"


def test_the_engine_learns_the_request_id_and_never_the_key(gateway: GatewayUnderTest) -> None:
    answer = gateway.post({"model": "m"}, **{"x-request-id": "my-id.1", "cookie": "secret=1", "x-api-key": "k"})
    assert answer.headers["x-request-id"] == "my-id.1"
    seen = {name.lower(): value for name, value in _last_seen(gateway)["headers"].items()}
    assert seen["x-request-id"] == "my-id.1"
    assert not {"authorization", "cookie", "x-api-key"} & set(seen)
    assert KEY not in json.dumps(seen)
    logged = eventually(lambda: [line for line in gateway.requests_logged() if line["request_id"] == "my-id.1"])
    assert logged[0]["key"] == "default"
    assert KEY not in gateway.log


def test_an_odd_request_id_is_replaced(gateway: GatewayUnderTest) -> None:
    for odd in ("a b", 'x"y', "x" * 200):
        given = gateway.post({"model": "m"}, **{"x-request-id": odd}).headers["x-request-id"]
        assert given.startswith("req-")


@pytest.mark.parametrize("key", ["wrong", "", KEY + "x", KEY[:-1]])
def test_a_wrong_key_gets_401(gateway: GatewayUnderTest, key: str) -> None:
    for answer in (gateway.post({"model": "m"}, key=key), gateway.get("/v1/models", key=key)):
        error_of(answer, 401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_keys_change_while_it_runs(gateway: GatewayUnderTest) -> None:
    file = gateway.folder / "api-keys.json"
    before = file.read_text()
    file.write_text(json.dumps({"default": KEY, "new": "sk-new"}))
    assert gateway.get("/v1/models", key="sk-new").status == 200
    file.write_text(before)
    assert gateway.get("/v1/models", key="sk-new").status == 401


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b'"x"', b"\xff\xfe\x00", b"[" * 200_000, b'{"model": "m", "n": ' + b"1" * 5000 + b"}"]
)
def test_bad_json_gets_400(gateway: GatewayUnderTest, body: bytes) -> None:
    error_of(_raw(gateway, body), 400, "invalid_json")


@pytest.mark.parametrize("body", [{}, {"model": ""}, {"model": None}, {"model": 3}, {"model": ["m"]}])
def test_a_missing_model_gets_400(gateway: GatewayUnderTest, body: Any) -> None:
    assert error_of(gateway.post(body), 400, "missing_model")["param"] == "model"


def test_an_unknown_model_gets_404_with_the_nearest(gateway: GatewayUnderTest) -> None:
    said = error_of(gateway.chat("smollm"), 404, "model_not_found")["message"]
    assert "Did you mean 'smollm2'?" in said
    assert "Available: m, smollm2." in said


def test_unknown_models_and_paths_do_not_multiply_metrics(gateway: GatewayUnderTest) -> None:
    gateway.chat("no-such-model-1")
    gateway.get("/no-such-path-1")
    gateway.get("/v2/models/no-such-model-2")
    assert "no-such" not in gateway.get("/metrics", key=None).text
    assert gateway.metric('aihow_requests_total{code="404",endpoint="",path="other"}') >= 1


def test_unknown_paths_and_methods(gateway: GatewayUnderTest) -> None:
    error_of(gateway.get("/v1/embeddings"), 404, "unknown_url")
    error_of(gateway.get("/admin/v1/endpoints"), 404, "unknown_url")
    answer = gateway.get(CHAT)
    error_of(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_what_the_engine_refuses_is_told_in_openais_form(gateway: GatewayUnderTest) -> None:
    gateway.tell_engines(status=400)
    for stream in (False, True):
        answer = gateway.chat(stream=stream)
        assert error_of(answer, 400, None)["message"] == "context too long"
    library = "[json.exception.type_error.302] type must be number, but is string"
    gateway.tell_engines(error={"message": library, "type": "invalid_request_error"})
    error = error_of(gateway.chat(temperature="hot"), 400, None)
    assert (error["message"], error["param"]) == ("type must be number, but is string", "temperature")
    gateway.tell_engines(status=503, error={"message": "Loading model", "type": "unavailable_error"})
    assert error_of(gateway.chat(), 503, None)["type"] == "server_error"


def test_an_error_within_a_stream_is_in_openais_form_too(gateway: GatewayUnderTest) -> None:
    gateway.tell_engines(odd="error")
    answer = gateway.chat(stream=True)
    data = json.loads(answer.text.removeprefix("data: "))
    message = "out of memory for k"
    assert data == {"error": {"message": message, "type": "server_error", "param": None, "code": None}}


def test_an_engine_that_fails_without_json_gets_a_clear_error(gateway: GatewayUnderTest) -> None:
    gateway.tell_engines(status=500)
    assert "engine exploded" in error_of(gateway.chat(), 502, "engine_error")["message"]
    assert gateway.status()["replicas"][0]["state"] == "ready"


def test_a_connection_that_breaks_unanswered_is_tried_again(gateway: GatewayUnderTest) -> None:
    gateway.tell_engines(drop=1)
    retries = gateway.metric('aihow_engine_retries_total{endpoint="m"}')
    assert gateway.chat().status == 200
    assert gateway.metric('aihow_engine_retries_total{endpoint="m"}') == retries + 1


def test_a_connection_that_breaks_again_gets_one_clear_error(gateway: GatewayUnderTest) -> None:
    gateway.tell_engines(drop=2)
    error_of(gateway.chat(), 502, "engine_died")
    assert gateway.chat().status == 200


@pytest.mark.parametrize("announced", [True, False], ids=["content-length", "chunked"])
def test_a_body_of_200_mb_gets_413_and_is_not_kept(gateway: GatewayUnderTest, announced: bool) -> None:
    before = gateway.memory_mib()
    status, body = _send_without_end(gateway, 200 * 10**6 if announced else None)
    assert status == 413
    assert json.loads(body)["error"]["code"] == "request_too_large"
    assert gateway.memory_mib() < before + 20
    assert gateway.chat().status == 200


def test_a_large_body_is_not_even_asked_for(gateway: GatewayUnderTest) -> None:
    with gateway.connect() as client:
        client.sendall(_head(gateway, "Content-Length: 200000000\r\nExpect: 100-continue\r\n"))
        assert client.recv(12) == b"HTTP/1.1 413"


def test_an_expected_body_is_asked_for(gateway: GatewayUnderTest) -> None:
    body = b'{"model": "m"}'
    with gateway.connect() as client:
        client.sendall(_head(gateway, f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n"))
        assert client.recv(1000).startswith(b"HTTP/1.1 100")
        client.sendall(body)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_body_just_within_the_limit_passes(gateway: GatewayUnderTest) -> None:
    filler = "x" * (2**20 - 100)
    assert gateway.post({"model": "m", "prompt": filler}).status == 200
    assert _last_seen(gateway)["bytes"] > 2**20 - 100
    error_of(gateway.post({"model": "m", "prompt": filler + "x" * 100}), 413, "request_too_large")


def test_a_compressed_body_is_refused_unopened(gateway: GatewayUnderTest) -> None:
    answer = _raw(gateway, gzip.compress(b'{"model": "m"}'), **{"content-encoding": "gzip"})
    error_of(answer, 415, "unsupported_encoding")


def test_a_client_that_hangs_up_frees_the_slot_and_the_engine(gateway: GatewayUnderTest) -> None:
    gateway.tell_engines(tokens=1000, token_s=0.05)
    cancelled = sum(engine["cancelled"] for engine in gateway.engines())
    with gateway.connect() as client:
        body = json.dumps({"model": "m", "stream": True}).encode()
        client.sendall(_head(gateway, f"Content-Length: {len(body)}\r\n") + body)
        assert b"t0" in client.recv(4096) + client.recv(4096)
        assert gateway.status()["replicas"][0]["in_flight"] == 1
    eventually(lambda: sum(engine["cancelled"] for engine in gateway.engines()) == cancelled + 1, timeout_s=5)
    assert gateway.status()["replicas"][0]["in_flight"] == 0
    logged = eventually(lambda: [line for line in gateway.requests_logged() if line["status"] == 499])
    assert logged[0]["endpoint"] == "m"


def test_a_client_that_hangs_up_before_the_answer_frees_the_slot_too(gateway: GatewayUnderTest) -> None:
    gateway.tell_engines(latency_s=60)
    with gateway.connect() as client:
        body = b'{"model": "m"}'
        client.sendall(_head(gateway, f"Content-Length: {len(body)}\r\n") + body)
        eventually(lambda: any(engine["working"] for engine in gateway.engines()), timeout_s=5)
    eventually(lambda: not any(engine["working"] for engine in gateway.engines()), timeout_s=5)
    assert gateway.status()["replicas"][0]["in_flight"] == 0


def test_health_and_metrics_need_no_key(gateway: GatewayUnderTest) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/m/ready", "/metrics"):
        assert gateway.get(path, key=None).status == 200, path
    unknown = gateway.get("/v2/models/nothing/ready", key=None)
    assert "smollm2" not in error_of(unknown, 404, "model_not_found")["message"]
    assert gateway.get("/v2/models/m").json() == {
        "name": "m",
        "versions": ["1"],
        "platform": "llamacpp",
        "inputs": [],
        "outputs": [],
    }
    assert gateway.get("/v2/models/m", key=None).status == 401


def test_models_are_listed_in_openais_form(gateway: GatewayUnderTest) -> None:
    listed = gateway.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["m", "smollm2"]
    assert {(model["object"], model["owned_by"]) for model in listed["data"]} == {("model", "test")}
    assert gateway.get("/v1/models/m").json() == listed["data"][0]


def test_metrics_count_what_happened(gateway: GatewayUnderTest) -> None:
    sample = 'aihow_requests_total{code="200",endpoint="smollm2",path="/v1/chat/completions"}'
    before = gateway.metric(sample)
    answer = gateway.chat("smollm2")
    gateway.chat("smollm2", stream=True)
    assert gateway.metric(sample) == before + 2
    assert gateway.metric('aihow_time_to_first_byte_seconds_count{endpoint="smollm2"}') == 1
    assert gateway.metric('aihow_response_bytes_total{endpoint="smollm2"}') > len(answer.body)
    assert gateway.metric('aihow_replicas{endpoint="smollm2",state="ready"}') == 1
    assert gateway.metric('aihow_cold_start_duration_seconds_count{endpoint="smollm2"}') == 1


def test_metrics_have_vllms_names_too(gateway: GatewayUnderTest) -> None:
    label = 'model_name="smollm2"'
    before = gateway.metric(f"vllm:request_success_total{{{label}}}")
    first_tokens = gateway.metric(f"vllm:time_to_first_token_seconds_count{{{label}}}")
    gateway.chat("smollm2")
    gateway.chat("smollm2", stream=True)
    gateway.tell_engines(status=400)
    assert gateway.chat("smollm2").status == 400
    gateway.tell_engines(status=200)
    assert gateway.metric(f"vllm:request_success_total{{{label}}}") == before + 2
    assert gateway.metric(f"vllm:e2e_request_latency_seconds_count{{{label}}}") == before + 2
    assert gateway.metric(f"vllm:time_to_first_token_seconds_count{{{label}}}") == first_tokens + 1
    assert f"vllm:num_requests_waiting{{{label}" in gateway.get("/metrics", key=None).text


@pytest.mark.parametrize("admin", [False, True], ids=["public", "admin"])
def test_what_is_no_http_gets_an_error_in_openais_form(gateway: GatewayUnderTest, admin: bool) -> None:
    long_header = f"GET / HTTP/1.1\r\nAuthorization: Bearer {KEY}{'x' * 20_000}\r\n\r\n".encode()
    cases = [
        (b"\x16\x03\x01\x02\x00" + os.urandom(64).replace(b"\n", b"") + b"\r\n\r\n", 400, "malformed_request"),
        (b"GET\r\n\r\n", 400, "malformed_request"),
        (long_header, 431, "request_header_too_large"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 431, "request_header_too_large"),
    ]
    for junk, status, code in cases:
        answer = _sent(gateway.admin_port if admin else gateway.port, junk)
        assert answer.headers["content-type"].startswith("application/json")
        error_of(answer, status, code)
        assert KEY not in answer.text
    assert KEY not in gateway.log
    assert gateway.chat().status == 200


def test_the_admin_api_wants_its_own_key(gateway: GatewayUnderTest) -> None:
    error_of(gateway.admin("GET", key=KEY), 401, "invalid_admin_key")
    error_of(gateway.admin("PUT", "/m/replicas", {"replicas": -1}), 400, "invalid_replicas")
    error_of(gateway.admin("PUT", "/m", {"name": "m"}), 400, "invalid_spec")
    error_of(gateway.admin("GET", "/nothing"), 404, "not_found")
    error_of(gateway.admin("DELETE", "/nothing"), 404, "not_found")
    error_of(gateway.admin("GET", "/m/log?lines=x"), 400, "invalid_lines")
    assert "fake engine" in gateway.admin("GET", "/m/log?lines=5").json()["log"]


def _last_seen(gateway: GatewayUnderTest) -> dict[str, Any]:
    last: dict[str, Any] = next(engine["last"] for engine in gateway.engines() if engine["requests"])
    return last


def _head(gateway: GatewayUnderTest, more: str) -> bytes:
    return (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\n{more}\r\n"
    ).encode()


def _raw(gateway: GatewayUnderTest, body: bytes, **more: str) -> Response:
    client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    client.request("POST", CHAT, body=body, headers={"authorization": f"Bearer {KEY}", **more})
    answer = client.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    found = Response(status=answer.status, headers=headers, body=answer.read())
    client.close()
    return found


def _sent(port: int, data: bytes) -> Response:
    """The answer to raw bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(data)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Response(status=answer.status, headers=headers, body=answer.read())


def _send_without_end(gateway: GatewayUnderTest, length: int | None) -> tuple[int, bytes]:
    """Send body after body until the gateway answers or hangs up; then read its answer."""
    framing = f"Content-Length: {length}\r\n" if length else "Transfer-Encoding: chunked\r\n"
    piece = b"x" * 2**16
    with gateway.connect() as client:
        client.sendall(_head(gateway, framing))
        client.settimeout(0.01)
        sent, received = 0, b""
        while sent < 200 * 10**6 and b"request_too_large" not in received:
            with contextlib.suppress(TimeoutError):
                client.sendall(piece if length else b"10000\r\n" + piece + b"\r\n")
            sent += len(piece)
            try:
                received += client.recv(65536)
            except TimeoutError:
                continue
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), body


def test_no_answer_tells_the_servers_version(gateway: GatewayUnderTest) -> None:
    for answer in (gateway.chat(), gateway.chat(stream=True), gateway.chat("nothing")):
        assert answer.headers["server"] == "ai-how"
