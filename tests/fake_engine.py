"""An engine that answers as told: an OpenAI-like HTTP server without a model, run as a process of its own.

``python tests/fake_engine.py --port N [options]``. Says at ``/seen`` what it was asked, and at ``POST /set`` takes
new options while it runs. For tests of what real engines do only now and then: die, hang, refuse, start slowly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

ODD_STREAMS = {
    "error": 'data: {"error":{"message":"out of memory for k","code":500}}\n\n',
    "broken": 'data: {"choices":[{"delta"\n\n',
    "list": "data: [1, 2]\n\n",
    "strange": 'data: {"choices":[7, {"delta":"x"}],"usage":5}\n\ndata: [DONE]\n\n',
    "silent": 'data: {"choices":[],"usage":{"completion_tokens":2}}\n\ndata: [DONE]\n\n',
    "empty": "data: [DONE]\n\n",
    "endless": "data: " + "x" * 500_000,
    "reasoning": 'data: {"choices":[{"delta":{"reasoning_content":"Hm"}}]}\n\ndata: [DONE]\n\n',
    "usage": 'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":7}}\n\ndata: [DONE]\n\n',
}
CHUNK = (
    'data: {{"id":"x","object":"chat.completion.chunk","created":1,"model":"fake",'
    '"choices":[{{"index":0,"delta":{{"content":"t{} "}},"finish_reason":null}}]}}\n\n'
)


class FakeEngine:
    """Counts what it does; ``options`` say how it behaves."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.started = time.monotonic()
        self.seen: dict[str, Any] = {"requests": 0, "finished": 0, "cancelled": 0, "working": 0, "most": 0, "last": {}}
        self.seen |= {"asleep": False, "woken": 0}

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**30)
        app.router.add_get("/health", self.health)
        app.router.add_get("/seen", self.show)
        app.router.add_post("/set", self.change)
        if self.options.sleep_mode:
            app.router.add_post("/sleep", self.sleep)
            app.router.add_post("/wake_up", self.wake_up)
            app.router.add_get("/is_sleeping", self.is_sleeping)
        app.router.add_post("/v1/chat/completions", self.answer)
        app.router.add_post("/v1/completions", self.answer)
        return app

    async def health(self, _request: web.Request) -> web.Response:
        if self.options.hang_health:
            await asyncio.sleep(3600)
        waiting = self.options.start_when and not Path(self.options.start_when).exists()
        if waiting or time.monotonic() - self.started < self.options.start_s:
            return web.json_response({"error": {"message": "Loading model", "code": 503}}, status=503)
        return web.json_response({"status": "ok"})

    async def sleep(self, request: web.Request) -> web.Response:
        """As vLLM: dies of it while it works on a request, and answers once it sleeps."""
        if self.seen["working"] or self.options.sleep_mode == "dies":
            os._exit(9)
        if self.options.sleep_mode == "refuses":
            return web.Response(status=500, text="out of memory")
        await asyncio.sleep(self.options.sleep_s)
        if self.options.sleep_mode != "stays awake":
            self.seen["level"] = request.query.get("level", "1")
            self.seen["asleep"] = True
        return web.Response()

    async def wake_up(self, _request: web.Request) -> web.Response:
        if self.options.wake == "refuses":
            return web.Response(status=500, text="out of memory")
        await asyncio.sleep(self.options.sleep_s)
        self.seen["asleep"] = False
        self.seen["woken"] += 1
        return web.Response()

    async def is_sleeping(self, _request: web.Request) -> web.Response:
        return web.json_response({"is_sleeping": self.seen["asleep"]})

    async def show(self, _request: web.Request) -> web.Response:
        return web.json_response({**self.seen, "pid": os.getpid()})

    async def change(self, request: web.Request) -> web.Response:
        for name, value in (await request.json()).items():
            setattr(self.options, name, value)
        return web.Response()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.seen["asleep"]:
            os._exit(9)  # vLLM reads memory that is not there any more
        body = await request.read()
        data = json.loads(body)
        if data.get("prompt") == "Hello" and data.get("max_tokens") == 1:
            return web.json_response({"choices": [{"text": "warm"}]})
        self.seen["requests"] += 1
        self.seen["working"] += 1
        self.seen["most"] = max(self.seen["most"], self.seen["working"])
        self.seen["last"] = {"headers": dict(request.headers), "bytes": len(body)}
        try:
            answer = await self._answer(request, data)
        except asyncio.CancelledError:
            self.seen["cancelled"] += 1
            raise
        finally:
            self.seen["working"] -= 1
        self.seen["finished"] += 1
        return answer

    async def _answer(self, request: web.Request, data: dict[str, Any]) -> web.StreamResponse:
        options = self.options
        if options.die == "before":
            os._exit(9)
        if options.models and data.get("model") not in options.models:
            told = {"message": f"The model `{data.get('model')}` does not exist.", "type": "NotFoundError", "code": 404}
            return web.json_response({"error": told}, status=404)
        if options.drop:
            options.drop -= 1
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if options.status == 500:
            return web.Response(status=500, text="engine exploded")
        if options.status != 200:
            error = options.error or {"message": "context too long", "type": "invalid_request_error"}
            return web.json_response({"error": {"code": options.status, **error}}, status=options.status)
        if data.get("stream"):
            return await self._stream(request)
        await asyncio.sleep(options.latency_s)
        if options.die == "middle":
            answer = web.StreamResponse(headers={"content-type": "application/json", "content-length": "100"})
            await answer.prepare(request)
            await answer.write(b'{"id":')
            await asyncio.sleep(0.05)
            os._exit(9)
        text = "".join(f"t{i} " for i in range(options.tokens))
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "text": text, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": options.tokens, "total_tokens": 1 + options.tokens}
        return web.json_response(
            {"id": "x", "object": "chat.completion", "created": 1, "model": "fake", "choices": [choice], "usage": usage}
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        options = self.options
        await asyncio.sleep(options.latency_s)
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        if options.odd:
            await answer.write(ODD_STREAMS[options.odd].encode())
            return answer
        for i in range(options.tokens):
            await answer.write(CHUNK.format(i).encode())
            if options.die == "middle" and i == options.tokens // 2:
                await answer.write(b'data: {"id":"x","obj')
                await asyncio.sleep(0.05)
                os._exit(9)
            await asyncio.sleep(options.token_s)
        await answer.write(b"data: [DONE]\n\n")
        await answer.write_eof()
        return answer


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--port", type=int, required=True)
    made.add_argument("--start-s", type=float, default=0.0, help="503 from /health for so long")
    made.add_argument("--start-when", default="", help="503 from /health until this file exists")
    made.add_argument("--latency-s", type=float, default=0.0, help="before the first byte of an answer")
    made.add_argument("--tokens", type=int, default=5)
    made.add_argument("--token-s", type=float, default=0.0, help="between the tokens of a stream")
    made.add_argument("--status", type=int, default=200)
    made.add_argument("--error", type=json.loads, default=None, help="what the error of another status than 200 holds")
    made.add_argument("--die", choices=("", "start", "before", "middle"), default="")
    made.add_argument("--odd", choices=("", *ODD_STREAMS), default="", help="a stream of its own kind")
    made.add_argument("--drop", type=int, default=0, help="break the connection of so many requests unanswered")
    made.add_argument("--models", nargs="*", default=[], help="the models that it knows; without: any")
    made.add_argument("--hang-health", type=int, default=0)
    modes = ("", "sleeps", "refuses", "stays awake", "dies")
    made.add_argument("--sleep-mode", choices=modes, default="", help="as vLLM's, and how it goes")
    made.add_argument("--sleep-s", type=float, default=0.0, help="how long falling asleep and waking take")
    made.add_argument("--wake", choices=("", "refuses"), default="")
    return made


def main() -> None:
    options = parser().parse_args()
    print(f"fake engine {os.getpid()} on port {options.port}", flush=True)
    if options.die == "start":
        print("cannot load the model: it is a fake", flush=True)
        sys.exit(3)
    uvloop.install()
    web.run_app(
        FakeEngine(options).app(),
        host="127.0.0.1",
        port=options.port,
        print=None,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=0.1,
    )


if __name__ == "__main__":
    main()
