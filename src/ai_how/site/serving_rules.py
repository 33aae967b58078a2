"""What spans the serving section and the rest of the site: keys that have no meaning where the site runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ai_how.site.mistakes import Mistake
from ai_how.site.roles import DEFAULTS
from ai_how.site.spec import Site
from ai_how.site.yaml_lines import Document


def serving_mistakes(site: Site, document: Document) -> Iterator[Mistake]:
    """What cannot work, each at its line."""
    serving = site.serving
    if serving.when_idle == "sleep":
        yield from _sleep(site, document)
    if serving.loader == "streamer" and site.provider == "local" and serving.engine == "llamacpp":
        yield document.at_value(("serving", "loader"), "streamer is vLLM's, and engine is llamacpp", "leave it out")
    for key, why in _OF_CLUSTERS.items():
        if site.provider == "local" and getattr(serving, key):
            yield document.at_key(("serving", key), f"is not for provider local: {why}", "remove it")
    if serving.node_cache_gib:
        yield from _node_cache(site, document)


_OF_CLUSTERS = {
    "node_cache_gib": "its cache keeps every model that was served",
    "keep_image": "it runs no images",
}


def _node_cache(site: Site, document: Document) -> Iterator[Mistake]:
    """The nodes' own disks hold it beside images; of servers that are there, nobody knows the disk yet."""
    for cluster in site.planned_clusters.values():
        for node in cluster.node_groups if cluster.has_stack else ():
            usual = DEFAULTS[node.role].disk_gib if site.provider == "libvirt" else None
            disk_gib = usual if node.disk_gib is None else node.disk_gib
            if node.role == "gpu-worker" and disk_gib is not None and site.serving.node_cache_gib >= disk_gib:
                problem = f"{site.serving.node_cache_gib} does not fit: GPU workers have a disk of {disk_gib} GiB"
                yield document.at_value(("serving", "node_cache_gib"), problem, "write less, or a larger disk_gib")
                return


def _sleep(site: Site, document: Document) -> Iterator[Mistake]:
    at = ("serving", "when_idle")
    if site.provider != "local":
        problem = "sleep is for provider local: in a cluster a pod that sleeps would keep its GPU from all others"
        yield document.at_value(at, problem, "write stop, or leave it out")
    elif site.serving.engine == "llamacpp":
        yield document.at_value(at, "sleep is what vLLM can do, and engine is llamacpp", "write stop, or engine: auto")
