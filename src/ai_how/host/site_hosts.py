"""What the hosts of a site have that its file does not declare."""

from __future__ import annotations

from ai_how.capacity.demand import hosts_of
from ai_how.capacity.types import HostCapacity
from ai_how.errors import SpecError
from ai_how.host.capacity import observe_capacity
from ai_how.host.root import Root
from ai_how.site.spec import Site


def observe_site_hosts(site: Site) -> dict[str, HostCapacity]:
    """Capacity by host name.

    Raises:
        SpecError: a host is another machine, and nothing is declared about it.
    """
    found = {}
    for host in hosts_of(site):
        if host.declared is not None:
            continue
        if site.provider != "libvirt" or "://" not in host.uri or host.uri.split("://", 1)[1].split("/", 1)[0]:
            raise SpecError(
                f"what host {host.name} has is not known",
                evidence=f"{host.address or host.uri} is another machine, which this version does not look at",
                next_step=f"write what it has under hosts, {host.name}: declared (cores, memory_gib, disk_gib, gpus)",
            )
        found[host.name] = observe_capacity(Root(), name=host.name, disk_path=host.storage_path)
    return found
