"""What images the stack's charts run: Helm makes their objects on this host, and asks no cluster."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from ai_how.apply.files import write_json
from ai_how.bundles.wanted import Image, Wanted
from ai_how.kubernetes_api.objects import ApiObject
from ai_how.rollout.documents import objects_in
from ai_how.rollout.supply import HostSupply, Supply
from ai_how.run.process import run
from ai_how.site.spec import Site
from ai_how.stack.chart_images import images_of
from ai_how.stack.objects import Chart
from ai_how.stack.stack import render_stack
from ai_how.stack.wants import stack_wants

_TIMEOUT_S = 120
_DOCUMENTS = re.compile(r"^---.*$", re.MULTILINE)


def wants_of_site(site: Site, versions: Mapping[str, str], *, site_folder: Path) -> tuple[Wanted, ...]:
    """Everything that the stacks of a site's clusters need, each once; its charts are fetched to find out.

    Args:
        versions: By component: those of the release set, with the pins taken in.
        site_folder: Where relative paths start.

    Raises:
        SpecError, NotFoundError: a stack cannot be rendered.
        MissingToolError, TryAgainError, ProviderError: as ``chart_images``.
    """
    found: dict[Wanted, None] = {}
    for name, cluster in site.planned_clusters.items():
        if not cluster.has_stack:
            continue
        parts = render_stack(site, name, versions)
        # asked to make a bundle: the one that the site names need not be there yet
        source = cluster.kubernetes.model_copy(update={"bundle": None})
        supply = HostSupply(source, versions, helm_path=cluster.stack.helm_path, site_folder=site_folder)
        charts = [chart for part in parts for chart in part.component.charts]
        found.update(dict.fromkeys(stack_wants(parts, own_helm=bool(cluster.stack.helm_path))))
        found.update(dict.fromkeys(chart_images(charts, supply, kubernetes=versions["kubernetes"])))
    return tuple(found)


def chart_images(charts: Iterable[Chart], supply: Supply, *, kubernetes: str) -> tuple[Image, ...]:
    """The images that charts with their values run on a Kubernetes of that version, each once.

    Raises:
        MissingToolError, SpecError: there is no Helm that will do.
        TryAgainError, ProviderError: a chart could not be fetched, or Helm cannot make its objects.
    """
    wanted = tuple(charts)
    if not wanted:
        return ()
    helm = supply.helm()
    found: dict[Image, None] = {}
    for chart in wanted:
        for reference in images_of(_made(chart, helm, supply.chart(chart), kubernetes)):
            name, _, pinned = reference.partition("@")
            found[Image(reference=name, digest=pinned or None)] = None
    return tuple(found)


def _made(chart: Chart, helm: Path, archive: Path, kubernetes: str) -> tuple[ApiObject, ...]:
    with tempfile.TemporaryDirectory() as place:
        values = Path(place) / "values.yaml"
        write_json(values, dict(chart.values))
        words: list[str | Path] = [helm, "template", chart.release, archive, "--namespace", chart.namespace]
        words += ["--values", values, "--kube-version", kubernetes]
        # the user's own Helm settings do not count
        env = {f"HELM_{name}_HOME": place for name in ("CACHE", "CONFIG", "DATA")}
        said = run(words, env=env, timeout_s=_TIMEOUT_S).stdout
    # definitions of kinds are many lines and name no image
    texts = [each for each in _DOCUMENTS.split(said) if "kind: CustomResourceDefinition" not in each]
    return objects_in("\n---\n".join(texts), f"what Helm made of chart {chart.name}")
