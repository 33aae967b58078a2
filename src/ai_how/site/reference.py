"""Writes what is derived from the site file's model: its JSON Schema and its reference page. Pure."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import BaseModel

from ai_how.site.roles import DEFAULTS
from ai_how.site.shapes import all_sections, field_shape
from ai_how.site.spec import Site
from ai_how.site.words import Schema, expected, unit

_INTRODUCTION = """\
# The site file

`ai-how.yaml` says what `ai-how up` makes and keeps. Only `name` must be given;
every other key has a default. `ai-how init` writes a commented file, and
`ai-how validate` reports every mistake at once, with file and line. Commands
take the file from `--site`, else from `$AI_HOW_SITE`, else `ai-how.yaml` in the
current folder or the nearest one above it.

    name: demo

Rules for all keys:

- Unknown keys are refused, so that a slip of the pen never changes a default
  in silence.
- A key's name ends in its unit: `_s` seconds, `_ms` milliseconds, `_mib` MiB,
  `_gib` GiB, `_mbps` Mbit/s, `_w` watts, `_days` days, `_tokens` tokens, `_percent` percent. Values are
  plain numbers: `300`, not `5m`.
- Secrets never stand in this file: keys that end in `_file` name a file that
  holds them, with mode 0600. Relative paths start from the site file's folder.

`[]` in a heading stands for each item of a list, `<name>` for a name of your
choice. How hosts, clusters and placement work together: [sizing](../explanation/sizing.md).

For completion in editors, put the schema beside the file and name it in the
first line:

    ai-how schema > ai-how.schema.json
    # yaml-language-server: $schema=ai-how.schema.json

This page is written from the model in `src/ai_how/site/spec.py`:
`UPDATE_GOLDEN=1 pytest tests/golden`.
"""


def site_schema() -> dict[str, Any]:
    """The site file's JSON Schema, draft 2020-12."""
    schema = Site.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "ai-how site file"}


def render_site_reference() -> str:
    """The reference page of the site file, in Markdown."""
    return f"{_INTRODUCTION}\n{keys_tables(Site)}\n{_roles()}"


def _roles() -> str:
    rows = [
        (f"`{role}`", str(each.count), str(each.vcpus), str(each.memory_gib), str(each.disk_gib), str(each.gpus))
        for role, each in DEFAULTS.items()
    ]
    head = ("role", "count", "vcpus", "memory_gib", "disk_gib", "gpus")
    lines = "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))
    return (
        "## Sizes of each role\n\nWhat a node gets when the file does not say; count is a cluster's without nodes."
        f"\nSource: the resource requirements' node tables; the HPC roles split their sum.\n\n{lines}\n"
    )


def keys_tables(model: type[BaseModel]) -> str:
    """Every key of a file in Markdown tables, a heading for each section."""
    parts = []
    for place, section in all_sections(model):
        parts += [f"\n## `{place}`\n", f"{inspect.getdoc(section)}\n"] if place else ["## Top level\n"]
        parts.append(_table(section))
    return "\n".join(parts) + "\n"


def _table(model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    rows = [
        (f"`{key}`", expected(field), unit(key) or "-", _default(key, field, schema), field.get("description", ""))
        for key, field in schema["properties"].items()
        if (found := field_shape(model, key)) is None or found.kind != "section"
    ]
    if not rows:
        return "Its keys are sections; they follow."
    lines = [("key", "takes", "unit", "default", "meaning"), ("---",) * 5, *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    # Markdown takes <name> for HTML, a bar for the cell's end and a line's end for the row's
    return " ".join(text.split()).replace("<", "&lt;").replace("|", "\\|")


def _default(key: str, field: Schema, schema: Schema) -> str:
    if key in schema.get("required", []):
        return "must be given"
    value = field.get("default")
    return "none" if value is None or value in ([], {}) else f"`{value}`"
