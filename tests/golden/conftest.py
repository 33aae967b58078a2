"""Golden files: text that is made is compared with text that was kept; ``UPDATE_GOLDEN=1`` keeps the new text."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Golden = Callable[[str, str], None]


@pytest.fixture
def golden() -> Golden:
    """Compare text with a file of the repository, given by its path from the root."""

    def compare(file: str, made: str) -> None:
        path = ROOT / file
        if os.environ.get("UPDATE_GOLDEN"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made, encoding="utf-8")
        assert path.exists(), f"{file} is missing: UPDATE_GOLDEN=1 pytest tests/golden"
        assert made == path.read_text(encoding="utf-8"), f"{file} differs: UPDATE_GOLDEN=1 pytest tests/golden"

    return compare
