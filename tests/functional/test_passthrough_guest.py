"""Passthrough against a real kernel without a GPU: one guest with an emulated IOMMU runs our code on its own sysfs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.functional import iommu_guest
from tests.functional.libvirt_guests import BootImage

pytestmark = [
    pytest.mark.boots,
    pytest.mark.slow,
    pytest.mark.timeout(300, func_only=True),
    pytest.mark.skipif(bool(iommu_guest.why_not()), reason=iommu_guest.why_not()),
]
SCRIPT = Path(__file__).with_name("passthrough_guest.py")


@pytest.fixture(scope="module")
def seen(boot_image: BootImage, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one boot printed."""
    return iommu_guest.run_in_guest(SCRIPT, tmp_path_factory.mktemp("iommu"), image=boot_image.path)


@pytest.fixture(scope="module")
def sound(seen: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = seen["sound"]
    return found


def test_the_kernel_has_groups_and_remaps_interrupts(seen: dict[str, Any]) -> None:
    assert len(seen["groups"]) >= 5
    assert seen["remapping"] is True
    assert all(state in ("loaded", "built in", "available") for state in seen["modules"].values()), seen["modules"]


def test_a_card_is_all_functions_of_its_slot_and_can_be_given(seen: dict[str, Any]) -> None:
    card = next(card for card in seen["cards"] if len(card["functions"]) == 3)
    assert [address.rpartition(".")[2] for address in card["functions"]] == ["0", "1", "2"]
    assert card["drivers"] == ["virtio-pci", "nvme", ""]
    assert card["blocked"] == ""


def test_what_the_host_uses_in_the_group_blocks_a_card_by_name(seen: dict[str, Any]) -> None:
    card = next(card for card in seen["cards"] if len(card["functions"]) == 1)
    (neighbour,) = [address for address, driver in seen["shared"]["members"].items() if driver == "virtio-pci"]
    assert f"shared with {neighbour}" in card["blocked"]
    assert "virtio-pci" in card["blocked"]


def test_binding_takes_every_function_and_is_done_once(sound: dict[str, Any]) -> None:
    assert sound["bind"] == {"done": list(sound["before"])}
    assert set(sound["bound"].values()) == {"vfio-pci"}
    assert sound["again"] == {"done": []}


def test_the_kernel_would_give_the_group_to_a_guest(sound: dict[str, Any]) -> None:
    assert sound["viable"] is True


def test_a_program_that_has_the_group_open_is_seen_as_a_guest(sound: dict[str, Any]) -> None:
    assert {"program": "python3", "guest": True} in sound["users"]


def test_the_functions_answer_after_the_group_was_closed(sound: dict[str, Any]) -> None:
    assert sound["reset"]["done"].count("answers") == 3, sound["reset"]


def test_releasing_restores_each_driver_and_leaves_no_override(sound: dict[str, Any]) -> None:
    assert sound["release"] == {"done": sound["before"]}
    assert sound["released_again"] == {"done": sound["before"]}
    assert set(sound["overrides"]) <= {"", "(null)"}
    assert sound["viable_file_gone"]


def test_without_a_record_the_kernel_chooses_the_drivers(seen: dict[str, Any]) -> None:
    assert seen["unknown_way_back"] == {"done": seen["sound"]["before"]}


def test_a_group_that_is_not_viable_is_refused_and_the_card_goes_back(seen: dict[str, Any]) -> None:
    refused = seen["shared"]["bind"]
    (neighbour,) = [address for address, driver in seen["shared"]["members"].items() if driver == "virtio-pci"]
    assert refused["error"] == "ConflictError"
    assert f"{neighbour} (virtio-pci)" in refused["evidence"]
    assert "every function is back at its driver" in refused["evidence"]
    assert set(seen["shared"]["after"].values()) == {""}


def test_a_device_that_no_driver_claims_has_none_again(seen: dict[str, Any]) -> None:
    assert len(seen["edu"]["bind"]["done"]) == 1
    assert set(seen["edu"]["release"]["done"].values()) == {""}


def test_what_is_not_there_and_what_does_not_come_back_are_told(seen: dict[str, Any]) -> None:
    assert "there is no PCI device 0000:7f:00.0" in seen["absent"]["brief"]
    assert "had the driver nvidia, but none has it now" in seen["wrong_driver"]["brief"]
    assert seen["wrong_driver"]["evidence"] == "nvidia is not loaded"
