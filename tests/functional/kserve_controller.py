"""A cluster in small for KServe: its controller, Deployments, scheduler, kubelet, KEDA, as far as endpoints see them.

Works over the API alone, so that it runs beside a real API server as well as beside the stand-in. Conditions, reasons
and names are those of KServe's code. A pod that is ready is a real engine process of this machine.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ai_how.errors import AiHowError, TryAgainError
from ai_how.kserve.look import RUNTIME, SERVICE
from ai_how.kserve.revision import revision_of
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.objects import Ref
from ai_how.run.http import request
from tests.kserve_pods import EVENTS, IMAGE, LOGS, STATUSES, pod
from tests.process_backend import ENGINE, free_port

from .api_endpoint import MERGE

Object = dict[str, Any]
SPACE = "models"
KSERVE_FINALIZER = "inferenceservice.finalizers"
HASH = "pod-template-hash"
ROUND_S = 0.05
WAYS = {"ready": ("pulling", "fetching", "loading", "ready")}
"""What a pod goes through by the state that it is meant to end in; others go there from ``pulling``."""
SCALED = ("keda.sh/v1alpha1", "ScaledObject")
DEPLOYMENT, POD, EVENT = ("apps/v1", "Deployment"), ("v1", "Pod"), ("v1", "Event")


@dataclass
class KServe:
    """The controllers.

    ``ends`` says by model version what becomes of pods, ``options`` how their engines behave; ``quota`` is why no new
    pod may be made, and ``asleep`` keeps KServe's controller still. ``logs_of`` takes logs by namespace and pod, where
    the API server can show any. ``has_controller``: KServe's own controller runs beside this. ``ports`` and
    ``in_flight`` are by pod. ``idle`` are Deployments that nobody asks.
    """

    client: Client
    folder: Path
    ends: dict[int, str] = field(default_factory=dict)
    options: dict[int, list[str]] = field(default_factory=dict)
    quota: str = ""
    asleep: bool = False
    has_controller: bool = False
    ports: dict[str, int] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=dict)
    logs_of: dict[tuple[str, str], str] = field(default_factory=dict)
    idle: set[str] = field(default_factory=set)
    troubles: list[str] = field(default_factory=list)
    _engines: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _steps: dict[str, int] = field(default_factory=dict)
    _goals: dict[str, str] = field(default_factory=dict)
    """Of pods: one that crashes waits for its next try longer than a test does."""
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[KServe]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join(timeout=20)
            for name in list(self._engines):
                self._end_engine(name)

    def _run(self) -> None:
        while not self._ended.wait(ROUND_S):
            try:
                self.round()
            except AiHowError as error:
                # the test broke something, or it changed meanwhile: the next round sees
                self.troubles.append(str(error))

    def round(self) -> None:
        """What every controller does once."""
        if self.has_controller:
            self._collect()
        elif not self.asleep:
            for service in self.listed(*SERVICE):
                self._reconcile(service)
        for scaled in self.listed(*SCALED):
            self._scale(scaled)
        for deployment in self.listed(*DEPLOYMENT):
            self._roll(deployment)
        for one in self.listed(*POD):
            self._kubelet(one)

    def listed(self, api_version: str, kind: str) -> list[Object]:
        return self.client.list_objects(api_version, kind, SPACE).items

    def pods(self, service: str) -> list[Object]:
        """The ready pods behind a Service that KServe made."""
        return [
            one
            for one in self.listed(*POD)
            if (one["metadata"].get("labels") or {}).get("app") == f"isvc.{service}" and _is_ready(one)
        ]

    def wake(self, service: str) -> None:
        """What KEDA does when a request is held for a Deployment."""
        self.idle.discard(service)
        thing = self.client.get(self._ref(*DEPLOYMENT, service))
        if thing is not None and not thing["spec"].get("replicas"):
            self._patch(*DEPLOYMENT, service, {"spec": {"replicas": 1}})

    # KServe

    def _reconcile(self, service: Object) -> None:
        name = service["metadata"]["name"]
        deployment = f"{name}-predictor"
        if service["metadata"].get("deletionTimestamp"):
            self._delete(*DEPLOYMENT, deployment)
            if not self._pods_of(deployment):
                self._patch(*SERVICE, name, {"metadata": {"finalizers": None}})
            return
        if KSERVE_FINALIZER not in (service["metadata"].get("finalizers") or []):
            self._patch(*SERVICE, name, {"metadata": {"finalizers": [KSERVE_FINALIZER]}})
        runtime = self.client.get(Ref(api_version=RUNTIME[0], kind=RUNTIME[1], namespace=SPACE, name=name))
        if runtime is None:
            failure = {"reason": "RuntimeNotRecognized", "message": f"No runtime {name}"}
            self._status(*SERVICE, name, _service_status([], invalid=failure))
            return
        template = self._template(service, runtime, deployment)
        live = self.client.get(self._ref(*DEPLOYMENT, deployment))
        if live is None:
            self.client.create(
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "metadata": {"name": deployment, "namespace": SPACE},
                    "spec": {"selector": {"matchLabels": {"app": f"isvc.{deployment}"}}, "template": template},
                }
            )
        elif _hash(live["spec"]["template"]) != _hash(template):
            self._patch(*DEPLOYMENT, deployment, {"spec": {"template": template}})
        live = live or {}
        self._status(*SERVICE, name, _service_status((live.get("status") or {}).get("conditions") or []))

    def _template(self, service: Object, runtime: Object, deployment: str) -> Object:
        own = service["metadata"]
        labels = {
            **own.get("labels", {}),
            "app": f"isvc.{deployment}",
            "serving.kserve.io/inferenceservice": own["name"],
        }
        container = {
            "name": "kserve-container",
            "image": IMAGE,
            "args": runtime["spec"]["containers"][0].get("args", []),
        }
        return {
            "metadata": {"labels": labels, "annotations": own.get("annotations", {})},
            "spec": {"containers": [container]},
        }

    # the garbage collector

    def _collect(self) -> None:
        """What belongs to an InferenceService that is gone goes, too."""
        services = {one["metadata"]["uid"] for one in self.listed(*SERVICE)}
        for kind in (DEPLOYMENT, ("v1", "Service")):
            for thing in self.listed(*kind):
                owners = {owner["uid"] for owner in thing["metadata"].get("ownerReferences") or []}
                if owners and not owners & services:
                    self._delete(*kind, thing["metadata"]["name"])

    # KEDA

    def _scale(self, scaled: Object) -> None:
        target = scaled["spec"]["scaleTargetRef"]["name"]
        deployment = self.client.get(self._ref(*DEPLOYMENT, target))
        if deployment is None:
            return
        now, least = deployment["spec"].get("replicas", 1), scaled["spec"]["minReplicaCount"]
        paused = (scaled["metadata"].get("annotations") or {}).get("autoscaling.keda.sh/paused-replicas")
        wanted = max(now, least)
        if paused is not None:
            wanted = int(paused)
        elif least == 0 and target in self.idle:
            wanted = 0
        if wanted != now:
            self._patch(*DEPLOYMENT, target, {"spec": {"replicas": wanted}})

    # Deployments

    def _roll(self, deployment: Object) -> None:
        name, spec = deployment["metadata"]["name"], deployment["spec"]
        wanted, digest = spec.get("replicas", 1), _hash(spec["template"])
        there = [one for one in self._pods_of(name) if not one["metadata"].get("deletionTimestamp")]
        new = [one for one in there if one["metadata"]["labels"][HASH] == digest]
        old = [one for one in there if one not in new]
        refused = ""
        for _ in range(wanted - len(new)):
            refused = self.quota
            if not refused:
                self._make_pod(name, spec["template"], digest)
        ready = sum(map(_is_ready, new))
        surplus = [*new[wanted:], *(old if ready >= wanted else [])]
        for one in surplus:
            self._delete(*POD, one["metadata"]["name"])
        self._status(*DEPLOYMENT, name, {"conditions": _conditions(wanted, ready, refused)})

    def _make_pod(self, deployment: str, template: Object, digest: str) -> None:
        name = f"{deployment}-{digest[:8]}-{len(self._steps):04d}"
        self._steps[name] = 0
        made = pod(name, namespace=SPACE, **STATUSES["unscheduled"])
        made["metadata"] |= {
            "labels": {**template["metadata"]["labels"], HASH: digest},
            "annotations": template["metadata"]["annotations"],
            "finalizers": ["test/engine"],
        }
        made["spec"]["containers"][0]["args"] = template["spec"]["containers"][0].get("args") or []
        del made["spec"]["nodeName"], made["status"]
        self.client.create(made)

    # scheduler and kubelet

    def _kubelet(self, one: Object) -> None:
        metadata = one["metadata"]
        name = metadata["name"]
        if name not in self._steps:
            return  # somebody else's
        if metadata.get("deletionTimestamp"):
            if not self.in_flight.get(name):
                self._end_engine(name)
                self._patch(*POD, name, {"metadata": {"finalizers": None}})
            return
        version = self._version(metadata["labels"]["serving.kserve.io/inferenceservice"])
        goal = self._goals.setdefault(name, self.ends.get(version, "ready"))
        way = WAYS.get(goal, ("pulling", goal))
        step = min(self._steps[name], len(way) - 1)
        models = models_in(one["spec"]["containers"][0].get("args") or [])
        if way[step] == "ready" and not self._engine_answers(name, version, models):
            return
        self._note(name, way[step])
        self._status(*POD, name, STATUSES[way[step]] or pod(name)["status"])
        self._steps[name] = step + 1

    def _version(self, service: str) -> int:
        runtime = self.client.get(Ref(api_version=RUNTIME[0], kind=RUNTIME[1], namespace=SPACE, name=service))
        return revision_of(runtime).spec.model_version if runtime else 0

    def _engine_answers(self, name: str, version: int, models: list[str]) -> bool:
        if name not in self._engines:
            self.ports[name] = free_port()
            words = ["--port", str(self.ports[name]), "--tokens", str(version), *self.options.get(version, [])]
            words += ["--models", *models]
            with (self.folder / f"{name}.log").open("wb") as log:
                self._engines[name] = subprocess.Popen(
                    [sys.executable, str(ENGINE), *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL
                )
        try:
            return request("GET", f"http://127.0.0.1:{self.ports[name]}/health").status == 200
        except TryAgainError:
            return False

    def _end_engine(self, name: str) -> None:
        engine = self._engines.pop(name, None)
        if engine is not None:
            engine.kill()
            engine.wait()

    def _note(self, name: str, state: str) -> None:
        if state in LOGS:
            self.logs_of[SPACE, name] = LOGS[state]
        for number, (reason, message, bad) in enumerate(EVENTS.get(state, [])):
            event = f"{name}.{state}.{number}"
            if self.client.get(self._ref(*EVENT, event)) is None:
                self.client.create(
                    {
                        "apiVersion": "v1",
                        "kind": "Event",
                        "metadata": {"name": event, "namespace": SPACE},
                        "type": "Warning" if bad else "Normal",
                        "reason": reason,
                        "message": message,
                        "involvedObject": {"kind": "Pod", "name": name, "namespace": SPACE},
                        "lastTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    }
                )

    # the API

    def _pods_of(self, deployment: str) -> list[Object]:
        found = self.client.list_objects(*POD, SPACE, labels=f"app=isvc.{deployment}").items
        return sorted(found, key=lambda one: one["metadata"]["name"])

    def _ref(self, api_version: str, kind: str, name: str) -> Ref:
        return Ref(api_version=api_version, kind=kind, namespace=SPACE, name=name)

    def _delete(self, api_version: str, kind: str, name: str) -> None:
        self.client.delete(self._ref(api_version, kind, name))
        if kind == DEPLOYMENT[1]:
            for one in self._pods_of(name):
                if not one["metadata"].get("deletionTimestamp"):
                    self._delete(*POD, one["metadata"]["name"])

    def _patch(self, api_version: str, kind: str, name: str, body: Object, part: str = "") -> None:
        path = self.client.kinds.find(api_version, kind).path(SPACE, name) + part
        self.client.connection.ask("PATCH", path, what=f"patch {kind} {name}", body=body, content_type=MERGE)

    def _status(self, api_version: str, kind: str, name: str, status: Object) -> None:
        live = self.client.get(self._ref(api_version, kind, name))
        if live is not None and {**(live.get("status") or {}), **status} != live.get("status"):
            self._patch(api_version, kind, name, {"status": status}, "/status")


def _service_status(conditions: list[Object], invalid: Object | None = None) -> Object:
    """As ``PropagateRawStatus`` makes it of a Deployment's conditions."""
    by_type = {one["type"]: one for one in conditions}
    available, progressing = by_type.get("Available", {}), by_type.get("Progressing", {})
    failure = by_type.get("ReplicaFailure", {})
    said = {"status": "False", "reason": "", "message": ""}
    if available.get("status") == "True":
        said = available
    elif progressing.get("status") == "True":
        said = {**progressing, "status": "Unknown"}
    if available.get("status") == "False":
        said = available
    if failure.get("status") == "True":
        said = {**failure, "status": "False"}
    kept = {key: said[key] for key in ("status", "reason", "message") if said.get(key)}
    model: Object = {"transitionStatus": "InProgress"}
    if invalid is not None:
        model = {"transitionStatus": "InvalidSpec", "lastFailureInfo": invalid}
    return {"conditions": [{"type": "PredictorReady", **kept}], "modelStatus": model, "deploymentMode": "Standard"}


def _conditions(wanted: int, ready: int, refused: str) -> list[Object]:
    enough = ready >= wanted
    found: list[Object] = [
        {
            "type": "Available",
            "status": "True" if enough else "False",
            "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            "message": "Deployment has minimum availability." if enough else "Deployment does not have it.",
        }
    ]
    if refused:
        found.append({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": refused})
    return found


def _is_ready(one: Object) -> bool:
    conditions = (one.get("status") or {}).get("conditions") or []
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and not one["metadata"].get("deletionTimestamp")


def _hash(template: Object) -> str:
    kept = {"metadata": {key: template["metadata"].get(key) or {} for key in ("labels", "annotations")}}
    kept["spec"] = {"args": template["spec"]["containers"][0].get("args") or []}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:10]


def models_in(args: list[str]) -> list[str]:
    """The models that vLLM would answer for."""
    names: list[str] = []
    option = ""
    for word in args:
        option = word if word.startswith("--") else option
        if option in ("--served-model-name", "--lora-modules") and word != option:
            names.append(word.partition("=")[0])
    return names
