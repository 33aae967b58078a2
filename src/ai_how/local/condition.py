"""How a process of the stack is doing: what the supervisor says, then what the process itself answers.

Owns the words for it. Restarts nothing; the only thing it writes is the object store's probe, which it takes back.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from ai_how.local import health
from ai_how.local.components.object_store import RESERVE_MIB
from ai_how.local.process import ProcessSpec
from ai_how.local.supervisor import ProcessInfo
from ai_how.plan.model import Condition


def process_condition(spec: ProcessSpec, info: ProcessInfo | None, *, data: Path) -> tuple[Condition, str]:
    """Whether a process works, and what is wrong where it does not.

    Args:
        data: The folder on whose disk a store keeps what is written to it.
    """
    if info is None or info.state == "STOPPED":
        return Condition.STOPPED, "is not running"
    if not info.running:
        # what a full disk has ended says only that it ended
        full = disk_problem(data) if spec.write_check else None
        return Condition.FAILING, full or f"{info.state.lower()}: {info.message}"
    trouble = health.problem(spec.health) if spec.health else None
    if trouble is None and info.state == "STARTING" and not spec.health:
        trouble = "has just been started"
    if trouble is None and spec.write_check:
        full = disk_problem(data)
        if full:
            # no time will mend that; and what still gets through will not in a minute
            return Condition.FAILING, full
        trouble = health.write_problem(spec.write_check)
    if trouble is None:
        return Condition.HEALTHY, ""
    is_young = time.time() - info.started_at < spec.start_timeout_s
    return (Condition.STARTING, f"is starting: {trouble}") if is_young else (Condition.FAILING, trouble)


def disk_problem(data: Path) -> str | None:
    """What is wrong with the disk under the object store; None where it has room."""
    folder = next(path for path in (data, *data.parents) if path.exists())
    free_mib = shutil.disk_usage(folder).free / 2**20
    if free_mib > RESERVE_MIB:
        return None
    return (
        f"takes no writes: {free_mib:.0f} MiB are free on the disk of {folder}, it keeps {RESERVE_MIB} MiB in reserve"
    )
