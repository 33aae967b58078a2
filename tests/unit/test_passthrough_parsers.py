"""Whatever sysfs, nvidia-smi or a database says, the readers answer with facts or "unknown", never an error."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_how.host.check import Check, Verdict
from ai_how.host.checks import passthrough
from ai_how.host.checks.passthrough import gpu_capacities
from ai_how.host.facts.config_space import UNREADABLE, Isolation, Port, parse_config_space
from ai_how.host.facts.gpu_users import GpuUsers
from ai_how.host.facts.gpus import collect_gpus
from ai_how.host.facts.iommu import parse_remapping
from ai_how.host.facts.kvm import parse_report, read_guest
from ai_how.host.facts.nvidia_smi import Process, SmiFacts, parse_capabilities, parse_nvidia_smi, pci_address
from ai_how.host.facts.passthrough import PassthroughFacts, observe_passthrough
from ai_how.host.facts.pci import PciDevice, parse_bars, parse_sizes
from ai_how.host.facts.pci_ids import lookup, read_database
from ai_how.host.requirements import load_requirements
from ai_how.host.root import Root
from tests.pci_tree import CONTROLLER_3D, DOWNSTREAM, ROOT_PORT, PciTree, add_gpu, config_space, sound_host

FIXTURES = Path(__file__).parents[1] / "fixtures"
T4 = "0000:00:1e.0"


def passthrough_checks(facts: PassthroughFacts) -> list[Check]:
    asked = load_requirements()
    return passthrough.passthrough_checks(facts, tier=asked.tier("minimum"), software=asked.software)


def smi(name: str) -> str:
    return (FIXTURES / "nvidia-smi" / name).read_text()


def captured(folder: Path, name: str) -> Root:
    """What a capture has of PCI and of processes; the rest would only take time to unpack."""
    with tarfile.open(FIXTURES / "sysfs" / f"{name}.tar.gz") as archive:
        members = [member for member in archive if "pci" in member.name or member.name.startswith("proc")]
        archive.extractall(folder, members=members, filter="data")
    return Root(folder)


@pytest.mark.parametrize(
    ("file", "driver", "address", "name", "memory_mib", "power_w", "pids"),
    [
        ("tesla-t4.xml", "515.105.01", T4, "Tesla T4", 15360, 70, [675, 5762]),
        ("a10g.xml", "515.105.01", T4, "NVIDIA A10G", 23028, 300, [725]),
        ("rtx-3090-v12.xml", "525.147.05", "0000:00:10.0", "NVIDIA GeForce RTX 3090", 24576, 200, []),
    ],
)
def test_real_outputs_of_nvidia_smi(
    file: str, driver: str, address: str, name: str, memory_mib: int, power_w: int, pids: list[int]
) -> None:
    facts = parse_nvidia_smi(smi(file))
    (gpu,) = facts.gpus
    assert (facts.driver_version, facts.problem) == (driver, "")
    assert (gpu.address, gpu.name, gpu.memory_mib, gpu.power_limit_w) == (address, name, memory_mib, power_w)
    assert [process.pid for process in gpu.processes] == pids
    assert (gpu.mig, gpu.display_active, gpu.virtualization) == (None, False, "Pass-Through")


NEWER = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log><driver_version>570.1</driver_version><gpu id="00000001:C1:00.0"><product_name>Card</product_name>
<mig_mode><current_mig>Enabled</current_mig></mig_mode>
<mig_devices><mig_device><index>0</index></mig_device><mig_device><index>1</index></mig_device></mig_devices>
<fb_memory_usage><total>81920 MiB</total></fb_memory_usage>
<gpu_power_readings><power_draw>60.1 W</power_draw><current_power_limit>500.00 W</current_power_limit>
</gpu_power_readings><module_power_readings><current_power_limit>N/A</current_power_limit></module_power_readings>
<processes><process_info><pid>12</pid><process_name>a &amp; b</process_name></process_info></processes></gpu>
<gpu id="00000000:C2:00.0"><product_name>N/A</product_name></gpu><gpu id="?"/></nvidia_smi_log>"""


def test_the_schema_of_newer_drivers() -> None:
    gpu, bare = parse_nvidia_smi(NEWER).gpus
    assert (gpu.address, gpu.power_limit_w, gpu.mig, gpu.mig_devices) == ("0001:c1:00.0", 500, True, 2)
    assert gpu.processes == (Process(pid=12, name="a & b"),)
    assert (bare.address, bare.name, bare.memory_mib, bare.power_limit_w, bare.mig) == (
        "0000:c2:00.0",
        "",
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        "<html/>",
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><nvidia_smi_log>&b;</nvidia_smi_log>',
        '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/hostname">]><nvidia_smi_log>&f;</nvidia_smi_log>',
    ],
)
def test_what_is_no_such_document_is_a_problem(text: str) -> None:
    facts = parse_nvidia_smi(text)
    assert facts.gpus == ()
    assert "nvidia-smi's answer is" in facts.problem


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 19000), st.text(max_size=20))
def test_a_damaged_output_never_raises(cut: int, junk: str) -> None:
    whole = smi("tesla-t4.xml")
    for text in (whole[:cut], whole[:cut] + junk + whole[cut + len(junk) :], junk):
        facts = parse_nvidia_smi(text)
        assert facts.problem or facts.gpus is not None
        for gpu in facts.gpus:
            assert pci_address(gpu.address) == gpu.address
            assert gpu.memory_mib is None or gpu.memory_mib >= 0


def test_compute_capability_as_the_driver_lists_it() -> None:
    text = '00000000:65:00.0, 8.6\n00000000:B1:00.0, [N/A]\nField "compute_cap" is not a valid field to query.\n'
    assert parse_capabilities(text) == {"0000:65:00.0": (8, 6)}


def test_the_drivers_word_counts_before_the_catalogue_and_both_are_named() -> None:
    facts = parse_nvidia_smi(smi("tesla-t4.xml"))
    device = PciDevice(address=T4, vendor=0x10DE, device=0x1EB8, class_code=CONTROLLER_3D, driver="nvidia")
    (gpu,) = collect_gpus([device], smi=facts, names={}, users=GpuUsers(programs={}, displays={}))
    assert (gpu.name, gpu.memory_gib, gpu.compute_capability, gpu.power_limit_w) == ("Tesla T4", 16, (7, 5), 70)
    assert gpu.sources == ("nvidia-smi", "catalogue")


def smi_checks(tmp_path: Path, facts: SmiFacts) -> dict[str, tuple[Verdict, str]]:
    tree = sound_host(tmp_path)
    add_gpu(tree, "0001:c1:00.0", port="0001:c0:00.0", driver="nvidia")
    checks = passthrough_checks(observe_passthrough(tree.root, smi=facts))
    return {check.id: (check.verdict, check.found) for check in checks}


def test_what_only_the_driver_knows_is_judged_too(tmp_path: Path) -> None:
    checks = smi_checks(tmp_path, parse_nvidia_smi(NEWER))
    assert checks["gpu.0001:c1:00.0.mig"] == (Verdict.WARN, "on, 2 instances")
    assert checks["gpu.0001:c1:00.0.use"] == (Verdict.FAIL, "a & b (pid 12)")
    assert checks["software.nvidia-driver"] == (Verdict.PASS, "570.1")


def test_a_driver_that_does_not_answer_fails(tmp_path: Path) -> None:
    problem = "Failed to initialize NVML: Driver/library version mismatch"
    checks = smi_checks(tmp_path, SmiFacts(installed=True, problem=problem))
    assert checks["software.nvidia-driver"] == (Verdict.FAIL, f"installed, but {problem}")


@pytest.mark.parametrize(
    ("data", "reset", "port", "isolation"),
    [
        (config_space(flr=True), True, Port.ENDPOINT, Isolation.ABSENT),
        (config_space(port=ROOT_PORT, acs=0x1D), False, Port.ROOT, Isolation.ON),
        (config_space(port=ROOT_PORT, acs=0x5F), False, Port.ROOT, Isolation.ON),
        (config_space(port=DOWNSTREAM, acs=0x01), False, Port.DOWNSTREAM, Isolation.OFF),
        (config_space(port=ROOT_PORT, acs=0x1D, length=256), False, Port.ROOT, None),
    ],
)
def test_configuration_space(data: bytes, reset: bool, port: Port, isolation: Isolation | None) -> None:
    config = parse_config_space(data)
    assert (config.function_reset, config.port, config.isolation) == (reset, port, isolation)


@pytest.mark.parametrize("data", [None, b"", config_space(length=64), b"\xff" * 256, b"\xff" * 4096])
def test_unreadable_configuration_space_tells_nothing(data: bytes | None) -> None:
    assert parse_config_space(data) == UNREADABLE


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 4095), st.sampled_from([64, 256, 4096]))
def test_any_configuration_space_can_be_read(junk: bytes, place: int, length: int) -> None:
    whole = bytearray(config_space(port=ROOT_PORT, acs=0x1D))
    whole[place : place + len(junk)] = junk
    parse_config_space(bytes(whole[:length]))
    parse_config_space(junk)


@settings(deadline=None)
@given(st.text(max_size=400))
def test_any_text_can_be_read(text: str) -> None:
    for bar in parse_bars(text, sizes={}):
        assert bar.size_bytes > 0
    assert list(parse_sizes(text)) == sorted(parse_sizes(text))
    parse_remapping(text)
    parse_capabilities(text)
    lookup(text, {(0x10DE, 0x2230)})
    guest = read_guest(parse_report(text))
    assert not guest.complete


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5), st.text())
def test_any_report_of_the_guest_can_be_read(value: object, name: str) -> None:
    keys = ("steps", "registers", "instructions_per_s", "stopped", "code", "refused", name)
    guest = read_guest(parse_report(json.dumps(dict.fromkeys(keys, value))))
    assert not guest.complete


ATTRIBUTES = ["vendor", "device", "class", "numa_node", "boot_vga", "resource", "reset_method", "config",
              "sriov_totalvfs", "sriov_numvfs", "resource1_resize"]  # fmt: skip
FILES = [*(f"sys/bus/pci/devices/0000:65:00.0/{name}" for name in ATTRIBUTES), "proc/cmdline", "proc/interrupts",
         "proc/cpuinfo", "proc/modules", "usr/share/misc/pci.ids", "sys/module/nvidia/version"]  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.sampled_from(FILES), st.binary(max_size=80), max_size=6))
def test_nonsense_in_any_file_gives_checks_never_an_error(files: dict[str, bytes]) -> None:
    with TemporaryDirectory() as folder:
        tree = sound_host(Path(folder))
        add_gpu(tree)
        for name, data in files.items():
            tree.write(name, data)
        facts = observe_passthrough(tree.root)
        assert len(passthrough_checks(facts)) >= 3
        gpu_capacities(facts)


def test_links_that_lead_nowhere_are_no_error(tmp_path: Path) -> None:
    tree = PciTree(tmp_path)
    (tmp_path / "sys/bus/pci/devices").mkdir(parents=True)
    (tmp_path / "sys/bus/pci/devices/0000:65:00.0").symlink_to("../../../devices/gone/0000:65:00.0")
    (tmp_path / "sys/bus/pci/devices/loop").symlink_to("loop")
    (tmp_path / "sys/bus/pci/devices/0000:66:00.0").symlink_to("0000:66:00.0")
    facts = observe_passthrough(tree.root)
    assert [(device.address, device.vendor, device.iommu_group) for device in facts.devices] == [
        ("0000:65:00.0", None, None),
        ("0000:66:00.0", None, None),
    ]
    assert facts.gpus == ()


def test_a_packed_database_is_read_too_and_a_broken_one_is_none(tmp_path: Path) -> None:
    import gzip

    tree = PciTree(tmp_path)
    (tmp_path / "usr/share/misc/pci.ids").unlink()
    assert read_database(tree.root) is None
    tree.write("usr/share/misc/pci.ids.gz", gzip.compress(b"10de  NVIDIA\n\t2230  A6000\n\t\t10de 1459  Board\n"))
    assert lookup(read_database(tree.root) or "", {(0x10DE, 0x2230), (0x10DE, 1)}) == {(0x10DE, 0x2230): "NVIDIA A6000"}
    tree.write("usr/share/misc/pci.ids.gz", b"\x1f\x8b broken")
    assert read_database(tree.root) is None


def test_a_real_laptop_has_groups_and_no_nvidia_gpu(tmp_path: Path) -> None:
    facts = observe_passthrough(captured(tmp_path, "linux-amd64-415ee03b8c4d1c4f07ae2e9d8b3d3d6d"))
    assert len(facts.iommu.groups) == 15
    assert facts.iommu.groups["8"] == ("0000:00:0d.0", "0000:00:0d.2", "0000:00:0d.3")
    assert [(gpu.address, gpu.device.id_text, gpu.device.driver) for gpu in facts.gpus] == [
        ("0000:00:02.0", "8086:46a6", "i915")
    ]
    checks = {check.id: check.verdict for check in passthrough_checks(facts)}
    assert checks["iommu.groups"] is Verdict.PASS
    assert gpu_capacities(facts) == ()


def test_a_real_machine_with_an_nvidia_gpu_and_no_iommu(tmp_path: Path) -> None:
    facts = observe_passthrough(captured(tmp_path, "linux-amd64-accel-nvidia"))
    gpu = facts.nvidia[0]
    assert (gpu.address, gpu.device.id_text, gpu.device.driver) == ("0000:06:00.0", "10de:15f8", "nvidia")
    checks = {check.id: check.verdict for check in passthrough_checks(facts)}
    assert checks["iommu.groups"] is Verdict.FAIL
    assert checks["software.nvidia-driver"] is Verdict.UNKNOWN
    # what the capture does not hold is unknown, not missing
    assert checks["gpu.0000:06:00.0.reset"] is Verdict.UNKNOWN
    assert "in no IOMMU group" in gpu_capacities(facts)[0].blocked
