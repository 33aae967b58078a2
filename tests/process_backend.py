"""A ``ReplicaBackend`` that runs the fake engine as real processes, which outlive the gateway; for tests.

Its memory is a folder: one JSON file a replica, so that a gateway started anew finds them. ``options.json`` there
(endpoint name -> list of the fake engine's options) says how new replicas behave.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import sys
from pathlib import Path
from typing import Any

import psutil

from ai_how.endpoints.cold_start.replica import ReplicaMarks, marks_from_json
from ai_how.endpoints.digest import process_digest
from ai_how.endpoints.types import EndpointSpec, loaded_names
from ai_how.gateway.backend import NoFreeGpuError, ProcessState, ReplicaProcess

ENGINE = Path(__file__).with_name("fake_engine.py")


class ProcessBackend:
    """Fake engines as processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def start(self, spec: EndpointSpec, *, revision: int) -> ReplicaProcess:
        gpus = self.folder / "gpus"
        taken = [one for one in await self.list_replicas() if one.state == "running"] if gpus.exists() else []
        if gpus.exists() and len(taken) >= int(gpus.read_text()):
            raise NoFreeGpuError("no GPU is free")
        name = f"{spec.name}-{secrets.token_hex(3)}"
        port = free_port()
        options_file = self.folder / "options.json"
        options = json.loads(options_file.read_text()) if options_file.exists() else {}
        words = options.get(f"{spec.name}/{spec.model_version}", options.get(spec.name, []))
        with (self.folder / f"{name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(ENGINE),
                "--port",
                str(port),
                *words,
                *(("--models", *spec.served_names) if spec.adapters else ()),
                stdout=log,
                stderr=log,
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        record: dict[str, Any] = {"endpoint": spec.name, "port": port, "pid": process.pid}
        record |= {"revision": revision, "digest": process_digest(spec)}
        tags = [one.tag for one in spec.adapters]
        record["adapters"] = loaded_names(spec.name, tags, model_is_adapter=spec.adapter_base_uri is not None)
        record["by_number"] = spec.engine == "llamacpp"
        (self.folder / f"{name}.replica").write_text(json.dumps(record))
        return self._read(name, record)

    async def stop(self, name: str) -> None:
        file = self.folder / f"{name}.replica"
        if file.exists():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(json.loads(file.read_text())["pid"])
                process.kill()
                await asyncio.to_thread(psutil.wait_procs, [process], 5)
            file.unlink(missing_ok=True)

    async def list_replicas(self) -> list[ReplicaProcess]:
        return [self._read(path.stem, json.loads(path.read_text())) for path in sorted(self.folder.glob("*.replica"))]

    async def no_room_to_sleep(self, name: str) -> str | None:
        """What a test has put into the folder for all replicas."""
        full = self.folder / "no-room-to-sleep"
        return full.read_text() if full.exists() else None

    async def start_marks(self, name: str) -> ReplicaMarks | None:
        """Those that a test has put into the folder for all replicas."""
        marks = self.folder / "marks.json"
        return marks_from_json(json.loads(marks.read_text())) if marks.exists() else None

    async def log_tail(self, name: str, lines: int = 20) -> str:
        log = self.folder / f"{name}.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""

    def _read(self, name: str, record: dict[str, Any]) -> ReplicaProcess:
        pid = record["pid"]
        assert isinstance(pid, int)
        state: ProcessState = "running" if alive(pid) else "failed"
        return ReplicaProcess(
            name=name,
            endpoint=str(record["endpoint"]),
            host="127.0.0.1",
            port=int(str(record["port"])),
            spec_digest=str(record["digest"]),
            state=state,
            pid=pid,
            revision=int(str(record.get("revision", 0))),
            adapters=tuple(record["adapters"]),
            adapters_by_number=bool(record["by_number"]),
        )


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
