"""Which of a site's clusters a backup is about, and what its backups are called. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ai_how.errors import NotFoundError, SpecError
from ai_how.site.clusters import Cluster
from ai_how.site.spec import Site


def cluster_to_keep(site: Site, asked: str | None = None) -> str:
    """The cluster that is meant: the one that was asked for, else the only one with a stack, else the only one.

    Raises:
        NotFoundError: there is none with Kubernetes, or not that one.
        SpecError: there are several, and none was named.
    """
    clusters = site.planned_clusters
    able = [name for name, cluster in clusters.items() if cluster.has_kubernetes]
    if asked in able:
        return asked
    if asked is not None:
        raise _unable(site, asked, able)
    if not able:
        raise NotFoundError(
            f"no cluster of site {site.name} has Kubernetes",
            next_step="write a cluster of kind: cloud, without kubernetes: {enabled: false}; then: ai-how up",
        )
    meant = [name for name in able if clusters[name].has_stack] or able
    if len(meant) > 1:
        raise SpecError(
            f"site {site.name} has several clusters: say which",
            evidence="; ".join(_described(able, clusters)),
            next_step="the same command with --cluster NAME",
        )
    return meant[0]


def name_of_backups(site: Site, cluster: str) -> str:
    """Under which name a cluster's backups are listed.

    The site's name where it is the only one with a stack; else with the cluster's. So a cluster without a stack never
    shares a name, whatever other clusters the site file gets.
    """
    stacks = [name for name, each in site.planned_clusters.items() if each.has_stack]
    return site.name if stacks == [cluster] else f"{site.name}-{cluster}"


def _unable(site: Site, asked: str, able: list[str]) -> NotFoundError:
    if asked in site.planned_clusters:
        with_it = f"with Kubernetes: {', '.join(able)}" if able else "no cluster has it"
        return NotFoundError(f"cluster {asked!r} has no Kubernetes", evidence=with_it, next_step="ai-how plan")
    there = ", ".join(site.planned_clusters) or "none"
    return NotFoundError(
        f"site {site.name} has no cluster {asked!r}", evidence=f"there is: {there}", next_step="ai-how plan"
    )


def _described(names: list[str], clusters: Mapping[str, Cluster]) -> list[str]:
    groups = {
        "with a stack": [name for name in names if clusters[name].has_stack],
        "without one": [name for name in names if not clusters[name].has_stack],
    }
    return [f"{what}: {', '.join(found)}" for what, found in groups.items() if found]
