"""The data of endpoints, in Oumi's words. Pure: no effects, no provider.

Source of names and states: ``oumi.deploy.base_client`` of Oumi 0.9.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from ai_how.endpoints.cold_start.waterfall import Waterfall


class EndpointState(StrEnum):
    """Oumi's endpoint states. An endpoint that sleeps at zero replicas and wakes on demand is ``running``."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERROR = "error"


PROVIDER, KSERVE = "ai-how", "kserve"
PROVIDERS = (PROVIDER, KSERVE)
"""What ``provider`` may be: whatever the site has, or KServe alone."""
OTHER_PROVIDERS = ("fireworks", "parasail")
"""Whom Oumi itself deploys to."""

ANY_ACCELERATOR = "auto"
"""A wish, not a fact: a GPU where the machine has one, else the CPU."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a replica runs on. ``accelerator`` is Oumi's spelling (``nvidia_a100_80gb``) or ``cpu``."""

    accelerator: str = "cpu"
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Autoscaling:
    """Bounds of the number of replicas; 0 <= min <= max, 1 <= max."""

    min_replicas: int = 1
    max_replicas: int = 1


TAG_PATTERN = r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?"
"""An adapter's tag: part of file names, of a label of metrics, and of the name of a model."""


@dataclass(frozen=True, kw_only=True)
class ServedAdapter:
    """A LoRA adapter that an endpoint serves beside its model, on the same base: clients ask for it as ``NAME:TAG``.

    ``rank`` is the adapter's ``r``, 0 where it is not known; the rest is as in the spec itself.
    """

    tag: str
    model_name: str
    model_version: int
    model_uri: str
    model_digest: str
    rank: int = 0
    model_ref: str = ""


@dataclass(frozen=True, kw_only=True)
class EndpointSpec:
    """What the user wants of one endpoint; the gateway keeps one JSON file of these each.

    ``name`` is also the model name that clients send. ``model_uri`` is the ``s3://`` folder of the registered
    version, ``model_digest`` the SHA-256 over its manifest (see ``models.manifest``). ``model_ref`` is what the
    user called the version where that may come to mean another one (``name@alias`` or ``name``), else empty.
    ``adapters`` are ordered by their tags.
    """

    name: str
    model_name: str
    model_version: int
    model_uri: str
    model_digest: str
    engine: str
    hardware: Hardware = field(default_factory=Hardware)
    autoscaling: Autoscaling = field(default_factory=Autoscaling)
    stopped: bool = False
    created_at: str = ""
    adapter_base_uri: str | None = None
    adapter_base_digest: str | None = None
    model_ref: str = ""
    adapters: tuple[ServedAdapter, ...] = ()

    @property
    def served(self) -> tuple[EndpointSpec | ServedAdapter, ...]:
        """Every version that is asked for under a name of its own, the endpoint's model first."""
        return (self, *self.adapters)

    @property
    def served_names(self) -> tuple[str, ...]:
        """What clients may send as ``model``, its own name first."""
        return (self.name, *(adapter_name(self.name, one.tag) for one in self.adapters))


def adapter_name(endpoint: str, tag: str) -> str:
    """What clients send as ``model`` for an adapter of an endpoint."""
    return f"{endpoint}:{tag}"


def served_text(spec: EndpointSpec) -> str:
    """What an endpoint serves, in one line; a version that is not registered yet is ``new``."""
    return f"{model_text(spec)} with {beside}" if (beside := adapters_text(spec)) else model_text(spec)


def model_text(served: EndpointSpec | ServedAdapter) -> str:
    """One version; ``new`` where it is not registered yet."""
    return f"{served.model_name}/{served.model_version or 'new'}"


def adapters_text(spec: EndpointSpec) -> str:
    """The adapters beside an endpoint's model, in one line; empty where there are none."""
    return ", ".join(f"{one.tag}: {model_text(one)}" for one in spec.adapters)


def loaded_names(name: str, tags: Iterable[str], *, model_is_adapter: bool) -> tuple[str, ...]:
    """What clients send for each adapter of an endpoint, in the order in which an engine loads and numbers them.

    The endpoint's own name is the first where its model is an adapter. Without tags there is no list: a single adapter
    is the model.
    """
    names = tuple(adapter_name(name, tag) for tag in tags)
    return (name, *names) if names and model_is_adapter else names


@dataclass(frozen=True, kw_only=True)
class ReplicaStatus:
    """One engine process as its provider sees it. ``state``: starting, ready, asleep, draining, failed.

    ``in_flight`` is None where nobody counts the requests of one replica (a cluster's gateway does not).
    ``revision`` is the number of the revision that it belongs to, 0 where nobody says.
    """

    name: str
    state: str
    port: int
    in_flight: int | None
    restarts: int = 0
    message: str = ""
    revision: int = 0


@dataclass(frozen=True, kw_only=True)
class EndpointStatus:
    """An endpoint as its provider reports it. Times are seconds; None where nothing was measured, or nobody counts.

    ``last_start`` is where the time of ``last_start_s`` went.
    """

    spec: EndpointSpec
    state: EndpointState
    url: str
    replicas: tuple[ReplicaStatus, ...] = ()
    held_requests: int | None = 0
    message: str = ""
    last_start_s: float | None = None
    last_start: Waterfall | None = None

    @property
    def is_known(self) -> bool:
        """False where its record is broken: nobody knows what it serves, and it has no revisions."""
        return bool(self.spec.model_uri)
