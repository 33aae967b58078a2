"""A remote host's files by SSH: a stand-in for ssh runs the very command here, below a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_how.errors import ProviderError, TryAgainError
from ai_how.machines.passthrough.sysfs import RemoteSysfs

SSH = """#!/bin/sh
while [ "$1" != "--" ]; do last=$1; shift; done
shift
[ "$last" = away ] && { echo "ssh: connect to host away port 22: Connection refused" >&2; exit 255; }
exec sh -c "$*"
"""


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteSysfs:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"ssh": SSH, "sudo": '#!/bin/sh\nshift; exec "$@"\n'}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin:/usr/sbin:/sbin")
    tree = tmp_path / "host"
    (tree / "sys/dir with blank").mkdir(parents=True)
    (tree / "sys/config").write_bytes(b"\xde\x10\x30\x22more")
    (tree / "sys/driver").symlink_to("../bus/pci/drivers/nvidia")
    (tree / "sys/driver_override").write_text("(null)\n")
    return RemoteSysfs(host="admin@server", root=str(tree))


def test_what_is_read_is_what_is_there(remote: RemoteSysfs) -> None:
    assert remote.link("sys/driver") == "nvidia"
    assert remote.link("sys/config") == ""
    assert remote.text("sys/driver_override") == "(null)"
    assert remote.text("sys/none") is None
    assert remote.head("sys/config") == b"\xde\x10\x30\x22"
    assert remote.head("sys/none") == b""
    assert "driver_override" in remote.names("sys")
    assert remote.names("none") == []


def test_what_is_written_is_read_again(remote: RemoteSysfs) -> None:
    remote.write("sys/driver_override", "vfio-pci\n")
    assert remote.text("sys/driver_override") == "vfio-pci"


def test_text_is_never_taken_for_a_command(remote: RemoteSysfs, tmp_path: Path) -> None:
    remote.write("sys/driver_override", f"$(touch {tmp_path}/bad); ' \" %s")
    assert remote.text("sys/driver_override") == f"$(touch {tmp_path}/bad); ' \" %s"
    assert not (tmp_path / "bad").exists()


def test_a_file_that_is_not_there_is_not_made(remote: RemoteSysfs) -> None:
    with pytest.raises(ProviderError, match="does not take 'x'") as caught:
        remote.write("sys/none", "x")
    assert caught.value.evidence == "there is no such file"
    assert remote.text("sys/none") is None


def test_a_module_that_is_not_there_is_told(remote: RemoteSysfs) -> None:
    with pytest.raises(ProviderError, match="admin@server cannot load the module no-such-module"):
        remote.load_module("no-such-module")


def test_a_host_that_does_not_answer_is_told(remote: RemoteSysfs) -> None:
    with pytest.raises(TryAgainError, match="away does not answer by SSH") as caught:
        RemoteSysfs(host="away").text("sys/driver_override")
    assert "Connection refused" in caught.value.evidence
    assert caught.value.next_step.endswith("ssh away sudo -n true")
