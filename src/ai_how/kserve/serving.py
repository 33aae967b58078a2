"""A site with a cluster as the commands that serve, register and measure see it: KServe, and the stack's stores.

Implements ``endpoints.serving_site.ServingSite``. Ways into the cluster are opened when they are asked for, and closed
with the command.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from ai_how.capacity.model_memory import ModelInMemory
from ai_how.endpoints.adapters import WantedAdapter, served_adapters
from ai_how.endpoints.ask import ask
from ai_how.endpoints.digest import process_digest
from ai_how.endpoints.door import Door
from ai_how.endpoints.types import ANY_ACCELERATOR, Autoscaling, EndpointSpec, Hardware, ServedAdapter
from ai_how.errors import AiHowError, NotFoundError, SpecError
from ai_how.kserve.endpoints import KServeEndpoints, Prepared
from ai_how.kserve.names import check_name
from ai_how.kserve.node_facts import nodes_of_cluster
from ai_how.kserve.objects import notes
from ai_how.kserve.placement import place, spelling
from ai_how.kserve.planning import Planned, load_of, plan_revision
from ai_how.kserve.revision import endpoint_of
from ai_how.kserve.setting import ServingSetting, serving_setting
from ai_how.kubernetes.with_kubernetes import WithKubernetes
from ai_how.kubernetes_api.side_by_side import side_by_side
from ai_how.models.library import list_models, resolve
from ai_how.models.registered import registered_memory
from ai_how.models.types import ModelInfo, RegisteredVersion, Stores
from ai_how.site.spec import Site
from ai_how.stack_access.door import ClusterDoor, open_cluster_door
from ai_how.stack_access.running import RunningStack, open_running_stack
from ai_how.stack_access.stores import open_cluster_stores

_BEFORE_START_S = 1800
"""Beyond an engine's own time: the image of vLLM, which is large, and the model's files."""


@contextmanager
def open_cluster_serving(provider: WithKubernetes, cluster: str | None = None) -> Iterator[ClusterServing]:
    """The cluster of a site that serves, for the time of the block.

    Raises:
        NotFoundError, SpecError: no cluster has a stack, several have, or it has no Kubernetes yet.
        TryAgainError: the way to its API server does not open.
    """
    with open_running_stack(provider, cluster) as stack, ExitStack() as ways:
        yield ClusterServing(stack, ways)


class ClusterServing:
    """Implements ``endpoints.serving_site.ServingSite``."""

    def __init__(self, stack: RunningStack, ways: ExitStack) -> None:
        self._stack = stack
        self._ways = ways
        self._planned: dict[str, Planned] = {}
        self._memories: dict[tuple[RegisteredVersion, RegisteredVersion | None], ModelInMemory] = {}

    @property
    def site(self) -> Site:
        return self._stack.site

    @property
    def place(self) -> str:
        return f"cluster {self._stack.cluster}"

    @property
    def start_timeout_s(self) -> float:
        return self.site.serving.start_timeout_s + _BEFORE_START_S

    @property
    def reports_dir(self) -> Path:
        return self._stack.folder.reports

    @cached_property
    def endpoints(self) -> KServeEndpoints:
        return KServeEndpoints(self._stack.api, self._setting, prepare=self._prepare, wake=self._wake)

    def stores(self) -> Stores:
        return self._stores

    def door(self, name: str) -> Door:
        return self._door.of(name)

    def hardware(self) -> list[Hardware]:
        most: dict[str, int] = {}
        for pool in (pool for node in self._setting.nodes for pool in node.pools):
            name = spelling(pool.product)
            # several replicas may share a card or a node; one replica has GPUs of one node
            most[name] = max(most.get(name, 0), 1 if pool.mig or pool.turns > 1 else pool.count)
        return [Hardware(accelerator=name, count=count) for name, count in sorted(most.items())]

    def why_not_on(self, hardware: Hardware, version: RegisteredVersion) -> str:
        model = version
        one = Hardware(accelerator=hardware.accelerator)
        load = load_of(model, None, one, self._setting)
        try:
            place(self._memory(version), self._setting.nodes, wanted=one, load=load)
        except SpecError as error:
            return error.evidence.partition("\n")[0] or error.brief
        return ""

    def make_spec(
        self,
        name: str,
        version: RegisteredVersion,
        *,
        hardware: Hardware,
        autoscaling: Autoscaling,
        base: RegisteredVersion | None = None,
        adapters: Sequence[WantedAdapter] = (),
    ) -> EndpointSpec:
        planned = self._plan(
            check_name(name),
            version,
            hardware=hardware,
            autoscaling=autoscaling,
            base=base,
            adapters=served_adapters(adapters, version=version, base=base),
        )
        spec = planned.revision.spec
        self._planned[process_digest(spec)] = planned
        return spec

    def warnings(self, source: Path | None, spec: EndpointSpec) -> tuple[str, ...]:  # noqa: ARG002
        planned = self._planned.get(process_digest(spec))
        if planned is None:
            return ()
        waits = planned.placing is not None and planned.placing.waits
        full = f"no {spec.hardware.accelerator} is free now: it waits until one is" if waits else ""
        return (*notes(planned.revision), *((full,) if full else ()))

    def info(self, spec: EndpointSpec) -> ModelInfo:
        planned = self._planned.get(process_digest(spec))
        return planned.revision.info if planned else self.endpoints.info(spec.name)

    @cached_property
    def _setting(self) -> ServingSetting:
        stack = self._stack
        return serving_setting(
            stack.site, stack.cluster, stack.setting.versions, nodes=nodes_of_cluster(*self._nodes_and_pods)
        )

    @cached_property
    def _nodes_and_pods(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        api = self._stack.api
        nodes, pods = side_by_side(lambda kind: api.list_objects("v1", kind).items, ("Node", "Pod"))
        return nodes, pods

    def _setting_for(self, name: str) -> ServingSetting:
        """As an endpoint finds the cluster: what its own pods have is no reason to go elsewhere."""
        nodes, pods = self._nodes_and_pods
        others = [pod for pod in pods if endpoint_of(pod) != name]
        return replace(self._setting, nodes=nodes_of_cluster(nodes, others))

    @cached_property
    def _stores(self) -> Stores:
        return self._ways.enter_context(open_cluster_stores(self._stack))

    @cached_property
    def _door(self) -> ClusterDoor:
        return self._ways.enter_context(open_cluster_door(self._stack))

    def _plan(
        self,
        name: str,
        version: RegisteredVersion,
        *,
        hardware: Hardware,
        autoscaling: Autoscaling,
        base: RegisteredVersion | None,
        adapters: tuple[ServedAdapter, ...],
    ) -> Planned:
        if not self._setting.nodes:
            raise SpecError(
                f"no node of {self.place} has a GPU",
                evidence="GPUs appear once the GPU Operator is well",
                next_step="ai-how status",
            )
        self._check_cache(version, base)
        return plan_revision(
            name,
            version,
            memory=self._memory(version, base),
            hardware=hardware,
            autoscaling=autoscaling,
            setting=self._setting_for(name),
            base=base,
            adapters=adapters,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _check_cache(self, version: RegisteredVersion, base: RegisteredVersion | None) -> None:
        kept_gib = self.site.serving.node_cache_gib
        needed_gib = (version.size_bytes + (base.size_bytes if base else 0)) / 2**30
        if 0 < kept_gib < needed_gib:
            raise SpecError(
                f"{version.name} does not fit into the nodes' cache of weights",
                evidence=f"its files take {needed_gib:.1f} GiB, serving.node_cache_gib is {kept_gib}",
                next_step="write more in the site file, then: ai-how up",
            )

    def _memory(self, version: RegisteredVersion, base: RegisteredVersion | None = None) -> ModelInMemory:
        """As the model would be loaded; what the store says of it is read once."""
        key = version, base
        if key not in self._memories:
            self._memories[key] = registered_memory(version, self.stores().access, base=base)
        return self._memories[key]

    def _prepare(self, spec: EndpointSpec) -> Prepared:
        """As it was planned by this command, or else by what the registry knows of its model."""
        planned = self._planned.get(process_digest(spec))
        if planned is None:
            version = resolve(f"{spec.model_name}/{spec.model_version}", self.stores())
            hardware = spec.hardware if spec.hardware.accelerator != "cpu" else Hardware(accelerator=ANY_ACCELERATOR)
            planned = self._plan(
                spec.name,
                version,
                hardware=hardware,
                autoscaling=spec.autoscaling,
                base=self._base(spec),
                adapters=spec.adapters,
            )
        made = planned.revision
        return Prepared(info=made.info, base=made.base, adapter_rank=made.adapter_rank, placement=made.placement)

    def _base(self, spec: EndpointSpec) -> RegisteredVersion | None:
        if spec.adapter_base_uri is None:
            return None
        found = next((one for one in list_models(self.stores()) if one.uri == spec.adapter_base_uri), None)
        if found is None:
            raise NotFoundError(
                f"the base model of {spec.model_name}/{spec.model_version} is not registered any more",
                evidence=f"no version has its files in {spec.adapter_base_uri}",
                next_step="push it again (ai-how model push), then: ai-how deploy up",
            )
        return found

    def _wake(self, name: str) -> None:
        """Ask for one token, as any client would; the cluster holds the request until a replica is ready."""
        door, chat = self.door(name), self.endpoints.info(name).chat_template

        def send() -> None:
            try:
                ask(door, model=name, prompt="Hello", chat=chat, max_tokens=1)
            except AiHowError:
                return  # who waits for the endpoint sees by its state what is wrong

        threading.Thread(target=send, name=f"wake-{name}", daemon=True).start()
