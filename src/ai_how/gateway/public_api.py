"""The listener for clients: OpenAI's API, the Open Inference Protocol's health paths, and metrics."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from aiohttp import hdrs, web
from prometheus_client import CONTENT_TYPE_LATEST

from ai_how.endpoints.interface import REVISION_HEADER
from ai_how.gateway import api_errors
from ai_how.gateway.api_errors import ApiError
from ai_how.gateway.endpoint import Endpoint
from ai_how.gateway.exchange import EXCHANGE, TEXT_ROUTES, Exchange
from ai_how.gateway.fleet import Fleet
from ai_how.gateway.forward import Forwarder
from ai_how.gateway.http_edge import edge, expect_later, parse_json, read_body
from ai_how.gateway.keys import Keys
from ai_how.gateway.metrics import Metrics

_UNLOGGED = ("/v2/health/live", "/v2/health/ready", "/metrics")


class PublicApi:
    """Handlers of the public paths. ``site`` is shown as the models' owner."""

    def __init__(
        self, fleet: Fleet, *, forwarder: Forwarder, keys: Keys, metrics: Metrics, site: str, max_request_bytes: int
    ) -> None:
        self._fleet = fleet
        self._forwarder = forwarder
        self._keys = keys
        self._metrics = metrics
        self._site = site
        self._limit_bytes = max_request_bytes

    def app(self) -> web.Application:
        """The application to run."""
        middleware = edge(self._metrics, quiet=lambda exchange: exchange.route in _UNLOGGED)
        app = web.Application(client_max_size=self._limit_bytes, middlewares=[middleware])
        for path in TEXT_ROUTES:
            app.router.add_post(path, self.complete, expect_handler=expect_later)
        app.router.add_get("/v1/models", self.list_models, allow_head=False)
        app.router.add_get("/v1/models/{name}", self.show_model, allow_head=False)
        app.router.add_get("/v2/health/live", self.live)
        app.router.add_get("/v2/health/ready", self.ready)
        app.router.add_get("/v2/models/{name}", self.describe, allow_head=False)
        app.router.add_get("/v2/models/{name}/ready", self.model_ready)
        app.router.add_get("/metrics", self.show_metrics)
        return app

    async def complete(self, request: web.Request) -> web.StreamResponse:
        exchange = self._known(request)
        self._authorize(request, exchange)
        body = await read_body(request, limit_bytes=self._limit_bytes)
        exchange.bytes_in = len(body)
        model = parse_json(body).get("model")
        if not isinstance(model, str) or not model:
            message = "The field 'model' is missing: the name of an endpoint, as GET /v1/models lists them."
            raise ApiError(400, "missing_model", message, param="model")
        endpoint = self._endpoint(model)
        exchange.endpoint, exchange.model = endpoint.name, model
        asked = request.headers.get(REVISION_HEADER)
        return await self._forwarder.forward(request, exchange, lambda: endpoint.choose(asked, model), body)

    async def list_models(self, request: web.Request) -> web.Response:
        self._authorize(request, self._known(request))
        models = [self._model(name) for name in self._fleet.callable_models()]
        return _json({"object": "list", "data": models})

    async def show_model(self, request: web.Request) -> web.Response:
        self._authorize(request, self._known(request))
        return _json(self._model(request.match_info["name"]))

    async def live(self, request: web.Request) -> web.Response:
        self._known(request)
        return _json({"live": True})

    async def ready(self, request: web.Request) -> web.Response:
        self._known(request)
        return _json({"ready": not self._fleet.closing}, status=503 if self._fleet.closing else 200)

    async def describe(self, request: web.Request) -> web.Response:
        self._authorize(request, self._known(request))
        name = request.match_info["name"]
        endpoint = self._endpoint(name)
        return _json(
            {
                "name": name,
                "versions": [str(endpoint.version_of(name))],
                "platform": endpoint.spec.engine,
                "inputs": [],
                "outputs": [],
            }
        )

    async def model_ready(self, request: web.Request) -> web.Response:
        """Without a key, as health checks are: so it names no other model."""
        self._known(request)
        name = request.match_info["name"]
        endpoint = self._fleet.endpoint_of(name)
        if endpoint is None:
            raise ApiError(404, "model_not_found", f"The model {name[:200]!r} does not exist.", param="model")
        # one that sleeps is ready to be called: its first request wakes it
        ready = endpoint.refusal() is None and (endpoint.can_answer or endpoint.asleep)
        return _json({"name": name, "ready": ready}, status=200 if ready else 503)

    async def show_metrics(self, request: web.Request) -> web.Response:
        self._known(request)
        return web.Response(body=self._metrics.render(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST})

    def _known(self, request: web.Request) -> Exchange:
        """The exchange of a request for one of our own paths."""
        exchange = request[EXCHANGE]
        resource = request.match_info.route.resource
        if resource is not None:
            exchange.route = resource.canonical
        return exchange

    def _authorize(self, request: web.Request, exchange: Exchange) -> None:
        exchange.key = self._keys.owner(request.headers.get(hdrs.AUTHORIZATION))
        if exchange.key is None:
            raise api_errors.wrong_key()

    def _endpoint(self, model: str) -> Endpoint:
        """The endpoint that answers for a model: of that name, or with an adapter of that name."""
        endpoint = self._fleet.endpoint_of(model)
        if endpoint is None:
            raise api_errors.unknown_model(model, self._fleet.callable_models())
        return endpoint

    def _model(self, name: str) -> dict[str, Any]:
        endpoint = self._endpoint(name)
        try:
            created = int(datetime.fromisoformat(endpoint.spec.created_at).timestamp())
        except ValueError:
            created = 0
        return {"id": name, "object": "model", "created": created, "owned_by": self._site}


def _json(data: Any, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=json.dumps(data).encode(), content_type="application/json")
