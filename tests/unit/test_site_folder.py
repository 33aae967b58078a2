"""A site's folder: made where nothing else is, removed only where it is ours, its state readable or lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ai_how.apply.site_folder import SiteFolder, check_site_folder, is_site_folder, make_site_folder, remove_folder
from ai_how.apply.state import State
from ai_how.errors import ConflictError, SpecError


def folder_of(path: Path) -> SiteFolder:
    return SiteFolder(root=path / "kept")


def test_it_is_made_marked_and_removed_whole(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    make_site_folder(folder, "lab")
    make_site_folder(folder, "lab")
    assert folder.root.stat().st_mode & 0o777 == 0o700
    assert is_site_folder(folder)
    State(folder, "lab").record("process/x", {"port": 1})
    parts = [name for name, what in vars(SiteFolder).items() if isinstance(what, property)]
    assert {"logs", "reports", "secrets"} <= set(parts)
    for path in (getattr(folder, name) for name in parts):
        path.touch()
    for path in (folder.logs, folder.reports):
        path.unlink()
        path.mkdir()
        (path / "one").touch()
    assert remove_folder(folder) == []
    assert not folder.root.exists()


@pytest.mark.parametrize("name", ["kubernetes", "logs", "secrets", "cache", "anything"])
def test_what_others_keep_there_is_neither_used_nor_removed(tmp_path: Path, name: str) -> None:
    """A site file may name /etc or a home, and names of ours are names of others, too."""
    folder = folder_of(tmp_path)
    (folder.root / name).mkdir(parents=True)
    (folder.root / name / "theirs").touch()
    with pytest.raises(SpecError, match="no folder of ai-how's, and is not empty"):
        check_site_folder(folder)
    with pytest.raises(SpecError, match="no folder of ai-how's, and is not empty") as caught:
        make_site_folder(folder, "lab")
    assert name in caught.value.evidence
    assert not is_site_folder(folder)
    assert remove_folder(folder, folder.root / name) == []
    assert (folder.root / name / "theirs").exists()


def test_looking_makes_nothing(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    check_site_folder(folder)
    assert not folder.root.exists()
    folder.root.touch()
    with pytest.raises(SpecError, match="cannot be read"):
        check_site_folder(folder)


def test_a_disk_of_its_own_will_do(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    (folder.root / "lost+found").mkdir(parents=True)
    make_site_folder(folder, "lab")
    assert remove_folder(folder) == ["lost+found"]


def test_a_folder_of_an_older_version_is_ours_too(tmp_path: Path) -> None:
    """It had no mark: its state says so, or its place."""
    folder = folder_of(tmp_path)
    folder.root.mkdir()
    folder.state.write_text(json.dumps({"version": 1, "site": "lab", "resources": {}}))
    make_site_folder(folder, "lab")
    usual = SiteFolder(root=tmp_path / ".ai-how" / "lab")
    (usual.root / "data").mkdir(parents=True)
    make_site_folder(usual, "lab")
    assert is_site_folder(usual)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "x"}', '{"version": "1", "site": "lab"}', "\0"])
def test_a_damaged_state_counts_as_lost_and_is_kept(tmp_path: Path, text: str) -> None:
    folder = folder_of(tmp_path)
    make_site_folder(folder, "lab")
    folder.state.write_text(text)
    state = State(folder, "lab")
    assert state.resources() == {}
    state.record("process/x", {"port": 1})
    assert state.resources() == {"process/x": {"port": 1}}
    assert folder.damaged_state.read_text() == text
    assert remove_folder(folder) == []


def test_a_state_of_another_version_or_site_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    make_site_folder(folder, "lab")
    for data, said in (({"version": 2, "site": "lab"}, "another version"), ({"version": 1, "site": "x"}, "site 'x'")):
        folder.state.write_text(json.dumps(data))
        with pytest.raises(ConflictError, match=said):
            State(folder, "lab").resources()
