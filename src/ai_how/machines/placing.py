"""Where a site's nodes go: the sizing solver's answer, with what is there already kept where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ai_how.capacity.demand import request_of
from ai_how.capacity.sizing import Fit, solve
from ai_how.capacity.types import HostCapacity, PlacedNode
from ai_how.errors import SpecError
from ai_how.site.spec import Site


def place_nodes(
    site: Site, capacities: Mapping[str, HostCapacity], *, kept: Mapping[str, str]
) -> tuple[PlacedNode, ...]:
    """Every node with its host.

    Args:
        capacities: What each host has that the site file does not declare, by name.
        kept: Node name -> host, for machines that are there: a machine is never moved by a plan.

    Raises:
        SpecError: they do not fit; the evidence names the rules that bind.
    """
    request = request_of(site, capacities)
    needs = tuple(replace(need, host=kept.get(need.name, need.host)) for need in request.needs)
    solution = solve(replace(request, needs=needs))
    if solution.fit is not Fit.FITS:
        lines = [f"{binding.rule}: {binding.what}" for binding in solution.bindings] or [solution.why]
        raise SpecError(
            f"the clusters of site {site.name} do not fit",
            evidence="\n".join(lines),
            next_step="ai-how plan --fit shows the largest that fits",
        )
    return solution.placed
