"""What the gateway counts, for Prometheus. Names and numbers come from records, never from what clients send."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

_REPLICA_STATES = ("starting", "ready", "asleep", "draining", "failed")
_LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)


@dataclass(frozen=True, kw_only=True)
class EndpointLoad:
    """What a revision of an endpoint does right now; ``replicas`` counts by state."""

    endpoint: str
    revision: int
    in_flight: int
    held: int
    replicas: dict[str, int]


class Metrics:
    """All of the gateway's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._known: set[tuple[str, str]] = set()
        ProcessCollector(namespace="aihow", registry=self.registry)
        registry = self.registry
        by_revision = ["endpoint", "revision"]
        self.requests = Counter(
            "aihow_requests",
            "Requests answered, by HTTP status.",
            ["endpoint", "revision", "path", "code"],
            registry=registry,
        )
        self.duration = Histogram(
            "aihow_request_duration_seconds",
            "From the request's head to the end of the answer.",
            ["endpoint", "revision", "path"],
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.first_byte = Histogram(
            "aihow_time_to_first_byte_seconds",
            "From a streamed request's head to the first byte of its answer.",
            by_revision,
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.hold = Histogram(
            "aihow_hold_duration_seconds",
            "How long requests waited for a replica, those that did not wait left out.",
            by_revision,
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.cold_start = Histogram(
            "aihow_cold_start_duration_seconds",
            "From asking for the first replica to ready.",
            by_revision,
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.retries = Counter(
            "aihow_engine_retries",
            "Requests sent to an engine once more after a broken connection.",
            by_revision,
            registry=registry,
        )
        self.replica_failures = Counter(
            "aihow_replica_failures", "Replicas that failed and were replaced.", by_revision, registry=registry
        )
        self.request_bytes = Counter("aihow_request_bytes", "Bytes of request bodies.", by_revision, registry=registry)
        self.response_bytes = Counter(
            "aihow_response_bytes", "Bytes of answers' bodies.", by_revision, registry=registry
        )
        self.as_vllm = AsVllm(registry)

    def know(self, endpoint: str, revision: int) -> None:
        """The revision exists: what happens on it is counted under its number."""
        self._known.add((endpoint, str(revision)))

    def labels(self, endpoint: str, revision: int | None) -> tuple[str, str]:
        """Name and number where they exist (still), else nothing: the last answer may come after the end."""
        found = endpoint, "" if revision is None else str(revision)
        return found if found in self._known else ("", "")

    def forget(self, endpoint: str, revision: int) -> None:
        """Drop all series of a revision that is gone: each benchmark makes two of them."""
        gone = endpoint, str(revision)
        self._known.discard(gone)
        for metric in vars(self).values():
            if isinstance(metric, Counter | Histogram):
                metric.remove_by_labels({"endpoint": gone[0], "revision": gone[1]})
        self.as_vllm.forget(*gone)

    def watch(self, loads: Callable[[], Iterable[EndpointLoad]]) -> None:
        """Report the present load too, read when somebody asks."""
        self.registry.register(_Loads(loads))

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class AsVllm:
    """The same under vLLM's names and labels, so that what is made for vLLM shows any engine behind the gateway.

    Only what a gateway can measure: no tokens, no cache. Source of the names: vLLM's ``vllm/v1/metrics/loggers.py``.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["model_name", "revision"]
        self._models: dict[tuple[str, str], set[str]] = {}
        self.success = Counter("vllm:request_success", "Requests that were answered.", labels, registry=registry)
        self.latency = Histogram(
            "vllm:e2e_request_latency_seconds",
            "From the request's head to the end of the answer.",
            labels,
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.first_token = Histogram(
            "vllm:time_to_first_token_seconds",
            "From a streamed request's head to the first byte of its answer.",
            labels,
            buckets=_LATENCY_S,
            registry=registry,
        )

    def answered(self, endpoint: str, revision: str, *, model: str, seconds: float, first_byte_s: float | None) -> None:
        """A request for text was answered whole; ``model`` is the endpoint's name or that of an adapter of it."""
        self._models.setdefault((endpoint, revision), set()).add(model)
        self.success.labels(model, revision).inc()
        self.latency.labels(model, revision).observe(seconds)
        if first_byte_s is not None:
            self.first_token.labels(model, revision).observe(first_byte_s)

    def forget(self, endpoint: str, revision: str) -> None:
        """Drop the series of a revision that is gone."""
        for model in self._models.pop((endpoint, revision), ()):
            for metric in (self.success, self.latency, self.first_token):
                metric.remove_by_labels({"model_name": model, "revision": revision})


class _Loads:
    """Gauges that are read, not kept."""

    def __init__(self, loads: Callable[[], Iterable[EndpointLoad]]) -> None:
        self._loads = loads

    def collect(self) -> Iterator[Metric]:
        labels = ["endpoint", "revision"]
        in_flight = GaugeMetricFamily("aihow_requests_in_flight", "Requests that an engine works on.", labels=labels)
        held = GaugeMetricFamily("aihow_requests_held", "Requests that wait for a replica.", labels=labels)
        replicas = GaugeMetricFamily("aihow_replicas", "Replicas by state.", labels=[*labels, "state"])
        as_vllm = ["model_name", "revision"]
        running = GaugeMetricFamily("vllm:num_requests_running", "Requests that an engine works on.", labels=as_vllm)
        waiting = GaugeMetricFamily("vllm:num_requests_waiting", "Requests that wait for a replica.", labels=as_vllm)
        for load in self._loads():
            values = [load.endpoint, str(load.revision)]
            in_flight.add_metric(values, load.in_flight)
            held.add_metric(values, load.held)
            running.add_metric(values, load.in_flight)
            waiting.add_metric(values, load.held)
            for state in _REPLICA_STATES:
                replicas.add_metric([*values, state], load.replicas.get(state, 0))
        yield from (in_flight, held, replicas, running, waiting)
