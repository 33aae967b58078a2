"""A libvirt host of the tests' own: libvirtd and its bridges in a network namespace, its files in private folders.

Nothing of the real host's is touched: the namespace has mounts and a network of its own, and at the end the daemons and
every QEMU of theirs are ended by pid.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .leftovers import namespace_name

_PRIVATE = ("/etc/libvirt", "/var/lib/libvirt", "/run/libvirt", "/var/log/libvirt", "/var/cache/libvirt")
_PROGRAMS = ("libvirtd", "virtlogd", "qemu-system-x86_64", "ip", "dnsmasq", "nsenter")


def why_not() -> str:
    """Why libvirt cannot be run here; empty where it can."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "needs root, for a network namespace"
    return ""


@dataclass
class LibvirtHost:
    """One private libvirt host below ``base``."""

    base: Path
    name: str
    pids: list[int]

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.base}/run/libvirt-sock"

    def inside(self, *words: str) -> list[str]:
        """A command line that runs in the host's network, where its machines can be reached."""
        return ["ip", "netns", "exec", self.name, *words]

    def beside(self, *words: str) -> list[str]:
        """A command line that runs as one on this host would: in its network, with libvirt's folders as it has them."""
        return ["nsenter", "-t", str(self.pids[0]), "-m", "-n", *words]

    def restart_daemon(self) -> None:
        """End libvirtd as a crash would, and start it again; machines go on running."""
        _end(self.pids.pop(), hard=True)
        self._start("libvirtd")

    def start(self) -> None:
        for folder in _PRIVATE:
            private = self._private(folder)
            if folder == "/etc/libvirt":
                shutil.copytree(folder, private, symlinks=True)
            else:
                private.mkdir(parents=True)
        (self._private("/etc/libvirt") / "libvirtd.conf").write_text('auth_unix_rw="none"\nauth_unix_ro="none"\n')
        (self._private("/etc/libvirt") / "qemu.conf").write_text(
            'user="root"\ngroup="root"\nsecurity_driver="none"\nremember_owner=0\n'
        )
        # no autostarted network of the distribution's own
        shutil.rmtree(self._private("/etc/libvirt") / "qemu" / "networks", ignore_errors=True)
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self._boot()

    def _boot(self) -> None:
        mounts = [f"mkdir -p {folder} && mount --bind {self._private(folder)} {folder}" for folder in _PRIVATE]
        script = " && ".join(["ip link set lo up", *mounts, f"virtlogd -d -p {self.base}/virtlogd.pid"])
        subprocess.run(self.inside("sh", "-c", script), check=True, env=self._env())
        self.pids.append(int((self.base / "virtlogd.pid").read_text()))
        self._start("libvirtd")

    def stop(self) -> None:
        """End the machines that are left, the daemons and the namespace's own helpers, all by pid."""
        for pid in self._in_namespace():
            _end(pid, hard=True)
        subprocess.run(["ip", "netns", "delete", self.name], check=False)

    def reboot(self) -> None:
        """What a host's restart does: every process ends, links and run-time files are gone, the daemons start."""
        for pid in self._in_namespace():
            _end(pid, hard=True)
        links = subprocess.run(self.inside("ip", "-o", "link"), check=True, capture_output=True, text=True).stdout
        names = [line.split(":")[1].strip() for line in links.splitlines()]
        for name in names:
            if name != "lo":
                subprocess.run(self.inside("ip", "link", "delete", name), check=False, stderr=subprocess.DEVNULL)
        run = self._private("/run/libvirt")
        shutil.rmtree(run)
        run.mkdir()
        self.pids.clear()
        self._boot()

    def processes(self, program: str) -> list[int]:
        """Pids of a program in this host's network namespace."""
        return [pid for pid in self._in_namespace() if _name_of(pid).startswith(program[:15])]

    def _private(self, folder: str) -> Path:
        return self.base / {"/etc/libvirt": "etc", "/var/lib/libvirt": "lib", "/run/libvirt": "run"}.get(
            folder, folder.strip("/").replace("/", "-")
        )

    def _start(self, program: str) -> None:
        pid_file = self.base / f"{program}.pid"
        pid_file.unlink(missing_ok=True)
        subprocess.run(self.beside(program, "-d", "-p", str(pid_file)), check=True, env=self._env())
        self.pids.append(int(pid_file.read_text()))
        socket = self.base / "run" / "libvirt-sock"
        deadline = time.monotonic() + 30
        while not socket.exists():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{program} did not start")
            time.sleep(0.05)

    def _in_namespace(self) -> list[int]:
        said = subprocess.run(["ip", "netns", "pids", self.name], check=False, capture_output=True, text=True).stdout
        return [int(word) for word in said.split()]

    @staticmethod
    def _env() -> dict[str, str]:
        return {**os.environ, "PATH": _path()}


def new_host(base: Path) -> LibvirtHost:
    """A host that is not started yet; ``base`` must be a short path: sockets lie in it."""
    return LibvirtHost(base=base, name=namespace_name(), pids=[])


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        # it has ended since it was listed
        return ""


def _end(pid: int, *, hard: bool) -> None:
    try:
        os.kill(pid, signal.SIGKILL if hard else signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and Path(f"/proc/{pid}").exists():
        time.sleep(0.02)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
