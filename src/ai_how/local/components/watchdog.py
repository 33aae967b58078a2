"""The watchdog's process: restarts components that run but do not answer, and those that the supervisor gave up on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from ai_how import __version__
from ai_how.local.components.base import Setting
from ai_how.local.process import ProcessSpec

NAME = "watchdog"


def watchdog(setting: Setting, watched: Iterable[ProcessSpec]) -> ProcessSpec:
    """The process; it watches every process that has a health address."""
    config_file = setting.layout.conf / "watchdog.json"
    config = {
        "root": str(setting.layout.root),
        "site": setting.site.name,
        "health": {spec.name: spec.health for spec in watched if spec.health},
    }
    return ProcessSpec(
        name=NAME,
        argv=(sys.executable, "-m", "ai_how.local.watchdog", str(config_file)),
        files={str(config_file): json.dumps(config, indent=2) + "\n"},
        version=__version__,
        stop_wait_s=5,
    )
