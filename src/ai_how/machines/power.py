"""Machines switched on and off by hand, one or a whole cluster. Owns the order and the waiting; never makes anything.

Whatever brings a machine up ends in ``LibvirtProvider.bring_up``, so that what must happen before a start happens
always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ai_how.apply.provider import Say
from ai_how.errors import AiHowError, NotFoundError
from ai_how.machines import domains
from ai_how.machines.sight import wish_for
from ai_how.machines.standing import Standing
from ai_how.machines.turns import check_turn

if TYPE_CHECKING:
    from ai_how.machines.provider import LibvirtProvider

STOP_TIMEOUT_S = 120


def start_machines(provider: LibvirtProvider, nodes: Sequence[str]) -> dict[str, str]:
    """Start machines side by side and wait until each is ready; how each came up, by node.

    Raises:
        NotFoundError: one of them is not made yet. Nothing was started then.
        ConflictError: clusters take turns, and another one has it. Nothing was started then.
        ProviderError: one did not come up; the evidence is the end of its serial log. The others were waited for.
    """
    machines = provider.standing
    for node in nodes:
        check_turn(provider.site, provider.find(node).cluster, running=provider.running_clusters)

    def start(node: str) -> str:
        seen_ready = provider.state.resources().get(f"machine/{node}", {}).get("run")
        if machines[node].found.running and seen_ready == machines[node].found.run:
            return "runs already"
        wish = wish_for(provider, machines[node])
        if wish is None:
            raise NotFoundError(f"the site file no longer asks for {node}", next_step="ai-how plan")
        return provider.bring_up(wish)

    return _side_by_side(nodes, start, at_once=provider.parallel)


def stop_machines(machines: Sequence[Standing], say: Say, *, timeout_s: float = STOP_TIMEOUT_S) -> dict[str, str]:
    """Shut machines down side by side, hard where one does not obey in time; how each ended, by node."""
    several = len({machine.host for machine in machines}) > 1
    by_node = {machine.node: machine for machine in machines}

    def stop(node: str) -> str:
        machine = by_node[node]
        say(f"stopping {node}{f' on {machine.host}' if several else ''}")
        return domains.stop_machine(machine.connect, machine.name, timeout_s=timeout_s)

    return _side_by_side(list(by_node), stop, at_once=len(by_node))


def start_cluster(provider: LibvirtProvider, cluster: str) -> dict[str, str]:
    """Start a cluster's machines; how each came up. As ``start_machines``."""
    return start_machines(provider, _nodes_of(provider, cluster))


def stop_cluster(
    provider: LibvirtProvider, cluster: str, say: Say, *, timeout_s: float = STOP_TIMEOUT_S
) -> dict[str, str]:
    """Shut a cluster's machines down; how each ended, by node: those that were on.

    Raises:
        NotFoundError: nothing of it is made yet.
    """
    machines = [provider.standing[node] for node in _nodes_of(provider, cluster)]
    return stop_machines([one for one in machines if one.found.state != "off"], say, timeout_s=timeout_s)


def _nodes_of(provider: LibvirtProvider, cluster: str) -> list[str]:
    nodes = [node for node, machine in provider.standing.items() if machine.cluster == cluster]
    if not nodes:
        raise NotFoundError(f"cluster {cluster} is not made yet", next_step="ai-how up")
    return nodes


def _side_by_side(nodes: Sequence[str], do: Callable[[str], str], *, at_once: int) -> dict[str, str]:
    """Do it for every node; the first failure is raised when all have ended."""
    said: dict[str, str] = {}
    errors: list[AiHowError] = []
    with ThreadPoolExecutor(max_workers=max(1, at_once)) as pool:
        for node, future in [(node, pool.submit(do, node)) for node in nodes]:
            try:
                said[node] = future.result()
            except AiHowError as error:
                errors.append(error)
    if errors:
        raise errors[0]
    return said
