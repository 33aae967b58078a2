"""Replicas as supervised processes: what the gateway's ``ReplicaBackend`` is on this machine."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ai_how.endpoints.cold_start.replica import ReplicaMarks, marks_from_json
from ai_how.endpoints.digest import process_digest
from ai_how.endpoints.engines.choose import engine_named
from ai_how.endpoints.engines.host import observe_engine_host
from ai_how.endpoints.types import EndpointSpec, Hardware, ServedAdapter, loaded_names
from ai_how.gateway.backend import NoFreeGpuError, ProcessState, ReplicaProcess
from ai_how.gateway.resting import sleeps
from ai_how.local.layout import Layout
from ai_how.local.main_memory import no_room_for, weights_bytes
from ai_how.local.process import ProcessSpec
from ai_how.local.supervisor import ProcessInfo, Supervisor, read_process
from ai_how.site.spec import Serving

PREFIX = "engine-"
KEPT_LOGS = 10
"""How many log files of an endpoint's replicas are kept when one is removed."""

_STATES: dict[str, ProcessState] = {
    "STARTING": "starting",
    "RUNNING": "running",
    "BACKOFF": "restarting",
    "STOPPING": "stopped",
    "STOPPED": "stopped",
    "EXITED": "failed",
    "FATAL": "failed",
}


class SupervisedReplicas:
    """Engine processes under the site's supervisor; they live on when the gateway does not.

    Args:
        config: The content of ``conf/replicas.json``: root, site, serving, s3.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.layout = Layout(root=Path(config["root"]))
        self.supervisor = Supervisor(self.layout, config["site"])
        self.serving = Serving.model_validate(config["serving"])
        self.s3: dict[str, str] = config["s3"]
        self._cpu_cores = observe_engine_host().cpu_cores
        # the supervisor reads all entries anew for each change: one change at a time
        self._changing = asyncio.Lock()

    async def start(self, spec: EndpointSpec, *, revision: int) -> ReplicaProcess:
        name = f"{PREFIX}{spec.name}-{secrets.token_hex(3)}"
        port = _free_port()
        async with self._changing:
            await asyncio.to_thread(self._add, name, spec, port, revision)
        return ReplicaProcess(
            name=name,
            endpoint=spec.name,
            host="127.0.0.1",
            port=port,
            spec_digest=process_digest(spec),
            state="starting",
            revision=revision,
            adapters=_adapter_names(spec.name, [one.tag for one in spec.adapters], base_uri=spec.adapter_base_uri),
            adapters_by_number=engine_named(spec.engine).numbers_adapters,
        )

    async def stop(self, name: str) -> None:
        async with self._changing:
            await asyncio.to_thread(self._remove, name)

    async def list_replicas(self) -> list[ReplicaProcess]:
        return await asyncio.to_thread(self._list)

    async def no_room_to_sleep(self, name: str) -> str | None:
        return await asyncio.to_thread(self._no_room, name)

    async def start_marks(self, name: str) -> ReplicaMarks | None:
        return await asyncio.to_thread(self._marks, name)

    async def log_tail(self, name: str, lines: int = 20) -> str:
        return await asyncio.to_thread(self.supervisor.log_tail, name, lines)

    def _add(self, name: str, spec: EndpointSpec, port: int, revision: int) -> None:
        gpus = self._free_gpus(spec.hardware) if spec.hardware.accelerator != "cpu" else ()
        self.supervisor.add(self._process(name, spec, port, revision=revision, gpus=gpus))

    def _free_gpus(self, wanted: Hardware) -> tuple[int, ...]:
        """GPUs (by their index in PCI order) of the wanted kind that no other replica of the site has."""
        taken = {
            index
            for name in self.supervisor.processes()
            if name.startswith(PREFIX) and (spec := self._read_spec(name))
            for index in spec.get("gpus", ())
        }
        gpus = observe_engine_host().accelerators
        free = [i for i, gpu in enumerate(gpus) if gpu.name == wanted.accelerator and i not in taken]
        if len(free) < wanted.count:
            raise NoFreeGpuError(
                f"a replica needs {wanted.count}x {wanted.accelerator}, {len(free)} free",
                evidence=f"this machine has {len(gpus)} GPU(s), other replicas use {len(taken)}",
                next_step="stop another endpoint, or lower max_replicas: ai-how deploy list",
            )
        return tuple(free[: wanted.count])

    def _list(self) -> list[ReplicaProcess]:
        found = self.supervisor.processes()
        replicas = [self._replica(name, info) for name, info in sorted(found.items()) if name.startswith(PREFIX)]
        return [replica for replica in replicas if replica]

    def _replica(self, name: str, info: ProcessInfo) -> ReplicaProcess | None:
        spec = self._read_spec(name)
        if spec is None:
            return None
        return ReplicaProcess(
            name=name,
            endpoint=spec["served_name"],
            host="127.0.0.1",
            port=spec["port"],
            # what was started under another serving section is outdated: the gateway replaces it, losing no request
            spec_digest=spec["spec_digest"] if self._as_now(spec) else "other serving section",
            state=_STATES.get(info.state, "failed"),
            pid=info.pid,
            revision=spec.get("revision", 0),
            adapters=_adapter_names(
                spec["served_name"], [one["tag"] for one in spec.get("adapters", ())], base_uri=spec.get("base_uri")
            ),
            adapters_by_number=engine_named(spec["engine"]).numbers_adapters,
        )

    def _remove(self, name: str) -> None:
        self.supervisor.remove(name)
        (self.layout.processes / f"{name}.json").unlink(missing_ok=True)
        self._spec_file(name).unlink(missing_ok=True)
        self._marks_file(name).unlink(missing_ok=True)
        endpoint = name.removeprefix(PREFIX).rpartition("-")[0]
        logs = self.layout.logs.glob(f"{PREFIX}{endpoint}-??????.log*")
        for old in sorted(logs, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_LOGS:]:
            old.unlink(missing_ok=True)

    def _read_spec(self, name: str) -> dict[str, Any] | None:
        process = read_process(self.layout, name)
        return json.loads(process.files[str(self._spec_file(name))]) if process else None

    def _spec_file(self, name: str) -> Path:
        return self.layout.conf / "replicas" / f"{name}.json"

    def _marks_file(self, name: str) -> Path:
        return self.layout.run / f"{name}.start.json"

    def _marks(self, name: str) -> ReplicaMarks | None:
        try:
            found = json.loads(self._marks_file(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return marks_from_json(found) if isinstance(found, dict) else None

    def _no_room(self, name: str) -> str | None:
        """Weights that sleep take as much main memory as their files take disk (vLLM's level 1)."""
        spec = self._read_spec(name)
        beside = [one["digest"] for one in spec.get("adapters", ())] if spec else []
        digests = (spec["model_digest"], spec.get("base_digest"), *beside) if spec else ()
        folders = [self.layout.cache / "models" / digest for digest in digests if digest]
        return no_room_for(sum(weights_bytes(folder) for folder in folders))

    def _as_now(self, spec: dict[str, Any]) -> bool:
        return bool(spec["serving"] == self._serving(spec["engine"]))

    def _serving(self, engine: str) -> dict[str, int]:
        """What of the serving section a replica is started with; what is off is left out, as it always was."""
        threads = self.serving.threads
        return {
            **({"streams": True} if engine == "vllm" and self.serving.loader == "streamer" else {}),
            **({"sleep_mode": True} if sleeps(self.serving, engine) else {}),
            "context_tokens": self.serving.context_tokens,
            "parallel_requests": self.serving.parallel_requests,
            "threads": self._cpu_cores if threads == "auto" else threads,
        }

    def _process(
        self, name: str, spec: EndpointSpec, port: int, *, revision: int, gpus: tuple[int, ...]
    ) -> ProcessSpec:
        content = {
            "served_name": spec.name,
            "revision": revision,
            "spec_digest": process_digest(spec),
            "serving": self._serving(spec.engine),
            "engine": spec.engine,
            "port": port,
            "model_uri": spec.model_uri,
            "model_digest": spec.model_digest,
            "base_uri": spec.adapter_base_uri,
            "base_digest": spec.adapter_base_digest,
            "adapters": [_stored(one) for one in spec.adapters],
            "cache": str(self.layout.cache),
            "gpus": list(gpus),
            "marks": str(self._marks_file(name)),
            "s3": {key: self.s3[key] for key in ("endpoint_url", "region", "bucket")},
        }
        file = str(self._spec_file(name))
        return ProcessSpec(
            name=name,
            argv=(sys.executable, "-m", "ai_how.local.replica", file),
            files={file: json.dumps(content, indent=2) + "\n"},
            # in the order that nvidia-smi shows, which is not CUDA's own
            env={"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))},
            env_files=(self.s3["env_file"],),
            ports={"engine": port},
            stop_wait_s=10,
        )


def _stored(adapter: ServedAdapter) -> dict[str, str]:
    """An adapter as the replica's process reads it."""
    version = f"{adapter.model_name}/{adapter.model_version}"
    return {"tag": adapter.tag, "uri": adapter.model_uri, "digest": adapter.model_digest, "version": version}


def _adapter_names(name: str, tags: Iterable[str], *, base_uri: str | None) -> tuple[str, ...]:
    return loaded_names(name, tags, model_is_adapter=base_uri is not None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
