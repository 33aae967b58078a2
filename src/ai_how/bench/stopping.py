"""A step of a measurement that the user may break off."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Value = TypeVar("Value")


async def until_stopped(step: Coroutine[Any, Any, Value], stop: asyncio.Event) -> asyncio.Task[Value]:
    """The step's task: ended, or cancelled where ``stop`` was set first; it has cleaned up then."""
    task = asyncio.create_task(step)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
    return task
