"""The stack on clusters, as far as it is pure: settings, Helm's records, what is removed, what Helm says, health."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from ai_how.errors import AiHowError, ConflictError, MissingToolError, ProviderError, SpecError, TryAgainError
from ai_how.kubernetes_api.kubeconfig import Access, load_kubeconfig
from ai_how.kubernetes_api.marks import FIELD_MANAGER, Mark
from ai_how.kubernetes_api.objects import ref_of
from ai_how.kubernetes_api.removal import Found, Marked
from ai_how.rollout import supply as supplies
from ai_how.rollout.helm import _failure, kubeconfig_of
from ai_how.rollout.look import not_wanted_elsewhere
from ai_how.rollout.objects import published
from ai_how.rollout.releases import DIGEST, History, history_of, is_anothers, ours, release_trouble
from ai_how.rollout.supply import HostSupply
from ai_how.rollout.wish import Wish, chart_digest, charts_in_order, resource_name, split_name
from ai_how.run.process import Completed
from ai_how.site.kubernetes import Kubernetes
from ai_how.stack.objects import Chart, Component
from ai_how.stack.part import Manifest, Part
from ai_how.stack.stack import render_parts
from ai_how.stack.upstream import tool
from ai_how.stack.wants import stack_wants
from tests.stacks import part_of, setting


def chart(release: str = "keda", **more: Any) -> Chart:
    known = {"name": "keda", "namespace": "keda", "repository": "https://charts.test", "version": "1.0.0"}
    return Chart(release=release, **{**known, **more})


def wish(part: Part) -> Wish:
    return Wish(site="lab", cluster="cloud", part=part)


def test_settings_change_with_what_is_applied_and_hold_no_values() -> None:
    parts = render_parts(setting())
    assert {one.name: wish(one).settings for one in parts} == {
        one.name: wish(one).settings for one in render_parts(setting())
    }
    keda = part_of(parts, "keda")
    found = wish(keda).settings
    assert found["charts"]["keda"]["chart"].startswith("keda ")
    assert found["needs"][0] == "kubernetes/cloud"
    assert "resources" not in str(found)
    assert split_name(resource_name("cloud", "keda")) == ("cloud", "keda")


def test_a_charts_digest_is_of_name_version_and_values() -> None:
    base = chart(values={"a": 1})
    assert chart_digest(base) == chart_digest(chart(values={"a": 1}))
    changed = (chart(values={"a": 2}), chart(values={"a": 1}, version="2"), chart(values={"a": 1}, name="other"))
    assert chart_digest(base) not in {chart_digest(one) for one in changed}


def test_charts_come_behind_those_that_they_need() -> None:
    second = chart("second", needs=("first", "another part"))
    assert [one.release for one in charts_in_order([second, chart("first")])] == ["first", "second"]


def secret(revision: int, status: str, **labels: str) -> dict[str, Any]:
    own = {"name": "keda", "owner": "helm", "status": status, "version": str(revision)}
    metadata = {"name": f"sh.helm.release.v1.keda.v{revision}", "namespace": "keda", "uid": str(revision)}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {**metadata, "labels": {**own, **labels}}}


def history(*secrets: dict[str, Any]) -> History:
    return history_of(secrets)


def test_helms_records_are_read_in_order_and_others_secrets_passed_over() -> None:
    stranger = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "labels": {"owner": "helm"}}}
    found = history(secret(10, "deployed"), secret(9, "superseded", modifiedAt="1700000000"), stranger)
    assert list(found) == [("keda", "keda")]
    assert [(one.revision, one.changed_s) for one in found["keda", "keda"]] == [(9, 1700000000.0), (10, 0.0)]


@pytest.mark.parametrize(
    ("revisions", "revision", "said"),
    [
        ((), None, "is not installed"),
        ((secret(1, "deployed", **{DIGEST: "d"}),), 1, ""),
        ((secret(1, "deployed", **{DIGEST: "d"}),), None, ""),
        ((secret(1, "deployed", **{DIGEST: "other"}),), 1, "has other values or another version"),
        ((secret(1, "deployed"),), 1, "has other values or another version"),
        ((secret(1, "failed", **{DIGEST: "d"}),), 1, "did not end well the last time (failed)"),
        ((secret(1, "pending-install", **{DIGEST: "d"}),), None, "was broken off (pending-install)"),
        ((secret(1, "uninstalling", **{DIGEST: "d"}),), None, "was broken off (uninstalling)"),
        ((secret(3, "deployed", **{DIGEST: "d"}),), 2, "was changed by other hands (revision 3, ours was 2)"),
    ],
)
def test_why_a_chart_is_not_as_wanted(revisions: tuple[dict[str, Any], ...], revision: int | None, said: str) -> None:
    releases = history(*revisions).get(("keda", "keda"), ())
    assert release_trouble(releases, digest="d", revision=revision) == said


def test_a_pending_release_is_anothers_while_it_is_young() -> None:
    release = history(secret(1, "pending-upgrade", createdAt="1000"))["keda", "keda"][0]
    assert is_anothers(release, now_s=1010)
    assert not is_anothers(release, now_s=5000)


def test_only_our_releases_are_ours() -> None:
    mine = secret(2, "deployed", **{"ai-how/site": "lab", "ai-how/component": "keda"})
    found = history(secret(1, "superseded"), mine)
    assert [one.revision for one in ours(found, site="lab", component="keda")] == [2]
    assert ours(found, site="other", component="keda") == []
    assert ours(found, site="lab", component="kserve") == []


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress", TryAgainError),
        ("Error: Unable to continue with install: x cannot be imported into the current release: ...", ConflictError),
        ("Error: Kubernetes cluster unreachable: Get https://x: connection refused", TryAgainError),
        ("Error: failed pre-install: timed out waiting for the condition", ProviderError),
    ],
)
def test_what_helm_says_becomes_an_error_with_a_next_command(said: str, kind: type[AiHowError]) -> None:
    error = _failure("install chart keda 1.0.0", 1, [said])
    assert type(error) is kind
    assert said in error.evidence
    assert error.next_step


def test_helms_kubeconfig_lets_in_as_we_are(tmp_path: Path) -> None:
    access = Access(
        server="https://127.0.0.1:1",
        context="cluster",
        source="",
        authority_pem="A",
        certificate_pem="C",
        key_pem="K",
        server_name="kubernetes",
    )
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(kubeconfig_of(access)))
    read = load_kubeconfig(file)
    for name in ("server", "authority_pem", "certificate_pem", "key_pem", "token", "server_name", "verify"):
        assert getattr(read, name) == getattr(access, name)


def test_what_another_part_wants_now_is_not_removed_with_the_old_one() -> None:
    def bearing(name: str, part: str) -> Found:
        labels = Mark(site="lab", component=part).labels
        thing = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "a", "labels": labels},
        }
        thing["metadata"]["managedFields"] = [{"manager": FIELD_MANAGER}]  # type: ignore[index]
        return Found(ref=ref_of(thing), uid=name, thing=thing)

    moved = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "moved", "namespace": "a"}}
    new = Part(title="", version="", component=Component(name="new", namespace="a", objects=(moved,)))
    found = Marked(objects=(bearing("moved", "old"), bearing("left", "old")))
    assert [one.ref.name for one in not_wanted_elsewhere(found, [wish(new)]).objects] == ["left"]


class Files:
    """A supply of one file."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def manifest(self, _manifest: Manifest) -> Path:
        assert self.path is not None
        return self.path

    def manifest_here(self, _manifest: Manifest) -> Path | None:
        return self.path


def with_manifest() -> Part:
    return Part(
        title="",
        version="",
        component=Component(name="x", namespace=""),
        manifests=(Manifest(name="file", url="https://files.test/x.yaml"),),
    )


def test_published_files_are_read_without_what_their_server_noted(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("kind: A\nmetadata: {name: a}\nstatus: {x: 1}\n---\n---\nkind: B\n")
    things, missing = published(with_manifest(), Files(file), fetch=True)  # type: ignore[arg-type]
    assert (things, missing) == ([{"kind": "A", "metadata": {"name": "a"}}, {"kind": "B"}], [])
    assert published(with_manifest(), Files(None), fetch=False) == ([], ["file"])  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["<html>", "a: [", "- 1\n- 2\n"])
def test_a_published_file_that_holds_no_objects_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(ProviderError, match="holds no objects"):
        published(with_manifest(), Files(file), fetch=True)  # type: ignore[arg-type]


def host_supply(tmp_path: Path, helm_path: str | None = None) -> HostSupply:
    return HostSupply(Kubernetes(), {}, helm_path=helm_path, site_folder=tmp_path)


def program(path: Path, version: str) -> Path:
    """A file that holds the version that it would say."""
    path.write_text(version)
    return path


def says(argv: Sequence[Path | str], **_options: object) -> Completed:
    return Completed(argv=(), returncode=0, stdout=Path(argv[0]).read_text(), stderr="")


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_words: object, **_options: object) -> None:
        raise TryAgainError("no answer from files.test")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(supplies, "create_bundle", refuse)
    monkeypatch.setattr(supplies, "run", says)
    monkeypatch.setattr(supplies, "which", lambda _name: None)


@pytest.mark.usefixtures("no_network")
def test_helm_is_the_sites_own_or_the_one_on_path_where_it_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = program(tmp_path / "helm", "v3.18.4")
    assert host_supply(tmp_path, "helm").helm() == own
    monkeypatch.setattr(supplies, "which", lambda _name: program(tmp_path / "newer", "v4.1.0"))
    assert host_supply(tmp_path).helm() == tmp_path / "newer"
    for version in ("v3.12.9", "nonsense", ""):
        program(tmp_path / "helm", version)
        with pytest.raises(SpecError, match="no Helm that will do"):
            host_supply(tmp_path, "helm").helm()
    with pytest.raises(SpecError, match="there is no"):
        host_supply(tmp_path, "nowhere").helm()


@pytest.mark.usefixtures("no_network")
def test_without_a_helm_and_a_network_what_to_install_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supplies, "which", lambda _name: program(tmp_path / "old", "v3.12.0"))
    with pytest.raises(MissingToolError, match="could not be fetched") as caught:
        host_supply(tmp_path).helm()
    assert "stack.helm_path" in caught.value.next_step
    assert "no answer from files.test" in caught.value.evidence


def test_helm_is_unpacked_from_what_was_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(supplies, "which", lambda _name: None)
    known = tool("helm", machine="amd64")
    archive = tmp_path / "helm.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        entry = tarfile.TarInfo(known.member)
        entry.size = 4
        packed.addfile(entry, BytesIO(b"helm"))
    one = host_supply(tmp_path)
    monkeypatch.setattr(supplies, "_helm_here", lambda: known)
    monkeypatch.setattr(one, "_fetched", lambda _wanted: archive)
    found = one.helm()
    assert found.read_bytes() == b"helm"
    assert found.stat().st_mode & 0o777 == 0o755
    assert one.helm() == found


@pytest.mark.parametrize("machine", ["amd64", "arm64"])
def test_the_known_helm_has_a_digest(machine: str) -> None:
    found = tool("helm", machine=machine)
    assert len(found.sha256) == 64
    assert found.version in found.url
    assert machine in found.member


def test_a_bundle_holds_the_helm_that_its_charts_need() -> None:
    urls = [getattr(one, "url", "") for one in stack_wants(render_parts(setting()))]
    assert tool("helm", machine="amd64").url in urls
    own = [getattr(one, "url", "") for one in stack_wants(render_parts(setting()), own_helm=True)]
    assert own == [url for url in urls if url != tool("helm", machine="amd64").url]
    assert stack_wants([Part(title="", version="", component=Component(name="x", namespace=""))]) == ()
