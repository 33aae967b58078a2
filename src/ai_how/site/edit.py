"""Changes of a node's entry in a site file's text: only the figures change, all other bytes stay. Pure.

The text is checked again after the change: it must mean the same site, but for what was to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ai_how.errors import SpecError
from ai_how.site.load import check_site_text
from ai_how.site.spec import Site


def edit_node(text: str, site: Site, *, cluster: str, index: int, changes: Mapping[str, int]) -> tuple[str, Site]:
    """The site file's text with other figures in ``clusters.<cluster>.nodes[<index>]``, and the site that it gives.

    Args:
        changes: Key of the entry -> its new value.

    Raises:
        SpecError: the entry's text also stands for something else (an anchor, a merge), or the new value is refused.
    """
    at = f"clusters.{cluster}.nodes[{index}]"
    by_hand = f"edit {at} by hand, then: ai-how up"
    changed = text
    for key, value in changes.items():
        changed = _with_value(changed, cluster, index, key, value, at=at, by_hand=by_hand)
    made, mistakes = check_site_text(changed, Path("ai-how.yaml"))
    if made is None:
        lines = "\n".join(f"{mistake.key}: {mistake.problem}" for mistake in mistakes)
        raise SpecError(f"{at} cannot be changed so", evidence=lines, next_step="ai-how schema")
    if made != _expected(site, cluster, index, changes):
        raise SpecError(
            f"{at} is written in a way that other entries share", evidence="an anchor or a merge", next_step=by_hand
        )
    return changed, made


def _expected(site: Site, cluster: str, index: int, changes: Mapping[str, int]) -> Site:
    nodes = list(site.clusters[cluster].nodes)
    nodes[index] = nodes[index].model_copy(update=dict(changes))
    clusters = {**site.clusters, cluster: site.clusters[cluster].model_copy(update={"nodes": nodes})}
    return site.model_copy(update={"clusters": clusters})


def _with_value(text: str, cluster: str, index: int, key: str, value: int, *, at: str, by_hand: str) -> str:
    entry = _entry(text, cluster, index)
    pairs = {name.value: (name, written) for name, written in entry.value} if entry is not None else {}
    if key in pairs:
        written = pairs[key][1]
        return f"{text[: written.start_mark.index]}{value}{text[written.end_mark.index :]}"
    if "role" not in pairs:
        raise SpecError(f"{at} is not written where it can be changed", next_step=by_hand)
    name, role = pairs["role"]
    if entry.flow_style:
        return f"{text[: role.end_mark.index]}, {key}: {value}{text[role.end_mark.index :]}"
    newline = "\r\n" if "\r\n" in text else "\n"
    end = text.find("\n", role.end_mark.index)
    before, after = (text[: end + 1], text[end + 1 :]) if end >= 0 else (text + newline, "")
    return f"{before}{' ' * name.start_mark.column}{key}: {value}{newline}{after}"


def _entry(text: str, cluster: str, index: int) -> Any:
    """The YAML node of the entry, or None where the path to it is not written plainly."""
    from ruamel.yaml import YAML

    node: Any = YAML(typ="safe", pure=True).compose(text)
    for part in ("clusters", cluster, "nodes"):
        pairs = {name.value: value for name, value in node.value} if node is not None and node.id == "mapping" else {}
        node = pairs.get(part)
    if node is None or node.id != "sequence" or index >= len(node.value):
        return None
    entry = node.value[index]
    return entry if entry.id == "mapping" else None
