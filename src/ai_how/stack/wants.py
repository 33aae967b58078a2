"""What a bundle must hold for the stack: charts and Helm, the images that its own objects name, published files. Pure.

The images of charts are not among them: they are only known once the charts are at hand.
"""

from __future__ import annotations

from collections.abc import Iterable

from ai_how.bundles.wanted import Chart, File, Image, Wanted
from ai_how.stack.part import Part
from ai_how.stack.upstream import tool

_MACHINE = "amd64"


def stack_wants(parts: Iterable[Part], *, own_helm: bool = False) -> tuple[Wanted, ...]:
    """Everything that the parts name, each once, in their order; ``own_helm``: the site names a Helm that it has."""
    found: dict[Wanted, None] = {}
    for part in parts:
        for chart in part.component.charts:
            found[Chart(repository=chart.repository, name=chart.name, version=chart.version)] = None
        for manifest in part.manifests:
            digest = f"sha256:{manifest.sha256}" if manifest.sha256 else ""
            found[File(url=manifest.url, digest=digest, kind="manifest")] = None
        for reference in part.images:
            name, _, pinned = reference.partition("@")
            found[Image(reference=name, digest=pinned or None)] = None
    if not own_helm and any(isinstance(one, Chart) for one in found):
        helm = tool("helm", machine=_MACHINE)
        found[File(url=helm.url, digest=f"sha256:{helm.sha256}", kind="manifest")] = None
    return tuple(found)
