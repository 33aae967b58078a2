"""Fetching Kubespray and telling whether it is the release: on small git repositories of the same form."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ai_how.errors import ConflictError, NotFoundError, ProviderError, SpecError
from ai_how.kubernetes import checkout, environment
from ai_how.kubernetes.checkout import fetched_checkout, find_checkout, known_commit, user_checkout
from ai_how.releases.files import load_world

GALAXY = "---\nnamespace: kubernetes_sigs\nname: kubespray\nversion: 2.31.0\n"


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "upstream"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "galaxy.yml").write_text(GALAXY, encoding="utf-8")
    (folder / "requirements.txt").write_text("# why\nansible==1.0\n", encoding="utf-8")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "release")
    git(folder, "tag", "v2.31.0")
    return folder


@pytest.fixture
def trusted(upstream: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The commit id of the small repository stands in the facts."""
    commit = git(upstream, "rev-parse", "HEAD")
    monkeypatch.setattr(checkout, "known_commit", lambda _version: commit)
    return commit


def test_the_tag_is_fetched_once_and_verified_each_time(upstream: Path, trusted: str) -> None:
    found = fetched_checkout("2.31.0", source=f"file://{upstream}")
    assert (found.version, found.commit) == ("2.31.0", trusted)
    assert (found.path / "galaxy.yml").read_text(encoding="utf-8") == GALAXY
    shutil.rmtree(upstream)
    assert fetched_checkout("2.31.0", source=f"file://{upstream}") == found


def test_changed_and_added_files_are_fetched_again(upstream: Path, trusted: str) -> None:
    path = fetched_checkout("2.31.0", source=f"file://{upstream}").path
    (path / "galaxy.yml").write_text("tampered", encoding="utf-8")
    (path / "added.yml").write_text("tampered", encoding="utf-8")
    fetched_checkout("2.31.0", source=f"file://{upstream}")
    assert (path / "galaxy.yml").read_text(encoding="utf-8") == GALAXY
    assert not (path / "added.yml").exists()


def test_a_moved_tag_is_refused_and_nothing_is_kept(upstream: Path, tmp_path: Path) -> None:
    with pytest.raises(ProviderError) as caught:
        fetched_checkout("2.31.0", source=f"file://{upstream}")
    assert "is not that release" in caught.value.brief
    assert known_commit("2.31.0") in caught.value.evidence
    assert not (tmp_path / "cache/ai-how/kubespray/v2.31.0").exists()


def test_no_network_is_one_clear_message(upstream: Path, tmp_path: Path) -> None:
    with pytest.raises(ProviderError) as caught:
        fetched_checkout("2.31.0", source=f"file://{tmp_path}/nowhere")
    assert "could not be fetched" in caught.value.brief
    assert "kubespray_path" in caught.value.next_step


def test_a_users_checkout_is_taken_as_it_is(upstream: Path) -> None:
    (upstream / "changed.txt").write_text("mine", encoding="utf-8")
    found = find_checkout("2.31.0", own=upstream)
    assert (found.path, found.commit) == (upstream, git(upstream, "rev-parse", "HEAD"))


def test_a_users_checkout_of_another_version_is_refused(upstream: Path) -> None:
    with pytest.raises(ConflictError) as caught:
        user_checkout(upstream, "2.30.0")
    assert "its galaxy.yml says 2.31.0, the release set says 2.30.0" in caught.value.evidence
    assert "pins: {kubespray: 2.31.0}" in caught.value.next_step


@pytest.mark.parametrize("text", [None, "name: other\nversion: 1.0.0\n", "garbage"])
def test_another_folder_is_no_kubespray(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "galaxy.yml").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match="is no checkout of Kubespray"):
        user_checkout(tmp_path, "2.31.0")


def test_every_release_among_the_facts_has_its_commit() -> None:
    for release in load_world().find("kubespray").releases:
        assert len(known_commit(release.version)) == 40
    with pytest.raises(NotFoundError):
        known_commit("1.0.0")


def test_a_release_without_a_lock_takes_its_own_pins(upstream: Path) -> None:
    found = environment.environment_of(upstream, "2.30.0")
    assert not found.hashed
    assert found.requirements.splitlines() == ["ansible==1.0", environment.RUNNER]
    (upstream / "requirements.txt").write_text("ansible>=1\n", encoding="utf-8")
    with pytest.raises(SpecError, match="does not pin everything"):
        environment.environment_of(upstream, "2.30.0")


KUBESPRAY_DIR = os.environ.get("KUBESPRAY_DIR")


@pytest.mark.skipif(not KUBESPRAY_DIR, reason="needs KUBESPRAY_DIR: a checkout of Kubespray 2.31.0")
def test_our_lock_is_of_kubesprays_own_requirements() -> None:
    found = environment.environment_of(Path(KUBESPRAY_DIR or ""), "2.31.0")
    assert found.hashed
    for pin in environment.own_pins(Path(KUBESPRAY_DIR or "")):
        assert f"\n{pin} " in f"\n{found.requirements}"
