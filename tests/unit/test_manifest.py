"""Manifests, remembered digests, references and part sizes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.errors import SpecError, WorldChangedError
from ai_how.models import manifest as manifests
from ai_how.models.digests import DigestCache
from ai_how.models.manifest import build_manifest, make_manifest, manifest_from_json, manifest_to_json
from ai_how.models.registry import check_alias, check_name, parse_reference
from ai_how.models.types import ModelFile
from ai_how.models.upload import MOST_PARTS, PART_BYTES, part_size

SHA = hashlib.sha256(b"x").hexdigest()


def write_files(folder: Path) -> list[str]:
    for name, content in {"b.bin": b"bb", "a/deep.bin": b"x", "empty": b""}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return ["b.bin", "empty", "a/deep.bin"]


def test_the_digest_is_the_documented_one(tmp_path: Path) -> None:
    made = build_manifest(tmp_path, write_files(tmp_path)).manifest
    lines = "".join(f"{f.path}\0{f.size_bytes}\0{f.sha256}\n" for f in made.files)
    assert [f.path for f in made.files] == ["a/deep.bin", "b.bin", "empty"]
    assert made.files[0].sha256 == SHA
    assert made.digest == hashlib.sha256(lines.encode()).hexdigest()
    assert made.size_bytes == 3


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    build_manifest(tmp_path, write_files(tmp_path), progress=lambda *step: seen.append(step))
    assert seen[0] == ("check", 0, 3)
    assert seen[-1] == ("check", 3, 3)


paths = st.lists(st.from_regex(r"[a-z0-9._-]{1,8}(/[a-z]{1,4}){0,2}", fullmatch=True), unique=True, max_size=6).filter(
    lambda names: not any(part in (".", "..") for name in names for part in name.split("/"))
)


@given(paths, st.integers(0, 2**50))
def test_a_manifest_survives_its_json(names: list[str], size: int) -> None:
    made = make_manifest([ModelFile(path=name, size_bytes=size, sha256=SHA) for name in names])
    assert manifest_from_json(manifest_to_json(made)) == made


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "newer ai-how"),
        ({"digest": "0" * 64}, "digest is not"),
        ({"files": None}, "damaged"),
        ({"files": [{"path": "a", "size_bytes": 1}]}, "sha256"),
        ({"files": [{"path": "a", "size_bytes": -1, "sha256": SHA}]}, "no size"),
        ({"files": [{"path": "a", "size_bytes": 1, "sha256": "abc0"}]}, "no SHA-256"),
        *(
            ({"files": [{"path": path, "size_bytes": 1, "sha256": SHA}]}, "unsafe path")
            for path in ("../x", "/etc/x", "a/../../x", "./x", "a//b", "", "x\0", "ai-how-manifest.json")
        ),
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused(change: dict[str, Any], said: str) -> None:
    sound = json.loads(manifest_to_json(make_manifest([ModelFile(path="a", size_bytes=1, sha256=SHA)])))
    with pytest.raises(SpecError, match=said):
        manifest_from_json(json.dumps(sound | change))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"version": 1}'])
def test_other_json_is_no_manifest(text: str) -> None:
    with pytest.raises(SpecError, match="damaged"):
        manifest_from_json(text)


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files count as written long ago."""
    monkeypatch.setattr("ai_how.models.digests._SETTLED_NS", -(10**15))


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)
    names = write_files(tmp_path / "m")
    first = build_manifest(tmp_path / "m", names, cache=DigestCache(tmp_path / "digests.json"))

    def refuse(*_args: object, **_kwargs: object) -> str:
        raise AssertionError("read again")

    monkeypatch.setattr(manifests, "hash_file", refuse)
    again = build_manifest(tmp_path / "m", names, cache=DigestCache(tmp_path / "digests.json"))
    assert again == first


def test_a_changed_file_is_read_again_even_with_its_old_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)
    names = write_files(tmp_path / "m")
    first = build_manifest(tmp_path / "m", names, cache=DigestCache(tmp_path / "digests.json"))
    file = tmp_path / "m" / "b.bin"
    before = file.stat()
    file.write_bytes(b"cc")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = build_manifest(tmp_path / "m", names, cache=DigestCache(tmp_path / "digests.json"))
    assert again.manifest.digest != first.manifest.digest


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    names = write_files(tmp_path / "m")
    build_manifest(tmp_path / "m", names, cache=DigestCache(tmp_path / "digests.json"))
    assert not (tmp_path / "digests.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"x": 3}'])
def test_a_damaged_cache_only_costs_time(tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)
    (tmp_path / "digests.json").write_text(content)
    names = write_files(tmp_path / "m")
    cache = DigestCache(tmp_path / "digests.json")
    assert build_manifest(tmp_path / "m", names, cache=cache) == build_manifest(tmp_path / "m", names)


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = write_files(tmp_path)
    honest = manifests.hash_file

    def hash_and_change(path: Path, **options: Any) -> str:
        digest = honest(path, **options)
        with path.open("ab") as file:
            file.write(b"more")
        return digest

    monkeypatch.setattr(manifests, "hash_file", hash_and_change)
    with pytest.raises(WorldChangedError, match="changed while it was pushed"):
        build_manifest(tmp_path, names)


def test_a_file_that_changed_after_its_digest_is_noticed(tmp_path: Path) -> None:
    local = build_manifest(tmp_path, write_files(tmp_path)).files[1]
    local.check_unchanged()
    local.path.write_bytes(b"yy")
    with pytest.raises(WorldChangedError):
        local.check_unchanged()


def test_a_file_that_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        build_manifest(tmp_path, ["missing"])


@given(st.integers(0, 5 * 2**40))
def test_no_file_has_more_parts_than_s3_allows(size: int) -> None:
    assert part_size(size) >= PART_BYTES
    assert part_size(size) * MOST_PARTS >= size


@pytest.mark.parametrize(
    ("text", "alias", "version"),
    [("m", None, None), ("m@champion", "champion", None), ("m/3", None, 3), ("my.model_1-b/12", None, 12)],
)
def test_references_are_read(text: str, alias: str | None, version: int | None) -> None:
    found = parse_reference(text)
    assert (found.alias, found.version) == (alias, version)


@pytest.mark.parametrize(
    "text", ["", "@x", "m@", "m/", "m/0", "m/x", "m/-1", "m/1/2", "m/1@a", "m@a/1", "M", "m@LATEST"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        parse_reference(text)


@pytest.mark.parametrize("name", ["", ".", "..", "-m", "A", "a b", "a/b", "a:b", "x" * 65, "ümlaut", "a\n"])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(SpecError):
        check_name(name)


def test_a_refused_name_comes_with_one_that_would_do() -> None:
    with pytest.raises(SpecError, match="use my-model-v2"):
        check_name("My Model: V2")


@pytest.mark.parametrize("alias", ["", "latest", "v3", "a.b", "a b", "Champion"])
def test_odd_aliases_are_refused(alias: str) -> None:
    with pytest.raises(SpecError):
        check_alias(alias)


def test_the_secret_never_shows() -> None:
    from ai_how.models.s3 import Bucket
    from ai_how.models.types import ObjectStoreAccess, SecretText

    access = ObjectStoreAccess(
        endpoint_url="http://127.0.0.1:1", region="r", bucket="b", access_key="a", secret_key=SecretText("s3cret")
    )
    assert "s3cret" not in repr(access)
    assert "s3cret" not in repr(Bucket(access))
