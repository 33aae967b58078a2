"""What spans several keys of hosts and clusters: what cannot work is a mistake, what is unwise is a warning.

A mistake is what would fail or be pointless whatever the hosts have: no quorum, a role in the wrong kind of cluster,
two networks that overlap. Sizes beyond the resource requirements' limits are warnings, as nothing breaks by them; more
GPUs a worker than they allow is a mistake, because passing them through is not planned for. Whether the nodes fit on
the hosts is not looked at here. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from ai_how.accelerators.catalogue import by_name
from ai_how.site.clusters import Cluster, Host, Node
from ai_how.site.mistakes import Key, Mistake
from ai_how.site.roles import DEFAULTS, KIND_ROLES, LIMITS, SUBNETS, Role
from ai_how.site.spec import Site
from ai_how.site.words import either, nearest
from ai_how.site.yaml_lines import Document


def cluster_mistakes(site: Site, document: Document) -> Iterator[Mistake]:
    """What cannot work, each at its line."""
    if site.provider == "local":
        yield from _not_for_local(document)
        return
    yield from _hosts(site, document)
    for name, cluster in site.planned_clusters.items():
        at: Key = ("clusters", name)
        yield from _control_plane(cluster, document, at)
        names = {host.name for host in site.hosts}
        for index, node in enumerate(cluster.nodes):
            yield from _node(node, cluster, document, (*at, "nodes", index))
            if node.host is not None and node.host not in names:
                near = nearest(node.host, names)
                remedy = f"the hosts are {', '.join(sorted(names))}" if names else "describe it under hosts"
                remedy = f"did you mean {near[0]}?" if len(near) == 1 else remedy
                yield document.at_value((*at, "nodes", index, "host"), f"there is no host {node.host}", remedy)
    yield from _subnets(site, document)
    yield from _turns(site, document)


def _not_for_local(document: Document) -> Iterator[Mistake]:
    for key in ("release", "pins", "hosts", "clusters", "schedule", "placement", "storage"):
        if document.data.get(key):
            yield document.at_key((key,), "is not for provider local", "write provider: libvirt or inventory")


def _hosts(site: Site, document: Document) -> Iterator[Mistake]:
    names: dict[str, int] = {}
    places: dict[str, int] = {}
    for index, host in enumerate(site.hosts):
        at: Key = ("hosts", index)
        if names.setdefault(host.name, index) != index:
            yield document.at_value((*at, "name"), f"{host.name} is the name of another host too", "write another one")
        yield from _address(site, host, document, at)
        place = _reached(site, host) if site.provider == "inventory" else host.uri
        # machines that are only declared need no address yet
        if place and host.declared is None and places.setdefault(place, index) != index:
            other = site.hosts[places[place]].name
            yield document.at_key(at, f"is the same machine as host {other}: {place}", "write its own uri or address")
        seen: set[str] = set()
        for number, card in enumerate(host.cards):
            if card.address in seen:
                problem = f"{card.address} has another entry already"
                yield document.at_value((*at, "cards", number, "address"), problem, "write one entry a card")
            seen.add(card.address)
        if host.declared is not None:
            yield from _declared_gpus(host, document, (*at, "declared"))


def _reached(site: Site, host: Host) -> str:
    if host.address is None:
        return ""
    port = host.ssh.port or site.ssh.port
    # one address may stand for several machines, each behind a port of its own
    return f"{host.address.rpartition('@')[2]} port {port}" if port else host.address


def _address(site: Site, host: Host, document: Document, at: Key) -> Iterator[Mistake]:
    if site.provider == "libvirt" and host.address is not None:
        yield document.at_key(
            (*at, "address"), "is for provider inventory", "write uri, such as qemu+ssh://host/system"
        )
    if site.provider == "inventory":
        for key in ("uri", "reserve", "cards"):
            if key in host.model_fields_set:
                yield document.at_key((*at, key), "is for provider libvirt", "remove it: a server is a node as a whole")
        if host.address is None and host.declared is None:
            yield document.at_key(at, "has no address", "write address: and user@host, or declare what it has")


def _declared_gpus(host: Host, document: Document, at: Key) -> Iterator[Mistake]:
    declared = host.declared
    assert declared is not None  # noqa: S101 - the caller's own condition
    if declared.threads is not None and declared.threads < declared.cores:
        yield document.at_value((*at, "threads"), f"{declared.threads} is less than the cores", "write all threads")
    for index, gpus in enumerate(declared.gpus):
        if gpus.memory_gib is None and by_name(gpus.model) is None:
            problem = f"{gpus.model} is not in the catalogue of GPUs"
            yield document.at_value((*at, "gpus", index, "model"), problem, "write its memory_gib too")
        if gpus.addresses and len(set(gpus.addresses)) != gpus.count:
            problem = f"{len(set(gpus.addresses))} different addresses for {gpus.count} cards"
            yield document.at_value((*at, "gpus", index, "addresses"), problem, "write one for each card, or none")
        if gpus.numa_node is not None and gpus.numa_node >= declared.numa_nodes:
            problem = f"{gpus.numa_node} is no NUMA node of {host.name}"
            remedy = f"it has {declared.numa_nodes}, counted from 0: see numa_nodes"
            yield document.at_value((*at, "gpus", index, "numa_node"), problem, remedy)


def _control_plane(cluster: Cluster, document: Document, at: Key) -> Iterator[Mistake]:
    if cluster.kind != "cloud" or not cluster.nodes:
        return
    groups = [(index, node) for index, node in enumerate(cluster.nodes) if node.role == "control-plane"]
    count = sum(node.count for _, node in groups)
    if count == 0:
        yield document.at_key((*at, "nodes"), "a cloud cluster needs a control plane", "add role: control-plane")
    elif count % 2 == 0:
        yield document.at_value(
            (*at, "nodes", groups[-1][0], "count"),
            f"{count} control plane nodes survive no more failures than {count - 1}: etcd needs a majority",
            f"write {count - 1 if count > 2 else 1} or {count + 1}",
        )
    if all(node.role == "control-plane" for node in cluster.nodes):
        yield document.at_key((*at, "nodes"), "a cloud cluster needs a worker", "add role: cpu-worker or gpu-worker")


def _node(node: Node, cluster: Cluster, document: Document, at: Key) -> Iterator[Mistake]:
    roles = KIND_ROLES[cluster.kind]
    if node.role not in roles:
        problem = f"{node.role} does not belong in a cluster of kind {cluster.kind}"
        yield document.at_value((*at, "role"), problem, f"write {either(roles)}")
        return
    if node.gpus and not DEFAULTS[node.role].gpus:
        problem = f"a {node.role} gets no GPU"
        yield document.at_value((*at, "gpus"), problem, f"use role: {roles[-1]} for nodes with GPUs")
    if node.gpus == 0 and node.role == "gpu-worker":
        yield document.at_value((*at, "gpus"), "a gpu-worker needs a GPU", "use role: cpu-worker for nodes without")
    limit = LIMITS.get(node.role)
    if limit and limit.gpus and node.gpus and node.gpus > limit.gpus:
        problem = f"{node.gpus} GPUs in one worker, the limit is {limit.gpus}"
        yield document.at_value((*at, "gpus"), problem, "use more workers with fewer GPUs each")
    yield from _named_cards(node, document, at)
    if node.gpu_model is not None and by_name(node.gpu_model) is None and not node.gpu_model.strip():
        yield document.at_value(
            (*at, "gpu_model"), "is empty", "write a card's name, such as RTX A6000, or remove the line"
        )


def _named_cards(node: Node, document: Document, at: Key) -> Iterator[Mistake]:
    named = node.gpu_addresses
    if not named:
        return
    if node.count > 1:
        problem = f"{node.count} nodes cannot all have the same cards"
        yield document.at_value((*at, "count"), problem, "write an entry for each node, with cards of its own")
    if len(set(named)) < len(named):
        yield document.at_value((*at, "gpu_addresses"), "names a card twice", "write each address once")
    if node.gpus is not None and node.gpus != len(named):
        problem = f"{node.gpus} GPUs, but {len(named)} in gpu_addresses"
        yield document.at_value((*at, "gpus"), problem, "remove the line: it follows from gpu_addresses")


def _subnets(site: Site, document: Document) -> Iterator[Mistake]:
    networks: dict[str, IPv4Network] = {}
    for name, cluster in site.planned_clusters.items():
        at: Key = ("clusters", name, "subnet")
        if site.provider == "inventory" and cluster.subnet is None:
            continue
        text = cluster.subnet or SUBNETS[cluster.kind]
        try:
            network = IPv4Network(text)
        except ValueError as error:
            yield document.at_value(at, f"{text} is no network", str(error))
            continue
        nodes = sum(node.count for node in cluster.node_groups)
        # the network's own address, the broadcast address and the gateway's are not the nodes'
        if network.num_addresses - 3 < nodes:
            problem = f"{text} has no addresses for {nodes} nodes"
            yield document.at_value(at, problem, "write a larger one, such as 192.168.200.0/22")
        yield from _bridge(cluster, network, document, ("clusters", name, "network"))
        for other, taken in networks.items():
            # servers of several clusters may well share a network
            if network.overlaps(taken) and site.provider != "inventory":
                yield document.at_value(at, f"{text} overlaps {taken} of cluster {other}", "write another subnet")
        networks[name] = network


def _bridge(cluster: Cluster, subnet: IPv4Network, document: Document, at: Key) -> Iterator[Mistake]:
    written = [((*at, "gateway"), cluster.network.gateway)] if cluster.network.gateway else []
    written += [((*at, "nameservers", index), text) for index, text in enumerate(cluster.network.nameservers)]
    for key, text in written:
        try:
            address = IPv4Address(text)
        except ValueError as error:
            yield document.at_value(key, f"{text} is no address", str(error))
            continue
        if key[-1] == "gateway" and address not in subnet:
            yield document.at_value(key, f"{text} is not in the cluster's subnet {subnet}", "write one that is")


def _turns(site: Site, document: Document) -> Iterator[Mistake]:
    always = [name for name, cluster in site.planned_clusters.items() if cluster.start == "always"]
    if site.schedule == "in-turns" and len(always) > 1:
        problem = f"{either(always).replace(' or ', ' and ')} cannot start by themselves when they run in turns"
        for name in always[1:]:
            yield document.at_value(("clusters", name, "start"), problem, "write start: manual for all but one")


def cluster_warnings(site: Site, document: Document) -> Iterator[Mistake]:
    """What works but exceeds the resource requirements' limits, each at its line."""
    for name, cluster in site.planned_clusters.items():
        at: Key = ("clusters", name, "nodes")
        counts: dict[Role, int] = {}
        for index, node in enumerate(cluster.nodes):
            limit = LIMITS.get(node.role)
            if limit is None:
                continue
            counts[node.role] = counts.get(node.role, 0) + node.count
            yield from _sizes(node, document, (*at, index))
            if limit.count and counts[node.role] > limit.count >= counts[node.role] - node.count:
                yield document.at_value(
                    (*at, index, "count"),
                    f"{counts[node.role]} {node.role} nodes, the resource requirements go up to {limit.count}",
                    "split the cluster, or measure before you rely on it",
                )


def _sizes(node: Node, document: Document, at: Key) -> Iterator[Mistake]:
    limit = LIMITS[node.role]
    for key, most, unit in (("vcpus", limit.vcpus, "vCPUs"), ("memory_gib", limit.memory_gib, "GiB")):
        value = getattr(node, key)
        if value is not None and value > most:
            problem = f"{value} {unit}, the resource requirements go up to {most} for a {node.role}"
            yield document.at_value((*at, key), problem, "more nodes of the usual size are easier to place")
    if node.gpus and limit.gpus_typical < node.gpus <= limit.gpus:
        problem = f"{node.gpus} GPUs in one worker; 1 or 2 are typical with passthrough"
        yield document.at_value((*at, "gpus"), problem, "more GPUs share one virtual PCI tree and one NUMA node")
