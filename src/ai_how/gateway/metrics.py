"""What the gateway counts, for Prometheus. Endpoint names come from records, never from what clients send."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

_REPLICA_STATES = ("starting", "ready", "draining", "failed")
_LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)


@dataclass(frozen=True, kw_only=True)
class EndpointLoad:
    """What an endpoint does right now; ``replicas`` counts by state."""

    endpoint: str
    in_flight: int
    held: int
    replicas: dict[str, int]


class Metrics:
    """All of the gateway's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._known: set[str] = set()
        ProcessCollector(namespace="aihow", registry=self.registry)
        registry = self.registry
        by_endpoint = ["endpoint"]
        self.requests = Counter(
            "aihow_requests", "Requests answered, by HTTP status.", ["endpoint", "path", "code"], registry=registry
        )
        self.duration = Histogram(
            "aihow_request_duration_seconds",
            "From the request's head to the end of the answer.",
            ["endpoint", "path"],
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.first_byte = Histogram(
            "aihow_time_to_first_byte_seconds",
            "From a streamed request's head to the first byte of its answer.",
            by_endpoint,
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.hold = Histogram(
            "aihow_hold_duration_seconds",
            "How long requests waited for a replica, those that did not wait left out.",
            by_endpoint,
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.cold_start = Histogram(
            "aihow_cold_start_duration_seconds",
            "From asking for the first replica to ready.",
            by_endpoint,
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.retries = Counter(
            "aihow_engine_retries",
            "Requests sent to an engine once more after a broken connection.",
            by_endpoint,
            registry=registry,
        )
        self.replica_failures = Counter(
            "aihow_replica_failures", "Replicas that failed and were replaced.", by_endpoint, registry=registry
        )
        self.request_bytes = Counter("aihow_request_bytes", "Bytes of request bodies.", by_endpoint, registry=registry)
        self.response_bytes = Counter(
            "aihow_response_bytes", "Bytes of answers' bodies.", by_endpoint, registry=registry
        )

    def know(self, endpoint: str) -> None:
        """The endpoint exists: what happens on it is counted under its name."""
        self._known.add(endpoint)

    def label(self, endpoint: str) -> str:
        """The endpoint's name where it exists (still), else nothing: the last answer may come after the end."""
        return endpoint if endpoint in self._known else ""

    def forget(self, endpoint: str) -> None:
        """Drop all series of an endpoint that is gone: each benchmark makes two of them."""
        self._known.discard(endpoint)
        for metric in vars(self).values():
            if isinstance(metric, Counter | Histogram):
                metric.remove_by_labels({"endpoint": endpoint})

    def watch(self, loads: Callable[[], Iterable[EndpointLoad]]) -> None:
        """Report the present load too, read when somebody asks."""
        self.registry.register(_Loads(loads))

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Loads:
    """Gauges that are read, not kept."""

    def __init__(self, loads: Callable[[], Iterable[EndpointLoad]]) -> None:
        self._loads = loads

    def collect(self) -> Iterator[Metric]:
        in_flight = GaugeMetricFamily(
            "aihow_requests_in_flight", "Requests that an engine works on.", labels=["endpoint"]
        )
        held = GaugeMetricFamily("aihow_requests_held", "Requests that wait for a replica.", labels=["endpoint"])
        replicas = GaugeMetricFamily("aihow_replicas", "Replicas by state.", labels=["endpoint", "state"])
        for load in self._loads():
            in_flight.add_metric([load.endpoint], load.in_flight)
            held.add_metric([load.endpoint], load.held)
            for state in _REPLICA_STATES:
                replicas.add_metric([load.endpoint, state], load.replicas.get(state, 0))
        yield from (in_flight, held, replicas)
