"""Other sizes for one node: decided in the site file, refused before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ai_how.capacity.demand import all_needs
from ai_how.capacity.types import NodeNeed
from ai_how.errors import SpecError
from ai_how.machines import storage
from ai_how.machines.desired import GIB, entry_of
from ai_how.machines.standing import find_standing
from ai_how.site.edit import edit_node

if TYPE_CHECKING:
    from ai_how.machines.provider import LibvirtProvider

_UNITS = {"vcpus": "", "memory_gib": " GiB", "disk_gib": " GiB"}


@dataclass(frozen=True, kw_only=True)
class Change:
    """The site file's new text, the site that it gives, and what changes in it, one line a key (none: nothing)."""

    text: str
    provider: LibvirtProvider
    lines: tuple[str, ...]
    restarts: bool


def resized(provider: LibvirtProvider, node: str, changes: Mapping[str, int]) -> Change:
    """The site with other sizes for a node. Writes nothing.

    Args:
        changes: ``vcpus``, ``memory_gib``, ``disk_gib``.

    Raises:
        NotFoundError: the site has no such node.
        SpecError: the node shares its entry with others or has none, or its disk would shrink.
    """
    from ai_how.machines.provider import LibvirtProvider

    site = provider.site
    need = next((need for need in all_needs(site) if need.name == node), None)
    if need is None:
        machine = find_standing(provider.standing, site, node)
        raise SpecError(f"the site file no longer asks for {machine.node}", next_step="ai-how plan")
    index = _own_entry(provider, need)
    old = {key: int(getattr(need, key)) for key in changes}
    changed = {key: value for key, value in changes.items() if value != old[key]}
    _only_grows(provider, need, changed)
    text = provider.site_file.read_bytes().decode()
    made = site
    if changed:
        text, made = edit_node(text, site, cluster=need.cluster, index=index, changes=changed)
    at = f"clusters.{need.cluster}.nodes[{index}]"
    on = node in provider.standing and provider.standing[node].found.state != "off"
    return Change(
        text=text,
        provider=LibvirtProvider(made, provider.site_file),
        lines=tuple(f"{at}.{key}: {old[key]} -> {value}{_UNITS[key]}" for key, value in changed.items()),
        restarts=on and bool(changed.keys() - {"disk_gib"}),
    )


def _own_entry(provider: LibvirtProvider, need: NodeNeed) -> int:
    written = provider.site.clusters.get(need.cluster)
    if written is None or not written.nodes:
        raise SpecError(
            f"{need.name} has no entry in the site file: its cluster has the nodes that are usual for its kind",
            next_step=f"write them under clusters.{need.cluster}.nodes, each with role and sizes, then resize",
        )
    index = entry_of(provider.site, need)
    count = written.nodes[index].count
    if count > 1:
        raise SpecError(
            f"the entry of {need.name} stands for {count} nodes",
            evidence=f"{provider.site_file.name}: clusters.{need.cluster}.nodes[{index}].count: {count}",
            next_step="split it there into entries of one node each (names stay), then resize; or change the "
            "size of all of them in the file, then: ai-how up",
        )
    return index


def _only_grows(provider: LibvirtProvider, need: NodeNeed, changes: Mapping[str, int]) -> None:
    wanted, has = changes.get("disk_gib"), float(need.disk_gib)
    machine = provider.standing.get(need.name)
    if machine is not None:
        there = storage.volumes(provider.pool_of(machine.host)).get(f"{need.name}.qcow2")
        has = there.size_bytes / GIB if there else 0
    if wanted is not None and wanted < has:
        raise SpecError(
            f"the disk of {need.name} cannot shrink",
            evidence=f"it has {has:g} GiB, wanted {wanted} GiB",
            next_step=f"for a smaller one: ai-how vm delete {need.name}, write disk_gib in the site file, ai-how up",
        )
