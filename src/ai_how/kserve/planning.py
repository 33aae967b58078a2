"""From a model and what is wanted of it to a revision with its place. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ai_how.capacity.model_memory import Load, ModelInMemory
from ai_how.endpoints.adapters import Version, with_adapters
from ai_how.endpoints.types import Autoscaling, EndpointSpec, Hardware, ServedAdapter
from ai_how.kserve.placement import Placing, place, planned_placement
from ai_how.kserve.revision import KServeRevision
from ai_how.kserve.setting import ServingSetting

ENGINE = "vllm"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A revision, and how its place was found; None where only a GPU's name was known."""

    revision: KServeRevision
    placing: Placing | None


def plan_revision(
    name: str,
    model: Version,
    *,
    memory: ModelInMemory,
    hardware: Hardware,
    autoscaling: Autoscaling,
    setting: ServingSetting,
    base: Version | None = None,
    adapters: tuple[ServedAdapter, ...] = (),
    number: int = 1,
    share_percent: int = 100,
    created_at: str = "",
) -> Planned:
    """A revision of an endpoint, put where it fits.

    Args:
        memory: As it would be loaded; of an adapter, its base with room for the adapter.
        adapters: What is served beside it, on the same base; room for them is made here.

    Raises:
        SpecError: it fits nowhere, or the name will not do.
    """
    memory = with_adapters(memory, adapters)
    placing = None
    if setting.nodes:
        placing = place(memory, setting.nodes, wanted=hardware, load=load_of(model, base, hardware, setting))
    placement = placing.placement if placing else planned_placement(hardware)
    spec = EndpointSpec(
        name=name,
        model_name=model.name,
        model_version=model.version,
        model_uri=model.uri,
        model_digest=model.digest,
        engine=ENGINE,
        hardware=Hardware(accelerator=placement.accelerator, count=placement.count),
        autoscaling=autoscaling,
        created_at=created_at,
        adapter_base_uri=base.uri if base else None,
        adapter_base_digest=base.digest if base else None,
        adapters=adapters,
    )
    revision = KServeRevision(
        number=number,
        spec=spec,
        info=model.info,
        base=base.info if base else None,
        adapter_rank=memory.adapter_rank,
        share_percent=share_percent,
        placement=placement,
    )
    return Planned(revision=revision, placing=placing)


def load_of(model: Version, base: Version | None, hardware: Hardware, setting: ServingSetting) -> Load:
    """What each replica is asked for, as ``container`` tells vLLM."""
    longest = (base or model).info.context_tokens or setting.serving.context_tokens
    return Load(
        context_tokens=min(setting.serving.context_tokens, longest),
        sequences=setting.serving.parallel_requests,
        gpus=max(1, hardware.count),
    )
