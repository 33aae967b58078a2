"""``ai-how gpu`` as it is typed: text in 80 columns, JSON, and every refusal in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ai_how.cli import gpu as command
from ai_how.cli.gpu import gpu
from ai_how.errors import SpecError
from ai_how.machines import domains
from ai_how.machines.passthrough.hosts import CardHost
from ai_how.site.clusters import Host
from tests.golden.conftest import ROOT
from tests.unit.card_hosts import FUNCTIONS, A, B, machine


@pytest.fixture
def hosts(host: CardHost, monkeypatch: pytest.MonkeyPatch) -> dict[str, CardHost]:
    found = {"h": host}
    monkeypatch.setattr(command, "_hosts", lambda _site: found)
    return found


def run(*words: str) -> Result:
    return CliRunner().invoke(gpu, words)


def test_every_card_is_listed_with_who_has_it_and_who_wants_it(hosts: dict[str, CardHost]) -> None:
    hosts["h"].start(machine("lab-one", *FUNCTIONS))
    domains.define_machine(hosts["h"].connect, machine("lab-two", *FUNCTIONS, cluster="hpc"))
    text = run("list").output
    lines = text.splitlines()
    assert lines[0].split() == ["GPU", "MODEL", "MEMORY", "GROUP", "DRIVER", "STATE"]
    assert lines[1].split() == [A, "NVIDIA", "RTX", "A6000", "48", "GiB", "30", "vfio-pci", "in", "use"]
    assert lines[2].split() == [B, "NVIDIA", "RTX", "A6000", "48", "GiB", "40", "vfio-pci", "free"]
    assert "  with machine one of cluster cloud, site lab" in lines
    assert "  wanted by machine two of cluster hpc, site lab" in lines
    assert all(len(line) <= 80 for line in lines)

    first, second = json.loads(run("list", "-o", "json").output)["gpus"]
    assert first["holder"] == {"node": "one", "cluster": "cloud", "site": "lab"}
    assert first["functions"] == list(FUNCTIONS)
    assert (second["holder"], second["held_by"], second["blocked"]) == (None, "", "")


def test_what_blocks_a_card_is_listed(tmp_path: Path, hosts: dict[str, CardHost]) -> None:
    kernel: Any = hosts["h"].sysfs
    kernel.tree.device("0000:66:00.0", class_code=0x010802, driver="nvme", group="30")
    text = run("list").output
    assert "blocked" in text
    assert "0000:66:00.0 (NVMe, nvme)" in text


def test_several_hosts_are_told_apart(hosts: dict[str, CardHost]) -> None:
    other = hosts["h"]
    twin = CardHost(Host(name="twin"), other.connect, sysfs=other.sysfs, root=other._root)
    hosts["twin"] = twin
    assert "HOST" in run("list").output
    refused = run("release", "65:00.0")
    assert "several hosts have a GPU at 0000:65:00.0" in str(refused.exception)
    assert "--host h" in str(refused.exception)
    assert run("release", "65:00.0", "--host", "twin", "-o", "json").exit_code == 0
    assert "there is no host 'none'" in str(run("release", "65:00.0", "--host", "none").exception)


def test_releasing_says_each_functions_driver(hosts: dict[str, CardHost], connect: Any) -> None:
    hosts["h"].start(machine("lab-one", *FUNCTIONS))
    assert "machine one of cluster cloud, site lab has it" in str(run("release", "65:00.1").exception)
    connect.lookupByName("lab-one").destroy()
    assert run("release", "65:00.1").output.splitlines() == [
        "0000:65:00.0: nvidia",
        "0000:65:00.1: snd_hda_intel",
        "0000:65:00.2: no driver",
    ]


@pytest.mark.parametrize(
    ("address", "said"),
    [("6500", "'6500' is no PCI address"), ("01:00.0", "no host has a GPU at 0000:01:00.0")],
)
def test_an_address_that_is_none_is_refused(hosts: dict[str, CardHost], address: str, said: str) -> None:
    assert said in str(run("release", address).exception)


def test_without_a_site_file_this_machine_is_asked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    connect: Any,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("ai_how.machines.connection.open_connection", lambda uri: asked.append(uri) or connect)
    monkeypatch.setattr("ai_how.site.load.find_site", _no_site)
    run("list")
    assert asked == ["qemu:///system"]


def _no_site(_start: Path) -> Path:
    from ai_how.errors import NotFoundError

    raise NotFoundError("no ai-how.yaml")


@pytest.mark.parametrize("words", [("list",), ("release", A)])
def test_a_site_of_servers_has_no_cards_for_machines(words: tuple[str, ...]) -> None:
    done = run(*words, "--site", str(ROOT / "examples" / "inventory.yaml"))
    assert isinstance(done.exception, SpecError)
    assert done.exception.brief == "site rack has no virtual machines"
