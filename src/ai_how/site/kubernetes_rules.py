"""What spans several keys of a cluster's Kubernetes section: address ranges that collide or are too small. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from ai_how.site.clusters import Cluster
from ai_how.site.mistakes import Key, Mistake
from ai_how.site.roles import SUBNETS
from ai_how.site.spec import Site
from ai_how.site.yaml_lines import Document

NODE_ADDRESSES = 128
"""What a full node takes of the pod range: 110 pods (kubelet's limit) in Calico's blocks of 64 addresses.

Source: Kubespray's ``kubelet_max_pods`` and ``calico_pool_blocksize``.
"""
_FEWEST_SERVICES = 256


def kubernetes_mistakes(site: Site, document: Document) -> Iterator[Mistake]:
    """What cannot work, each at its line."""
    for name, cluster in site.planned_clusters.items():
        at: Key = ("clusters", name, "kubernetes")
        if cluster.kind != "cloud":
            if "kubernetes" in cluster.model_fields_set:
                problem = f"is for clusters of kind cloud, {name} is {cluster.kind}"
                yield document.at_key(at, problem, "remove it")
            continue
        yield from _ranges(site, cluster, document, at)


def kubernetes_warnings(site: Site, document: Document) -> Iterator[Mistake]:
    """What works only with something else at hand, each at its line."""
    for name, cluster in site.planned_clusters.items():
        if cluster.has_kubernetes and site.provider == "libvirt" and cluster.network.mode == "isolated":
            yield document.at_value(
                ("clusters", name, "network", "mode"),
                "isolated has no way out, and Kubernetes is downloaded by the machines",
                "write nat or routed, have a bundle (ai-how bundle), or kubernetes: {enabled: false}",
            )


def _ranges(site: Site, cluster: Cluster, document: Document, at: Key) -> Iterator[Mistake]:
    found: dict[str, IPv4Network] = {}
    for key in ("pod_cidr", "service_cidr"):
        text = getattr(cluster.kubernetes, key)
        try:
            found[key] = IPv4Network(text)
        except ValueError as error:
            yield document.at_value((*at, key), f"{text} is no network", str(error))
            continue
        yield from _against_subnets(site, found[key], document, (*at, key))
    pods, services = found.get("pod_cidr"), found.get("service_cidr")
    if pods and services and pods.overlaps(services):
        problem = f"{pods} overlaps {services} of service_cidr"
        yield document.at_value((*at, "pod_cidr"), problem, "write two ranges that are apart")
    nodes = sum(node.count for node in cluster.node_groups)
    if pods and pods.num_addresses < nodes * NODE_ADDRESSES:
        problem = f"{pods} has {pods.num_addresses} addresses, {nodes} nodes may need {nodes * NODE_ADDRESSES}"
        yield document.at_value((*at, "pod_cidr"), problem, "write a larger range, such as 10.233.64.0/18")
    if services and services.num_addresses < _FEWEST_SERVICES:
        problem = f"{services} has room for {services.num_addresses} services"
        yield document.at_value((*at, "service_cidr"), problem, "write a range of /24 or larger")


def _against_subnets(site: Site, network: IPv4Network, document: Document, at: Key) -> Iterator[Mistake]:
    for name, cluster in site.planned_clusters.items():
        if site.provider == "inventory" and cluster.subnet is None:
            continue  # servers have the addresses that they have
        try:
            subnet = IPv4Network(cluster.subnet or SUBNETS[cluster.kind])
        except ValueError:
            continue  # reported where it stands
        if network.overlaps(subnet):
            problem = f"{network} overlaps {subnet}, the nodes' network of cluster {name}"
            yield document.at_value(at, problem, "write a range that nothing else uses")
