"""Plain data as YAML that people can read and compare: order kept, two spaces, no tags or anchors. Pure."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML


def yaml_text(data: Mapping[str, Any], *, head: str) -> str:
    """The data behind a comment of one or more lines."""
    writer = YAML()
    writer.default_flow_style = False
    writer.width = 4096
    writer.indent(mapping=2, sequence=4, offset=2)
    writer.representer.ignore_aliases = lambda *_args: True
    out = io.StringIO()
    writer.dump(_plain(data), out)
    return "".join(f"# {line}\n" for line in head.splitlines()) + "---\n" + out.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value
