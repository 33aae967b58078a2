"""What spans several keys of a cluster's stack section: names that nothing bears, parts that have no place. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ai_how.site.clusters import Cluster
from ai_how.site.mistakes import Key, Mistake
from ai_how.site.spec import Site
from ai_how.site.stack import CHARTS, IMAGES
from ai_how.site.words import either, nearest
from ai_how.site.yaml_lines import Document


def stack_mistakes(site: Site, document: Document) -> Iterator[Mistake]:
    """What cannot work, each at its line."""
    for name, cluster in site.planned_clusters.items():
        at: Key = ("clusters", name, "stack")
        if cluster.kind != "cloud":
            if "stack" in cluster.model_fields_set:
                problem = f"is for clusters of kind cloud, {name} is {cluster.kind}"
                yield document.at_key(at, problem, "remove it")
            continue
        if "stack" in cluster.model_fields_set and cluster.stack.enabled and not cluster.has_kubernetes:
            yield document.at_key(at, "needs Kubernetes, which is left out", "write kubernetes: {enabled: true}")
        yield from _names(cluster, document, at)
        yield from _gpus(cluster, document, at)


def _names(cluster: Cluster, document: Document, at: Key) -> Iterator[Mistake]:
    for key, known in (("values", CHARTS), ("images", IMAGES)):
        for name in getattr(cluster.stack, key):
            if name not in known:
                near = nearest(name, known)
                remedy = f"did you mean {either(near)}?" if near else f"write {either(known)}"
                what = "chart" if key == "values" else "image"
                yield document.at_key((*at, key, name), f"the stack has no {what} of that name", remedy)


def _gpus(cluster: Cluster, document: Document, at: Key) -> Iterator[Mistake]:
    written = "gpus" in cluster.stack.model_fields_set
    if written and not any(node.role == "gpu-worker" for node in cluster.node_groups):
        yield document.at_key((*at, "gpus"), "the cluster has no GPU workers", "add role: gpu-worker, or remove it")


def stack_warnings(site: Site, document: Document) -> Iterator[Mistake]:
    """What works but is unwise, each at its line."""
    for name, cluster in site.planned_clusters.items():
        if cluster.has_stack and cluster.stack.object_store.type == "minio":
            yield document.at_value(
                ("clusters", name, "stack", "object_store", "type"),
                "MinIO's community edition is no longer maintained since 2026-02-12, holes in it stay open",
                "write seaweedfs, or external",
            )
