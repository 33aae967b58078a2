"""Several failures as one error: nothing is swallowed when objects are worked on side by side. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ai_how.errors import AiHowError, ProviderError

_MOST_LINES = 10


def raise_all(done: str, errors: Sequence[AiHowError], *, of: int) -> None:
    """Raise what failed: the error itself where there is one, all their lines where there are more.

    Args:
        done: What should have been done to them: ``applied``.
        of: How many there were.
    """
    if not errors:
        return
    if len(errors) == 1:
        raise errors[0]
    lines = [f"{error.brief}" + (f" ({error.evidence.splitlines()[0]})" if error.evidence else "") for error in errors]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"and {len(lines) - _MOST_LINES} more"]
    steps = [error.next_step for error in errors if error.next_step]
    raise ProviderError(
        f"{len(errors)} of {of} objects could not be {done}",
        evidence="\n".join(lines),
        next_step=steps[0] if steps else "",
    ) from errors[0]
