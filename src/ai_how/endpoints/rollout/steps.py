"""The steps of a rollout: the part of the requests that the new revision gets, from small to all. Pure."""

from __future__ import annotations

from itertools import pairwise

from ai_how.errors import SpecError

DEFAULT_STEPS = (10, 50, 100)


def parse_steps(text: str) -> tuple[int, ...]:
    """Steps from what a person writes: ``10,50,100``.

    Raises:
        SpecError: they are no whole numbers from 1 to 100 that rise and end with 100.
    """
    words = [word.strip().removesuffix("%").strip() for word in text.split(",")]
    steps = [int(word) if word.isascii() and word.isdecimal() and len(word) < 4 else 0 for word in words]
    rises = all(earlier < later for earlier, later in pairwise(steps))
    if not rises or steps[0] < 1 or steps[-1] != 100:
        raise SpecError(
            f"{text!r} are no steps of a rollout",
            evidence="percent of the requests, whole numbers that rise from step to step and end with 100",
            next_step="for example: --steps 10,50,100",
        )
    return tuple(steps)
