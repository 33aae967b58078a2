"""``ai-how switch`` on real machines: two clusters of one small machine each take turns, and a failure goes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .libvirt_guests import BootImage
from .libvirt_host import LibvirtHost
from .test_vm_commands import Lab, site_of_lab

SITE = """name: turns
provider: libvirt
virtualization: emulated
schedule: in-turns
hosts:
  - name: here
    uri: {uri}
    storage_path: {storage}
    declared: {{cores: 16, memory_gib: 64, disk_gib: 1000}}
    reserve: {{cores: 0, memory_gib: 1}}
clusters:
  train:
    kind: hpc
    image: {image}
    subnet: 192.168.218.0/24
    nodes: [{{role: hpc-controller, vcpus: 1, memory_gib: 1, disk_gib: 8}}]
  serve:
    kind: hpc
    start: manual
    image: {image}
    subnet: 192.168.219.0/24
    nodes: [{{role: hpc-controller, vcpus: 1, memory_gib: 1, disk_gib: 8}}]
"""
pytestmark = [pytest.mark.boots, pytest.mark.libvirt, pytest.mark.slow, pytest.mark.timeout(900, func_only=True)]


@pytest.fixture(scope="module")
def lab(libvirt_host: LibvirtHost, boot_image: BootImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with site_of_lab(SITE, libvirt_host, boot_image, tmp_path_factory.mktemp("turns")) as made:
        yield made


def states(lab: Lab) -> dict[str, str]:
    return {row["node"]: row["state"] for row in lab.json("vm", "list")["machines"]}


def test_clusters_take_turns_and_a_failure_goes_back(lab: Lab) -> None:
    assert "is not made yet" in lab.run("switch", "serve", code=1).stderr
    assert "no cluster 'cloud'" in lab.run("switch", "cloud", code=1).stderr
    lab.run("up", "--yes")
    assert states(lab) == {"serve-controller-1": "off", "train-controller-1": "running"}
    assert "already" in lab.run("switch", "train").stdout

    planned = lab.json("switch", "serve", "--dry-run")
    assert planned["steps"] == ["stop train", "start serve", "check serve"]
    assert planned["back"] == ["stop serve", "start train"]
    assert states(lab)["train-controller-1"] == "running"

    done = lab.json("switch", "serve")
    assert done["ok"]
    assert [step["step"] for step in done["steps"]] == planned["steps"]
    assert all(step["duration_s"] >= 0 and step["result"] == "done" for step in done["steps"])
    assert states(lab) == {"serve-controller-1": "running", "train-controller-1": "off"}
    # who has the turn keeps it: nothing is to be done, nothing is wrong
    assert lab.run("plan").returncode == 0
    assert lab.run("status").returncode == 0

    (lab.folder / "pool/turns/train-controller-1.qcow2").unlink()
    failed = lab.run("switch", "train", code=1)
    assert "the switch failed" in failed.stderr
    assert "serve runs again" in failed.stderr
    assert states(lab)["serve-controller-1"] == "running"
    assert lab.json("gpu", "list") == {"gpus": []}
    outcomes = [(event["verb"], event["outcome"]) for event in lab.json("events", "-n", "40")]
    assert ("switch: back: start serve", "done") in outcomes
