"""Servers for the provider ``inventory``: sshd in network namespaces of the test's own, joined by a bridge in another.

Each has its own address, host key, host name, /etc and /var/lib; Python, kernel and all else are this machine's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .sshd import SSHD

_NET = "10.213.77"
_CLONE_NEWNET = 0x40000000
_START = """
set -e
mount -t tmpfs tmpfs /run && mkdir -p /run/sshd /run/systemd/system
mount --bind {folder}/lib /var/lib
mount -t overlay overlay -o lowerdir=/etc,upperdir={folder}/etc,workdir={folder}/work /etc
hostname {name}
exec {sshd} -D -e -f {folder}/sshd_config
"""


@dataclass
class FakeServer:
    """One server: its address, and its process while it runs."""

    name: str
    address: str
    namespace: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def record(self) -> Path:
        """Where its record of being a node lies on this machine."""
        return self.folder / "lib" / "ai-how" / "node.json"

    def start(self) -> None:
        words = ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "--mount", "sh", "-c"]
        script = _START.format(folder=self.folder, name=self.name, sshd=SSHD)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen([*words, script], stdout=log, stderr=log, start_new_session=True)
        for _ in range(100):
            assert self.process.poll() is None, (self.folder / "log").read_text()
            if "listening on" in (self.folder / "log").read_text():
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def make_host_key(self) -> None:
        """A host key in place of the one it has."""
        for path in self.folder.glob("host*"):
            path.unlink()
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "host"))

    def run(self, *words: str) -> None:
        """Run something in its network."""
        run("ip", "netns", "exec", self.namespace, *words)


@dataclass
class FakeFleet:
    """Several servers, and the key that lets in."""

    folder: Path
    key_file: Path
    path: str = ""
    mark: str = field(default_factory=lambda: secrets.token_hex(2))
    servers: dict[str, FakeServer] = field(default_factory=dict)

    @property
    def bridge(self) -> str:
        return f"aih{self.mark}"

    @property
    def hub(self) -> str:
        """The namespace that the servers' network is in, and the test with it."""
        return f"aih-{self.mark}-hub"

    def add(self, name: str) -> FakeServer:
        """One more server, running."""
        number = len(self.servers) + 1
        folder = self.folder / name
        for part in ("lib", "etc", "work"):
            (folder / part).mkdir(parents=True)
        server = FakeServer(
            name=name, address=f"{_NET}.{number + 10}", namespace=f"aih-{self.mark}-{number}", folder=folder
        )
        self.servers[name] = server
        (folder / "etc" / "machine-id").write_text(secrets.token_hex(16) + "\n")
        shutil.copy(self.key_file.with_suffix(".pub"), folder / "authorized")
        server.make_host_key()
        settings = {
            "ListenAddress": f"{server.address}:22",
            "HostKey": folder / "host",
            "AuthorizedKeysFile": folder / "authorized",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PermitRootLogin": "prohibit-password",
            "PasswordAuthentication": "no",
            "MaxStartups": "50",
            "SetEnv": f"PATH={self.path}:{os.environ['PATH']}",
        }
        (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        wire, inside = f"v{self.mark}{number}", f"w{self.mark}{number}"
        run("ip", "netns", "add", server.namespace)
        run("ip", "link", "add", wire, "type", "veth", "peer", "name", inside, "netns", server.namespace)
        run("ip", "link", "set", wire, "master", self.bridge, "up")
        server.run("ip", "link", "set", inside, "name", "eth0")
        server.run("ip", "link", "set", "eth0", "up")
        server.run("ip", "link", "set", "lo", "up")
        server.run("ip", "address", "add", f"{server.address}/24", "dev", "eth0")
        server.start()
        return server


def run(*words: str) -> None:
    """Run a program; its words are the failure's."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)


@contextmanager
def fake_fleet(folder: Path, *, path: str = "") -> Iterator[FakeFleet]:
    """A network without servers yet; the test is skipped where this machine does not let us make one."""
    if SSHD is None or os.geteuid() != 0:
        pytest.skip("needs OpenSSH's server, and root for network namespaces")
    key_file = folder / "login"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key_file))
    fleet = FakeFleet(folder=folder, key_file=key_file, path=path)
    made = subprocess.run(["ip", "netns", "add", fleet.hub], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
    try:
        with _inside(fleet.hub):
            run("ip", "link", "set", "lo", "up")
            run("ip", "link", "add", fleet.bridge, "type", "bridge")
            run("ip", "address", "add", f"{_NET}.1/24", "dev", fleet.bridge)
            run("ip", "link", "set", fleet.bridge, "up")
            yield fleet
    finally:
        for server in fleet.servers.values():
            with contextlib.suppress(OSError):
                server.stop()
            subprocess.run(["ip", "netns", "delete", server.namespace], check=False)
        subprocess.run(["ip", "netns", "delete", fleet.hub], check=False)


@contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """Be in a network namespace: this thread, and what it starts, be it threads or programs."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(before)
        os.close(there)
        os.close(before)


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
