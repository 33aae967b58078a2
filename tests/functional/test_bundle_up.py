"""``ai-how up`` with a bundle, the whole way over real SSH: nodes fetch from the server that ``up`` starts.

Kubespray's playbooks are stand-ins; the one for a new cluster fetches a file as Kubespray would.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ai_how.bundles import offer as offer_module
from ai_how.bundles.create import Purpose, create_bundle
from ai_how.bundles.manifest import read_manifest, write_manifest
from ai_how.bundles.offering import HostOffering
from ai_how.bundles.service import Served, served
from ai_how.bundles.wanted import File, Image
from ai_how.errors import SpecError
from ai_how.kubernetes.offline import FILE_HOSTS
from ai_how.releases.sets import load_set
from ai_how.run.http import request
from ai_how.run.route import address_towards
from ai_how.site.kubernetes import Kubernetes
from ai_how.site.load import load_site
from tests.functional.far_servers import far_servers
from tests.functional.kubespray_stand_in import LoopbackProvider, notes_of
from tests.functional.test_bundle_serve import port
from tests.functional.test_kubernetes_up import FIRST, NAME, Lab, lab, programs, target

__all__ = ["lab", "programs", "target"]
FETCH = """
    - name: Fetch as Kubespray does
      raw: "{{ ansible_playbook_python }} NOTES/../fetch.py {{ dl_k8s_io_url }}/kubelet {{ inventory_hostname }}"
"""
PROGRAM = """
import sys, urllib.request
from pathlib import Path
urllib.request.urlretrieve(sys.argv[1], Path(__file__).with_name(f"fetched-{sys.argv[2]}"))
"""


@pytest.fixture
def offline(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(offer_module, "PORT", port())
    names = lab.folder / "checkout/roles/names/defaults/main.yml"
    more = (*FILE_HOSTS.values(), "containerd_registries_mirrors")
    names.write_text(names.read_text() + "".join(f"{name}:\n" for name in more))
    playbook = lab.folder / "checkout/cluster.yml"
    playbook.write_text(playbook.read_text() + FETCH.replace("NOTES", str(lab.notes)))

    (lab.folder / "fetch.py").write_text(PROGRAM)

    def provider(*_words: object, **_options: object) -> LoopbackProvider:
        site = load_site(lab.site_file)
        return LoopbackProvider(site, lab.site_file, lab.target, lab.machines, offering=HostOffering())

    for module in ("ai_how.cli.open_site", "ai_how.cli.lifecycle"):
        monkeypatch.setattr(f"{module}.provider_of", provider)
    monkeypatch.setattr(lab, "provider", provider)
    with far_servers() as far:
        far.add_image("a", "1")
        file = File(url=far.url("/kubelet"), digest=far.add_file("/kubelet", b"kubelet" * 100))
        purpose = Purpose(release="current", versions=load_set().versions, platform="linux/amd64")
        made = create_bundle(tmp_path / "b", [file, Image(reference=f"{far.host}/a:1")], purpose)
        text = made.model_dump_json().replace(far.url("/kubelet"), "https://dl.k8s.io/kubelet")
        write_manifest(tmp_path / "b", type(made).model_validate_json(text.replace(far.host, "quay.io")))
    yield lab
    for pid in [found.pid for found in (running(lab),) if found]:
        psutil.Process(pid).terminate()


def running(lab: Lab) -> Served | None:
    return served(lab.folder / ".ai-how/lab/kubernetes/cloud/downloads")


def with_bundle(lab: Lab) -> None:
    text = lab.site_file.read_text()
    lab.site_file.write_text(text.replace("kubespray_path: checkout", "kubespray_path: checkout, bundle: b"))


def test_nodes_fetch_from_the_bundle(offline: Lab) -> None:
    with_bundle(offline)
    assert running(offline) is None
    assert offline.plan()[NAME] == "cluster.yml: does not exist yet"
    # planning starts nothing
    assert running(offline) is None
    offline.run("up", "--yes")
    assert (offline.folder / f"fetched-{FIRST}").read_bytes() == b"kubelet" * 100
    found = running(offline)
    assert found is not None
    assert found.bundle == read_manifest(offline.folder / "b").identity
    assert found.listen == "127.0.0.1"
    told = (offline.folder / ".ai-how/lab/kubernetes/cloud/inventory/group_vars/k8s_cluster.yml").read_text()
    assert f"dl_k8s_io_url: {found.url}/files/dl.k8s.io" in told
    assert "prefix: quay.io" in told

    # nothing changes: nothing runs, and the server is the same
    assert offline.plan() == {}
    offline.run("up", "--yes")
    assert running(offline) == found
    assert notes_of(offline.notes)[FIRST] == ["cluster.yml"]

    offline.run("destroy", "--yes")
    assert not psutil.pid_exists(found.pid)


def test_a_server_that_died_is_seen_and_started_again_without_a_playbook(offline: Lab) -> None:
    with_bundle(offline)
    offline.run("up", "--yes")
    found = running(offline)
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    _until_gone(found.pid)
    assert offline.plan()[NAME] == f"its bundle is not served at {found.url}"
    status = json.loads(offline.run("status", "-o", "json", code=1).stdout)["components"][0]
    assert (status["condition"], status["detail"]) == ("failing", f"its bundle is not served at {found.url}")
    offline.run("up", "--yes")
    again = running(offline)
    assert again is not None
    assert request("GET", f"{again.url}/bundle").status == 200
    assert notes_of(offline.notes)[FIRST] == ["cluster.yml"]
    offline.run("down")
    assert running(offline) is None


def test_a_bundle_that_is_taken_away_ends_its_server(offline: Lab) -> None:
    with_bundle(offline)
    offline.run("up", "--yes")
    text = offline.site_file.read_text()
    # the stand-in playbook fetches all the same, from where the user says
    server = running(offline)
    assert server is not None
    own = f'extra_vars: {{dl_k8s_io_url: "{server.url}/files/dl.k8s.io"}}'
    offline.site_file.write_text(text.replace("bundle: b", own))
    assert "is not as" not in offline.plan()[NAME]
    offline.refused("up", "--yes")
    assert running(offline) is None


def test_a_bundle_for_other_versions_is_refused_before_anything_is_done(offline: Lab) -> None:
    with_bundle(offline)
    offline.site_file.write_text(offline.site_file.read_text() + 'pins: {kubernetes: "1.34"}\n')
    error = offline.refused("plan")
    assert "is for other versions than the site" in error.brief
    assert not (offline.folder / ".ai-how/lab/kubernetes").exists()


def _until_gone(pid: int) -> None:
    end = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_packages_are_left_out_where_the_site_says_so(offline: Lab) -> None:
    playbook = offline.folder / "checkout/cluster.yml"
    text = playbook.read_text().partition("    - name: Fetch")[0]
    tagged = f"    - name: Packages\n      raw: touch {offline.folder}/packages\n      tags: [system-packages]\n"
    playbook.write_text(text + tagged)
    site = offline.site_file.read_text()
    offline.site_file.write_text(site.replace("path: checkout", "path: checkout, install_packages: false"))
    offline.run("up", "--yes")
    assert notes_of(offline.notes)[FIRST] == ["cluster.yml"]
    assert not (offline.folder / "packages").exists()


def test_the_way_to_the_nodes_tells_this_hosts_address() -> None:
    assert address_towards(["127.0.0.1", "192.0.2.1"]) == "127.0.0.1"
    assert address_towards([]) == ""
    assert address_towards(["no address"]) == ""
    with pytest.raises(SpecError, match="no address that the nodes could reach"):
        offer_module.offer_for(Kubernetes(download="host"), load_set().versions, site_folder=Path(), host_address="")
