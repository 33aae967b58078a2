"""The gateway's log: one JSON object a line on standard output. Never a prompt, an answer or a key."""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def log_event(event: str, **values: Any) -> None:
    """Write one line; values that are None are left out."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
    line = {"time": stamp, "event": event} | {key: value for key, value in values.items() if value is not None}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
