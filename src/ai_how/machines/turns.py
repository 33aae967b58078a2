"""Which clusters of a site shall run: those of the site file, and what was asked for. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from ai_how.errors import ConflictError, NotFoundError, SpecError
from ai_how.site.spec import Site


def clusters_to_run(site: Site, *, running: AbstractSet[str], asked: str | None = None) -> frozenset[str]:
    """The clusters whose machines shall be on.

    Side by side: those that start by themselves, and the one that was asked for. In turns: the one that was asked for,
    else the one that has the turn now, else the one that starts by itself.

    Args:
        running: Clusters with a machine that is on.
        asked: A cluster to start besides.
    """
    always = {name for name, cluster in site.planned_clusters.items() if cluster.start == "always"}
    if site.schedule == "side-by-side":
        return frozenset(always | ({asked} if asked else set()))
    if asked:
        return frozenset({asked})
    has_turn = sorted(running - always)
    return frozenset(has_turn[:1] if has_turn and not running & always else always)


def check_cluster(site: Site, cluster: str) -> None:
    """Refuse a cluster that the site does not have.

    Raises:
        SpecError: the site has no clusters at all.
        NotFoundError: it has others.
    """
    if not site.planned_clusters:
        raise SpecError(
            f"site {site.name} has no clusters",
            evidence=f"provider: {site.provider}",
            next_step="leave out --cluster",
        )
    if cluster not in site.planned_clusters:
        raise NotFoundError(
            f"there is no cluster {cluster!r} in site {site.name}",
            evidence="clusters: " + ", ".join(site.planned_clusters),
            next_step="ai-how validate",
        )


def check_turn(site: Site, cluster: str, *, running: AbstractSet[str]) -> None:
    """Refuse to start a cluster while another one has the turn.

    Raises:
        ConflictError: with ``schedule: in-turns`` another cluster runs.
    """
    others = sorted(running - {cluster})
    if site.schedule == "in-turns" and others:
        raise ConflictError(
            f"cluster {cluster} cannot start while {others[0]} runs: they take turns",
            evidence="schedule: in-turns",
            next_step=f"ai-how down --cluster {others[0]}",
        )
