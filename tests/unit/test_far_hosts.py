"""What another libvirt host has: from recorded XML, and from libvirt's own test driver."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ai_how.cli.app import root
from ai_how.errors import AiHowError, ProviderError, TryAgainError
from ai_how.machines import connection, far_hosts
from ai_how.machines.far_hosts import capacity_of, far_capacity, fastest_mbps, free_bytes_of, pool_at
from ai_how.machines.provider import LibvirtProvider
from ai_how.run import ssh
from ai_how.run.process import Completed
from ai_how.run.ssh import check_way, jump_of
from ai_how.site.clusters import Host
from ai_how.site.load import load_site
from tests.unit.test_passthrough_cards import device_xml

CPU = "<cpu id='{0}' socket_id='{1}' die_id='0' core_id='{2}' siblings='{3}'/>"


def cell(number: int, *, first: int, cores: int, memory_kib: int, huge: int = 0) -> str:
    """A NUMA node with two threads a core, as libvirt 9 writes it."""
    cpus = "".join(
        CPU.format(first + core + half * 16, number, core, f"{first + core},{first + core + 16}")
        for half in (0, 1)
        for core in range(cores)
    )
    return (
        f"<cell id='{number}'><memory unit='KiB'>{memory_kib}</memory><pages unit='KiB' size='4'>1000</pages>"
        f"<pages unit='KiB' size='2048'>{huge}</pages><pages unit='KiB' size='1048576'>1</pages>"
        f"<distances><sibling id='0' value='10'/></distances><cpus num='{cores * 2}'>{cpus}</cpus></cell>"
    )


CELLS = cell(1, first=8, cores=8, memory_kib=64 << 20) + cell(0, first=0, cores=8, memory_kib=64 << 20, huge=512)
CAPABILITIES = f"<capabilities><host><topology><cells num='2'>{CELLS}</cells></topology></host></capabilities>"
SUMS: dict[str, Any] = {"threads": 32, "threads_per_core": 2, "memory_mib": 131072, "disk_gib": 100}


def test_cores_threads_memory_and_huge_pages_are_those_of_the_topology() -> None:
    found = capacity_of("far", CAPABILITIES, **SUMS)
    assert (found.cores, found.threads, found.memory_gib, found.observed) == (16, 32, 128, True)
    assert [(node.id, node.threads, node.memory_gib) for node in found.numa] == [(0, 16, 64), (1, 16, 64)]
    assert found.hugepages_gib == 1 + 2


def test_without_a_topology_the_sums_count() -> None:
    found = capacity_of("far", "<capabilities><host/></capabilities>", **SUMS)
    assert (found.cores, found.threads, found.memory_gib, found.numa) == (16, 32, 128, ())


def test_the_nearest_pool_above_the_folder_counts() -> None:
    places = {"default": "/var/lib/libvirt/images", "all": "/", "other": "/var/lib/libvirt/images-old", "iscsi": ""}
    assert pool_at("/var/lib/libvirt/images/ai-how", places) == "default"
    assert pool_at("/srv", places) == "all"
    assert pool_at("/srv", {"other": "/srv2"}) is None


def test_the_fastest_link_that_is_up() -> None:
    texts = [
        f"<device><capability type='net'><link speed='{speed}' state='{state}'/></capability></device>"
        for speed, state in ((1000, "up"), (100000, "down"), (25000, "up"))
    ]
    assert fastest_mbps([*texts, "<device><capability type='net'><link state='up'/></capability></device>"]) == 25000
    assert fastest_mbps([]) is None


DF = "Filesystem 1-blocks Used Available Capacity Mounted on\n/dev/sda1 1000 400 600 40% /srv data\n"


def test_free_space_as_df_says_it() -> None:
    assert free_bytes_of(DF, place="far:/srv") == 600
    with pytest.raises(ProviderError, match="free space at far:/srv cannot be read"):
        free_bytes_of("df: no such file", place="far:/srv")


@given(st.text())
def test_any_text_is_free_space_or_one_clear_error(text: str) -> None:
    try:
        assert free_bytes_of(text, place="far") >= 0
    except ProviderError as error:
        assert "cannot be read" in error.brief


# libvirt's test driver: a host of 16 processors in two NUMA nodes, with a pool at /default-pool


def far(**settings: Any) -> Host:
    return Host(name="far", uri="qemu+ssh://root@far/system", **settings)


def test_a_host_is_asked_by_libvirt_alone(connect: Any) -> None:
    found = far_capacity(far(storage_path="/default-pool/ai-how"), connect)
    assert (found.cores, found.threads, found.memory_gib) == (16, 16, 6)
    assert [node.threads for node in found.numa] == [8, 8]
    free = connect.storagePoolLookupByName("default-pool").info()[3]
    assert found.disk_gib == free / 2**30
    assert found.gpus == ()


def test_where_no_pool_lies_ssh_is_asked(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(host: str, command: str) -> Completed:
        asked.extend([host, command])
        return Completed(argv=(), returncode=0, stdout=DF.replace("600", str(3 * 2**30)), stderr="")

    monkeypatch.setattr(far_hosts, "run_on_host", answer)
    assert far_capacity(far(storage_path="/srv/o'ne"), connect).disk_gib == 3
    assert asked[0] == "root@far"
    assert asked[1].endswith("""sh '/srv/o'"'"'ne'""")


@pytest.mark.parametrize(
    ("uri", "jump"),
    [
        ("qemu:///system", ""),
        ("qemu+tls://there/system", ""),
        ("qemu+ssh://there/system", "there"),
        ("qemu+ssh://root@there/system?no_tty=1", "root@there"),
        ("qemu+ssh://root@there:2222/system", "ssh://root@there:2222"),
        ("qemu+ssh://root@[2001:db8::1]/system", "root@2001:db8::1"),
        ("qemu+ssh://root@[2001:db8::1]:2222/system", "ssh://root@[2001:db8::1]:2222"),
    ],
)
def test_the_way_to_a_host_is_that_of_its_address_with_the_port(uri: str, jump: str) -> None:
    assert jump_of(uri) == jump


@pytest.mark.parametrize(
    ("said", "lets"),
    [
        ("root@there: Permission denied (publickey).", False),
        ("Host key verification failed.", False),
        ("ssh: Could not resolve hostname there: Name or service not known", False),
        ("kex_exchange_identification: Connection closed by remote host", True),
        ("ssh: connect to host there port 22: Connection timed out", True),
    ],
)
def test_a_host_that_refuses_is_told_from_a_busy_one(said: str, lets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "run", lambda *_, **__: Completed(argv=(), returncode=255, stdout="", stderr=said))
    if lets:
        check_way("root@there")
        return
    with pytest.raises(TryAgainError) as caught:
        check_way("root@there")
    assert (caught.value.brief, caught.value.evidence) == ("root@there does not answer by SSH", said)
    assert "ssh root@there true" in caught.value.next_step


def test_a_host_that_refuses_ends_the_wait_for_its_machine(
    there: Path, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "root@far: Permission denied (publickey)."
    monkeypatch.setattr(ssh, "run", lambda *_, **__: Completed(argv=(), returncode=255, stdout="", stderr=said))
    file = there / "ai-how.yaml"
    provider = LibvirtProvider(load_site(file), file)
    provider.connections = {"far": connect}
    wish: Any = SimpleNamespace(
        host="far",
        address="192.0.2.1",
        machine=SimpleNamespace(name="m", cluster=next(iter(provider.site.planned_clusters))),
    )
    with pytest.raises(TryAgainError, match="root@far does not answer by SSH"):
        provider.wait_ready(wish)


def test_what_to_try_can_be_pasted_into_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_uri: str) -> Any:
        raise OSError("Cannot recv data: Host key verification failed.: Connection reset by peer")

    monkeypatch.setattr(connection, "load_libvirt", lambda: SimpleNamespace(libvirtError=OSError, open=refuse))
    uri = "qemu+ssh://root@there/system?keyfile=/k&no_tty=1"
    with pytest.raises(TryAgainError) as caught:
        connection.open_connection(uri)
    assert shlex.split(caught.value.next_step.partition(": ")[2]) == ["virsh", "-c", uri, "version"]


def test_without_pool_and_ssh_the_disk_is_not_known(connect: Any) -> None:
    host = Host(name="far", uri="qemu+tls://far/system", storage_path="/srv")
    with pytest.raises(ProviderError, match="free disk of host far is not known") as caught:
        far_capacity(host, connect)
    assert "default-pool" in caught.value.evidence


def test_gpus_of_a_host_count_with_what_blocks_them(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Device:
        def __init__(self, text: str) -> None:
            self.XMLDesc = lambda _flags: text

    class Connection:
        """The test driver's, with GPUs besides."""

        def __getattr__(self, name: str) -> Any:
            return getattr(connect, name)

        def listAllDevices(self, _flags: int) -> list[Device]:  # noqa: N802 - libvirt's name
            return [
                Device(device_xml("0000:65:00.0", 0x030000, "10de:2230", driver="vfio-pci", group="30")),
                Device(device_xml("0000:b3:00.0", 0x030000, "10de:2230", group="")),
            ]

    monkeypatch.setattr("ai_how.machines.passthrough.hosts.CardHost._boot_vga", lambda _self, _address: False)
    good, bad = far_capacity(far(storage_path="/default-pool"), Connection()).gpus
    assert (good.pci_address, good.memory_gib, good.numa_node, good.blocked) == ("0000:65:00.0", 48, 1, "")
    assert "in no IOMMU group" in bad.blocked


# as it is typed

SITE = """name: lab
provider: libvirt
hosts:
- {name: far, uri: 'qemu+ssh://root@far/system', storage_path: /default-pool/ai-how, reserve: {cores: 1, memory_gib: 1}}
clusters:
  hpc: {kind: hpc, nodes: [{role: hpc-controller, vcpus: 2, memory_gib: 1, disk_gib: 8}]}
"""


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AI_HOW_SITE", raising=False)
    (tmp_path / "ai-how.yaml").write_text(SITE)
    return tmp_path


def test_a_site_on_another_host_needs_no_declaration(
    there: Path, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(far_hosts, "open_connection", lambda _uri: connect)
    done = CliRunner().invoke(root, ["plan", "--fit", "-o", "json"])
    assert '"host": "far"' in done.output, done.exception
    costs = CliRunner().invoke(root, ["cost", "--site", "ai-how.yaml", "-o", "json"])
    assert costs.exit_code == 0, costs.output


@pytest.mark.usefixtures("there")
def test_a_host_that_does_not_answer_can_be_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(uri: str) -> Any:
        raise TryAgainError(f"no connection to {uri}", evidence="timed out", next_step="virsh")

    monkeypatch.setattr(far_hosts, "open_connection", refuse)
    refused = CliRunner().invoke(root, ["plan"]).exception
    assert isinstance(refused, AiHowError)
    assert refused.brief == "no connection to qemu+ssh://root@far/system"
    assert "hosts, far: declared" in refused.evidence
