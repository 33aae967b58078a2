"""Kubernetes' set-up on machines that boot: Ansible reaches each with the rendered inventory, and learns its facts.

The playbook is a small one in Kubespray's place: it gathers facts and leaves an administrator's file.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_how.apply.files import shared_cache
from tests.fake_cluster import admin_conf

from .kubespray_stand_in import write_checkout
from .libvirt_guests import BootImage
from .libvirt_host import LibvirtHost
from .libvirt_site import MachineSite

pytestmark = [pytest.mark.libvirt, pytest.mark.boots]

CONTROL, WORKER = "cloud-control-plane-1", "cloud-cpu-worker-1"
CLUSTER = """
  cloud:
    image: IMAGE
    subnet: 192.168.212.0/24
    kubernetes: {kubespray_path: checkout}
    stack: {enabled: false}
    nodes:
      - {role: control-plane, vcpus: 1, memory_gib: 1, disk_gib: 4}
      - {role: cpu-worker, vcpus: 1, memory_gib: 1, disk_gib: 4}
"""
PLAYBOOK = """
- name: Facts
  hosts: k8s_cluster
  gather_facts: true
  tasks:
    - name: Be root
      command: id -u
      register: who
    - name: Keep what was learnt
      delegate_to: localhost
      become: false
      copy:
        dest: "FOLDER/{{ inventory_hostname }}.json"
        content: "{{ {'host': ansible_hostname, 'uid': who.stdout, 'addresses': ansible_all_ipv4_addresses,
          'memory_mb': ansible_memtotal_mb, 'planned': ip} | to_json }}"
    - name: Leave what kubeadm would
      when: inventory_hostname in groups['kube_control_plane']
      block:
        - file: {path: /etc/kubernetes, state: directory, mode: "0700"}
        - copy: {dest: /etc/kubernetes/admin.conf, content: "{{ lookup('file', 'FOLDER/admin.conf') }}", mode: "0600"}
"""


@pytest.fixture(scope="module")
def site(
    libvirt_host: LibvirtHost, boot_image: BootImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MachineSite]:
    folder = tmp_path_factory.mktemp("kube")
    checkout = write_checkout(folder / "checkout", folder)
    (checkout / "cluster.yml").write_text(PLAYBOOK.replace("FOLDER", str(folder)))
    (folder / "admin.conf").write_text(admin_conf())
    one = MachineSite(
        host=libvirt_host,
        folder=folder,
        cache=shared_cache().parent,
        image=boot_image.name,
        name="kube",
        clusters=CLUSTER,
        start="",
    )
    one.write()
    try:
        yield one
    finally:
        one.destroy()


@pytest.mark.timeout(900)
def test_ansible_reaches_every_machine_and_learns_its_facts(site: MachineSite) -> None:
    reasons = {a["resource"]: a["reason"] for a in site.run("plan", "-o", "json", code=2).json()["actions"]}
    assert reasons["kubernetes/cloud"] == "cluster.yml: does not exist yet"
    # no API server runs there: the way ends where it would be asked, with a key that is none
    done = site.run("up", "--yes", code=1)
    for name, address in ((CONTROL, "192.168.212.10"), (WORKER, None)):
        learnt = json.loads((site.folder / f"{name}.json").read_text())
        assert (learnt["host"], learnt["uid"]) == (name, "0"), done.stderr
        assert learnt["planned"] in learnt["addresses"]
        assert address in (None, learnt["planned"])
        assert 700 < learnt["memory_mb"] <= 1024
    kept = Path(site.run("kubeconfig", "--path").stdout.strip())
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "server: https://192.168.212.10:6443" in kept.read_text()
    # set up, and asked again the next time; no playbook runs for that
    again = {a["resource"]: a["reason"] for a in site.run("plan", "-o", "json", code=2).json()["actions"]}
    assert again == {"kubernetes/cloud": "has not been seen ready since it was set up"}
    assert "Be root" in site.run("logs", "kubernetes/cloud", "-n", "500").stdout
