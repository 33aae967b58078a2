"""Images for real: disks brought in from files and over HTTP, broken-off builds, and one build that boots both ways."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ai_how.apply.files import shared_cache
from ai_how.errors import MissingToolError, NotFoundError, ProviderError, SpecError, TryAgainError
from ai_how.machines import storage
from ai_how.machines.connection import open_connection
from ai_how.machines.images.recipe import find_recipe
from ai_how.machines.images.store import ImageStore, sha256_of
from ai_how.machines.library import load_libvirt
from tests.functional.libvirt_guests import OVMF, BootImage, build_image
from tests.functional.libvirt_host import LibvirtHost, new_host, why_not
from tests.functional.site import AI_HOW

needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="not installed: qemu-utils")
pytestmark = needs_qemu_img


def said_nothing(_stage: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A raw disk with a boot sector."""
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(510) + b"\x55\xaa" + os.urandom(1 << 20) + bytes(1 << 20))
    return disk


@pytest.fixture
def qcow2(tmp_path: Path, raw: Path) -> Path:
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", raw, disk], check=True)
    return disk


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


def test_a_qcow2_is_kept_as_it_is(store: ImageStore, qcow2: Path) -> None:
    image = store.add(qcow2, name="mine")
    assert sha256_of(image.path) == sha256_of(qcow2) == image.sha256
    assert image.name == f"mine-{image.sha256[:12]}"
    assert image.source == str(qcow2)
    assert store.add(qcow2, name="mine") == image
    assert qcow2.exists()


def test_a_raw_disk_becomes_qcow2(store: ImageStore, raw: Path) -> None:
    image = store.add(raw, name="mine")
    assert image.path.read_bytes()[:4] == b"QFI\xfb"
    assert image.virtual_size_bytes >= raw.stat().st_size
    subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, image.path], check=True)


def test_what_is_no_disk_is_refused(store: ImageStore, tmp_path: Path, qcow2: Path) -> None:
    text = tmp_path / "text"
    text.write_text("words\n" * 1000)
    over = tmp_path / "over.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", qcow2, "-F", "qcow2", over], check=True)
    empty = tmp_path / "empty.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", empty, "1G"], check=True)
    for source in (text, empty):
        with pytest.raises(SpecError, match="no disk image") as caught:
            store.add(source, name="mine")
        assert caught.value.evidence == "it has no partition table"
    for source, says in ((over, "needs another file"), (tmp_path / "none", "is no file")):
        with pytest.raises(SpecError, match=says):
            store.add(source, name="mine")
    assert store.list() == []


def test_a_file_with_another_sha512_is_refused(store: ImageStore, qcow2: Path) -> None:
    with pytest.raises(ProviderError, match="is not the image that is wanted"):
        store.add(qcow2, name="mine", sha512="0" * 128)
    assert store.add(qcow2, name="mine", sha512=hashlib.sha512(qcow2.read_bytes()).hexdigest())


class Server(http.server.ThreadingHTTPServer):
    """Serves one body at /a.qcow2, ranges included; breaks off after ``most_bytes`` of an answer."""

    body = b""
    most_bytes = 1 << 30
    ranges: list[str | None]
    knows_ranges = True


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("range")
        self.server.ranges.append(asked)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/a.qcow2")
            self.end_headers()
            return
        if self.path != "/a.qcow2":
            self.send_error(404)
            return
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.knows_ranges else 0
        if begin >= len(self.server.body):
            self.send_error(416)
            return
        part = self.server.body[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("content-length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[: self.server.most_bytes])

    def log_message(self, *args: object) -> None:
        """Silent."""


@pytest.fixture
def server(qcow2: Path) -> Iterator[Server]:
    serving = Server(("127.0.0.1", 0), _Answer)
    serving.body, serving.ranges = qcow2.read_bytes(), []
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield serving
    serving.shutdown()
    thread.join()
    serving.server_close()


def address(server: Server, path: str = "/a.qcow2") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


@pytest.mark.parametrize("path", ["/a.qcow2", "/moved"])
def test_an_image_is_fetched(store: ImageStore, server: Server, path: str) -> None:
    seen: list[tuple[int, int]] = []
    image = store.fetch(
        address(server, path),
        name="far",
        sha512=hashlib.sha512(server.body).hexdigest(),
        progress=lambda _stage, done, total: seen.append((done, total)),
    )
    assert image.path.read_bytes() == server.body
    assert image.source == address(server, path)
    assert seen[-1] == (len(server.body), len(server.body))
    assert list((store.folder / ".downloads").iterdir()) == []


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_broken_download_goes_on_where_it_was(store: ImageStore, server: Server, knows_ranges: bool) -> None:
    server.knows_ranges, server.most_bytes = knows_ranges, len(server.body) // 2
    wanted = hashlib.sha512(server.body).hexdigest()
    with pytest.raises(TryAgainError, match="broke"):
        store.fetch(address(server), name="far", sha512=wanted, progress=said_nothing)
    server.most_bytes = 1 << 30
    image = store.fetch(address(server), name="far", sha512=wanted, progress=said_nothing)
    assert image.path.read_bytes() == server.body
    assert server.ranges == [None, f"bytes={len(server.body) // 2}-"]


def test_another_file_than_wanted_is_not_kept(store: ImageStore, server: Server) -> None:
    with pytest.raises(ProviderError, match="is not the image that is wanted"):
        store.fetch(address(server), name="far", sha512="0" * 128, progress=said_nothing)
    assert list(store.folder.rglob("*.part")) == []


def test_an_address_that_gives_nothing(store: ImageStore, server: Server) -> None:
    with pytest.raises(NotFoundError, match="did not send"):
        store.fetch(address(server, "/b.qcow2"), name="far", sha512="0" * 128, progress=said_nothing)
    with pytest.raises(TryAgainError, match="no answer"):
        store.fetch("http://127.0.0.1:9/a.qcow2", name="far", sha512="0" * 128, progress=said_nothing)


FAKE = """#!/bin/sh
# stands for mmdebstrap: does what the test says, in the place that it was given
{body}
"""


def fake_build(tmp_path: Path, body: str) -> tuple[list[str], dict[str, str]]:
    """A command line that builds an image with another program in mmdebstrap's place, and its environment."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "mmdebstrap").write_text(FAKE.format(body=body))
    (tools / "mmdebstrap").chmod(0o755)
    sbin = f"{tools}:{os.environ['PATH']}:/usr/sbin:/sbin"
    return [*AI_HOW, "image", "build", "cloud-minimal"], {
        **os.environ,
        "PATH": sbin,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }


def images(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "ai-how" / "images"


def left_in(folder: Path) -> list[str]:
    """What a build left, but for the locks of images and the shared packages."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name != ".packages")


needs_builders = pytest.mark.skipif(
    not all(
        shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for tool in ("mmdebstrap", "sfdisk", "mcopy")
    )
    or not Path("/usr/lib/grub/x86_64-efi").is_dir()
    or os.geteuid() != 0,
    reason="needs root and mmdebstrap, fdisk, mtools, grub-pc-bin, grub-efi-amd64-bin",
)


@needs_builders
def test_a_full_disk_is_called_so_and_nothing_is_left(tmp_path: Path) -> None:
    words, env = fake_build(tmp_path, 'echo "tar: tree.tar: Cannot write: No space left on device" >&2; exit 25')
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert f"MiB are free in {tmp_path / 'cache' / 'ai-how'}" in done.stderr
    assert left_in(images(tmp_path)) == []


@needs_builders
def test_a_failed_step_shows_what_it_said(tmp_path: Path) -> None:
    words, env = fake_build(tmp_path, 'echo "E: Unable to locate package no-such" >&2; exit 25')
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert "E: Unable to locate package no-such" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_in(images(tmp_path)) == []


def start_and_wait(tmp_path: Path, words: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
    """A build that has come to mmdebstrap."""
    building = subprocess.Popen(
        words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "began").exists():
        assert building.poll() is None, building.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return building


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@needs_builders
def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    words, env = fake_build(tmp_path, f"echo $$ >{tmp_path}/began; exec sleep 300")
    building = start_and_wait(tmp_path, words, env)
    # as a terminal does: to the whole group
    os.killpg(building.pid, signal.SIGINT)
    _, said = building.communicate(timeout=60)
    assert building.returncode != 0
    assert "Traceback" not in said
    assert left_in(images(tmp_path)) == []


@needs_builders
def test_a_terminated_build_leaves_neither_folders_nor_programs(tmp_path: Path) -> None:
    # started in the background by a shell: no SIGINT would end it
    words, env = fake_build(tmp_path, f"sleep 300 & echo $! >{tmp_path}/pid; mv {tmp_path}/pid {tmp_path}/began; wait")
    building = start_and_wait(tmp_path, words, env)
    # as `timeout` and systemd do: to it alone, and `timeout` to its group right after
    building.terminate()
    building.terminate()
    _, said = building.communicate(timeout=60)
    assert building.returncode == 143
    assert "Error: interrupted" in said and "Traceback" not in said
    assert left_in(images(tmp_path)) == []
    assert not is_running(int((tmp_path / "began").read_text()))


@needs_builders
def test_what_a_killed_build_left_is_removed_by_the_next_and_its_programs_end(tmp_path: Path) -> None:
    words, env = fake_build(tmp_path, f"echo $$ >{tmp_path}/began; exec sleep 300")
    building = start_and_wait(tmp_path, words, env)
    building.kill()
    building.communicate()
    assert len(left_in(images(tmp_path))) == 1
    pid = int((tmp_path / "began").read_text())
    deadline = time.monotonic() + 30
    while is_running(pid):
        assert time.monotonic() < deadline, "the killed build's program goes on"
        time.sleep(0.05)
    (tmp_path / "tools" / "mmdebstrap").write_text("#!/bin/sh\nexit 1\n")
    subprocess.run(words, env=env, capture_output=True, check=False)
    assert left_in(images(tmp_path)) == []


@needs_builders
def test_two_builds_at_once(tmp_path: Path) -> None:
    words, env = fake_build(tmp_path, f"echo $$ >{tmp_path}/began; exec sleep 300")
    building = start_and_wait(tmp_path, words, env)
    try:
        second = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert f"another command is building image {find_recipe('cloud-minimal').image_name}" in second.stderr
        assert f"process {building.pid}" in second.stderr
        assert len(left_in(images(tmp_path))) == 1, "the folder of the build that runs stays"
        cleaning = subprocess.run([*AI_HOW, "image", "clean"], env=env, capture_output=True, text=True, check=False)
        assert cleaning.returncode == 1
        assert "an image is being built" in cleaning.stderr
    finally:
        os.killpg(building.pid, signal.SIGINT)
        building.communicate(timeout=60)


def test_missing_programs_are_named_with_one_command(tmp_path: Path) -> None:
    env = {**os.environ, "PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [*AI_HOW, "image", "build", "cloud-minimal"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.search(r"Next: apt-get install --no-install-recommends .*mmdebstrap", done.stderr)


def test_a_packer_folder(tmp_path: Path, qcow2: Path) -> None:
    words = [*AI_HOW, "image", "packer", "cloud-base", "--base", str(qcow2), "--out", str(tmp_path / "out")]
    subprocess.run(words, check=True, capture_output=True)
    assert (tmp_path / "out" / "login").stat().st_mode & 0o777 == 0o600
    assert sha256_of(qcow2) in (tmp_path / "out" / "image.pkr.hcl").read_text()
    again = subprocess.run(words, check=False, capture_output=True, text=True)
    assert "exists already" in again.stderr
    if shutil.which("packer"):
        checked = subprocess.run(
            ["packer", "validate", "image.pkr.hcl"], cwd=tmp_path / "out", capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture
def host() -> Iterator[LibvirtHost]:
    if reason := why_not():
        pytest.skip(reason)
    try:
        load_libvirt()
    except MissingToolError as error:
        pytest.skip(error.brief)
    with tempfile.TemporaryDirectory(prefix="lv-") as base:
        private = new_host(Path(base))
        private.start()
        try:
            yield private
        finally:
            private.stop()


def test_a_damaged_image_is_not_kept_on_a_host(host: LibvirtHost, store: ImageStore, qcow2: Path) -> None:
    image = store.add(qcow2, name="mine")
    connect = open_connection(host.uri)
    pool = storage.ensure_pool(connect, name="images", uuid=str(uuid.uuid4()), path=str(host.base / "pool"))
    sound = image.path.read_bytes()
    image.path.write_bytes(sound[:-1] + b"?")
    with pytest.raises(ProviderError, match="is damaged") as caught:
        storage.ensure_image(pool, "mine.qcow2", image.path, sha256=image.sha256)
    assert caught.value.next_step.endswith(f"ai-how image delete {image.name}")
    assert storage.volumes(pool) == {}
    image.path.write_bytes(sound)
    assert "sent" in storage.ensure_image(pool, "mine.qcow2", image.path, sha256=image.sha256)
    assert storage.ensure_image(pool, "mine.qcow2", image.path, sha256=image.sha256) == "was there"


def boot_until_login(disk: Path, folder: Path, *, uefi: bool) -> str:
    """Boot a disk under emulation, without writing to it, until it asks for a login on its serial line."""
    log = folder / f"serial-{'uefi' if uefi else 'bios'}.log"
    firmware = []
    if uefi:
        shutil.copy(OVMF.with_name("OVMF_VARS_4M.fd"), folder / "vars.fd")
        code = f"if=pflash,format=raw,readonly=on,file={OVMF}"
        firmware = ["-drive", code, "-drive", f"if=pflash,format=raw,file={folder}/vars.fd"]
    machine = subprocess.Popen(
        [
            *("qemu-system-x86_64", "-machine", "q35,accel=tcg", "-m", "512", "-nodefaults", "-display", "none"),
            *firmware,
            *("-drive", f"if=virtio,format=qcow2,snapshot=on,file={disk}", "-serial", f"file:{log}"),
            # a network of nobody else's: a system without one waits minutes for it
            *("-nic", "user,model=virtio-net-pci,restrict=on"),
        ]
    )
    try:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline and machine.poll() is None:
            said = log.read_text(errors="replace") if log.exists() else ""
            if " login:" in said:
                return said
            time.sleep(1)
        return log.read_text(errors="replace")
    finally:
        machine.kill()
        machine.wait()


@pytest.mark.boots
@pytest.mark.slow
@pytest.mark.timeout(2400, func_only=True)
@needs_builders
@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="not installed: qemu-system-x86")
@pytest.mark.skipif(not OVMF.exists(), reason="not installed: ovmf")
def test_an_image_is_built_once_and_boots_by_bios_and_uefi(boot_image: BootImage, tmp_path: Path) -> None:
    cache, made = shared_cache().parent, boot_image
    booted_elsewhere = made.built
    if not made.built:
        # what was there before this run says nothing about how images are built now
        cache = tmp_path / "cache"
        made = build_image("cloud-minimal", cache=cache)
        assert made.built
        assert left_in(images(tmp_path)) == [made.name]
    env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    shown = subprocess.run(
        [*AI_HOW, "image", "show", made.name, "--verify", "-o", "json"], env=env, capture_output=True, check=True
    )
    facts = json.loads(shown.stdout)
    assert facts["verified"] is True
    assert "qemu-guest-agent" in facts["packages"]
    assert facts["facts"]["kernel"].endswith("-cloud-amd64")
    again = build_image("cloud-minimal", cache=cache)
    assert (again.name, again.built) == (made.name, False)
    if booted_elsewhere:
        # four machines of this run boot it, one by UEFI: test_libvirt_machines
        return
    with ThreadPoolExecutor(max_workers=2) as both:
        bios, uefi = both.map(lambda uefi: boot_until_login(made.path, tmp_path, uefi=uefi), (False, True))
    assert " login:" in bios, bios[-2000:]
    assert " login:" in uefi, uefi[-2000:]
