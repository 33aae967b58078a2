"""A machine on the LAN of a host to which only SSH leads.

ai-how runs in a network of its own, with one cable to the host and no way to the LAN behind it. The LAN is a bridge
that the host has already, with a router's DHCP and DNS on it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ai_how.apply.files import shared_cache

from .leftovers import namespace_name
from .libvirt_guests import BootImage
from .libvirt_host import LibvirtHost
from .libvirt_site import MachineSite, inventory
from .site import eventually
from .sshd import ssh_server

pytestmark = [pytest.mark.boots, pytest.mark.libvirt, pytest.mark.slow, pytest.mark.timeout(900, func_only=True)]

NODE = "office-controller-1"
HOST, CLIENT, PORT = "10.213.78.1", "10.213.78.2", 2222
ROUTER, PRINTER = "192.168.231.1", "192.168.231.9"
URI = f"qemu+ssh://root@{HOST}:{PORT}/system?no_tty=1"
SITE = f"""
name: far
provider: libvirt
virtualization: emulated
hosts:
  - name: there
    uri: {URI}
    storage_path: STORAGE
    reserve: {{cores: 0, memory_gib: 1}}
clusters:
  office:
    kind: hpc
    image: IMAGE
    subnet: 192.168.231.0/24
    network: {{mode: bridge, bridge: lan0, gateway: {ROUTER}, nameservers: [{ROUTER}]}}
    nodes: [{{role: hpc-controller, vcpus: 1, memory_gib: 1, disk_gib: 4}}]
"""
# OpenSSH takes a user's home from here, not from the environment
_AT_HOME = 'mount --bind "$HOME/passwd" /etc/passwd && exec "$@"'
_GREETING = "timeout 10 bash -c 'exec 3<>/dev/tcp/{address}/22 && head -c 4 <&3'"


@dataclass(frozen=True, kw_only=True)
class FarSite(MachineSite):
    """A site whose user sits in the namespace ``client``, with a ``home`` of the test's own."""

    client: str
    home: Path
    router: subprocess.Popen[bytes]
    router_log: Path

    def enter(self, *words: str) -> list[str]:
        at_home = ["env", f"HOME={self.home}", "sh", "-c", _AT_HOME, "sh"]
        return ["ip", "netns", "exec", self.client, *at_home, *words]

    @property
    def known_hosts(self) -> Path:
        return self.home / ".ssh" / "known_hosts"


@pytest.fixture(scope="module")
def far_site(
    libvirt_host: LibvirtHost, boot_image: BootImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FarSite]:
    """The site, not made yet; nothing of it, of the LAN and of the way to it is left behind."""
    base = tmp_path_factory.mktemp("far")
    folder, home, sshd = base / "site", base / "home", base / "sshd"
    for made in (folder, home, sshd):
        made.mkdir()
    with ExitStack() as stack:
        client = stack.enter_context(_cable(libvirt_host))
        router = stack.enter_context(_lan(libvirt_host, base / "router"))
        door = stack.enter_context(ssh_server(sshd, inside=libvirt_host.beside(), address=HOST, port=PORT))
        assert door.key_file is not None
        _move_in(home, key=door.key_file, known_hosts=door.known_hosts)
        site = FarSite(
            host=libvirt_host,
            folder=folder,
            cache=shared_cache().parent,
            image=boot_image.name,
            client=client,
            home=home,
            router=router,
            router_log=base / "router",
        )
        site.file.write_text(SITE.replace("IMAGE", site.image).replace("STORAGE", str(site.storage)))
        try:
            yield site
        finally:
            site.run("destroy", "--yes")


def test_a_host_with_an_unknown_key_is_not_connected_to(far_site: FarSite) -> None:
    known = far_site.known_hosts.read_text()
    far_site.known_hosts.write_text("")
    try:
        refused = far_site.run("plan", code=None)
    finally:
        far_site.known_hosts.write_text(known)
    assert f"no connection to {URI}" in refused.stderr
    assert "Host key verification failed" in refused.stderr
    assert f"virsh -c '{URI}' version" in refused.stderr


def test_a_key_that_only_libvirt_knows_leads_to_no_machine(far_site: FarSite) -> None:
    key, text = far_site.home / ".ssh" / "id_ed25519", far_site.file.read_text()
    aside = key.rename(key.with_name("aside"))
    far_site.file.write_text(text.replace(URI, f"{URI}&keyfile={aside}"))
    try:
        refused = far_site.run("plan", code=None)
    finally:
        far_site.file.write_text(text)
        aside.rename(key)
    assert f"ssh://root@{HOST}:{PORT} does not answer by SSH" in refused.stderr
    assert "Permission denied" in refused.stderr


def test_a_machine_on_the_lan_of_a_far_host(far_site: FarSite) -> None:
    before = inventory(far_site.host), _lan_of(far_site.host)
    assert f"there ({URI})" in far_site.run("doctor", "--site", "ai-how.yaml", code=None).stderr
    planned = {action["resource"] for action in far_site.run("plan", "-o", "json", code=2).json()["actions"]}
    assert f"machine/{NODE}" in planned
    assert not [resource for resource in planned if resource.startswith("network")]

    far_site.run("up", "--yes")
    (made,) = far_site.run("vm", "list", "-o", "json").json()["machines"]
    assert (made["node"], made["host"], made["state"], made["agent"]) == (NODE, "there", "running", True)
    assert "nothing to do" in far_site.run("up", "--yes").stdout
    far_site.run("status")
    _reached_through_the_host_alone(far_site, made["address"])
    _lives_on_the_lan(far_site, made["address"])

    far_site.run("destroy", "--yes")
    assert (inventory(far_site.host), _lan_of(far_site.host)) == before
    assert far_site.files() == set()
    assert far_site.router.poll() is None
    assert "DHCPDISCOVER" not in far_site.router_log.read_text()


def _reached_through_the_host_alone(site: FarSite, address: str) -> None:
    assert site.run("vm", "ssh", NODE, "--", "hostname").stdout.strip() == NODE
    direct = _said(site.enter("sh", "-c", _GREETING.format(address=address)))
    assert "unreachable" in direct.stderr


def _lives_on_the_lan(site: FarSite, address: str) -> None:
    assert len(_lan_of(site.host)["ports"]) == 1
    assert _said(site.host.inside("sh", "-c", _GREETING.format(address=address))).stdout == "SSH-"
    assert ROUTER in site.run("vm", "ssh", NODE, "--", "ip -4 route show default").stdout
    assert PRINTER in site.run("vm", "ssh", NODE, "--", "getent ahostsv4 printer.lan").stdout


@contextmanager
def _cable(host: LibvirtHost) -> Iterator[str]:
    """A namespace with a cable to the host, and nothing else; its name."""
    client = namespace_name()
    _run("ip", "netns", "add", client)
    try:
        _run(*host.inside("ip", "link", "add", "way", "type", "veth", "peer", "name", "way", "netns", client))
        for side, address in ((host.name, HOST), (client, CLIENT)):
            _run("ip", "-n", side, "address", "add", f"{address}/30", "dev", "way")
            _run("ip", "-n", side, "link", "set", "way", "up")
            _run("ip", "-n", side, "link", "set", "lo", "up")
        yield client
    finally:
        # its end of the cable goes with it, and so does the other one
        _run("ip", "netns", "delete", client)
        eventually(lambda: '"way"' not in _said(["ip", "-n", host.name, "-j", "link"]).stdout)


@contextmanager
def _lan(host: LibvirtHost, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A bridge of the host's, and a router's DHCP and DNS on it."""
    # an address of its own, or it would be that of whichever port it has
    _run("ip", "-n", host.name, "link", "add", "lan0", "address", "52:54:00:11:22:33", "type", "bridge")
    router = None
    try:
        _run("ip", "-n", host.name, "address", "add", f"{ROUTER}/24", "dev", "lan0")
        _run("ip", "-n", host.name, "link", "set", "lan0", "up")
        words = ["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--log-facility=-"]
        words += ["--interface=lan0", "--except-interface=lo", "--bind-interfaces", "--no-resolv", "--no-hosts"]
        words += ["--dhcp-range=192.168.231.100,192.168.231.200", f"--dhcp-leasefile={log}.leases"]
        words += [f"--address=/printer.lan/{PRINTER}"]
        with log.open("wb") as out:
            router = subprocess.Popen(host.beside("dnsmasq", *words), stdout=out, stderr=out)
        eventually(lambda: "started" in log.read_text())
        yield router
    finally:
        if router is not None:
            router.terminate()
            router.wait()
        _run("ip", "-n", host.name, "link", "delete", "lan0")


def _move_in(home: Path, *, key: Path, known_hosts: Path) -> None:
    """Make a home of root's with a key that the host lets in, and with the host's own key."""
    (home / ".ssh").mkdir(mode=0o700)
    shutil.copy(key, home / ".ssh" / "id_ed25519")
    shutil.copy(known_hosts, home / ".ssh")
    accounts = Path("/etc/passwd").read_text().splitlines()
    others = [line for line in accounts if not line.startswith("root:")]
    (home / "passwd").write_text("\n".join([f"root:x:0:0:root:{home}:/bin/sh", *others, ""]))


def _lan_of(host: LibvirtHost) -> dict[str, Any]:
    """What the host's bridge is, and which machines' links are on it."""
    (bridge,) = json.loads(_said(["ip", "-n", host.name, "-j", "address", "show", "lan0"]).stdout)
    listed = json.loads(_said(["ip", "-n", host.name, "-j", "link", "show", "master", "lan0"]).stdout or "[]")
    ports = [one["ifname"] for one in listed if one]
    addresses = [one["local"] for one in bridge["addr_info"] if one["family"] == "inet"]
    return {"mac": bridge["address"], "addresses": addresses, "ports": ports}


def _run(*words: str) -> None:
    done = _said(list(words))
    assert done.returncode == 0, (words, done.stderr)


def _said(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=False, capture_output=True, text=True)
