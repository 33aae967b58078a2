"""The metrics that a query names, whether they are known, and labels that several name. Pure.

The query's grammar is Prometheus' to check.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files

ROOT_DISKS = 'fstype!~"tmpfs|overlay|squashfs|ramfs",mountpoint="/"'
"""Labels that the node exporter gives to the disk that a node's images, pods and local volumes usually lie on."""
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_LABELS = re.compile(r"\{[^{}]*\}|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)|\[[^\[\]]*\]")
_WORD = re.compile(r"(?<![\w:.])[A-Za-z_:][\w:]*(?!\s*\()(?![\w:])")
_OPERATORS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan", "atan2", "by", "without", "on"})


def metrics_of(query: str) -> frozenset[str]:
    """The names of the metrics in a query: words that are no label, function or operator."""
    bare = _LABELS.sub(" ", _LABELS.sub(" ", _TEXT.sub("", query)))
    return frozenset(word for word in _WORD.findall(bare) if word.lower() not in _OPERATORS)


@cache
def known_metrics() -> frozenset[str]:
    """The names of the metrics that somebody exports."""
    text = files("ai_how.stack").joinpath("data", "metrics.toml").read_text(encoding="utf-8")
    return frozenset(name for group in tomllib.loads(text).values() for name in group["names"])
