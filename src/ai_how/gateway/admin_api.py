"""The listener for ``ai-how`` itself: endpoints in, statuses out. On loopback only, with a key of its own."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from aiohttp import hdrs, web

from ai_how.gateway.api_errors import ApiError
from ai_how.gateway.exchange import EXCHANGE
from ai_how.gateway.fleet import Fleet
from ai_how.gateway.http_edge import edge, parse_json, read_body
from ai_how.gateway.keys import Keys
from ai_how.gateway.metrics import Metrics
from ai_how.gateway.records import parse_journal, parse_spec

_PREFIX = "/admin/v1/endpoints"
_MAX_BODY = 2**20
_MAX_LINES = 10_000


class AdminApi:
    """Handlers of the admin paths."""

    def __init__(self, fleet: Fleet, *, keys: Keys, metrics: Metrics) -> None:
        self._fleet = fleet
        self._keys = keys
        self._metrics = metrics

    def app(self) -> web.Application:
        """The application to run."""
        middleware = edge(self._metrics, quiet=lambda exchange: exchange.method == "GET" and exchange.status < 400)
        app = web.Application(client_max_size=_MAX_BODY, middlewares=[middleware, self._authorize()])
        app.router.add_get(_PREFIX, self.list_endpoints, allow_head=False)
        app.router.add_get(_PREFIX + "/{name}", self.show, allow_head=False)
        app.router.add_put(_PREFIX + "/{name}", self.put)
        app.router.add_delete(_PREFIX + "/{name}", self.delete)
        app.router.add_put(_PREFIX + "/{name}/replicas", self.want_replicas)
        app.router.add_get(_PREFIX + "/{name}/log", self.log, allow_head=False)
        app.router.add_get(_PREFIX + "/{name}/revisions", self.revisions, allow_head=False)
        app.router.add_post(_PREFIX + "/{name}/revisions", self.add_revision)
        app.router.add_delete(_PREFIX + "/{name}/revisions/{number}", self.remove_revision)
        app.router.add_put(_PREFIX + "/{name}/shares", self.set_shares)
        app.router.add_get(_PREFIX + "/{name}/journal", self.journal, allow_head=False)
        app.router.add_put(_PREFIX + "/{name}/journal", self.keep_journal)
        return app

    async def list_endpoints(self, _request: web.Request) -> web.Response:
        return _json([asdict(status) for status in self._fleet.statuses()])

    async def show(self, request: web.Request) -> web.Response:
        return _json(asdict(self._fleet.status(request.match_info["name"])))

    async def put(self, request: web.Request) -> web.Response:
        data = parse_json(await read_body(request, limit_bytes=_MAX_BODY))
        spec = parse_spec(data, name=request.match_info["name"])
        return _json(asdict(await self._fleet.put(spec)))

    async def delete(self, request: web.Request) -> web.Response:
        await self._fleet.delete(request.match_info["name"])
        return web.Response(status=204)

    async def want_replicas(self, request: web.Request) -> web.Response:
        data = parse_json(await read_body(request, limit_bytes=_MAX_BODY))
        replicas = data.get("replicas")
        if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
            raise ApiError(400, "invalid_replicas", "'replicas' must be a number, 0 or more.", param="replicas")
        return _json(asdict(self._fleet.want_replicas(request.match_info["name"], replicas)))

    async def log(self, request: web.Request) -> web.Response:
        text = request.query.get("lines", "50")
        if not text.isdecimal() or not 1 <= int(text) <= _MAX_LINES:
            raise ApiError(400, "invalid_lines", f"'lines' must be a number from 1 to {_MAX_LINES}.", param="lines")
        name = request.match_info["name"]
        replica, log = await self._fleet.log_tail(name, int(text))
        return _json({"name": name, "replica": replica, "log": log})

    async def revisions(self, request: web.Request) -> web.Response:
        return _json([asdict(revision) for revision in self._fleet.revisions(request.match_info["name"])])

    async def add_revision(self, request: web.Request) -> web.Response:
        data = parse_json(await read_body(request, limit_bytes=_MAX_BODY))
        spec = parse_spec(data, name=request.match_info["name"])
        return _json(asdict(await self._fleet.add_revision(spec)))

    async def remove_revision(self, request: web.Request) -> web.Response:
        await self._fleet.remove_revision(request.match_info["name"], _number(request.match_info["number"]))
        return web.Response(status=204)

    async def set_shares(self, request: web.Request) -> web.Response:
        data = parse_json(await read_body(request, limit_bytes=_MAX_BODY))
        if not all(isinstance(share, int) and not isinstance(share, bool) for share in data.values()):
            raise ApiError(400, "invalid_shares", "Each share must be a whole number, percent by revision.")
        name = request.match_info["name"]
        await self._fleet.set_shares(name, {_number(number): share for number, share in data.items()})
        return _json([asdict(revision) for revision in self._fleet.revisions(name)])

    async def journal(self, request: web.Request) -> web.Response:
        return _json(asdict(self._fleet.journal(request.match_info["name"])))

    async def keep_journal(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        data = parse_json(await read_body(request, limit_bytes=_MAX_BODY))
        await self._fleet.keep_journal(name, parse_journal(data, name=name))
        return web.Response(status=204)

    def _authorize(self) -> Any:
        @web.middleware
        async def check(request: web.Request, handler: Any) -> web.StreamResponse:
            exchange = request[EXCHANGE]
            exchange.key = self._keys.owner(request.headers.get(hdrs.AUTHORIZATION))
            if exchange.key is None:
                raise ApiError(401, "invalid_admin_key", "Incorrect or missing admin key.")
            resource = request.match_info.route.resource
            if resource is not None:
                exchange.route = resource.canonical
            answer: web.StreamResponse = await handler(request)
            return answer

        return check


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ApiError(400, "invalid_revision", f"{text[:20]!r} is no revision's number.", param="revision")
    return int(text)


def _json(data: Any) -> web.Response:
    return web.Response(body=json.dumps(data).encode(), content_type="application/json")
