"""A part of the stack as a resource of a plan: its name, and settings that change when it has to be applied. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ai_how.kubernetes_api.marks import Mark
from ai_how.plan.model import Resource, settings_digest
from ai_how.stack.objects import Chart
from ai_how.stack.part import Part

PREFIX = "stack/"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A part that is wanted on a cluster."""

    site: str
    cluster: str
    part: Part

    @property
    def name(self) -> str:
        """Of its resource."""
        return resource_name(self.cluster, self.part.name)

    @property
    def mark(self) -> Mark:
        """What its objects bear."""
        return Mark(site=self.site, component=self.part.name)

    @property
    def needs(self) -> tuple[str, ...]:
        """The resources that come before it: its cluster's Kubernetes and the parts that it stands on."""
        others = (resource_name(self.cluster, need) for need in self.part.component.needs)
        return (f"kubernetes/{self.cluster}", *others)

    @property
    def settings(self) -> dict[str, Any]:
        """What is recorded once it was applied; a digest stands for what may be long or private."""
        component = self.part.component
        kept = {
            "objects": component.objects,
            "secrets": [asdict(secret) for secret in component.secrets],
            "manifests": [asdict(manifest) for manifest in self.part.manifests],
            "awaited": [asdict(each) for each in component.awaited],
        }
        return {
            "version": self.part.version,
            "digest": settings_digest(kept),
            "charts": {chart.release: chart_settings(chart) for chart in component.charts},
            "needs": list(self.needs),
        }

    def resource(self) -> Resource:
        """As a resource of a plan."""
        return Resource(name=self.name, settings=self.settings, needs=self.needs)


def resource_name(cluster: str, part: str) -> str:
    """The resource of a part on a cluster."""
    return f"{PREFIX}{cluster}/{part}"


def split_name(resource: str) -> tuple[str, str]:
    """Cluster and part of such a resource."""
    cluster, _, part = resource.removeprefix(PREFIX).partition("/")
    return cluster, part


def chart_settings(chart: Chart) -> dict[str, str]:
    """What tells one installation of a chart from another; values may be private, so only their digest is kept."""
    return {"chart": f"{chart.name} {chart.version}", "digest": chart_digest(chart)}


def chart_digest(chart: Chart) -> str:
    """Equal for the same chart, version and values."""
    return settings_digest({"name": chart.name, "version": chart.version, "values": chart.values})


def charts_in_order(charts: Iterable[Chart]) -> tuple[Chart, ...]:
    """Each chart behind those of the same part that it needs."""
    left, placed = list(charts), list[Chart]()
    names = {chart.release for chart in left}
    while left:
        done = {chart.release for chart in placed}
        ready = next(chart for chart in left if set(chart.needs) & names <= done)
        placed.append(ready)
        left.remove(ready)
    return tuple(placed)


def digests(settings: Mapping[str, Any]) -> str:
    """A short name for recorded settings."""
    return settings_digest(settings)
