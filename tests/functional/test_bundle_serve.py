"""Loading a bundle and serving it: Kubespray and its environment without a network, files and images to nodes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ai_how.apply.python_environment import is_ready
from ai_how.bundles import load as load_module
from ai_how.bundles import offer as offer_module
from ai_how.bundles.archive import write_archive
from ai_how.bundles.create import Purpose, create_bundle
from ai_how.bundles.load import Bundle, bundle_for, load_bundle, loaded_bundles, unload
from ai_how.bundles.manifest import Entry, Manifest, read_manifest, write_manifest
from ai_how.bundles.needs import Needs
from ai_how.bundles.offer import FromHost, offer_for
from ai_how.bundles.service import serve_bundle, served, stop_serving
from ai_how.bundles.source import packed, unpack
from ai_how.bundles.store import Store
from ai_how.bundles.verify import verify
from ai_how.bundles.wanted import File, Image, Wanted
from ai_how.bundles.wheels import running_python, wheels_of
from ai_how.errors import AiHowError, NotFoundError, ProviderError, SpecError
from ai_how.kubernetes import checkout as checkout_module
from ai_how.kubernetes.checkout import Checkout, fetched_checkout
from ai_how.kubernetes.environment import environment_of
from ai_how.kubernetes.offline import FILE_HOSTS
from ai_how.run.http import request
from ai_how.site.kubernetes import Kubernetes
from tests.functional.far_servers import Far, digest_of, far_servers

VERSION = "2.31.0"
VERSIONS = {"kubespray": VERSION, "kubernetes": "1.35.4"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ai-how"


@pytest.fixture
def far() -> Iterator[Far]:
    with far_servers() as servers:
        yield servers


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of Kubespray's form, with a history, whose tag is known as the release."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "old").write_text("old", encoding="utf-8")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "before")
    (folder / "galaxy.yml").write_text(f"name: kubespray\nversion: {VERSION}\n", encoding="utf-8")
    (folder / "requirements.txt").write_text("ansible==1.0\n", encoding="utf-8")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "release")
    git(folder, "tag", f"v{VERSION}")
    commit = git(folder, "rev-parse", "HEAD")
    monkeypatch.setattr(checkout_module, "known_commit", lambda _version: commit)
    return folder


def make(
    folder: Path, *wanted: Wanted, made: Sequence[tuple[Entry, Path]] = (), versions: dict[str, str] | None = None
) -> Bundle:
    purpose = Purpose(release="current", versions=versions or VERSIONS, platform="linux/amd64", python=running_python())
    return Bundle(path=folder, manifest=create_bundle(folder, wanted, purpose, made=made))


def test_the_source_comes_out_as_that_commit(upstream: Path, tmp_path: Path, cache: Path) -> None:
    checkout = fetched_checkout(VERSION, source=upstream.as_uri())
    with packed(checkout) as made:
        bundle = make(tmp_path / "b", made=[made])
    assert bundle.manifest.entries[0].source.endswith(f"@{checkout.commit}")
    shutil.rmtree(cache)
    shutil.rmtree(upstream)
    load_bundle(tmp_path / "b")
    found = fetched_checkout(VERSION, source="file:///nowhere")
    assert (found.path / "galaxy.yml").read_text(encoding="utf-8").endswith(f"version: {VERSION}\n")
    assert git(found.path, "rev-parse", "HEAD") == checkout.commit


def test_another_source_is_not_taken(upstream: Path, tmp_path: Path, cache: Path) -> None:
    checkout = fetched_checkout(VERSION, source=upstream.as_uri())
    with packed(checkout) as (entry, pack):
        broken = tmp_path / "broken.pack"
        content = bytearray(pack.read_bytes())
        content[len(content) // 2] ^= 1
        broken.write_bytes(content)
    (upstream / "galaxy.yml").write_text(f"name: kubespray\nversion: {VERSION}\n# tampered\n", encoding="utf-8")
    git(upstream, "commit", "--quiet", "-am", "tampered")
    git(upstream, "tag", "-f", f"v{VERSION}")
    with pytest.MonkeyPatch.context() as patch:
        tampered_commit = git(upstream, "rev-parse", "HEAD")
        patch.setattr(checkout_module, "known_commit", lambda _version: tampered_commit)
        with packed(fetched_checkout(VERSION, source=upstream.as_uri())) as (_, other):
            moved = tmp_path / "moved.pack"
            shutil.copyfile(other, moved)
    shutil.rmtree(cache)
    for pack in (broken, moved):
        with pytest.raises(ProviderError):
            unpack(entry, pack)
    assert not (cache / "kubespray" / f"v{VERSION}").exists()


@pytest.mark.slow
def test_the_environment_is_made_from_the_bundle_alone(
    upstream: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the release's own lock: its real wheels, from the package index, and then without it."""
    checkout = fetched_checkout(VERSION, source=upstream.as_uri())
    environment = environment_of(checkout.path, VERSION)
    wheels = wheels_of(environment, python=running_python(), platform="linux/amd64")
    assert len(wheels) == environment.requirements.count("==") - _left_out(environment.requirements)
    with packed(checkout) as made:
        make(tmp_path / "b", *wheels, made=[made])
    shutil.rmtree(cache)
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    load_bundle(tmp_path / "b")
    assert is_ready(environment.path)
    done = subprocess.run(
        [environment.program("ansible-runner"), "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "2.4.3"


def _left_out(requirements: str) -> int:
    """Packages of the lock that are for other systems or Pythons."""
    markers = [line for line in requirements.splitlines() if " ; " in line and "==" in line.partition(" ; ")[0]]
    return sum("platform_python_implementation" not in line for line in markers)


def test_wheels_for_another_python_are_refused(upstream: Path, tmp_path: Path, far: Far) -> None:
    digest = far.add_file("/a-1-py3-none-any.whl", b"wheel")
    checkout = fetched_checkout(VERSION, source=upstream.as_uri())
    with packed(checkout) as made:
        bundle = make(
            tmp_path / "b", File(url=far.url("/a-1-py3-none-any.whl"), digest=digest, kind="wheel"), made=[made]
        )
    write_manifest(bundle.path, bundle.manifest.model_copy(update={"python": "3.99"}))
    with pytest.raises(SpecError) as caught:
        load_bundle(tmp_path / "b")
    assert "wheels are for Python 3.99" in caught.value.brief
    assert f"--python {running_python()}" in caught.value.next_step


def test_wheels_that_do_not_suffice_are_refused(upstream: Path, tmp_path: Path, far: Far) -> None:
    digest = far.add_file("/a-1-py3-none-any.whl", b"wheel")
    checkout = fetched_checkout(VERSION, source=upstream.as_uri())
    with packed(checkout) as made:
        make(tmp_path / "b", File(url=far.url("/a-1-py3-none-any.whl"), digest=digest, kind="wheel"), made=[made])
    with pytest.raises(ProviderError, match="could not be installed"):
        load_bundle(tmp_path / "b")


def test_a_tar_is_the_same_bundle(far: Far, tmp_path: Path) -> None:
    far.add_image("a", "1")
    bundle = make(tmp_path / "b", Image(reference=f"{far.host}/a:1"), File(url=far.url("/f"), digest=_file(far)))
    write_archive(bundle.path, tmp_path / "b.tar")
    assert verify(tmp_path / "b.tar") == bundle.manifest
    loaded = load_bundle(tmp_path / "b.tar")
    assert loaded.manifest == bundle.manifest
    assert verify(loaded.path) == bundle.manifest
    assert load_bundle(tmp_path / "b").path == loaded.path
    assert [one.path for one in loaded_bundles()] == [loaded.path]
    assert unload(loaded.path.name) == loaded.path
    assert loaded_bundles() == ()
    with pytest.raises(NotFoundError, match="is not loaded"):
        unload(loaded.path.name)


def _file(far: Far) -> str:
    return far.add_file("/f", b"content" * 999)


@pytest.mark.parametrize("cut", [100, 20_000])
def test_a_tar_that_was_cut_off(far: Far, tmp_path: Path, cut: int) -> None:
    bundle = make(tmp_path / "b", File(url=far.url("/f"), digest=far.add_file("/f", os.urandom(20_000))))
    write_archive(bundle.path, tmp_path / "b.tar")
    content = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(content[:cut])
    for act in (verify, load_bundle):
        with pytest.raises(AiHowError):
            act(tmp_path / "b.tar")
    assert loaded_bundles() == ()


def test_a_damaged_part_of_a_tar_is_named(far: Far, tmp_path: Path) -> None:
    digest = far.add_file("/f", b"x" * 5000)
    bundle = make(tmp_path / "b", File(url=far.url("/f"), digest=digest))
    Store(bundle.path).path(digest).write_bytes(b"y" * 5000)
    write_archive(bundle.path, tmp_path / "b.tar")
    for act in (verify, load_bundle):
        with pytest.raises(ProviderError) as caught:
            act(tmp_path / "b.tar")
        assert far.url("/f") in caught.value.evidence


def test_nothing_but_a_bundle_comes_out_of_a_tar(far: Far, tmp_path: Path) -> None:
    bundle = make(tmp_path / "b")
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.add(bundle.path / "bundle.json", "bundle.json")
        tar.add(bundle.path / "oci-layout", "../../evil")
    with pytest.raises(SpecError, match="belongs to no bundle"):
        load_bundle(tmp_path / "evil.tar")
    assert not (tmp_path / "evil").exists()
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        tar.add(bundle.path / "bundle.json", "bundle.json")
        info = tarfile.TarInfo("oci-layout")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(SpecError, match="belongs to no bundle"):
        load_bundle(tmp_path / "link.tar")


@pytest.fixture
def bundle(far: Far, tmp_path: Path) -> Bundle:
    far.add_image("library/nginx", "1.28", platforms=("linux/amd64",))
    made = make(
        tmp_path / "b",
        Image(reference=f"{far.host}/library/nginx:1.28"),
        File(url=far.url("/dir/tool"), digest=far.add_file("/dir/tool", b"0123456789" * 1000)),
    )
    # as if it came from the registry that nodes will ask for by name
    text = (made.path / "bundle.json").read_text(encoding="utf-8").replace(f"{far.host}/library", "docker.io/library")
    (made.path / "bundle.json").write_text(text.replace(far.url("/dir/tool"), "https://dl.k8s.io/dir/tool"))
    return Bundle(path=made.path, manifest=read_manifest(made.path))


def test_files_and_images_are_served_as_nodes_ask(bundle: Bundle, tmp_path: Path) -> None:
    found = serve_bundle(bundle, tmp_path / "server", listen="127.0.0.1", port=port())
    try:
        file = request("GET", f"{found.url}/files/dl.k8s.io/dir/tool")
        assert (file.status, len(file.body)) == (200, 10_000)
        part = request("GET", f"{found.url}/files/dl.k8s.io/dir/tool", headers={"range": "bytes=9995-"})
        assert (part.status, part.body) == (206, b"56789")
        assert request("GET", f"{found.url}/v2/").json() == {}
        # containerd names the registry that it asks us in the place of
        name = "library/nginx/manifests/1.28?ns=docker.io"
        head = request("HEAD", f"{found.url}/v2/{name}")
        digest = {key.lower(): value for key, value in head.headers.items()}["docker-content-digest"]
        assert head.status == 200
        index = request("GET", f"{found.url}/v2/library/nginx/manifests/{digest}?ns=docker.io")
        assert digest_of(index.body) == digest
        assert index.headers["Content-Type"] == "application/vnd.oci.image.index.v1+json"
        inner = json.loads(index.body)["manifests"][1]["digest"]
        manifest = json.loads(request("GET", f"{found.url}/v2/library/nginx/manifests/{inner}?ns=docker.io").body)
        for described in (manifest["config"], *manifest["layers"]):
            blob = request("GET", f"{found.url}/v2/library/nginx/blobs/{described['digest']}?ns=docker.io")
            assert digest_of(blob.body) == described["digest"]
        # and other clients put it into the name
        assert request("GET", f"{found.url}/v2/docker.io/library/nginx/manifests/1.28").status == 200
        assert request("GET", f"{found.url}/v2/library/nginx/manifests/1.28").status == 200
    finally:
        assert stop_serving(tmp_path / "server")
    assert served(tmp_path / "server") is None


def test_only_what_the_bundle_holds_is_served(bundle: Bundle, tmp_path: Path) -> None:
    found = serve_bundle(bundle, tmp_path / "server", listen="127.0.0.1", port=port())
    try:
        for path in (
            "/files/dl.k8s.io/other",
            "/files/../bundle.json",
            "/files/%2e%2e/%2e%2e/etc/passwd",
            "/v2/library/nginx/manifests/9?ns=docker.io",
            "/v2/library/nginx/manifests/1.28?ns=quay.io",
            f"/v2/library/nginx/blobs/sha256:{'0' * 64}?ns=docker.io",
            "/v2/library/nginx/blobs/..%2f..%2fbundle.json?ns=docker.io",
            "/v2/..%2f/manifests/x",
            "/v2/a/manifests/1?ns=%00",
            "/etc/passwd",
        ):
            assert request("GET", f"{found.url}{path}").status == 404, path
        refused = request("GET", f"{found.url}/v2/library/nginx/manifests/9?ns=docker.io")
        assert refused.json()["errors"][0]["code"] == "MANIFEST_UNKNOWN"
        for method in ("PUT", "POST", "DELETE", "PATCH"):
            assert request(method, f"{found.url}/v2/library/nginx/manifests/1.28").status == 405
        Store(bundle.path).path(bundle.manifest.entries[1].digest).unlink()
        gone = request("GET", f"{found.url}/files/dl.k8s.io/dir/tool")
        assert gone.status == 500
        assert "ai-how bundle verify" in gone.text
    finally:
        stop_serving(tmp_path / "server")


def test_a_server_is_started_once_and_anew_for_another_bundle(bundle: Bundle, tmp_path: Path, far: Far) -> None:
    folder, number = tmp_path / "server", port()
    first = serve_bundle(bundle, folder, listen="127.0.0.1", port=number)
    try:
        assert serve_bundle(bundle, folder, listen="127.0.0.1", port=number) == first
        other = make(tmp_path / "other", File(url=far.url("/f"), digest=_file(far)))
        second = serve_bundle(other, folder, listen="127.0.0.1", port=number)
        assert second.pid != first.pid
        assert request("GET", f"{second.url}/bundle").json()["bundle"] == other.manifest.identity
    finally:
        stop_serving(folder)
    assert not stop_serving(folder)


def test_a_bundle_that_is_made_anew_while_it_is_served_is_given_out_as_it_is_then(tmp_path: Path, far: Far) -> None:
    first = make(tmp_path / "b", File(url=far.url("/f"), digest=_file(far)))
    found = serve_bundle(first, tmp_path / "server", listen="127.0.0.1", port=port())
    try:
        assert request("GET", f"{found.url}/files/{far.host}/f").status == 200
        now = make(tmp_path / "b", File(url=far.url("/new"), digest=far.add_file("/new", b"new" * 100)))
        assert request("GET", f"{found.url}/files/{far.host}/new").body == b"new" * 100
        assert request("GET", f"{found.url}/files/{far.host}/f").status == 404
        assert request("GET", f"{found.url}/bundle").json()["bundle"] == now.manifest.identity
        (tmp_path / "b" / "bundle.json").write_text("{", encoding="utf-8")
        damaged = request("GET", f"{found.url}/files/{far.host}/new")
        assert (damaged.status, "ai-how bundle verify" in damaged.text) == (500, True)
    finally:
        stop_serving(tmp_path / "server")


def test_a_taken_port_is_said(bundle: Bundle, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ProviderError) as caught:
            serve_bundle(bundle, tmp_path / "server", listen="127.0.0.1", port=taken.getsockname()[1])
    assert "could not be served" in caught.value.brief
    assert "in use" in caught.value.evidence
    assert "ss -ltnp" in caught.value.next_step
    assert served(tmp_path / "server") is None


def test_another_process_of_that_number_is_left_alone(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    record = {"bundle": "x", "path": "", "listen": "127.0.0.1", "port": 1, "pid": os.getpid(), "started": 1.0}
    (tmp_path / "server/server.json").write_text(json.dumps(record))
    assert served(tmp_path / "server") is None
    assert not stop_serving(tmp_path / "server")


def test_a_cluster_takes_the_loaded_bundle_of_its_versions(far: Far, tmp_path: Path) -> None:
    assert bundle_for(VERSIONS) is None
    make(tmp_path / "b", File(url=far.url("/f"), digest=_file(far)))
    loaded = load_bundle(tmp_path / "b")
    assert bundle_for({**VERSIONS, "mlflow": "3"}) == loaded
    assert bundle_for({**VERSIONS, "kubernetes": "1.34.1"}) is None


def test_a_named_bundle_must_be_of_the_sites_versions(far: Far, tmp_path: Path) -> None:
    make(tmp_path / "b", File(url=far.url("/f"), digest=_file(far)))
    assert bundle_for(VERSIONS, named=tmp_path / "b") is not None
    with pytest.raises(SpecError) as caught:
        bundle_for({**VERSIONS, "kubernetes": "1.34.1"}, named=tmp_path / "b")
    assert caught.value.evidence == "kubernetes: the bundle has 1.35.4, the site wants 1.34.1"
    with pytest.raises(NotFoundError, match="no folder or tar"):
        bundle_for(VERSIONS, named=tmp_path / "none")
    write_archive(tmp_path / "b", tmp_path / "b.tar")
    with pytest.raises(SpecError, match="is a tar"):
        bundle_for(VERSIONS, named=tmp_path / "b.tar")


def test_what_a_cluster_is_offered(bundle: Bundle, tmp_path: Path, upstream: Path) -> None:
    wanted = Kubernetes(bundle=bundle.path.name)
    offer = offer_for(wanted, VERSIONS, site_folder=tmp_path, host_address="127.0.0.1")
    assert offer is not None
    assert offer.variables == {
        "dl_k8s_io_url": "http://127.0.0.1:5080/files/dl.k8s.io",
        "containerd_registries_mirrors": [
            {
                "prefix": "docker.io",
                "server": "https://registry-1.docker.io",
                "mirrors": [
                    {"host": "http://127.0.0.1:5080", "capabilities": ["pull", "resolve"], "skip_verify": False}
                ],
            }
        ],
    }
    elsewhere = Kubernetes(bundle=bundle.path.name, bundle_server="http://10.0.0.1:8080/")
    other = offer_for(elsewhere, VERSIONS, site_folder=tmp_path, host_address="127.0.0.1")
    assert other is not None
    assert other.variables["dl_k8s_io_url"] == "http://10.0.0.1:8080/files/dl.k8s.io"
    other.prepare(tmp_path / "server")
    assert served(tmp_path / "server") is None
    assert offer_for(Kubernetes(), VERSIONS, site_folder=tmp_path, host_address="127.0.0.1") is None


def test_what_was_left_half_loaded_is_no_bundle(far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "b", File(url=far.url("/f"), digest=_file(far)))
    write_archive(tmp_path / "b", tmp_path / "b.tar")

    def broken(*_: object, **__: object) -> Manifest:
        raise KeyboardInterrupt

    monkeypatch.setattr(load_module, "verify", broken)
    with pytest.raises(KeyboardInterrupt):
        load_bundle(tmp_path / "b.tar")
    assert loaded_bundles() == ()
    assert [path.name for path in load_module.bundles_folder().iterdir()] == [".lock"]


def test_serving_in_the_foreground_ends_with_a_signal(bundle: Bundle) -> None:
    number = port()
    words = [sys.executable, "-m", "ai_how", "bundle", "serve", str(bundle.path), "--port", str(number)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert f"http://127.0.0.1:{number}" in process.stderr.readline()
        _answers(f"http://127.0.0.1:{number}/bundle")
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> None:
    import time

    end = time.monotonic() + 60
    while True:
        try:
            status = request("GET", url).status
        except AiHowError:
            assert time.monotonic() < end
            time.sleep(0.05)
        else:
            assert status == 200
            return


def test_the_host_fetches_once_for_all_nodes(far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far.add_image("a", "1")
    wanted = (File(url=far.url("/f"), digest=_file(far)), Image(reference=f"{far.host}/a:1"))
    asked: list[object] = []

    def needs(clusters: object, _versions: object, **options: object) -> Needs:
        asked.append((clusters, options["pythons"]))
        more = tuple(options["more"])
        return Needs(wanted=(*wanted, *more), checkout=Checkout(path=tmp_path, version=VERSION), own_checkout=False)

    def of_stack() -> tuple[Image, ...]:
        asked.append("stack")
        return (Image(reference=f"{far.host}/of/stack:1"),)

    far.add_image("of/stack", "1")
    monkeypatch.setattr(offer_module, "kubernetes_needs", needs)
    monkeypatch.setattr(offer_module, "PORT", port())
    cluster = Kubernetes(download="host")
    offer = offer_for(cluster, VERSIONS, site_folder=tmp_path, host_address="127.0.0.1", more=of_stack)
    assert isinstance(offer, FromHost)
    # planning asks nobody
    assert set(offer.variables) == {*FILE_HOSTS.values(), "containerd_registries_mirrors"}
    assert (asked, far.asked) == ([], [])
    try:
        offer.prepare(tmp_path / "server")
        running = served(tmp_path / "server")
        assert running is not None
        for _ in range(3):
            assert request("GET", f"{running.url}/files/{far.host}/f").status == 200
            assert request("GET", f"{running.url}/v2/a/manifests/1?ns={far.host}").status == 200
            assert request("GET", f"{running.url}/v2/of/stack/manifests/1?ns={far.host}").status == 200
        assert far.count("/f") == 1
        assert asked == ["stack", ([cluster], ())]
        far.asked.clear()
        offer.prepare(tmp_path / "server")
        assert far.asked == []
        assert served(tmp_path / "server") == running
    finally:
        stop_serving(tmp_path / "server")
