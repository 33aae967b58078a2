"""Where a site's nodes go: the sizing solver's answer, with what is there already kept where it is.

A card that another site's running machine has is left alone as long as there is another way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ai_how.capacity.demand import request_of
from ai_how.capacity.rooms import gpu_serves
from ai_how.capacity.sizing import Fit, solve
from ai_how.capacity.types import HostCapacity, NodeNeed, PlacedNode, SizingRequest
from ai_how.errors import SpecError
from ai_how.site.spec import Site

Held = Mapping[str, Mapping[str, str]]
"""Cards that machines of others run with: host -> the GPU's PCI address -> who that is, in words."""


def place_nodes(
    site: Site,
    capacities: Mapping[str, HostCapacity],
    *,
    kept: Mapping[str, str],
    cards: Mapping[str, Sequence[str]] | None = None,
    held: Held | None = None,
) -> tuple[PlacedNode, ...]:
    """Every node with its host.

    Args:
        capacities: What each host has that the site file does not declare, by name.
        kept: Node name -> host, for machines that are there: a machine is never moved by a plan.
        cards: Node name -> addresses of the GPUs that its machine was made with. They stay with it while they can.

    Raises:
        SpecError: they do not fit; the evidence names the rules that bind.
    """
    request = request_of(site, capacities)
    request = replace(request, needs=tuple(replace(n, host=kept.get(n.name, n.host)) for n in request.needs))
    for attempt in _attempts(request, cards or {}, held or {}):
        solution = solve(attempt)
        if solution.fit is Fit.FITS:
            # what a node keeps is not what it asked for
            needs = {need.name: need for need in request.needs}
            return tuple(replace(node, need=needs[node.need.name]) for node in solution.placed)
    lines = [f"{binding.rule}: {binding.what}" for binding in solution.bindings] or [solution.why]
    raise SpecError(
        f"the clusters of site {site.name} do not fit",
        evidence="\n".join([*lines, *_blocked(request)]),
        next_step="ai-how plan --fit shows the largest that fits",
    )


def passed_over(
    site: Site, capacities: Mapping[str, HostCapacity], placed: Sequence[PlacedNode], *, held: Held
) -> Iterator[str]:
    """In words, each card that a node could have got if nobody else ran with it."""
    for offer in request_of(site, capacities).hosts:
        here = [node for node in placed if node.need.gpus and node.host == offer.name]
        given = {index for node in here for index in node.gpus}
        for index, gpu in enumerate(offer.capacity.gpus):
            who = held.get(offer.name, {}).get(gpu.pci_address)
            if who and index not in given and any(gpu_serves(gpu, node.need) for node in here):
                yield f"{gpu.name} {gpu.pci_address} of {offer.name} was passed over: {who} has it"


def _attempts(request: SizingRequest, cards: Mapping[str, Sequence[str]], held: Held) -> Iterator[SizingRequest]:
    """What to try to place, the best first, each once: the last is what was asked for, with every card."""
    free = _without(request, held)
    tried: list[SizingRequest] = []
    for attempt in (_keeping(free, cards), free, _keeping(request, cards), request):
        if attempt not in tried:
            tried.append(attempt)
            yield attempt


def _without(request: SizingRequest, held: Held) -> SizingRequest:
    def left(offer_name: str, address: str, blocked: str) -> str:
        return held.get(offer_name, {}).get(address) or blocked

    hosts = tuple(
        replace(
            offer,
            capacity=replace(
                offer.capacity,
                gpus=tuple(
                    replace(gpu, blocked=left(offer.name, gpu.pci_address, gpu.blocked)) for gpu in offer.capacity.gpus
                ),
            ),
        )
        for offer in request.hosts
    )
    return replace(request, hosts=hosts)


def _keeping(request: SizingRequest, cards: Mapping[str, Sequence[str]]) -> SizingRequest:
    """The request with the cards of machines that are there asked for by address, where they still serve."""
    hosts = {offer.name: offer.capacity.gpus for offer in request.hosts}

    def keep(need: NodeNeed) -> NodeNeed:
        kept = [gpu for gpu in hosts.get(need.host, ()) if gpu.pci_address in cards.get(need.name, ())]
        if not kept or len(kept) != need.gpus or not all(gpu_serves(gpu, need) for gpu in kept):
            return need
        return replace(need, gpu_addresses=tuple(gpu.pci_address for gpu in kept))

    return replace(request, needs=tuple(map(keep, request.needs)))


def _blocked(request: SizingRequest) -> Iterator[str]:
    """The cards that cannot be given away, where a node asks for one."""
    if any(need.gpus for need in request.needs):
        for offer in request.hosts:
            for gpu in offer.capacity.gpus:
                if gpu.blocked:
                    yield f"{gpu.name} {gpu.pci_address} of {offer.name}: {gpu.blocked}"
