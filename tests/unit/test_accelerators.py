"""The catalogue of accelerators: complete, unambiguous, found by the names that people and tools use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.accelerators.catalogue import Accelerator, by_name, by_pci_id, find, load_catalogue, parse_catalogue
from ai_how.errors import NotFoundError, SpecError

ENTRY = """
[sources]
sheet = "a data sheet"
[default_sources]
memory_gib = "sheet"
power_limit_w = "sheet"
compute_capability = "sheet"
pci_ids = "sheet"
[[accelerator]]
name = "NVIDIA X1"
memory_gib = 16
compute_capability = [8, 0]
power_limit_w = 70
pci_ids = ["1eb8"]
"""


@pytest.mark.parametrize("known", load_catalogue(), ids=lambda known: known.name)
def test_every_entry_is_complete_and_sane(known: Accelerator) -> None:
    assert 4 <= known.memory_gib <= 1024
    assert 30 <= known.power_limit_w <= 2000
    assert (6, 0) <= known.compute_capability <= (13, 0)
    assert all(fact in known.source for fact in ("memory", "power limit", "compute capability"))
    assert not known.pci_ids or "PCI ids" in known.source


def test_the_cards_of_the_resource_requirements_are_known() -> None:
    names = ("Tesla T4", "RTX A6000", "A100", "H100")
    assert {name: (find(name).memory_gib, find(name).compute_capability_text) for name in names} == {
        "Tesla T4": (16, "7.5"),
        "RTX A6000": (48, "8.6"),
        "A100": (80, "8.0"),
        "H100": (80, "9.0"),
    }


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("t4", "NVIDIA Tesla T4"),
        ("nvidia_t4_16gb", "NVIDIA Tesla T4"),
        ("NVIDIA A100-SXM4-80GB", "NVIDIA A100 SXM4 80GB"),
        ("NVIDIA A100 80GB PCIe", "NVIDIA A100 PCIe 80GB"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM5 80GB"),
        ("Tesla V100-SXM2-16GB", "NVIDIA Tesla V100 SXM2 16GB"),
        ("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090"),
        ("NVIDIA RTX 6000 Ada Generation", "NVIDIA RTX 6000 Ada Generation"),
        ("NVIDIA GH200 480GB", "NVIDIA GH200 96GB HBM3"),
    ],
)
def test_names_that_people_and_nvidia_smi_use(said: str, meant: str) -> None:
    assert find(said).name == meant


def test_the_accelerators_of_oumis_own_providers() -> None:
    names = ("a100_40gb", "a100_80gb", "a10g_24gb", "h100_80gb", "h200_141gb", "b200_180gb", "l4_24gb")
    for name in names:
        assert f"nvidia_{name}" in find(f"nvidia_{name}").oumi_names
        assert f"{find(f'nvidia_{name}').memory_gib}gb" == name.rpartition("_")[2]


def test_found_by_pci_id_in_any_spelling() -> None:
    assert by_pci_id("1eb8") == by_pci_id("1EB8") == by_pci_id("0x1eb8") == find("T4")
    assert by_pci_id("ffff") is None


@pytest.mark.parametrize(
    ("said", "offered"), [("A600", "NVIDIA RTX A6000"), ("H10", "NVIDIA H100"), ("rtx4080x", "RTX 4080")]
)
def test_an_unknown_name_offers_the_nearest(said: str, offered: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        find(said)
    assert offered in caught.value.evidence


def test_an_unknown_name_without_a_near_one_offers_nothing() -> None:
    with pytest.raises(NotFoundError) as caught:
        find("MI300X-192")
    assert caught.value.next_step


@given(st.text())
def test_no_name_breaks_the_search(name: str) -> None:
    found = by_name(name)
    assert found is None or found in load_catalogue()


@given(st.sampled_from(load_catalogue()))
def test_each_name_of_an_entry_finds_it(known: Accelerator) -> None:
    assert all(find(name) == known for name in (known.name, *known.aliases, *known.oumi_names))
    assert all(by_pci_id(pci_id) == known for pci_id in known.pci_ids)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("memory_gib = 16\n", "", "memory_gib is missing"),
        ("memory_gib = 16", 'memory_gib = "16"', "memory_gib is '16'"),
        ("memory_gib = 16", "memory_gib = 0", "memory_gib is 0"),
        ("power_limit_w = 70", "power_limit_w = true", "power_limit_w is True"),
        ("[8, 0]", "8.0", "compute_capability is 8.0"),
        ('["1eb8"]', '["1EB8"]', "PCI id '1EB8'"),
        ('["1eb8"]', '"1eb8"', "pci_ids is '1eb8'"),
        ("power_limit_w = 70", "power_limit_w = 70\ntdp = 70", "tdp is no key"),
        ('power_limit_w = "sheet"', "", "power_limit_w has no source"),
        ('power_limit_w = "sheet"', 'power_limit_w = "hearsay"', "power_limit_w has no source"),
    ],
)
def test_each_mistake_in_the_file_is_named(right: str, wrong: str, said: str) -> None:
    assert right in ENTRY
    with pytest.raises(SpecError) as caught:
        parse_catalogue(ENTRY.replace(right, wrong))
    assert f"NVIDIA X1: {said}" in caught.value.evidence


def test_what_two_entries_claim_is_refused() -> None:
    twin = ENTRY[ENTRY.index("[[accelerator]]") :].replace("NVIDIA X1", "Tesla X1")
    with pytest.raises(SpecError) as caught:
        parse_catalogue(ENTRY + twin)
    assert caught.value.evidence.splitlines() == ["PCI id 1eb8 stands in 2 entries", "the name x1 means 2 entries"]


@pytest.mark.parametrize("text", ["", "accelerator = []", "accelerator = [3]", "[[accelerator]]", "= ="])
def test_a_file_that_is_no_catalogue(text: str) -> None:
    with pytest.raises(SpecError):
        parse_catalogue(text)
