"""What a stack meets in tests: a supply of charts that are lists of objects, and controllers that make things well."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ai_how.stack.objects import Awaited, Chart
from ai_how.stack.part import Manifest, Part

from .api_server import StandIn
from .definitions import definitions
from .helm_program import HOOK

USUAL = {
    "Certificate": "Ready",
    "ClusterIssuer": "Ready",
    "Issuer": "Ready",
    "Gateway": "Programmed",
    "Cluster": "Ready",
}


@dataclass
class FakeSupply:
    """Charts that make what their part awaits. ``fetched`` is every chart that was asked for."""

    folder: Path
    parts: tuple[Part, ...]
    fetched: list[str] = field(default_factory=list)

    def helm(self) -> Path:
        """The stand-in as a program."""
        program = self.folder / "helm"
        if not program.exists():
            here = Path(__file__).parents[2]
            text = f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(here)!r})\n"
            text += "from tests.functional.helm_program import main\nsys.exit(main(sys.argv[1:]))\n"
            program.write_text(text)
            program.chmod(0o755)
        return program

    def chart(self, chart: Chart) -> Path:
        self.fetched.append(chart.release)
        file = self.file(chart.release)
        part = next(one for one in self.parts if chart.release in [each.release for each in one.component.charts])
        last = part.component.charts[-1].release == chart.release
        own = {(thing["kind"], thing["metadata"]["name"]) for thing in part.component.objects}
        awaited = [each for each in part.component.awaited if (each.kind, each.name) not in own]
        kinds = [definition_of(each) for each in awaited if each.kind in ("Prometheus", "Alertmanager")]
        made = [*kinds, *(made_from(each) for each in awaited), hook_account(chart)] if last else []
        file.write_text(json.dumps(made))
        return file

    def file(self, release: str) -> Path:
        return self.folder / f"{release}.json"

    def manifest(self, manifest: Manifest) -> Path:
        """As they are served already."""
        return gateway_api(self.folder, manifest)

    def manifest_here(self, manifest: Manifest) -> Path | None:
        path = self.folder / f"{manifest.name}.yaml"
        return path if path.exists() else None


def gateway_api(folder: Path, manifest: Manifest) -> Path:
    """Gateway API's definitions as its authors' file, made from the extracts of their schemas."""
    path = folder / f"{manifest.name}.yaml"
    wanted = [one for one in definitions() if one["spec"]["group"] == "gateway.networking.k8s.io"]
    path.write_text("\n---\n".join(json.dumps(one) for one in wanted))
    return path


def hook_account(chart: Chart) -> dict[str, Any]:
    """An account that a chart makes for a Job of its own before it is installed."""
    metadata = {"name": f"{chart.release}-hook", "namespace": chart.namespace, "annotations": {HOOK: "pre-install"}}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def definition_of(awaited: Awaited) -> dict[str, Any]:
    """The definition of a kind that a chart brings with it."""
    group, _, version = awaited.api_version.partition("/")
    low = awaited.kind.lower()
    plural = f"{low}es" if low.endswith("s") else f"{low}s"
    names = {"kind": awaited.kind, "listKind": f"{awaited.kind}List", "plural": plural, "singular": low}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [served]},
    }


def made_from(awaited: Awaited) -> dict[str, Any]:
    """The least object of that kind and name."""
    metadata: dict[str, Any] = {"name": awaited.name}
    if awaited.namespace:
        metadata["namespace"] = awaited.namespace
    spec: dict[str, Any] = {}
    if awaited.kind in ("Deployment", "StatefulSet", "DaemonSet"):
        labels = {"app": awaited.name}
        pod = {"containers": [{"name": "main", "image": f"registry.test/{awaited.name}:1"}]}
        spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    if awaited.kind == "GatewayClass":
        spec = {"controllerName": "test.example/controller"}
    if awaited.kind == "APIService":
        group, _, rest = awaited.name.partition(".")
        spec = {"group": rest, "version": group, "groupPriorityMinimum": 100, "versionPriority": 100}
    return {"apiVersion": awaited.api_version, "kind": awaited.kind, "metadata": metadata, "spec": spec}


@dataclass
class Controllers:
    """Makes everything well but what is in ``stuck``: name of a workload to why its pod does not start."""

    server: StandIn
    conditions: Mapping[tuple[str, str], str]
    stuck: dict[str, dict[str, Any]] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)

    def round(self) -> None:
        """Give every object the status that it lacks."""
        store = self.server.store
        with store.changed:
            for (group, plural, space, name), thing in list(store.objects.items()):
                kind = next((one for one in store.kinds.values() if one.resource == (group, plural)), None)
                known = {**thing, "kind": kind.kind} if kind else None
                if known and known["kind"] == "Gateway":
                    self.nginx(space, name)
                status = self.status(known) if known else None
                if kind and status is not None and thing.get("status") != status:
                    store.write(kind, space, name, {**thing, "status": status}, "controller", "Update")

    def status(self, thing: Mapping[str, Any]) -> dict[str, Any] | None:
        metadata, kind = thing["metadata"], str(thing["kind"])
        name, generation = metadata["name"], metadata.get("generation", 1)
        if kind in _STATUS:
            wanted = int((thing.get("spec") or {}).get("replicas", 1))
            ready = 0 if name in self.stuck else wanted
            if name in self.stuck:
                self.pod(thing, self.stuck[name])
            return _STATUS[kind](generation, wanted, ready)
        condition = self.conditions.get((kind, name)) or USUAL.get(kind)
        if condition is None:
            return None
        truth = "False" if name in self.failing else "True"
        said = {"type": condition, "status": truth, "reason": "Test", "message": "as the test wants it"}
        return {"conditions": [{**said, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}

    def nginx(self, space: str, gateway: str) -> None:
        """What NGINX Gateway Fabric makes for a Gateway of its class."""
        store = self.server.store
        deployments = store.kind_of("apps", "v1", "deployments")
        thing = made_from(Awaited(api_version="apps/v1", kind="Deployment", name=f"{gateway}-nginx", namespace=space))
        name = thing["metadata"]["name"]
        if (*deployments.resource, space, name) not in store.objects:
            store.write(deployments, space, name, thing, "gateway", "Update")

    def pod(self, owner: Mapping[str, Any], status: dict[str, Any]) -> None:
        pods = self.server.store.kind_of("", "v1", "pods")
        template = owner["spec"]["template"]
        name, space = f"{owner['metadata']['name']}-x", owner["metadata"]["namespace"]
        labels = {**template["metadata"]["labels"], **owner["spec"].get("selector", {}).get("matchLabels", {})}
        thing = {
            "metadata": {"name": name, "namespace": space, "labels": labels},
            "spec": {"containers": [{"name": "main", "image": "registry.test/x:1"}]},
            "status": status,
        }
        if (*pods.resource, space, name) not in self.server.store.objects:
            self.server.store.write(pods, space, name, thing, "kubelet", "Update")

    @contextmanager
    def running(self) -> Iterator[Controllers]:
        ended = threading.Event()

        def run() -> None:
            seen = ""
            while not ended.wait(0.1):
                if self.server.store.version != seen:
                    seen = self.server.store.version
                    self.round()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()


def conditions_of(parts: Sequence[Part]) -> dict[tuple[str, str], str]:
    """The condition that makes each awaited custom object well."""
    found = {}
    for part in parts:
        for each in part.component.awaited:
            if "." in each.api_version.partition("/")[0] and each.kind not in ("CustomResourceDefinition",):
                found[each.kind, each.name] = each.condition or USUAL.get(each.kind, "Ready")
    return found


def _workload(generation: int, wanted: int, ready: int) -> dict[str, Any]:
    return {
        "observedGeneration": generation,
        "replicas": wanted,
        "updatedReplicas": wanted,
        "readyReplicas": ready,
        "availableReplicas": ready,
    }


def _job(_generation: int, _wanted: int, _ready: int) -> dict[str, Any]:
    when = "2026-01-01T00:00:00Z"
    return {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": when}], "succeeded": 1}


def _daemons(generation: int, wanted: int, ready: int) -> dict[str, Any]:
    return {
        "observedGeneration": generation,
        "currentNumberScheduled": wanted,
        "numberMisscheduled": 0,
        "numberReady": ready,
        "desiredNumberScheduled": wanted,
        "updatedNumberScheduled": wanted,
        "numberAvailable": ready,
    }


_STATUS = {"Deployment": _workload, "StatefulSet": _workload, "DaemonSet": _daemons, "Job": _job}
