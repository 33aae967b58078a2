"""Sizing plans as they are printed, as text and as JSON."""

from __future__ import annotations

import json

import pytest

from ai_how.capacity.demand import request_of
from ai_how.capacity.report import SizingReport, make_report
from ai_how.capacity.sizing_document import sizing_to_json
from ai_how.cli.sizing_text import sizing_lines
from ai_how.site.load import load_site
from tests.golden.conftest import ROOT, Golden
from tests.sizing import on_tier


def reports() -> dict[str, SizingReport]:
    site = load_site(ROOT / "examples" / "libvirt.yaml")
    cloud, both = frozenset({"cloud"}), frozenset({"cloud", "hpc"})
    return {
        "libvirt": make_report(request_of(site, {}), site=site.name, kinds=both),
        "minimum-fit": make_report(on_tier("minimum", "cloud"), site="s", kinds=cloud, tier="minimum", to_fit=True),
        "production-both": make_report(on_tier("production", "cloud", "hpc"), site="s", kinds=both, tier="production"),
    }


@pytest.mark.parametrize("name", ["libvirt", "minimum-fit", "production-both"])
def test_plan(golden: Golden, name: str) -> None:
    report = reports()[name]
    golden(f"tests/golden/sizing/{name}.txt", "\n".join(sizing_lines(report)) + "\n")
    golden(f"tests/golden/sizing/{name}.json", json.dumps(sizing_to_json(report), indent=1) + "\n")
