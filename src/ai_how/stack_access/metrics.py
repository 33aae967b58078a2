"""Prometheus of a cluster, as this machine asks it: over SSH through the node that its pod runs on.

Reads alone. Prometheus asks nobody who they are, so nothing but this machine gets closer to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from ai_how.errors import ProviderError
from ai_how.kubernetes.reach import Far, tunnels
from ai_how.run.http import request
from ai_how.stack.components import monitoring
from ai_how.stack.setting import MONITORING
from ai_how.stack_access.running import RunningStack, place_of

APP, PORT = "prometheus", "http-web"
"""The pod's label and the name of its port, by the chart kube-prometheus-stack."""
_TIMEOUT_S = 20

Query = Callable[[str], Mapping[str, Any]]


@contextmanager
def open_prometheus(stack: RunningStack) -> Iterator[Query]:
    """A function that asks Prometheus, for the time of the block.

    Raises:
        TryAgainError: it does not run, or the way to it does not open.
    """
    place = place_of(stack, MONITORING, APP, port=PORT, part=monitoring.NAME)
    with tunnels(place.node.access, [Far(host=place.address, port=place.port)]) as way:
        url = f"http://127.0.0.1:{way.ports[0]}/api/v1/query"

        def query(text: str) -> Mapping[str, Any]:
            answer = request("GET", f"{url}?{urlencode({'query': text})}", timeout_s=_TIMEOUT_S)
            data = answer.json()
            if answer.status != 200 or not isinstance(data, dict):
                raise ProviderError(
                    "Prometheus refuses a query", evidence=f"status {answer.status}: {answer.text[:200]}"
                )
            return data

        yield query
