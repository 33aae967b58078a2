"""Creating a bundle from servers that behave as the internet's do, and as they misbehave."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_how.bundles import create as create_module
from ai_how.bundles.create import Purpose, create_bundle
from ai_how.bundles.load import Bundle, chart_file
from ai_how.bundles.manifest import Manifest, read_manifest
from ai_how.bundles.store import Store
from ai_how.bundles.verify import inspect, verify
from ai_how.bundles.wanted import Chart, File, Image, Wanted
from ai_how.errors import AiHowError, LockedError, NotFoundError, ProviderError, SpecError, TryAgainError
from ai_how.run import outside
from tests.functional.far_servers import DOCKER_LIST, Far, basic, chart_archive, digest_of, far_servers
from tests.functional.small_disk import mounted
from tests.functional.waiting import wait_for

PURPOSE = Purpose(release="current", versions={"kubespray": "2.31.0"}, platform="linux/amd64", python="3.11")


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(outside, "_FIRST_S", 0.01)
    with far_servers() as servers:
        yield servers


def create(folder: Path, *wanted: Wanted, **options: object) -> Manifest:
    return create_bundle(folder, wanted, PURPOSE, **options)  # type: ignore[arg-type]


def content(folder: Path, digest: str) -> bytes:
    return Store(folder).path(digest).read_bytes()


def failure(folder: Path, *wanted: Wanted) -> AiHowError:
    with pytest.raises(AiHowError) as caught:
        create(folder, *wanted)
    assert caught.value.brief
    return caught.value


def test_files_images_and_charts_come_whole_and_are_verified(far: Far, tmp_path: Path) -> None:
    digest = far.add_file("/tool", b"tool" * 1000)
    image = far.add_image("library/nginx", "1.28")
    archive = chart_archive("keda", "2.0.0")
    far.files["/charts/index.yaml"] = json.dumps(
        {"entries": {"keda": [{"version": "2.0.0", "urls": ["keda.tgz"], "digest": digest_of(archive)[7:]}]}}
    ).encode()
    far.files["/charts/keda.tgz"] = archive
    far.add_oci_chart("charts/kserve", "v0.19.0", archive)
    manifest = create(
        tmp_path / "b",
        File(url=far.url("/tool"), digest=digest),
        Image(reference=f"{far.host}/library/nginx:1.28"),
        Chart(repository=far.url("/charts"), name="keda", version="2.0.0"),
        Chart(repository=f"oci://{far.host}/charts", name="kserve", version="v0.19.0"),
    )
    assert [(entry.kind, entry.version) for entry in manifest.entries] == [
        ("file", ""),
        ("image", ""),
        ("chart", "2.0.0"),
        ("chart", "v0.19.0"),
    ]
    assert manifest.entries[1].digest == image
    # the index as it is, so that its digest can be pinned, and of its platforms the wanted one alone
    assert len(manifest.entries[1].blobs) == 4
    assert read_manifest(tmp_path / "b") == manifest
    assert verify(tmp_path / "b") == manifest
    bundle = Bundle(path=tmp_path / "b", manifest=manifest)
    for repository, name, version in (
        (far.url("/charts/"), "keda", "2.0.0"),
        (f"oci://{far.host}/charts", "kserve", "v0.19.0"),
    ):
        assert chart_file(bundle, repository=repository, name=name, version=version).read_bytes() == archive
    with pytest.raises(NotFoundError, match="no chart keda"):
        chart_file(bundle, repository=far.url("/charts"), name="keda", version="3.0.0")


def test_the_folder_is_an_oci_image_layout(far: Far, tmp_path: Path) -> None:
    digest = far.add_image("a/b", "1", list_type=DOCKER_LIST)
    create(tmp_path, Image(reference=f"{far.host}/a/b:1"))
    assert json.loads((tmp_path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    [listed] = json.loads((tmp_path / "index.json").read_text())["manifests"]
    assert (listed["digest"], listed["mediaType"]) == (digest, DOCKER_LIST)
    assert listed["annotations"] == {"org.opencontainers.image.ref.name": f"{far.host}/a/b:1"}
    assert digest_of((tmp_path / "blobs/sha256" / digest[7:]).read_bytes()) == digest


def test_a_token_goes_to_the_registry_and_to_nobody_else(far: Far, tmp_path: Path) -> None:
    far.add_image("a/b", "1")
    create(tmp_path, Image(reference=f"{far.host}/a/b:1"))
    assert far.count("/token") >= 1
    stored = [headers for _, path, headers in far.asked if path.startswith("/blobs/")]
    assert stored
    assert not any("authorization" in headers for headers in stored)


def test_an_image_of_one_platform_alone_and_a_registry_without_tokens(far: Far, tmp_path: Path) -> None:
    far.with_tokens = far.redirect = far.digest_header = False
    digest = far.add_image("pause", "3", platforms=("linux/amd64",), list_type="")
    manifest = create(tmp_path, Image(reference=f"{far.host}/pause:3"))
    assert manifest.entries[0].digest == digest
    assert len(manifest.entries[0].blobs) == 3


def test_a_layer_that_images_share_is_fetched_once(far: Far, tmp_path: Path) -> None:
    base = os.urandom(5000)
    far.add_image("a", "1", base=base)
    far.add_image("b", "1", base=base)
    manifest = create(tmp_path, Image(reference=f"{far.host}/a:1"), Image(reference=f"{far.host}/b:1"))
    assert sum(one[1].endswith(digest_of(base)) and one[1].startswith("/blobs") for one in far.asked) == 1
    assert manifest.size_bytes < sum(entry.size_bytes for entry in manifest.entries)


def test_a_pinned_digest_counts_and_a_moved_tag_does_not(far: Far, tmp_path: Path) -> None:
    digest = far.add_image("a", "1")
    far.add_image("a", "1", size=77)
    manifest = create(tmp_path, Image(reference=f"{far.host}/a:1", digest=digest))
    assert manifest.entries[0].digest == digest


def test_a_second_run_asks_nobody_and_keeps_what_tags_stood_for(far: Far, tmp_path: Path) -> None:
    wanted = (Image(reference=f"{far.host}/a:1"), File(url=far.url("/f"), digest=far.add_file("/f", b"f")))
    was = far.add_image("a", "1")
    first = create(tmp_path, *wanted)
    far.add_image("a", "1", size=99)
    far.asked.clear()
    second = create(tmp_path, *wanted)
    assert far.asked == []
    assert second.identity == first.identity
    third = create(tmp_path, *wanted, refresh=True)
    assert third.entries[0].digest != was
    assert third.identity != first.identity


def test_what_is_no_longer_wanted_goes(far: Far, tmp_path: Path) -> None:
    gone = File(url=far.url("/old"), digest=far.add_file("/old", b"old"))
    kept = File(url=far.url("/new"), digest=far.add_file("/new", b"new"))
    create(tmp_path, gone, kept)
    create(tmp_path, kept)
    assert [path.name for path in (tmp_path / "blobs/sha256").iterdir()] == [kept.digest[7:]]


@pytest.mark.parametrize("name", ["sha256", "sha512"])
def test_either_kind_of_checksum_counts(far: Far, tmp_path: Path, name: str) -> None:
    far.add_file("/f", b"content")
    digest = f"{name}:{hashlib.new(name, b'content').hexdigest()}"
    manifest = create(tmp_path, File(url=far.url("/f"), digest=digest))
    assert manifest.entries[0].digest == digest_of(b"content")
    wrong = failure(tmp_path / "b", File(url=far.url("/f"), digest=digest[:-1] + ("0" if digest[-1] != "0" else "1")))
    assert "is not what it must be" in wrong.brief
    assert digest in wrong.evidence


def test_redirects_are_followed(far: Far, tmp_path: Path) -> None:
    digest = far.add_file("/moved/f", b"moved")
    manifest = create(tmp_path, File(url=far.url("/moved/f"), digest=digest))
    assert content(tmp_path, manifest.entries[0].digest) == b"moved"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_is_outlasted(far: Far, tmp_path: Path, status: int) -> None:
    far.add_image("a", "1")
    digest = far.add_file("/f", b"f")
    waits = [(status, {"Retry-After": "0"}), (status, {})]
    far.refuse = {"/f": [(405, {}), *waits], "/token": list(waits), "/v2/a/manifests/1": list(waits)}
    manifest = create(tmp_path, File(url=far.url("/f"), digest=digest), Image(reference=f"{far.host}/a:1"))
    assert len(manifest.entries) == 2


def test_a_registry_that_asks_for_hours_is_not_waited_for(far: Far, tmp_path: Path) -> None:
    far.add_image("a", "1")
    far.refuse["/v2/a/manifests/1"] = [(429, {"Retry-After": "21600"})] * 9
    error = failure(tmp_path, Image(reference=f"{far.host}/a:1"))
    assert isinstance(error, TryAgainError)
    assert error.brief == f"{far.host} refuses more requests for now"
    assert "asks to wait 21600 s" in error.evidence
    assert "what came is kept" in error.next_step


def test_a_server_that_stays_broken_is_named(far: Far, tmp_path: Path) -> None:
    far.refuse["/f"] = [(503, {})] * 20
    error = failure(tmp_path, File(url=far.url("/f")))
    assert "cannot answer now" in error.brief
    assert "HTTP status 503" in error.evidence


def test_no_network_is_one_clear_message(tmp_path: Path, far: Far) -> None:
    error = failure(tmp_path, File(url="http://127.0.0.1:1/f"))
    assert error.brief == "no answer from 127.0.0.1:1"
    assert "HTTPS_PROXY" in error.next_step


def test_a_broken_connection_goes_on_where_it_was(far: Far, tmp_path: Path) -> None:
    body = os.urandom(300_000)
    digest = far.add_file("/f", body)
    far.break_after["/f"] = [100_000, 50_000]
    create(tmp_path, File(url=far.url("/f"), digest=digest))
    assert content(tmp_path, digest) == body
    asked = [headers.get("range") for method, path, headers in far.asked if path == "/f" and method == "GET"]
    assert asked[0] is None
    assert all(asked[1:])


def test_a_server_that_cannot_go_on_sends_all_of_it_again(far: Far, tmp_path: Path) -> None:
    body = os.urandom(300_000)
    digest = far.add_file("/f", body)
    far.ranges = False
    far.break_after["/f"] = [100_000]
    create(tmp_path, File(url=far.url("/f"), digest=digest))
    assert content(tmp_path, digest) == body


def test_what_came_before_a_failure_is_taken_further(far: Far, tmp_path: Path) -> None:
    body = os.urandom(300_000)
    wanted = File(url=far.url("/f"), digest=far.add_file("/f", body))
    far.break_after["/f"] = [100_000] + [0] * 9
    error = failure(tmp_path, wanted)
    assert isinstance(error, TryAgainError)
    far.break_after.clear()
    far.asked.clear()
    create(tmp_path, wanted)
    assert [headers.get("range") for method, _, headers in far.asked if method == "GET"] == ["bytes=100000-"]


def test_a_page_in_the_place_of_a_file_is_refused(far: Far, tmp_path: Path) -> None:
    digest = digest_of(b"the file")
    far.add_file("/f", b"<html>please log in</html>")
    error = failure(tmp_path, File(url=far.url("/f"), digest=digest))
    assert "is not what it must be; it was removed" in error.brief
    assert digest in error.evidence
    with pytest.raises(NotFoundError, match="is not whole"):
        read_manifest(tmp_path)


def test_a_manifest_that_was_changed_on_its_way_is_refused(far: Far, tmp_path: Path) -> None:
    digest = far.add_image("a", "1")
    far.manifests["a", digest] = (far.manifests["a", digest][0], b'{"layers": []}')
    error = failure(tmp_path, Image(reference=f"{far.host}/a:1", digest=digest))
    assert "sends another manifest" in error.brief


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (b"<html>", "no JSON"),
        (b"[]", "no JSON object"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "no longer used"),
        (b'{"config": {"digest": "sha256:../../x", "size": 1}, "layers": []}', "digest"),
        (b'{"config": {"size": 1}, "layers": []}', "cannot be read"),
        (b'{"manifests": [{"platform": {"os": "linux", "architecture": "amd64"}, "digest": "x"}]}', "digest"),
    ],
)
def test_nonsense_of_a_registry_is_one_clear_message(far: Far, tmp_path: Path, document: bytes, told: str) -> None:
    far.manifests["a", "1"] = far.manifests["a", digest_of(document)] = ("application/json", document)
    error = failure(tmp_path, Image(reference=f"{far.host}/a:1"))
    assert told in str(error)


def test_an_image_that_is_not_there(far: Far, tmp_path: Path) -> None:
    assert "has no image" in failure(tmp_path, Image(reference=f"{far.host}/none:1")).brief


def test_an_image_for_other_platforms_alone(far: Far, tmp_path: Path) -> None:
    far.add_image("a", "1", platforms=("linux/arm64", "windows/amd64"))
    error = failure(tmp_path, Image(reference=f"{far.host}/a:1"))
    assert "is not there for linux/amd64" in error.brief
    assert error.evidence == "it is for: linux/arm64, windows/amd64"


def test_a_registry_that_wants_an_account(far: Far, tmp_path: Path) -> None:
    far.with_tokens = False
    far.refuse["/v2/a/manifests/1"] = [(401, {"WWW-Authenticate": 'Basic realm="x"'})] * 9
    error = failure(tmp_path, Image(reference=f"{far.host}/a:1"))
    assert "wants a login" in error.brief


def test_a_refused_token(far: Far, tmp_path: Path) -> None:
    far.add_image("a", "1")
    far.refuse["/token"] = [(403, {})] * 9
    assert "gives no token" in failure(tmp_path, Image(reference=f"{far.host}/a:1")).brief


@pytest.mark.parametrize(
    ("index", "told"),
    [
        (None, "HTTP status 404"),
        (b"[", "no index of charts"),
        (b"entries: {}", "no chart of that name"),
        (b"entries: {keda: [{version: 1.0.0}]}", "it has: 1.0.0"),
    ],
)
def test_a_chart_that_is_not_there(far: Far, tmp_path: Path, index: bytes | None, told: str) -> None:
    if index is not None:
        far.files["/charts/index.yaml"] = index
    error = failure(tmp_path, Chart(repository=far.url("/charts"), name="keda", version="2.0.0"))
    assert told in error.evidence


def test_a_repository_of_charts_must_be_an_address(tmp_path: Path) -> None:
    error = failure(tmp_path, Chart(repository="charts", name="keda", version="2.0.0"))
    assert isinstance(error, SpecError)


def test_all_failures_are_told_at_once_and_the_rest_comes(far: Far, tmp_path: Path) -> None:
    good = File(url=far.url("/good"), digest=far.add_file("/good", b"good"))
    error = failure(tmp_path, File(url=far.url("/x")), File(url=far.url("/y")), good)
    assert "2 of what 3 things need" in error.brief
    assert far.url("/x") in error.evidence
    assert far.url("/y") in error.evidence
    assert content(tmp_path, good.digest) == b"good"


def test_a_whole_bundle_stays_whole_where_the_new_one_fails(far: Far, tmp_path: Path) -> None:
    good = File(url=far.url("/good"), digest=far.add_file("/good", b"good"))
    was = create(tmp_path, good)
    failure(tmp_path, good, File(url=far.url("/none")))
    assert verify(tmp_path) == was


def test_a_damaged_part_is_found_and_mended_by_the_next_run(far: Far, tmp_path: Path) -> None:
    wanted = File(url=far.url("/f"), digest=far.add_file("/f", b"content"))
    create(tmp_path, wanted)
    Store(tmp_path).path(wanted.digest).write_bytes(b"c")
    with pytest.raises(ProviderError) as caught:
        verify(tmp_path)
    assert far.url("/f") in caught.value.evidence
    assert "1 bytes instead of 7" in caught.value.evidence
    create(tmp_path, wanted)
    _, damages = inspect(tmp_path)
    assert damages == ()


def test_two_at_once_are_refused(far: Far, tmp_path: Path) -> None:
    from ai_how.apply.lock import locked

    with locked(tmp_path / ".lock"), pytest.raises(LockedError, match="filling this bundle"):
        create(tmp_path, File(url=far.url("/f")))


def test_the_proxy_of_the_environment_is_used(far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:p%40ss@{far.host}")
    manifest = create(tmp_path, File(url="http://files.example/f"))
    assert content(tmp_path, manifest.entries[0].digest) == b"by proxy: http://files.example/f"
    assert {headers["proxy-authorization"] for _, _, headers in far.asked} == {basic("me:p@ss")}


def test_a_proxy_that_is_away_shows_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: Far) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:1")
    error = failure(tmp_path, File(url="http://files.example/f"))
    assert "no answer from files.example" in error.brief
    assert "secret" not in str(error)


def test_no_proxy_counts(far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://{far.host}")
    monkeypatch.setenv("no_proxy", "files.example")
    assert outside.proxy_for("http://files.example/f") is None
    assert outside.proxy_for("http://other.example/f") == f"http://{far.host}"
    assert outside.proxy_for("http://127.0.0.1:5/f") is None


def test_progress_ends_at_what_there_was_to_do(far: Far, tmp_path: Path) -> None:
    body = os.urandom(300_000)
    far.break_after["/f"] = [100_000]
    far.ranges = False
    told: list[tuple[str, int, int]] = []
    create(
        tmp_path,
        File(url=far.url("/f"), digest=far.add_file("/f", body)),
        progress=lambda stage, done, total: told.append((stage, done, total)),
    )
    assert told[-1] == ("fetch", len(body), len(body))


FILLING = """
import sys
from pathlib import Path
from ai_how.bundles import create as create_module
from ai_how.bundles.create import Purpose, create_bundle
from ai_how.bundles.wanted import File
wanted = [File(url=sys.argv[2] + name, digest=digest) for name, digest in zip(sys.argv[3::2], sys.argv[4::2])]
create_bundle(Path(sys.argv[1]), wanted, Purpose(release="r", versions={}, platform="linux/amd64"))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_is_taken_further(far: Far, tmp_path: Path, number: signal.Signals) -> None:
    files = {f"/{place}": os.urandom(40_000) for place in range(4)}
    words = [word for path, body in files.items() for word in (path, far.add_file(path, body))]
    # the last one never comes, so the run is surely under way
    far.refuse["/3"] = [(503, {"Retry-After": "60"})] * 99
    process = subprocess.Popen(
        [sys.executable, "-c", FILLING, tmp_path / "b", far.url(""), *words], stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: len(list((tmp_path / "b/blobs/sha256").glob("[0-9a-f]*"))) == 3)
        process.send_signal(number)
        process.wait(20)
    finally:
        process.kill()
        process.wait()
    with pytest.raises(NotFoundError, match="is not whole"):
        read_manifest(tmp_path / "b")
    far.refuse.clear()
    far.asked.clear()
    manifest = create(
        tmp_path / "b", *(File(url=far.url(path), digest=digest_of(body)) for path, body in files.items())
    )
    assert [path for method, path, _ in far.asked if method == "GET"] == ["/3"]
    assert verify(tmp_path / "b") == manifest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB, in memory."""
    with mounted(tmp_path / "disk", size_mib=8) as disk:
        yield disk


def test_a_disk_that_is_too_small_is_said_before_the_first_byte(far: Far, small_disk: Path) -> None:
    wanted = File(url=far.url("/f"), digest=far.add_file("/f", b"content"))
    error = failure(small_disk / "b", wanted)
    assert "not enough disk space for the bundle" in error.brief
    assert far.count("/f") == 0


def test_a_disk_that_runs_full_is_said_once_and_nothing_else_is_tried(
    far: Far, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(create_module, "_SPARE_BYTES", 0)
    # a server that states no size: nobody can know beforehand
    far.refuse = {f"/{place}": [(405, {})] for place in range(12)}
    wanted = [
        File(url=far.url(f"/{place}"), digest=far.add_file(f"/{place}", os.urandom(3 << 20))) for place in range(12)
    ]
    error = failure(small_disk / "b", *wanted)
    assert "the disk is full" in error.brief
    assert "MiB are free" in error.evidence
    assert sum(far.count(f"/{place}") for place in range(12)) < 12
    # and the next run takes it from there, once there is room
    monkeypatch.undo()
    bigger = ["mount", "-o", "remount,size=64m", str(small_disk)]
    subprocess.run(bigger, check=True)
    assert len(create(small_disk / "b", *wanted).entries) == 12


def test_a_folder_that_cannot_be_written_is_said(far: Far, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    error = failure(tmp_path / "file" / "b", File(url=far.url("/f")))
    assert "cannot write" in error.brief
