"""Bundles: references, manifests, what Kubespray's answer means, what nodes are told. Pure."""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.bundles.kubespray_list import _wanted
from ai_how.bundles.manifest import Blob, Entry, Manifest, manifest_text, parse_manifest, read_manifest, summary
from ai_how.bundles.needs import kubernetes_needs
from ai_how.bundles.plan import Item, total_bytes
from ai_how.bundles.serve import shelve
from ai_how.bundles.wanted import File, Image, is_digest, parse_platform, parse_reference
from ai_how.bundles.wheels import _best
from ai_how.cli.bundle_create import _check_release
from ai_how.errors import NotFoundError, ProviderError, SpecError
from ai_how.kubernetes.group_vars import all_vars, cluster_vars
from ai_how.kubernetes.offline import FILE_HOSTS, offline_vars
from ai_how.kubernetes.setup import setup_of
from ai_how.run.outside import Patience, retry_after_s
from ai_how.site.kubernetes import Kubernetes
from tests.kubernetes_nodes import VERSIONS, nodes_of

DIGEST = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"


@pytest.mark.parametrize(
    ("text", "whole", "api"),
    [
        ("busybox", "docker.io/library/busybox:latest", "https://registry-1.docker.io/v2/library/busybox"),
        ("rancher/x:v1", "docker.io/rancher/x:v1", "https://registry-1.docker.io/v2/rancher/x"),
        ("index.docker.io/nginx:1", "docker.io/library/nginx:1", "https://registry-1.docker.io/v2/library/nginx"),
        ("quay.io/calico/node:v3", "quay.io/calico/node:v3", "https://quay.io/v2/calico/node"),
        (f"ghcr.io/a/b@{DIGEST}", f"ghcr.io/a/b@{DIGEST}", "https://ghcr.io/v2/a/b"),
        (f"ghcr.io/a/b:1@{DIGEST}", f"ghcr.io/a/b:1@{DIGEST}", "https://ghcr.io/v2/a/b"),
        ("localhost:5000/a", "localhost:5000/a:latest", "http://localhost:5000/v2/a"),
        ("127.0.0.1:5000/a:1", "127.0.0.1:5000/a:1", "http://127.0.0.1:5000/v2/a"),
        ("host:5000/a:1", "host:5000/a:1", "https://host:5000/v2/a"),
    ],
)
def test_references_mean_what_container_engines_take_them_for(text: str, whole: str, api: str) -> None:
    found = parse_reference(text)
    assert str(found) == whole
    assert found.api == api
    assert parse_reference(str(found)) == found


@pytest.mark.parametrize(
    "text", ["", "UPPER/case", "a b", "a:", "a:b c", "a@sha256:12", "../x", "a//b", "/a", "x/../y:1"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="is no reference"):
        parse_reference(text)


@given(st.text(max_size=40))
def test_any_text_is_a_reference_that_stays_the_same_or_refused(text: str) -> None:
    try:
        found = parse_reference(text)
    except SpecError:
        return
    assert parse_reference(str(found)) == found
    assert ".." not in found.repository.split("/")


@pytest.mark.parametrize("text", ["windows/amd64", "linux", "linux/386", ""])
def test_platforms_that_clusters_are_not_made_of(text: str) -> None:
    with pytest.raises(SpecError, match="no bundles for platform"):
        parse_platform(text)
    assert parse_platform("linux/arm64") == ("linux", "arm64")


def test_digests() -> None:
    assert is_digest(DIGEST)
    assert is_digest(f"sha512:{'0' * 128}")
    assert not any(map(is_digest, ("", "sha256:", "md5:00", DIGEST[:-1], DIGEST.upper(), f"sha512:{'0' * 64}")))


def entry(kind: Any = "file", source: str = "https://dl.k8s.io/x", digest: str = DIGEST, **more: Any) -> Entry:
    return Entry(kind=kind, name=source, source=source, blobs=(Blob(digest=digest, size_bytes=10),), **more)


def manifest(*entries: Entry, **more: Any) -> Manifest:
    given: dict[str, Any] = {
        "release": "current",
        "versions": {},
        "platform": "linux/amd64",
        "created_at": "2026-01-01T00:00:00+00:00",
        "made_by": "ai-how",
        "entries": entries,
    }
    return Manifest(**{**given, **more})


def test_a_manifest_comes_back_as_it_was() -> None:
    was = manifest(entry(), entry("source", source="https://x@1"))
    assert parse_manifest(manifest_text(was).encode(), where="here") == was


def test_the_same_content_has_the_same_identity() -> None:
    was = manifest(entry(), entry("image", source="docker.io/a:1"))
    assert was.identity == manifest(*reversed(was.entries), created_at="2027", release="other").identity
    assert was.identity != manifest(entry(digest=OTHER), was.entries[1]).identity
    assert was.identity != manifest(*was.entries, platform="linux/arm64").identity
    # the pack of a commit differs by the git that made it
    assert manifest(entry("source")).identity == manifest(entry("source", digest=OTHER)).identity


def test_sizes_count_a_shared_blob_once() -> None:
    whole = manifest(entry(), entry(source="https://dl.k8s.io/y"), entry("image", source="a:1"))
    assert whole.size_bytes == 10
    assert summary(whole.entries) == [("file", 2, 10), ("image", 1, 10)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (b"{", "damaged"),
        (b"[]", "damaged"),
        (b'{"format": 2}', "format 2, known is 1"),
        (b'{"format": 1}', "damaged"),
        (b"\xff", "damaged"),
        (b"[" * 100_000, "damaged"),
    ],
)
def test_damaged_manifests_are_refused(change: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_bytes(change)
    with pytest.raises(SpecError, match=told):
        read_manifest(tmp_path)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "bundle.json")
    with pytest.raises(SpecError, match="is no regular file"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("digest", ["sha256:../../etc/passwd", "sha512:" + "0" * 128, DIGEST.upper()])
def test_a_manifest_cannot_name_other_files(digest: str) -> None:
    data = json.loads(manifest_text(manifest(entry())))
    data["entries"][0]["blobs"][0]["digest"] = digest
    with pytest.raises(SpecError, match="damaged"):
        parse_manifest(json.dumps(data).encode(), where="here")


def test_no_bundle_and_half_a_bundle_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no folder or tar"):
        read_manifest(tmp_path / "none")
    with pytest.raises(NotFoundError, match="is no bundle"):
        read_manifest(tmp_path)
    (tmp_path / "oci-layout").write_text("{}")
    with pytest.raises(NotFoundError) as caught:
        read_manifest(tmp_path)
    assert "is not whole" in caught.value.brief
    assert "goes on from there" in caught.value.next_step


def test_a_release_beside_a_site_file_must_be_the_sites() -> None:
    _check_release("current", "current", Path("ai-how.yaml"))
    with pytest.raises(NotFoundError, match="no release set 'nosuch'"):
        _check_release("nosuch", "current", Path("ai-how.yaml"))
    with pytest.raises(SpecError, match=r"release: current, which is what `ai-how up` sets up") as caught:
        _check_release("2025.10", "current", Path("ai-how.yaml"))
    assert "leave --release out" in caught.value.next_step


def test_a_bundle_that_cannot_be_made_without_internet_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(version: str, *, own: Path | None) -> None:
        raise ProviderError(f"Kubespray {version} could not be fetched", next_step="check the network, then: ai-how up")

    monkeypatch.setattr("ai_how.bundles.needs.find_checkout", fails)
    with pytest.raises(ProviderError) as caught:
        kubernetes_needs([Kubernetes()], {**VERSIONS, "kubespray": "2.31.0"}, platform="linux/amd64", pythons=["3.11"])
    assert "ai-how up" not in caught.value.next_step
    assert "then run the same command again" in caught.value.next_step


ANSWER = {
    "downloads": {
        "kubelet": {"enabled": True, "file": True, "url": "https://dl.k8s.io/kubelet", "checksum": DIGEST},
        "etcd": {"enabled": True, "container": False, "file": True, "url": "https://x/etcd", "checksum": DIGEST},
        "calico": {"enabled": "True", "container": True, "repo": "quay.io/calico/node", "tag": "v3", "checksum": ""},
        "pinned": {"enabled": True, "container": "True", "repo": "quay.io/p", "tag": "1", "checksum": DIGEST},
        "crio": {"enabled": False, "file": True, "url": "https://x/crio", "checksum": ""},
        "flannel": {"enabled": "False", "container": True, "repo": "x", "tag": "1"},
    },
    "kubeadm_image_repo": "registry.k8s.io",
    "kube_version": "1.35.4",
    "local_path_provisioner_enabled": True,
    "local_path_provisioner_helper_image": "busybox:latest",
}


def test_what_kubespray_says_becomes_files_and_images() -> None:
    assert list(_wanted(ANSWER, ["kube-proxy"])) == [
        File(url="https://dl.k8s.io/kubelet", digest=DIGEST),
        File(url="https://x/etcd", digest=DIGEST),
        Image(reference="quay.io/calico/node:v3"),
        Image(reference="quay.io/p:1", digest=DIGEST),
        Image(reference="registry.k8s.io/kube-proxy:v1.35.4"),
        Image(reference="busybox:latest"),
    ]
    without = {**ANSWER, "local_path_provisioner_enabled": "False"}
    assert Image(reference="busybox:latest") not in list(_wanted(without, []))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"downloads": {"x": {"enabled": True, "url": "https://x", "checksum": ""}}}, "states no checksum of x"),
        ({"downloads": {"x": {"enabled": True, "checksum": DIGEST}}}, "another form"),
        ({"downloads": None}, "another form"),
    ],
)
def test_an_answer_of_another_form_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ProviderError, match=told):
        list(_wanted({**ANSWER, **change}, []))


def test_only_wheels_that_the_lock_allows_are_taken(tmp_path: Path) -> None:
    wheels = [{"url": f"https://x/{name}.whl", "hashes": {"sha256": name * 64}} for name in "ab"]
    package = {"name": "x", "version": "1", "wheels": wheels}
    assert _best(package, {"b" * 64}) == File(url="https://x/b.whl", digest=f"sha256:{'b' * 64}", kind="wheel")
    assert _best(package, None).url == "https://x/a.whl"
    with pytest.raises(ProviderError, match="no wheel of x 1 that the lock allows"):
        _best(package, {"c" * 64})
    local = {"name": "x", "wheels": [{"path": str(tmp_path / "x.whl"), "hashes": {"sha256": "d" * 64}}]}
    assert _best(local, None).url == (tmp_path / "x.whl").as_uri()


def test_what_nodes_are_told_of_a_server() -> None:
    found = offline_vars("http://10.0.0.1:5080", hosts=["github.com", "dl.k8s.io"], registries=["quay.io"])
    assert found["github_url"] == "http://10.0.0.1:5080/files/github.com"
    assert set(found) == {"github_url", "dl_k8s_io_url", "containerd_registries_mirrors"}
    [mirror] = found["containerd_registries_mirrors"]
    assert (mirror["prefix"], mirror["server"]) == ("quay.io", "https://quay.io")
    assert mirror["mirrors"] == [
        {"host": "http://10.0.0.1:5080", "capabilities": ["pull", "resolve"], "skip_verify": False}
    ]
    assert offline_vars("http://x", hosts=[], registries=[]) == {}
    with pytest.raises(SpecError) as caught:
        offline_vars("http://x", hosts=["example.org"], registries=[])
    assert all(host in caught.value.evidence for host in FILE_HOSTS)


def test_a_users_own_variables_stay_above_a_bundles() -> None:
    decided = cluster_vars(Kubernetes(), VERSIONS, credentials_dir=Path("/s"))
    offline = offline_vars("http://10.0.0.1:5080", hosts=["github.com"], registries=["quay.io"])
    assert all_vars(decided, {"github_url": "https://mine"}, offline=offline)["github_url"] == "https://mine"
    assert all_vars(decided, {}, offline=offline)["github_url"] == "http://10.0.0.1:5080/files/github.com"


def test_a_bundle_is_a_change_of_the_cluster() -> None:
    def digest(offline: dict[str, Any] | None) -> str:
        return setup_of(
            "cloud",
            Kubernetes(),
            nodes_of("minimal"),
            versions={"kubespray": "2.31.0", **VERSIONS},
            recorded=None,
            credentials_dir=Path("/s"),
            site_folder=Path("/site"),
            offline=offline,
        ).state.digest

    assert digest(None) != digest(offline_vars("http://10.0.0.1:5080", hosts=[], registries=["quay.io"]))


def test_what_is_given_out_is_found_by_every_name_for_it() -> None:
    image = Entry(
        kind="image",
        name="docker.io/library/nginx:1.28",
        source="docker.io/library/nginx:1.28",
        blobs=(Blob(digest=DIGEST, size_bytes=1), Blob(digest=OTHER, size_bytes=2)),
    )
    shelf = shelve(manifest(entry(), image, entry("chart", source="https://charts/x")))
    assert set(shelf.files) == {"dl.k8s.io/x"}
    for namespace, name in (("docker.io", "library/nginx"), ("", "docker.io/library/nginx"), ("", "library/nginx")):
        assert shelf.manifest(namespace, name, "1.28") == image.blobs[0]
        assert shelf.manifest(namespace, name, OTHER) == image.blobs[1]
        assert shelf.blob(namespace, name, OTHER) == image.blobs[1]
    assert shelf.manifest("quay.io", "library/nginx", "1.28") is None
    assert shelf.blob("docker.io", "library/nginx", f"sha256:{'c' * 64}") is None
    assert shelf.manifest("", "nginx", "1.28") is None


def test_unknown_sizes_are_counted_not_guessed() -> None:
    ready = Item(kind="file", name="a", source="a", ready=entry())
    problem = Item(kind="image", name="b", source="b", problem=ProviderError("away"))
    assert (ready.size_bytes, problem.size_bytes) == (10, None)
    assert total_bytes([ready, problem]) == (10, 1)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 120 ", 120),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now=60) == seconds


def test_patience_has_an_end() -> None:
    patience = Patience(stop=Event(), tries=3, longest_s=10)
    assert [patience.pause_s(tried, None) for tried in (1, 2, 3)] == [0.5, 1.0, None]
    assert patience.pause_s(1, 7) == 7
    assert patience.pause_s(1, 11) is None
