"""The steps that give the turn to a cluster of a site on libvirt hosts, and those that take it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ai_how.errors import NotFoundError
from ai_how.machines.power import start_machines, stop_machines
from ai_how.machines.switch import Step, check_switch

if TYPE_CHECKING:
    from ai_how.machines.desired import MachineWish
    from ai_how.machines.provider import LibvirtProvider

Drain = Callable[[str], str]
"""Told a cluster that is about to stop: moves its work away, says how that ended."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A switch before it is made: which machines stop, which start, what is done, and how it is undone."""

    leaving: tuple[str, ...]
    stopping: tuple[str, ...]
    starting: tuple[str, ...]
    steps: tuple[Step, ...]
    back: tuple[Step, ...]


def plan_turn(
    provider: LibvirtProvider, cluster: str, *, fresh: Callable[[], LibvirtProvider], drain: Drain | None = None
) -> Turn:
    """What giving the turn to a cluster takes; no steps where it has it already. Changes nothing.

    Args:
        fresh: Opens the site anew: what it looks at is what is there then.
        drain: What moves a Kubernetes cluster's work away; machines are shut down in an orderly way without it.

    Raises:
        As ``check_switch``; NotFoundError: the cluster's machines are not made yet.
    """
    check_switch(provider.site, cluster)
    on = {node: machine for node, machine in provider.standing.items() if machine.found.state != "off"}
    stopping = [node for node, machine in on.items() if machine.cluster != cluster]
    wishes = [wish for wish in provider.look.wanted.machines.values() if wish.machine.cluster == cluster]
    missing = [wish.machine.node for wish in wishes if wish.machine.node not in provider.standing]
    if missing:
        raise NotFoundError(
            f"cluster {cluster} is not made yet", evidence="missing: " + ", ".join(missing), next_step="ai-how up"
        )
    nodes = [wish.machine.node for wish in wishes]
    leaving = tuple(sorted({on[node].cluster for node in stopping}))
    if not stopping and all(node in on and on[node].found.running for node in nodes):
        return Turn(leaving=(), stopping=(), starting=(), steps=(), back=())
    steps = [Step(name=f"drain {name}", do=_bound(drain, name)) for name in leaving if drain is not None]
    steps += [_stop(name, [n for n in stopping if on[n].cluster == name], fresh) for name in leaving]
    left = [provider.look.wanted.machines[node] for node in stopping if node in provider.look.wanted.machines]
    steps += _steps_of_cards(provider, left, wishes)
    steps += [_start(cluster, nodes, fresh), _check(provider, cluster, wishes)]
    started = [node for node in nodes if node not in on]
    back = [_stop(cluster, started, fresh)]
    back += [_start(name, [n for n in stopping if on[n].cluster == name], fresh) for name in leaving]
    return Turn(leaving=leaving, stopping=tuple(stopping), starting=tuple(nodes), steps=tuple(steps), back=tuple(back))


def _bound(drain: Drain, cluster: str) -> Callable[[], str]:
    return lambda: drain(cluster)


def _stop(cluster: str, nodes: Sequence[str], fresh: Callable[[], LibvirtProvider]) -> Step:
    def stop() -> str:
        standing = fresh().standing
        on = [standing[node] for node in nodes if node in standing and standing[node].found.state != "off"]
        return _counted(stop_machines(on, lambda _doing: None))

    return Step(name=f"stop {cluster}", do=stop)


def _start(cluster: str, nodes: Sequence[str], fresh: Callable[[], LibvirtProvider]) -> Step:
    return Step(name=f"start {cluster}", do=lambda: _counted(start_machines(fresh(), nodes)))


def _steps_of_cards(
    provider: LibvirtProvider, left: Sequence[MachineWish], wishes: Sequence[MachineWish]
) -> list[Step]:
    """Cards that were left must answer again; those that are wanted are bound."""
    wanting = [wish for wish in wishes if wish.machine.cards]
    leaving = [wish for wish in left if wish.machine.cards]

    def reset() -> str:
        return "; ".join(provider.card_hosts[wish.host].verify_reset(wish.machine) for wish in leaving)

    def bind() -> str:
        return "; ".join(provider.card_hosts[wish.host].prepare(wish.machine) for wish in wanting)

    steps = [Step(name="verify reset", do=reset)] if leaving else []
    return [*steps, Step(name="bind cards", do=bind)] if wanting else steps


def _check(provider: LibvirtProvider, cluster: str, wishes: Sequence[MachineWish]) -> Step:
    def check() -> str:
        said = [
            f"{wish.machine.node} {seen}"
            for wish in wishes
            if (seen := provider.card_hosts[wish.host].check_seen(provider.target(wish), wish.machine))
        ]
        return "; ".join(said) or "every machine is ready"

    return Step(name=f"check {cluster}", do=check)


def _counted(ended: dict[str, str]) -> str:
    """``2 shut down, 1 ended: it did not ...`` of how machines ended or came up, by node."""
    if not ended:
        return "none was on"
    words = list(ended.values())
    if len(set(words)) == 1 and len(words) > 1:
        return f"{len(words)} machines {words[0]}"
    return "; ".join(f"{node}: {how}" for node, how in ended.items())
