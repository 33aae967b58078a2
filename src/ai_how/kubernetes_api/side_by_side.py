"""Does the same to many objects at once. Ctrl-C starts nothing more, and waits only for what is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_PARALLEL = 8
Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The result for each item, in their order; the first error that ``work`` raises is raised."""
    pool = ThreadPoolExecutor(max_workers=_PARALLEL, thread_name_prefix="kubernetes")
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(cancel_futures=True)
