"""What the stack of a site's clusters needs: charts, published manifests, and the images that its own objects name.

Images that charts name by themselves are only known when the charts are rendered; they are not listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ai_how.bundles.wanted import Chart, File, Image, Wanted
from ai_how.site.spec import Site
from ai_how.stack.part import Part
from ai_how.stack.stack import render_stack


def stack_wants(site: Site, versions: Mapping[str, str]) -> tuple[Wanted, ...]:
    """What the stacks of all clusters with Kubernetes need, each once.

    Args:
        versions: By component: those of the release set, with the pins taken in.

    Raises:
        SpecError, NotFoundError: as ``render_stack``.
    """
    clusters = [name for name, cluster in site.planned_clusters.items() if cluster.has_kubernetes]
    parts = [part for name in clusters for part in render_stack(site, name, versions)]
    return tuple(dict.fromkeys(wanted for part in parts for wanted in _wanted(part)))


def _wanted(part: Part) -> Iterator[Wanted]:
    for chart in part.component.charts:
        yield Chart(repository=chart.repository, name=chart.name, version=chart.version)
    for manifest in part.manifests:
        yield File(url=manifest.url, digest=f"sha256:{manifest.sha256}" if manifest.sha256 else "", kind="manifest")
    for image in part.images:
        yield Image(reference=image)
