"""Figures of a node's entry changed in the site file's text: nothing else moves."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_how.errors import SpecError
from ai_how.site.edit import edit_node
from ai_how.site.load import check_site_text
from ai_how.site.spec import Site

BLOCK = """# head
name: lab
provider: libvirt
clusters:
  c:   # a cluster
    kind: hpc
    nodes:
      # the first
      - role: hpc-controller   # beside
        memory_gib: 0x10  # hex

      - count: 1
        role: hpc-compute
    start: manual   # after the list
"""
FLOW = 'name: lab\nprovider: libvirt\nclusters: {c: {kind: hpc, nodes: [{"role": "hpc-controller", vcpus: 4}]}}\n'


def site_of(text: str) -> Site:
    site, mistakes = check_site_text(text, Path("ai-how.yaml"))
    assert site is not None, mistakes
    return site


def edited(text: str, index: int = 0, **changes: int) -> str:
    made, site = edit_node(text, site_of(text), cluster="c", index=index, changes=changes)
    assert site == site_of(made)
    return made


def test_a_figure_that_is_there_is_replaced() -> None:
    assert edited(BLOCK, memory_gib=32) == BLOCK.replace("0x10", "32")
    assert edited(FLOW, vcpus=8) == FLOW.replace("vcpus: 4", "vcpus: 8")


def test_a_figure_that_is_not_there_follows_the_role() -> None:
    assert edited(BLOCK, vcpus=6) == BLOCK.replace("# beside\n", "# beside\n        vcpus: 6\n")
    assert edited(BLOCK, 1, disk_gib=9) == BLOCK.replace("hpc-compute\n", "hpc-compute\n        disk_gib: 9\n")
    assert edited(FLOW, disk_gib=9) == FLOW.replace('"hpc-controller"', '"hpc-controller", disk_gib: 9')


def test_line_ends_stay_and_a_last_line_may_lack_one() -> None:
    windows = BLOCK.replace("\n", "\r\n")
    assert edited(windows, vcpus=6) == windows.replace("# beside\r\n", "# beside\r\n        vcpus: 6\r\n")
    short = BLOCK[: BLOCK.index("    start")].rstrip("\n")
    assert edited(short, 1, vcpus=6) == short + "\n        vcpus: 6\n"


@pytest.mark.parametrize(
    "text",
    [
        "name: lab\nprovider: libvirt\nclusters:\n  c: {kind: hpc, nodes: [&n {role: hpc-compute, vcpus: 4}, *n]}\n",
        "name: lab\nprovider: libvirt\nclusters:\n  c: {kind: hpc, nodes: [&n {role: hpc-compute}, {<<: *n}]}\n",
    ],
)
def test_an_entry_that_others_share_is_left_to_its_owner(text: str) -> None:
    with pytest.raises(SpecError) as error:
        edit_node(text, site_of(text), cluster="c", index=0, changes={"vcpus": 9})
    assert error.value.next_step == "edit clusters.c.nodes[0] by hand, then: ai-how up"


def test_an_entry_without_its_own_role_cannot_be_changed() -> None:
    text = "name: lab\nprovider: libvirt\nclusters:\n  c: {kind: hpc, nodes: [&n {role: hpc-compute}, {<<: *n}]}\n"
    with pytest.raises(SpecError, match="is not written where it can be changed"):
        edit_node(text, site_of(text), cluster="c", index=1, changes={"vcpus": 9})


def test_a_value_that_is_refused_says_why() -> None:
    with pytest.raises(SpecError) as error:
        edit_node(BLOCK, site_of(BLOCK), cluster="c", index=0, changes={"vcpus": 100_000})
    assert "clusters.c.nodes[0].vcpus" in error.value.evidence


@settings(max_examples=60)
@given(
    changes=st.dictionaries(
        st.sampled_from(["vcpus", "memory_gib", "disk_gib"]), st.integers(min_value=1, max_value=500), min_size=1
    ),
    index=st.integers(min_value=0, max_value=1),
)
def test_only_what_was_asked_for_changes(changes: dict[str, int], index: int) -> None:
    made, site = edit_node(BLOCK, site_of(BLOCK), cluster="c", index=index, changes=changes)
    node = site.clusters["c"].nodes[index]
    assert {key: getattr(node, key) for key in changes} == changes
    kept = [line for line in BLOCK.splitlines() if "0x10" not in line]
    assert [line for line in made.splitlines() if line in kept] == kept
