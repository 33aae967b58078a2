"""The kubernetes section of the site file: every mistake once, at its line, with what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_how.site.load import check_site_text, read_site_text

SITE = """\
name: lab
provider: libvirt
clusters:
  cloud:
    subnet: 10.1.0.0/24
    kubernetes:
"""


def mistakes(keys: str) -> list[str]:
    return [str(each) for each in check_site_text(SITE + keys, Path("ai-how.yaml"))[1]]


@pytest.mark.parametrize(
    ("keys", "line", "words"),
    [
        ("      pod_cidr: 10.0.0.0/8\n      service_cidr: 172.16.0.0/16\n", 7, "overlaps 10.1.0.0/24"),
        ("      service_cidr: 10.1.0.128/25\n", 7, "overlaps 10.1.0.0/24, the nodes' network of cluster cloud"),
        ("      pod_cidr: 10.233.0.0/17\n", 7, "overlaps 10.233.0.0/18 of service_cidr"),
        ("      pod_cidr: 10.9.0.0/24\n", 7, "10.9.0.0/24 has 256 addresses, 4 nodes may need 512"),
        ("      service_cidr: 10.9.0.0/26\n", 7, "has room for 64 services"),
        ("      pod_cidr: 10.9.0.1/18\n", 7, "10.9.0.1/18 is no network"),
        ("      service_cidr: 10.9.0.0/40\n", 7, "10.9.0.0/40 is no network"),
        ("      pod_cidr: ten\n", 7, "write an IPv4 network"),
        ("      pins: {kubernetes: 1.34.7}\n", 7, "it belongs at the top level"),
        ("      extra_vars: [a]\n", 7, "is not values by name; write names and their values below it"),
        ("      pod_cird: 10.9.0.0/18\n", 7, "did you mean pod_cidr?"),
    ],
)
def test_a_mistake_is_told_once_at_its_line(keys: str, line: int, words: str) -> None:
    found = [text for text in mistakes(keys) if words in text]
    assert len(found) == 1, mistakes(keys)
    assert found[0].startswith(f"ai-how.yaml:{line}:")


def test_ranges_must_keep_clear_of_every_cluster() -> None:
    keys = "      pod_cidr: 192.168.0.0/17\n  hpc:\n    kind: hpc\n"
    assert any("the nodes' network of cluster hpc" in text for text in mistakes(keys))


def test_only_cloud_clusters_have_kubernetes() -> None:
    keys = "      pod_cidr: 10.9.0.0/18\n  hpc:\n    kind: hpc\n    kubernetes: {pod_cidr: 10.8.0.0/18}\n"
    assert mistakes(keys) == [
        "ai-how.yaml:10:5: clusters.hpc.kubernetes: is for clusters of kind cloud, hpc is hpc; remove it"
    ]


def test_any_value_may_stand_under_extra_vars() -> None:
    keys = "      extra_vars:\n        a: 1\n        b: [x, {y: 2}]\n        c: {d: null}\n"
    site = check_site_text(SITE + keys, Path("ai-how.yaml"))[0]
    assert site is not None
    assert site.clusters["cloud"].kubernetes.extra_vars == {"a": 1, "b": ["x", {"y": 2}], "c": {"d": None}}


@pytest.mark.parametrize(("more", "warned"), [("", True), ("    kubernetes: {enabled: false}\n", False)])
def test_a_network_without_a_way_out_is_warned_about(more: str, warned: bool) -> None:
    text = SITE.replace("    kubernetes:\n", "") + "    network: {mode: isolated}\n" + more
    site, mistakes, warnings = read_site_text(text, Path("ai-how.yaml"))
    assert site is not None, mistakes
    said = [str(each) for each in warnings if "no way out" in str(each)]
    assert bool(said) == warned
    assert all(text.startswith("ai-how.yaml:6:") for text in said)


def test_kubernetes_can_be_left_out_of_a_cloud_cluster_and_is_never_in_another() -> None:
    text = SITE + "      enabled: false\n  hpc: {kind: hpc}\n  more: {subnet: 10.2.0.0/24}\n"
    site, mistakes = check_site_text(text, Path("f"))
    assert site is not None, mistakes
    assert {name: each.has_kubernetes for name, each in site.planned_clusters.items()} == {
        "cloud": False,
        "hpc": False,
        "more": True,
    }
