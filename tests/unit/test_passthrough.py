"""From a machine's tree to verdicts about its GPUs: what blocks one, and what only looks as if it did."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_how.host.check import Check, Verdict
from ai_how.host.checks.passthrough import gpu_capacities, passthrough_checks
from ai_how.host.facts.passthrough import observe_passthrough
from ai_how.host.requirements import load_requirements
from tests.pci_tree import (
    AMD,
    AUDIO,
    BRIDGE,
    CONTROLLER_3D,
    DOWNSTREAM,
    GIB,
    GPU_BARS,
    HOST_BRIDGE,
    INTEL,
    MEMORY,
    MEMORY_64,
    NVIDIA,
    UCSI,
    UPSTREAM,
    USB,
    VGA,
    PciTree,
    add_gpu,
    config_space,
    sound_host,
)

GPU = "0000:65:00.0"


def checks_of(tree: PciTree) -> dict[str, Check]:
    asked = load_requirements()
    facts = observe_passthrough(tree.root)
    checks = passthrough_checks(facts, tier=asked.tier("minimum"), software=asked.software)
    assert len({check.id for check in checks}) == len(checks)
    for check in checks:
        assert check.found and check.wanted and check.why and check.title
        assert (check.fix == "") == (check.verdict is Verdict.PASS), check
    return {check.id: check for check in checks}


def not_passed(checks: dict[str, Check]) -> dict[str, str]:
    return {name: check.verdict.value for name, check in checks.items() if check.verdict is not Verdict.PASS}


def blocked(tree: PciTree) -> str:
    return gpu_capacities(observe_passthrough(tree.root))[0].blocked


def test_a_gpu_with_audio_usb_and_ucsi_on_its_slot_passes(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, companions=(AUDIO, USB, UCSI))
    checks = checks_of(tree)
    assert not_passed(checks) == {}
    assert checks[f"iommu.group.{GPU}"].found == "group 30: GPU, audio, USB, UCSI"
    assert checks[f"iommu.acs.{GPU}"].found == "ACS on in every port above it"
    assert checks[f"gpu.{GPU}.reset"].found == "flr, bus"
    (capacity,) = gpu_capacities(observe_passthrough(tree.root))
    assert (capacity.name, capacity.memory_gib, capacity.compute_capability) == ("NVIDIA RTX A6000", 48, (8, 6))
    assert (capacity.pci_address, capacity.numa_node, capacity.power_limit_w) == (GPU, 0, 300)
    assert capacity.blocked == ""


def test_a_usb_controller_in_the_group_blocks(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, port_group="30", acs=None)
    tree.device("0000:66:00.0", class_code=USB, below=("0000:64:01.0",), driver="xhci_hcd", group="30")
    checks = checks_of(tree)
    group = checks[f"iommu.group.{GPU}"]
    assert group.verdict is Verdict.FAIL
    assert "0000:66:00.0 (USB, xhci_hcd)" in group.found
    assert "under 0000:64:00.0, which cannot keep apart what is below it" in group.found
    assert "sudo driverctl set-override 0000:66:00.0 vfio-pci" in group.fix
    assert checks[f"iommu.acs.{GPU}"].verdict is Verdict.WARN
    assert checks[f"iommu.acs.{GPU}"].found == "0000:64:00.0: ACS not there"
    assert "0000:66:00.0 (USB, xhci_hcd)" in blocked(tree)


def test_a_stranger_that_no_host_driver_holds_only_warns(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree)
    tree.device("0000:66:00.0", class_code=USB, group="30")
    assert checks_of(tree)[f"iommu.group.{GPU}"].verdict is Verdict.WARN
    assert blocked(tree) == ""


def test_bridges_and_an_idle_host_bridge_in_the_group_are_no_strangers(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, port_group="30")
    tree.device("0000:64:02.0", class_code=HOST_BRIDGE, group="30")
    assert checks_of(tree)[f"iommu.group.{GPU}"].verdict is Verdict.PASS


def test_two_gpus_in_one_group_go_together_or_not_at_all(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, port_group="30", acs=0)
    add_gpu(tree, "0000:66:00.0", port="0000:64:01.0", port_group="30", acs=0)
    checks = checks_of(tree)
    for address, other in ((GPU, "0000:66:00.0"), ("0000:66:00.0", GPU)):
        group = checks[f"iommu.group.{address}"]
        assert group.verdict is Verdict.FAIL
        assert f"{other} (GPU, vfio-pci)" in group.found
        assert "give both GPUs to the same guest" in group.fix
    assert checks[f"iommu.acs.{GPU}"].found == "0000:64:00.0: ACS there, but off"
    assert all(gpu.blocked for gpu in gpu_capacities(observe_passthrough(tree.root)))


def test_without_an_iommu_every_gpu_is_blocked_and_the_way_out_is_named(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    (tmp_path / "sys/firmware/acpi/tables/DMAR").rename(tmp_path / "sys/firmware/acpi/tables/FACP")
    tree.write("proc/cmdline", "quiet\n")
    add_gpu(tree, group=None, port_group=None)
    checks = checks_of(tree)
    assert not_passed(checks) == {
        "iommu.firmware": "fail",
        "iommu.groups": "fail",
        f"iommu.group.{GPU}": "fail",
    }
    assert "VT-d" in checks["iommu.firmware"].fix
    assert "intel_iommu=on" in checks["iommu.groups"].fix
    assert "no IOMMU group" in blocked(tree)


def test_an_iommu_that_the_command_line_turns_off_is_said(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    tree.write("proc/cpuinfo", "vendor_id\t: AuthenticAMD\n")
    tree.write("proc/cmdline", "amd_iommu=off\n")
    add_gpu(tree, group=None, port_group=None)
    check = checks_of(tree)["iommu.groups"]
    assert check.found == "no groups: the kernel does not use one; amd_iommu=off"
    assert check.fix.startswith("Take amd_iommu=off out of")


def test_without_gpus_a_missing_iommu_is_no_failure(tmp_path: Path) -> None:
    tree = PciTree(tmp_path)
    tree.write("sys/firmware/acpi/tables/FACP", "")
    assert not_passed(checks_of(tree)) == {"iommu.firmware": "warn", "iommu.groups": "warn"}


def test_nouveau_is_warned_of(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, driver="nouveau")
    checks = checks_of(tree)
    assert checks[f"gpu.{GPU}.driver"].verdict is Verdict.WARN
    assert "blacklist nouveau" in checks[f"gpu.{GPU}.driver"].fix
    assert checks["software.nvidia-driver"].verdict is Verdict.WARN


@pytest.mark.parametrize("driver", ["", "nvidia", "vfio-pci"])
def test_drivers_that_let_go_pass(tmp_path: Path, driver: str) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, driver=driver)
    check = checks_of(tree)[f"gpu.{GPU}.driver"]
    assert check.verdict is Verdict.PASS
    assert check.found.startswith(driver or "none")


def test_a_foreign_driver_is_warned_of(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, driver="efifb")
    assert checks_of(tree)[f"gpu.{GPU}.driver"].fix.endswith(f"; sudo driverctl set-override {GPU} vfio-pci")


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("595.58.03", Verdict.PASS), ("535.54", Verdict.PASS), ("525.147.05", Verdict.FAIL), ("next", Verdict.UNKNOWN)],
)
def test_the_loaded_driver_must_be_535_or_newer(tmp_path: Path, version: str, verdict: Verdict) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, driver="nvidia")
    tree.write("sys/module/nvidia/version", f"{version}\n")
    assert checks_of(tree)["software.nvidia-driver"].verdict is verdict


def test_a_program_that_has_the_gpu_open_blocks_it(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, driver="nvidia")
    tree.write(f"proc/driver/nvidia/gpus/{GPU}/information", "Model: \t NVIDIA RTX A6000\nDevice Minor: \t 3\n")
    tree.open_file(4711, "python3", "/dev/nvidia3")
    tree.open_file(4711, "python3", "/dev/nvidia3")
    tree.open_file(4712, "other", "/dev/nvidia0")
    check = checks_of(tree)[f"gpu.{GPU}.use"]
    assert (check.verdict, check.found, check.fix) == (Verdict.FAIL, "python3 (pid 4711)", "Stop it first: ps -fp 4711")
    assert "python3 (pid 4711)" in blocked(tree)


def test_the_persistence_daemon_alone_only_warns(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, driver="nvidia")
    tree.write(f"proc/driver/nvidia/gpus/{GPU}/information", "Device Minor: 0\n")
    tree.open_file(900, "nvidia-persiste", "/dev/nvidia0")
    check = checks_of(tree)[f"gpu.{GPU}.use"]
    assert (check.verdict, check.fix) == (Verdict.WARN, "sudo systemctl disable --now nvidia-persistenced")
    assert blocked(tree) == ""


@pytest.mark.parametrize("file", ["/dev/vfio/30", "/dev/vfio/devices/vfio7"])
def test_a_guest_that_holds_the_card_is_told_from_a_host_program(tmp_path: Path, file: str) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, files={"vfio-dev/vfio7/dev": "511:0"})
    tree.open_file(5000, "qemu-system-x86", file)
    check = checks_of(tree)[f"gpu.{GPU}.use"]
    assert (check.verdict, check.found) == (Verdict.WARN, "a guest has it: qemu-system-x86 (pid 5000)")
    assert blocked(tree) == ""


def test_a_screen_on_the_gpu_blocks_it(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, driver="nvidia", files={"boot_vga": "1"})
    home = f"sys/devices/pci0000:64/0000:64:00.0/{GPU}/drm"
    tree.write(f"{home}/card1/card1-DP-1/enabled", "enabled\n")
    tree.write(f"{home}/card1/card1-DP-2/enabled", "disabled\n")
    tree.link("sys/class/drm/card1", f"{home}/card1")
    for connector in ("card1-DP-1", "card1-DP-2"):
        tree.link(f"sys/class/drm/{connector}", f"{home}/card1/{connector}")
    tree.open_file(700, "Xorg", "/dev/dri/card1")
    checks = checks_of(tree)
    assert checks[f"gpu.{GPU}.display"].found == "shows the host's screen (DP-1)"
    assert checks[f"gpu.{GPU}.display"].verdict is Verdict.FAIL
    assert checks[f"gpu.{GPU}.use"].found == "Xorg (pid 700)"


@pytest.mark.parametrize(("driver", "verdict"), [("nvidia", Verdict.WARN), ("vfio-pci", Verdict.PASS)])
def test_the_first_display_is_warned_of_unless_vfio_has_it(tmp_path: Path, driver: str, verdict: Verdict) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, driver=driver, files={"boot_vga": "1"})
    assert checks_of(tree)[f"gpu.{GPU}.display"].verdict is verdict


@pytest.mark.parametrize(
    ("files", "config", "verdict", "found"),
    [
        ({"reset_method": "flr bus"}, 4096, Verdict.PASS, "flr, bus"),
        ({"reset_method": "bus"}, 64, Verdict.PASS, "bus"),
        ({"reset_method": ""}, 64, Verdict.FAIL, "none"),
        ({"reset_method": "absent", "reset": "absent"}, 64, Verdict.FAIL, "none"),
        ({"reset_method": "absent"}, 64, Verdict.PASS, "one that the kernel does not name"),
        ({"reset_method": "absent"}, 256, Verdict.PASS, "flr"),
    ],
)
def test_resets(tmp_path: Path, files: dict[str, str], config: int, verdict: Verdict, found: str) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, files=files)
    tree.write(f"sys/bus/pci/devices/{GPU}/config", config_space(flr=True, length=config))
    check = checks_of(tree)[f"gpu.{GPU}.reset"]
    assert (check.verdict, check.found) == (verdict, found)
    assert bool(blocked(tree)) == (verdict is Verdict.FAIL)


@pytest.mark.parametrize(
    ("bars", "verdict", "found"),
    [
        (GPU_BARS, Verdict.PASS, "64 GiB above 4 GiB"),
        (((0xE0000000, 256 << 20, MEMORY_64),), Verdict.PASS, "256 MiB below 4 GiB"),
        (((0, 32 * GIB, MEMORY_64),), Verdict.FAIL, "32 GiB window without an address"),
        (((0x38_0000_0000, 32 * GIB, MEMORY_64 | 0x20000000),), Verdict.FAIL, "32 GiB window without an address"),
        (((0, 1, 0), (0xF0000000, 4096, MEMORY)), Verdict.PASS, "1 MiB below 4 GiB"),
        ((), Verdict.UNKNOWN, "not in sysfs"),
    ],
)
def test_memory_windows(tmp_path: Path, bars: tuple[tuple[int, int, int], ...], verdict: Verdict, found: str) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, bars=bars)
    check = checks_of(tree)[f"gpu.{GPU}.windows"]
    assert (check.verdict, check.found) == (verdict, found)


def test_a_resizable_window_is_noted(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    # bits 6 to 16: 64 MiB to 64 GiB
    add_gpu(tree, bars=((0xE0000000, 256 << 20, MEMORY_64),), files={"resource0_resize": "000000000001ffc0"})
    assert checks_of(tree)[f"gpu.{GPU}.windows"].found == "256 MiB below 4 GiB; resizable up to 64 GiB"


@pytest.mark.parametrize(("on", "verdict"), [("0", Verdict.PASS), ("4", Verdict.FAIL)])
def test_virtual_functions_in_use_block_the_card(tmp_path: Path, on: str, verdict: Verdict) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree, files={"sriov_totalvfs": "16", "sriov_numvfs": on})
    tree.device("0000:65:00.4", class_code=CONTROLLER_3D, vendor=NVIDIA, group="31")
    tree.link("sys/devices/pci0000:65/0000:65:00.4/physfn", f"sys/bus/pci/devices/{GPU}")
    checks = checks_of(tree)
    assert checks[f"gpu.{GPU}.sriov"].verdict is verdict
    assert "gpu.0000:65:00.4.model" not in checks
    assert bool(blocked(tree)) == (verdict is Verdict.FAIL)


@pytest.mark.parametrize(
    ("interrupts", "verdict"),
    [
        (" 24:  7  IR-IO-APIC  2-edge  timer\n", Verdict.PASS),
        (" 24:  7  ITS-PCI-MSI-0000:01:00.0  0 Edge  nvme\n", Verdict.PASS),
        (" 24:  7  PCI-MSI 524288-edge  eth0\n 1: 9 IO-APIC 1-edge i8042\n", Verdict.FAIL),
        ("garbage\n", Verdict.UNKNOWN),
    ],
)
def test_interrupt_remapping(tmp_path: Path, interrupts: str, verdict: Verdict) -> None:
    tree = sound_host(tmp_path)
    tree.write("proc/interrupts", interrupts)
    add_gpu(tree)
    assert checks_of(tree)["iommu.interrupts"].verdict is verdict
    assert bool(blocked(tree)) == (verdict is Verdict.FAIL)


def test_the_acs_override_is_warned_of(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    tree.write("proc/cmdline", "intel_iommu=on pcie_acs_override=downstream,multifunction\n")
    add_gpu(tree)
    check = checks_of(tree)["iommu.override"]
    assert (check.verdict, check.found) == (Verdict.WARN, "pcie_acs_override=downstream,multifunction")


def test_registers_that_only_root_may_read_are_said(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree)
    tree.device("0000:66:00.0", class_code=USB, driver="xhci_hcd", group="30")
    tree.write("sys/bus/pci/devices/0000:64:00.0/config", config_space(port=4, length=64))
    check = checks_of(tree)[f"iommu.acs.{GPU}"]
    assert (check.verdict, check.needs_root) == (Verdict.UNKNOWN, True)
    assert "only root may read" in check.found
    assert "sudo ai-how doctor" in check.fix


def test_a_switch_between_root_port_and_gpu_is_looked_at(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    root, upper, lower = "0000:60:00.0", "0000:61:00.0", "0000:62:01.0"
    tree.device(root, class_code=BRIDGE, group="1", config=config_space(port=4, acs=0x1D))
    tree.device(upper, class_code=BRIDGE, group="1", below=(root,), config=config_space(port=UPSTREAM))
    tree.device(lower, class_code=BRIDGE, group="1", below=(root, upper), config=config_space(port=DOWNSTREAM, acs=0))
    tree.device("0000:63:00.0", class_code=CONTROLLER_3D, vendor=NVIDIA, below=(root, upper, lower), group="1")
    check = checks_of(tree)["iommu.acs.0000:63:00.0"]
    assert check.found == "0000:62:01.0: ACS there, but off; its group is its own all the same"


@pytest.mark.parametrize(
    ("files", "verdict"),
    [
        ({"proc/modules": "", "lib/modules/6.12/modules.dep": "kernel/drivers/net/e1000.ko.xz:\n"}, Verdict.FAIL),
        (
            {
                "proc/modules": "",
                "lib/modules/6.12/modules.dep": "kernel/drivers/vfio/pci/vfio-pci.ko.zst: x.ko\n",
                "lib/modules/6.12/modules.builtin": "kernel/drivers/vfio/vfio_iommu_type1.ko\n",
            },
            Verdict.PASS,
        ),
        ({"proc/modules": ""}, Verdict.UNKNOWN),
        (
            {"proc/modules": "", "sys/module/vfio_pci/parameters/ids": "", "sys/module/vfio_iommu_type1/x": ""},
            Verdict.PASS,
        ),
    ],
)
def test_vfio_modules(tmp_path: Path, files: dict[str, str], verdict: Verdict) -> None:
    tree = sound_host(tmp_path)
    tree.write("proc/sys/kernel/osrelease", "6.12\n")
    for name, text in files.items():
        tree.write(name, text)
    add_gpu(tree)
    assert checks_of(tree)["iommu.vfio"].verdict is verdict


def test_an_arm_host_has_no_dmar_and_may_pass(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    (tmp_path / "sys/firmware/acpi/tables/DMAR").rename(tmp_path / "sys/firmware/acpi/tables/IORT")
    tree.write("proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n")
    tree.write("proc/interrupts", " 24:  7  ITS-PCI-MSI-0000:65:00.0  0 Edge  nvidia\n")
    add_gpu(tree)
    checks = checks_of(tree)
    assert not_passed(checks) == {}
    assert checks["iommu.firmware"].found == "Arm SMMU (IORT)"


def test_eight_gpus_on_two_sockets(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    for number in range(8):
        add_gpu(
            tree,
            f"0000:{0x10 + 0x10 * number + 1:02x}:00.0",
            port=f"0000:{0x10 + 0x10 * number:02x}:00.0",
            group=str(40 + number),
            port_group=str(60 + number),
            files={"numa_node": str(number // 4)},
        )
    assert not_passed(checks_of(tree)) == {}
    capacities = gpu_capacities(observe_passthrough(tree.root))
    assert [gpu.numa_node for gpu in capacities] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [gpu.pci_address for gpu in capacities] == sorted(gpu.pci_address for gpu in capacities)


def test_other_makers_gpus_are_named_and_left_to_the_host(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    add_gpu(tree)
    tree.write("usr/share/misc/pci.ids", "1002  AMD/ATI\n\t744c  Navi 31 [Radeon RX 7900 XTX]\n8086  Intel\n")
    tree.device("0000:03:00.0", class_code=VGA, vendor=AMD, device=0x744C, driver="amdgpu", group="5")
    tree.device("0000:00:02.0", class_code=VGA, vendor=INTEL, device=0x46A6, driver="i915", group="0")
    checks = checks_of(tree)
    assert (
        checks["gpu.0000:03:00.0.model"].found
        == "AMD/ATI Navi 31 [Radeon RX 7900 XTX]: not supported, left to the host"
    )
    assert checks["gpu.0000:00:02.0.model"].found == "Intel 8086:46a6: not supported, left to the host"
    assert [gpu.pci_address for gpu in gpu_capacities(observe_passthrough(tree.root))] == [GPU]


def test_a_card_in_no_catalogue_is_named_by_the_database_and_stays_unknown(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    tree.write("usr/share/misc/pci.ids", "10de  NVIDIA Corporation\n\tfffe  GX000 [Nameless]\n")
    tree.device(GPU, class_code=CONTROLLER_3D, vendor=NVIDIA, device=0xFFFE, driver="vfio-pci", group="30")
    check = checks_of(tree)[f"gpu.{GPU}.model"]
    assert check.verdict is Verdict.UNKNOWN
    assert check.found == "NVIDIA Corporation GX000 [Nameless], memory unknown, capability unknown (pci.ids)"
    (capacity,) = gpu_capacities(observe_passthrough(tree.root))
    assert (capacity.memory_gib, capacity.compute_capability) == (0, None)
