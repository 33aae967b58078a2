"""What the hosts of a site have: as the site file declares it, else as they are seen. Looks, changes nothing.

Sees this machine by itself; for another one the caller brings who asks it.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from ai_how.capacity.demand import declared_capacity, hosts_of
from ai_how.capacity.types import HostCapacity
from ai_how.errors import SpecError
from ai_how.host.capacity import observe_capacity
from ai_how.host.checks.passthrough import gpu_capacities
from ai_how.host.facts.passthrough import observe_passthrough
from ai_how.host.root import Root
from ai_how.site.clusters import Host
from ai_how.site.spec import Site

AskFar = Callable[[Host], HostCapacity]
"""Asks another machine that runs libvirt what it has."""


def observe_site_hosts(site: Site, *, ask_far: AskFar) -> dict[str, HostCapacity]:
    """By name, what the hosts have that the site file does not declare.

    Raises:
        SpecError: one of them is another machine without libvirt.
        ProviderError: a machine does not tell what it has; also what ``ask_far`` raises.
    """
    return {host.name: _observed(site, host, ask_far) for host in hosts_of(site) if host.declared is None}


def site_hosts(site: Site, *, ask_far: AskFar) -> tuple[HostCapacity, ...]:
    """What every host of the site has, declared or observed, in the file's order; of provider local, this machine."""
    observed = observe_site_hosts(site, ask_far=ask_far)
    return tuple(
        declared_capacity(host.name, host.declared) if host.declared else observed[host.name] for host in hosts_of(site)
    )


def _observed(site: Site, host: Host, ask_far: AskFar) -> HostCapacity:
    if not is_this_machine(site, host):
        if site.provider == "libvirt":
            return ask_far(host)
        if not site.hosts:
            raise SpecError(
                f"site {site.name} names no servers to plan with",
                evidence="provider: inventory, without hosts",
                next_step="write hosts: with address: user@host for each server; or, to plan by size only, each with "
                "declared: (cores, memory_gib, disk_gib, gpus)",
            )
        raise SpecError(
            f"what host {host.name} has is not known",
            evidence=f"{host.address} is another machine, which cannot be asked before it is set up",
            next_step=f"write what it has under hosts, {host.name}: declared (cores, memory_gib, disk_gib, gpus)",
        )
    taken = {card.address for card in host.cards if card.allow_in_use}
    gpus = gpu_capacities(observe_passthrough(Root()), allow_in_use=taken)
    return observe_capacity(Root(), name=host.name, disk_path=_disk_path(site, host), gpus=gpus)


def is_this_machine(site: Site, host: Host) -> bool:
    """Whether a host of the site is the machine that this runs on, by its address."""
    if site.provider == "libvirt":
        # without a host name, libvirt's address means this machine: qemu:///system, but not qemu+ssh://far/system
        return bool(urlsplit(host.uri).scheme) and not urlsplit(host.uri).netloc
    return site.provider == "local"


def _disk_path(site: Site, host: Host) -> str:
    """The folder where images and volumes will lie."""
    return host.storage_path if site.provider == "libvirt" else site.state_dir or "."
