"""OpenSSH's server as an ordinary process with its own host key, for one key's owner; on a free loopback port."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from ai_how.run.ssh import SshTarget

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
SEPARATION = Path("/run/sshd")
"""The server refuses to run without this folder."""


@contextmanager
def ssh_server(
    folder: Path, *, path: str = "", inside: Sequence[str] = (), address: str = "127.0.0.1", port: int = 0
) -> Iterator[SshTarget]:
    """A running server, and how it is reached; the test is skipped where there is none to run.

    Args:
        path: Where the server's users find programs first.
        inside: What a command line begins with that runs elsewhere, such as in another network; it becomes the command.
        address, port: Where it listens there; by default on a port that is free here.
    """
    if SSHD is None or not (SEPARATION.exists() or os.geteuid() == 0):
        pytest.skip("needs OpenSSH's server (sshd and /run/sshd)")
    if not SEPARATION.exists():
        SEPARATION.mkdir(mode=0o755)
    for name in ("host", "login", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "login.pub", folder / "authorized")
    (folder / "authorized").chmod(0o600)
    if not port:
        with socket.socket() as probe:
            probe.bind((address, 0))
            port = probe.getsockname()[1]
    settings = {
        "ListenAddress": f"{address}:{port}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "PermitRootLogin": "prohibit-password",
        "PasswordAuthentication": "no",
        "MaxStartups": "50",
    }
    if path:
        settings["SetEnv"] = f"PATH={path}:/usr/bin:/bin"
    (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    public = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[{address}]:{port} {public}\n")
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen([*inside, SSHD, "-D", "-e", "-f", folder / "sshd_config"], stdout=log, stderr=log)
    try:
        _wait(server, folder / "sshd.log")
        yield SshTarget(
            host=address,
            user=getpass.getuser(),
            key_file=folder / "login",
            known_hosts=folder / "known_hosts",
            port=port,
        )
    finally:
        server.terminate()
        server.wait()


def _wait(server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        if server.poll() is not None:
            if "Privilege separation user" in log.read_text():
                pytest.skip("needs the user that OpenSSH's server runs as: sshd")
            raise AssertionError(f"sshd ended: {log.read_text()}")
        if "Server listening on" in log.read_text():
            return
        time.sleep(0.05)
    raise AssertionError("sshd does not listen")
