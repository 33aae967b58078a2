"""Release sets: versions that fit together, and a solver that explains why others do not.

Owns facts about versions, each with source and date, and the search over them. Pure but for reading its own data.
Its public face: ``load_world``, ``load_set``, ``set_names``, ``solve``. It never guesses: what no file says, it does
not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ai_how.releases.conflict import Conflict, Solution, solve
    from ai_how.releases.files import load_world
    from ai_how.releases.sets import load_set, set_names

__all__ = ["Conflict", "Solution", "load_set", "load_world", "set_names", "solve"]

_HOMES = {
    "Conflict": "conflict",
    "Solution": "conflict",
    "solve": "conflict",
    "load_world": "files",
    "load_set": "sets",
    "set_names": "sets",
}


def __getattr__(name: str) -> Any:
    # the modules are imported when they are asked for: pydantic is too slow for `ai-how --help`
    if name not in _HOMES:
        raise AttributeError(name)
    import importlib

    return getattr(importlib.import_module(f"ai_how.releases.{_HOMES[name]}"), name)
