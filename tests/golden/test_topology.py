"""A site's picture as text and as SVG, for a site that fits and for one that does not."""

from __future__ import annotations

import click
import pytest

from ai_how.capacity.demand import request_of
from ai_how.capacity.sizing import solve
from ai_how.cli.topology_text import topology_lines
from ai_how.machines.topology.assemble import Seen, assemble
from ai_how.machines.topology.picture import picture
from ai_how.machines.topology.types import Topology
from ai_how.site.load import load_site
from tests.golden.conftest import ROOT, Golden


def pictures() -> dict[str, Topology]:
    site = load_site(ROOT / "examples" / "libvirt.yaml")
    bridge = load_site(ROOT / "examples" / "bridge.yaml")
    request, small = request_of(site, {}), request_of(site, {})
    small = type(small)(needs=small.needs, hosts=small.hosts[1:], rules=small.rules, schedule=small.schedule)
    alone = site.model_copy(update={"hosts": site.hosts[1:]})
    seen = {
        "cloud-cpu-worker-1": Seen(host="small", state="off"),
        "hpc-controller-1": Seen(host="small", state="running"),
    }
    return {
        "libvirt": assemble(site, request, solve(request), seen=None, unseen="no connection to big"),
        "bridge": assemble(bridge, request_of(bridge, {}), solve(request_of(bridge, {})), seen={}),
        "conflicts": assemble(alone, small, solve(small), seen=seen),
    }


@pytest.mark.parametrize("name", ["libvirt", "bridge", "conflicts"])
def test_topology(golden: Golden, name: str) -> None:
    found = pictures()[name]
    golden(f"tests/golden/topology/{name}.txt", click.unstyle("\n".join(topology_lines(found))) + "\n")
    golden(f"tests/golden/topology/{name}.svg", picture(found))
