"""Times as the API and its logs write them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime


def epoch_s(text: object) -> float | None:
    """A time of the API (RFC 3339, up to nanoseconds) in seconds since the epoch; None where it is none."""
    if not isinstance(text, str) or not text:
        return None
    # datetime reads six digits of a second, a log has nine
    short = re.sub(r"(\.\d{6})\d+", r"\1", text.strip())
    try:
        read = datetime.fromisoformat(short)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
