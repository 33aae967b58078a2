"""A card's functions on their way to vfio-pci and back, on a tree that behaves as a kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_how.errors import ConflictError, ProviderError
from ai_how.machines.passthrough import binding
from ai_how.machines.passthrough.reset import verify_reset
from ai_how.machines.passthrough.sysfs import LocalSysfs
from tests.fake_kernel import FakeKernel
from tests.pci_tree import AUDIO, UCSI, USB, PciTree, add_gpu, sound_host

GPU = "0000:65:00.0"
FUNCTIONS = [f"0000:65:00.{number}" for number in range(4)]
BEFORE = dict(zip(FUNCTIONS, ("nvidia", "snd_hda_intel", "xhci_hcd", ""), strict=True))


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    """A card of four functions: three have drivers of the host's, the last has none."""
    tree = sound_host(tmp_path)
    add_gpu(tree, driver="", companions=(AUDIO, USB, UCSI))
    for address, driver in BEFORE.items():
        tree.write(f"sys/bus/pci/devices/{address}/driver_override", "(null)\n")
        if driver:
            tree.write(f"sys/bus/pci/drivers/{driver}/new_id", "")
            tree.link(f"sys/bus/pci/devices/{address}/driver", f"sys/bus/pci/drivers/{driver}")
    return FakeKernel(tree, claims={address: driver for address, driver in BEFORE.items() if driver})


def overrides(kernel: FakeKernel) -> set[str | None]:
    return {kernel.text(f"sys/bus/pci/devices/{address}/driver_override") for address in FUNCTIONS}


def test_every_function_is_bound_and_comes_back(kernel: FakeKernel) -> None:
    assert binding.drivers_of(kernel, FUNCTIONS) == BEFORE
    assert binding.bind(kernel, FUNCTIONS) == FUNCTIONS
    assert set(binding.drivers_of(kernel, FUNCTIONS).values()) == {"vfio-pci"}
    assert kernel.loaded == ["vfio-pci"]
    assert binding.release(kernel, FUNCTIONS, previous=BEFORE) == BEFORE
    assert overrides(kernel) == {"(null)"}


def test_what_is_bound_already_is_left_alone(kernel: FakeKernel) -> None:
    binding.bind(kernel, FUNCTIONS)
    kernel.writes.clear()
    assert binding.bind(kernel, FUNCTIONS) == []
    assert kernel.writes == []


def test_a_binding_that_was_broken_off_is_finished(kernel: FakeKernel) -> None:
    kernel.load_module("vfio-pci")
    for address in FUNCTIONS[:2]:
        binding._move(kernel, address, "vfio-pci")
    assert binding.bind(kernel, FUNCTIONS) == FUNCTIONS[2:]


def writes_of_a_binding(kernel: FakeKernel) -> int:
    binding.bind(kernel, FUNCTIONS)
    count = len(kernel.writes)
    binding.release(kernel, FUNCTIONS, previous=BEFORE)
    kernel.writes.clear()
    return count


# three writes a function with a driver, two for the one without
@pytest.mark.parametrize("number", range(1, 12))
def test_a_write_that_is_refused_brings_every_driver_back(kernel: FakeKernel, number: int) -> None:
    assert writes_of_a_binding(kernel) == 11
    kernel.fail_at = number
    with pytest.raises(ProviderError, match="the kernel does not take") as caught:
        binding.bind(kernel, FUNCTIONS)
    assert "Device or resource busy" in caught.value.evidence
    assert "every function is back at its driver" in caught.value.evidence
    assert binding.drivers_of(kernel, FUNCTIONS) == BEFORE
    assert overrides(kernel) == {"(null)"}


def test_a_way_back_that_fails_is_told(kernel: FakeKernel) -> None:
    kernel.claims.pop(GPU)
    kernel.fail_at = 4
    with pytest.raises(ProviderError) as caught:
        binding.bind(kernel, FUNCTIONS)
    assert f"{GPU} is not back at nvidia: {GPU} had the driver nvidia, but none has it now" in caught.value.evidence


def test_a_driver_that_does_not_let_go_is_named(kernel: FakeKernel) -> None:
    kernel.stubborn = ("nvidia",)
    with pytest.raises(ProviderError, match=f"nvidia does not let go of {GPU}"):
        binding.bind(kernel, FUNCTIONS)
    assert binding.drivers_of(kernel, FUNCTIONS) == BEFORE


def test_a_driver_that_does_not_take_the_card_is_told(kernel: FakeKernel) -> None:
    kernel.deaf = True
    with pytest.raises(ProviderError, match=f"vfio-pci does not take {GPU}") as caught:
        binding.bind(kernel, FUNCTIONS)
    assert "is not back at nvidia" in caught.value.evidence


def test_a_kernel_without_vfio_changes_nothing(kernel: FakeKernel) -> None:
    kernel.loadable = ()
    with pytest.raises(ProviderError, match="cannot load the module vfio-pci"):
        binding.bind(kernel, FUNCTIONS)
    assert kernel.writes == []


def test_a_neighbour_in_the_hosts_hands_is_named_and_the_card_goes_back(kernel: FakeKernel) -> None:
    kernel.tree.device("0000:66:00.0", class_code=0x010802, driver="nvme", group="30")
    with pytest.raises(ConflictError, match="another device of its IOMMU group 30") as caught:
        binding.bind(kernel, FUNCTIONS)
    assert "0000:66:00.0 (nvme)" in caught.value.evidence
    assert binding.drivers_of(kernel, FUNCTIONS) == BEFORE


def test_neighbours_without_driver_and_ports_do_no_harm(kernel: FakeKernel) -> None:
    kernel.tree.device("0000:66:00.0", class_code=0x010802, group="30")
    kernel.tree.device("0000:66:01.0", class_code=0x060400, driver="pcieport", group="30")
    assert binding.bind(kernel, FUNCTIONS) == FUNCTIONS


def test_a_card_without_group_cannot_be_given(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, driver="", group=None, companions=())
    with pytest.raises(ProviderError, match="in no IOMMU group"):
        binding.bind(FakeKernel(tree), [GPU])


def test_a_device_that_is_not_there_is_refused(kernel: FakeKernel) -> None:
    with pytest.raises(ProviderError, match=r"no PCI device 0000:01:00\.0"):
        binding.bind(kernel, ["0000:01:00.0"])


def test_without_a_record_the_kernel_chooses(kernel: FakeKernel) -> None:
    binding.bind(kernel, FUNCTIONS)
    assert binding.release(kernel, FUNCTIONS, previous={}) == BEFORE


def test_a_function_that_had_no_driver_gets_none_even_if_one_would_claim_it(kernel: FakeKernel) -> None:
    binding.bind(kernel, FUNCTIONS)
    kernel.tree.write("sys/bus/pci/drivers/ucsi/new_id", "")
    kernel.claims[FUNCTIONS[3]] = "ucsi"
    assert binding.release(kernel, FUNCTIONS, previous=BEFORE) == BEFORE


def test_a_driver_that_is_gone_is_named_with_the_way_to_load_it(kernel: FakeKernel) -> None:
    binding.bind(kernel, FUNCTIONS)
    kernel.claims.pop(GPU)
    with pytest.raises(ProviderError, match="had the driver nvidia, but none has it now") as caught:
        binding.release(kernel, FUNCTIONS, previous=BEFORE)
    assert "sudo modprobe nvidia" in caught.value.next_step


class TestReset:
    def test_answers_are_shown_with_their_power_state(self, kernel: FakeKernel) -> None:
        kernel.tree.write(f"sys/bus/pci/devices/{GPU}/power_state", "D3hot\n")
        assert verify_reset(kernel, [GPU], settle_s=0) == f"{GPU} answers (D3hot)"

    @pytest.mark.parametrize(
        ("head", "said"),
        [
            (b"\xff\xff\xff\xff", "fallen off the bus"),
            (b"", "cannot be read"),
            (b"\x22\x11\x00\x00", "it answers as vendor 0x1122, not 0x10de"),
        ],
    )
    def test_a_card_that_does_not_answer_is_told(self, kernel: FakeKernel, head: bytes, said: str) -> None:
        kernel.tree.write(f"sys/bus/pci/devices/{GPU}/config", head)
        with pytest.raises(ProviderError, match="did not come back") as caught:
            verify_reset(kernel, [GPU], settle_s=0)
        assert said in caught.value.evidence
        assert "flr bus" in caught.value.evidence

    def test_a_card_without_power_is_told(self, kernel: FakeKernel) -> None:
        kernel.tree.write(f"sys/bus/pci/devices/{GPU}/power_state", "D3cold\n")
        with pytest.raises(ProviderError) as caught:
            verify_reset(kernel, [GPU], settle_s=0)
        assert "D3cold" in caught.value.evidence


class TestLocalSysfs:
    def test_what_cannot_be_written_says_why(self, tmp_path: Path) -> None:
        with pytest.raises(ProviderError, match="does not take 'x' in /sys/none") as caught:
            LocalSysfs(tmp_path).write("sys/none", "x")
        assert caught.value.evidence == "No such file or directory"

    def test_what_is_not_there_reads_as_nothing(self, tmp_path: Path) -> None:
        sysfs = LocalSysfs(tmp_path)
        assert (sysfs.link("a"), sysfs.text("a"), sysfs.names("a"), sysfs.head("a")) == ("", None, [], b"")

    def test_a_file_is_written_and_read(self, tmp_path: Path) -> None:
        PciTree(tmp_path).write("sys/file", "old and long\n")
        LocalSysfs(tmp_path).write("sys/file", "new\n")
        assert LocalSysfs(tmp_path).text("sys/file") == "new"
