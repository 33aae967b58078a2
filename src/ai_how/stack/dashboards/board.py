"""A dashboard as data, and as the JSON that Grafana reads. Pure.

Only what our dashboards use: time series and single values, laid out in rows. Source of the JSON's form: Grafana's
dashboard schema, version 41.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 41
WIDTH = 24
"""Columns of Grafana's grid."""
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Unit = Literal["short", "percent", "percentunit", "bytes", "mbytes", "s", "reqps", "celsius", "watt", "Bps", "ops"]


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query in PromQL; ``legend`` is made of its labels: ``{{pod}}``."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One figure. ``about`` says what to make of it; ``red_above`` colours a value, in the panel's unit."""

    title: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    kind: Literal["timeseries", "stat"] = "timeseries"
    about: str = ""
    red_above: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels side by side, of one height."""

    panels: tuple[Panel, ...]
    height: int = 8


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A choice at the top, from a label's values."""

    name: str
    query: str


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """A dashboard; ``uid`` is its place in addresses and never changes."""

    uid: str
    title: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
    tags: tuple[str, ...] = ("ai-how",)

    def queries(self) -> tuple[str, ...]:
        """Every query, those of the choices left out."""
        return tuple(query.expr for row in self.rows for panel in row.panels for query in panel.queries)


def grafana_json(board: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in board.rows:
        width = WIDTH // len(row.panels)
        for index, panel in enumerate(row.panels):
            place = {"h": row.height, "w": width, "x": index * width, "y": top}
            panels.append(_panel(panel, number=len(panels) + 1, place=place))
        top += row.height
    return {
        "uid": board.uid,
        "title": board.title,
        "tags": list(board.tags),
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables(board.variables)},
        "panels": panels,
    }


def _panel(panel: Panel, *, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_above is not None:
        steps.append({"color": "red", "value": panel.red_above})
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries" and panel.red_above is not None:
        defaults["custom"] = {"thresholdsStyle": {"mode": "line"}}
    found: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "gridPos": place,
        "datasource": _SOURCE,
        "targets": [_target(query, index) for index, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }
    if panel.kind == "stat":
        found["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
    else:
        found["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return found


def _target(query: Query, index: int) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + index),
        "datasource": _SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
    }


def _variables(wanted: Sequence[Variable]) -> list[dict[str, Any]]:
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return [
        source,
        *(
            {
                "name": each.name,
                "type": "query",
                "datasource": _SOURCE,
                "query": {"query": each.query, "refId": each.name},
                "definition": each.query,
                "refresh": 2,
                "includeAll": True,
                "multi": True,
                "allValue": ".*",
                "sort": 1,
            }
            for each in wanted
        ),
    ]
