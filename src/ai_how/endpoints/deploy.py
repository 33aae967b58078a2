"""From a registered model to an endpoint that answers.

Decides the endpoint's spec and waits for it; what runs the replicas is behind the gateway's admin API.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ai_how.endpoints.digest import process_digest
from ai_how.endpoints.engines.base import EngineHost
from ai_how.endpoints.engines.choose import choose
from ai_how.endpoints.interface import Endpoints
from ai_how.endpoints.types import (
    ANY_ACCELERATOR,
    Autoscaling,
    EndpointSpec,
    EndpointState,
    EndpointStatus,
    Hardware,
    ServedAdapter,
)
from ai_how.errors import ProviderError, SpecError, TryAgainError
from ai_how.models.types import ModelFormat, RegisteredVersion
from ai_how.site.spec import Serving

CPU = "cpu"

OnState = Callable[[EndpointStatus], None]


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What became of a wanted endpoint: its status, and whether anything had to change."""

    status: EndpointStatus
    changed: bool


def available_hardware(host: EngineHost) -> list[Hardware]:
    """What this machine can run a replica on: its GPUs, grouped by name, then the CPU."""
    names = sorted({gpu.name for gpu in host.accelerators})
    gpus = [Hardware(accelerator=name, count=sum(g.name == name for g in host.accelerators)) for name in names]
    return [*gpus, Hardware(accelerator=CPU, count=1)]


def check_hardware(wanted: Hardware, host: EngineHost) -> Hardware:
    """The hardware to use: as wanted; ``auto`` is the first kind that the machine has.

    Raises:
        SpecError: the machine does not have it, or not as many.
    """
    found = available_hardware(host)
    if wanted.accelerator == ANY_ACCELERATOR:
        wanted = replace(wanted, accelerator=found[0].accelerator)
    match = next((hardware for hardware in found if hardware.accelerator == wanted.accelerator.lower()), None)
    if match is None or (match.accelerator != CPU and wanted.count > match.count):
        has = ", ".join(f"{h.count}x {h.accelerator}" if h.accelerator != CPU else CPU for h in found)
        raise SpecError(
            f"this machine has no {wanted.count}x {wanted.accelerator}",
            evidence=f"it has: {has}",
            next_step="set hardware.accelerator to one of these, or leave hardware out",
        )
    return Hardware(accelerator=match.accelerator, count=1 if match.accelerator == CPU else wanted.count)


def make_spec(
    name: str,
    version: RegisteredVersion,
    *,
    hardware: Hardware,
    autoscaling: Autoscaling,
    serving: Serving,
    host: EngineHost,
    base: RegisteredVersion | None = None,
    adapters: tuple[ServedAdapter, ...] = (),
) -> EndpointSpec:
    """The spec of an endpoint for a registered version, with the engine that can serve it here.

    Raises:
        SpecError: no engine can; or an adapter has no base.
    """
    chosen = check_hardware(hardware, host)
    if version.info.format is ModelFormat.PEFT_ADAPTER and base is None:
        raise SpecError(
            f"{version.name} is an adapter and needs its base model",
            evidence=f"it was trained on {version.info.base_model}",
            next_step="register the base (ai-how model push) and name it: base_model: NAME in the deploy file",
        )
    usable = host if chosen.accelerator != CPU else replace(host, accelerators=())
    engine = choose(base.info if base else version.info, usable, serving.engine)
    return EndpointSpec(
        name=name,
        model_name=version.name,
        model_version=version.version,
        model_uri=version.uri,
        model_digest=version.digest,
        engine=engine.name,
        hardware=chosen,
        autoscaling=autoscaling,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        adapter_base_uri=base.uri if base else None,
        adapter_base_digest=base.digest if base else None,
        adapters=adapters,
    )


def serves_alike(spec: EndpointSpec, current: EndpointSpec) -> bool:
    """Whether both serve the same version in the same way; bounds, dates and how it was named do not count. Pure."""
    return process_digest(spec) == process_digest(current)


def apply_spec(client: Endpoints, spec: EndpointSpec) -> Applied:
    """Create the endpoint or change it; one that is already so is left alone."""
    existing = next((status for status in client.list_endpoints() if status.spec.name == spec.name), None)
    if existing:
        spec = replace(spec, created_at=existing.spec.created_at)
        if existing.spec == spec and existing.state is not EndpointState.ERROR:
            return Applied(status=existing, changed=False)
    return Applied(status=client.put(spec), changed=True)


def wait_for_state(
    client: Endpoints, name: str, wanted: EndpointState, *, timeout_s: float, on_state: OnState
) -> EndpointStatus:
    """Wait until an endpoint is in the wanted state; ``running`` means that a replica is ready for its current spec.

    Raises:
        ProviderError: it went into ``error``; the evidence is its message with the end of its log.
        TryAgainError: not within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = 0.05
    last = ""
    while True:
        status = client.get(name)
        seen = f"{status.state} {[replica.state for replica in status.replicas]}"
        if seen != last:
            on_state(status)
            last = seen
        if status.state is EndpointState.ERROR and wanted is not EndpointState.STOPPED:
            raise ProviderError(
                f"endpoint {name} failed to start", evidence=status.message, next_step=f"ai-how logs {name}"
            )
        if status.state is wanted and (wanted is not EndpointState.RUNNING or _has_ready(status)):
            return status
        if time.monotonic() > deadline:
            raise TryAgainError(
                f"endpoint {name} is not {wanted} after {timeout_s:g} s",
                evidence=f"it is {status.state}. {status.message}".strip(),
                next_step=f"ai-how deploy status {name}, or: ai-how logs {name}",
            )
        time.sleep(pause_s)
        pause_s = min(0.5, pause_s * 1.3)


def _has_ready(status: EndpointStatus) -> bool:
    return any(replica.state == "ready" for replica in status.replicas)
