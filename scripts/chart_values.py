#!/usr/bin/env python3
"""Writes the keys that the charts of every release set know, read from unpacked charts.

    .venv/bin/python scripts/chart_values.py CHARTS_DIR

CHARTS_DIR holds each chart, with its subcharts, in a folder <name>-<version>: what `helm pull --untar` makes, renamed.
A chart that is not there is left as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ai_how.releases.sets import load_set, set_names
from ai_how.site.spec import Site
from ai_how.stack.chart_values import chart_keys, keys_text
from ai_how.stack.objects import Chart
from ai_how.stack.setting import setting_of
from ai_how.stack.upstream import chart, known

FOLDER = Path(__file__).parents[1] / "src" / "ai_how" / "stack" / "data" / "values"


def main(charts: Path) -> None:
    """Write a file for each chart that is there."""
    for each in charts_of_sets():
        name = f"{each.name}-{each.version}"
        if (charts / name).is_dir():
            head = (
                f"# Keys of chart {each.name} {each.version}, from its values.yaml, its templates and its subcharts.\n"
            )
            (FOLDER / f"{name}.txt").write_text(head + keys_text(chart_keys(charts / name)), encoding="utf-8")
        else:
            sys.stderr.write(f"not there: {name}\n")


def charts_of_sets() -> list[Chart]:
    """The charts of all release sets, without values."""
    site = Site(name="charts", provider="libvirt")
    settings = [setting_of(site, "cloud", load_set(name).versions) for name in set_names()]
    return [chart(name, setting, namespace="", values={}) for setting in settings for name in known("charts")]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
