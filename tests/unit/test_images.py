"""Images: recipes and their names, mirrors, boot sectors, what is read back from a build, and the store."""

from __future__ import annotations

import json
import pwd
import re
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ai_how.capacity.demand import all_needs
from ai_how.capacity.types import PlacedNode
from ai_how.cli.app import root
from ai_how.errors import ConflictError, MissingToolError, NotFoundError, ProviderError, SpecError
from ai_how.machines.chosen_images import choose_images
from ai_how.machines.images import layout, steps
from ai_how.machines.images.bootstrap import facts_of, installed_packages, provision_words
from ai_how.machines.images.fetch import checked_sha512, is_address
from ai_how.machines.images.mirror import archive_lines, host_mirror
from ai_how.machines.images.recipe import RECIPES, Recipe, find_recipe, provisioning_script
from ai_how.machines.images.store import ImageStore, sha256_of, valid_image_name
from ai_how.site.load import check_site_text

BASE = find_recipe("cloud-base")


def test_a_recipes_name_changes_with_what_it_holds_and_not_with_its_description() -> None:
    assert replace(BASE, summary="other words").image_name == BASE.image_name
    changes: tuple[dict[str, object], ...] = (
        {"packages": (*BASE.packages, "vim")},
        {"kernel": "linux-image-amd64"},
        {"size_gib": BASE.size_gib + 1},
        {"kernel_options": ("quiet",)},
        {"environment": ()},
        {"suite": "forky"},
    )
    names = {replace(BASE, **change).image_name for change in changes}  # type: ignore[arg-type]  # fields by name
    assert len(names | {BASE.image_name}) == len(changes) + 1


def test_recipes_differ_and_are_found_by_name() -> None:
    assert [find_recipe(recipe.name) for recipe in RECIPES] == list(RECIPES)
    assert len({recipe.digest for recipe in RECIPES}) == len(RECIPES)
    with pytest.raises(NotFoundError) as caught:
        find_recipe("cloud-bse")
    assert "cloud-base, cloud-gpu-worker, cloud-minimal" in caught.value.evidence


def test_containerd_is_another_image() -> None:
    assert "containerd" in find_recipe("cloud-base", containerd=True).all_packages
    assert find_recipe("cloud-base", containerd=True).image_name != BASE.image_name


def test_a_gpu_worker_has_the_driver_and_what_containers_are_given_of_it() -> None:
    worker = find_recipe("cloud-gpu-worker")
    wanted = {"nvidia-kernel-dkms", "linux-headers-amd64", "firmware-nvidia-gsp", "nvidia-smi", "libcuda1"}
    assert wanted <= set(worker.packages)
    assert worker.kernel == "linux-image-amd64"
    assert {"non-free", "non-free-firmware"} <= set(worker.components)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_setting_of_a_recipe_is_known_to_the_script(recipe: Recipe) -> None:
    for key, value in recipe.environment:
        assert f"${{{key}:-no}}" in provisioning_script()
        assert f"{key}={value}" in provision_words(recipe, "/x")


def test_no_kernel_but_that_of_tests_has_options_of_its_own() -> None:
    assert [recipe.name for recipe in RECIPES if recipe.kernel_options] == ["cloud-minimal"]
    # nor does one of an image that Packer makes from that of tests
    ((pattern, by),) = re.findall(r"sed -i 's\|(.*)\|(.*)\|' /boot/grub/grub.cfg", provisioning_script())
    pattern = pattern.replace(r"\(", "(").replace(r"\)", ")")
    quick, plain = (layout.grub_config("x", options=o) for o in (find_recipe("cloud-minimal").kernel_options, ()))
    assert re.sub(pattern, by, quick, flags=re.MULTILINE) == plain != quick


def test_packages_are_read_from_dpkgs_status() -> None:
    status = (
        "Package: zlib1g\nStatus: install ok installed\nVersion: 1:1.3\nDescription: library\n Version: 9 in words\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 2\n\n"
        "Package: apt\nVersion: 3.0\nStatus: install ok installed\n"
    )
    assert installed_packages(status) == {"apt": "3.0", "zlib1g": "1:1.3"}


@given(st.text())
def test_any_text_can_be_read_for_packages_and_facts(text: str) -> None:
    assert all(installed_packages(text))
    assert all("=" not in key for key in facts_of(text))


def test_facts() -> None:
    assert facts_of("kernel=6.12\nnvidia_driver=550.163.01\n\nwords\n") == {
        "kernel": "6.12",
        "nvidia_driver": "550.163.01",
    }


ONE_LINE = "deb [signed-by=/k] http://mirror/debian bookworm main contrib\n"
DEB822 = """Types: deb
URIs: http://other/debian
Suites: trixie trixie-updates
Components: main

Types: deb
URIs: http://other/debian-security
Suites: trixie-security
Components: main
"""


@pytest.mark.parametrize(
    ("files", "base", "security"),
    [
        ({"sources.list": ONE_LINE}, "http://mirror/debian", None),
        ({"sources.list.d/debian.sources": DEB822}, "http://other/debian", "http://other/debian-security"),
        ({"sources.list.d/node.list": "deb https://deb.vendor.example/node nodistro main\n"}, None, None),
        ({}, None, None),
    ],
)
def test_the_hosts_own_mirror(tmp_path: Path, files: dict[str, str], base: str | None, security: str | None) -> None:
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert host_mirror(tmp_path) == base
    assert host_mirror(tmp_path, security=True) == security
    lines = archive_lines(BASE, None, apt=tmp_path)
    wanted = [f"deb {base} trixie main", f"deb {base} trixie-updates main"] if base else []
    assert lines == wanted + ([f"deb {security} trixie-security main"] if security else [])


def test_a_named_mirror_is_taken_alone(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(ONE_LINE)
    assert archive_lines(BASE, "file:///srv/debian", apt=tmp_path) == [
        "deb file:///srv/debian trixie main",
        "deb file:///srv/debian trixie-updates main",
    ]
    with pytest.raises(SpecError, match="no address of a mirror"):
        archive_lines(BASE, "mirror/debian", apt=tmp_path)


def test_a_boot_sector_keeps_the_partition_table_and_knows_where_the_core_lies() -> None:
    now = bytes(range(256)) * 2
    made = layout.boot_sector(b"\xeb" * 512, now)
    assert made[440:] == now[440:]
    assert struct.unpack_from("<Q", made, 0x5C)[0] == layout.BIOS_BOOT_START_MIB * layout.MIB // 512
    with pytest.raises(ValueError, match="512"):
        layout.boot_sector(b"", now)


@given(st.integers(513, 1 << 20))
def test_a_core_image_says_where_its_rest_lies(size_bytes: int) -> None:
    placed = layout.core_image(bytes(size_bytes))
    assert len(placed) == size_bytes
    assert struct.unpack_from("<Q", placed, 500)[0] == 2049


@pytest.mark.parametrize("size_bytes", [0, 512, (1 << 20) + 1])
def test_a_core_image_that_does_not_fit(size_bytes: int) -> None:
    with pytest.raises(ValueError, match="core image"):
        layout.core_image(bytes(size_bytes))


@given(st.integers(128, 1 << 20))
def test_partitions_follow_each_other_and_leave_room_for_the_table(size_mib: int) -> None:
    spans = [
        tuple(int(part.split("=")[1]) for part in line.split(", ")[:2])
        for line in layout.partition_script(size_mib=size_mib).splitlines()
        if line.startswith("start=")
    ]
    ends = [start + size for start, size in spans]
    assert [start for start, _ in spans[1:]] == ends[:-1]
    assert ends[-1] * 512 == (size_mib - 1) * layout.MIB
    assert spans[-1][1] == layout.root_size_mib(size_mib=size_mib) * 2048


@pytest.mark.parametrize(("newuidmap", "next_step"), [(None, "apt-get install uidmap"), ("/x", "--add-subuids")])
def test_a_user_who_cannot_own_files_of_others_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, newuidmap: str | None, next_step: str
) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise ProviderError("setpriv failed with exit code 1", evidence="unshare: no newuidmap")

    monkeypatch.setattr(steps.os, "geteuid", lambda: pwd.getpwnam("nobody").pw_uid)
    monkeypatch.setattr(steps, "run", refuse)
    monkeypatch.setattr(steps, "which", lambda _program: newuidmap)
    with pytest.raises(MissingToolError, match="this user cannot build images") as caught:
        steps.require_ownership()
    assert next_step in caught.value.next_step
    assert caught.value.evidence == "unshare: no newuidmap"


def kept(folder: Path, name: str, *, data: bytes = b"disk", **more: object) -> Path:
    """An image in a store, as a build leaves it."""
    home = folder / name
    home.mkdir(parents=True)
    (home / "disk.qcow2").write_bytes(data)
    manifest = {
        "name": name,
        "recipe": "",
        "sha256": sha256_of(home / "disk.qcow2"),
        "size_bytes": len(data),
        "virtual_size_bytes": 1 << 30,
        "created_at": "2026-01-01T00:00:00+00:00",
        "packages": {"apt": "3.0"},
        **more,
    }
    (home / "manifest.json").write_text(json.dumps(manifest))
    return home


def test_a_recipes_name_stands_for_todays_image(tmp_path: Path) -> None:
    kept(tmp_path, BASE.image_name)
    kept(tmp_path, "cloud-base-0123456789ab")
    store = ImageStore(tmp_path)
    assert store.find("cloud-base").name == BASE.image_name
    assert store.find("cloud-base-0123456789ab").name == "cloud-base-0123456789ab"


def test_an_image_that_is_not_there_says_what_is(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        ImageStore(tmp_path / "none").find("cloud-base")
    assert caught.value.next_step == "ai-how image build cloud-base"
    kept(tmp_path, "mine-0123456789ab")
    with pytest.raises(NotFoundError, match="mine-0123456789ab") as caught:
        ImageStore(tmp_path).find("n1")
    assert caught.value.next_step == "ai-how image list"


def test_a_short_name_is_enough_where_only_one_image_has_it(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    kept(tmp_path, "mine-0123456789ab", source="/a.qcow2")
    kept(tmp_path, "cloud-base-packer-0123456789ab", recipe="cloud-base")
    assert store.find("mine").name == "mine-0123456789ab"
    assert store.find("cloud-base").recipe == "cloud-base"
    kept(tmp_path, "mine-ba9876543210", source="/b.qcow2")
    with pytest.raises(ConflictError, match="several images are called 'mine'") as caught:
        store.find("mine")
    assert caught.value.evidence.splitlines() == ["mine-ba9876543210", "mine-0123456789ab"]


def test_an_image_that_was_brought_in_under_a_recipes_name_takes_its_place(tmp_path: Path) -> None:
    site, mistakes = check_site_text(
        "name: lab\nprovider: libvirt\nhosts: [{name: one}]\nclusters: {ai: {kind: hpc, image: cloud-base, "
        "nodes: [{role: hpc-controller}]}}\n",
        tmp_path / "ai-how.yaml",
    )
    assert site is not None, mistakes
    placed = [PlacedNode(need=need, host="one") for need in all_needs(site)]
    store = ImageStore(tmp_path / "images")

    def chosen() -> tuple[set[str], list[str]]:
        images, to_build = choose_images(site, store, placed, {})
        return {image.name for image in images.values()}, to_build

    kept(store.folder, "cloud-base-0123456789ab", recipe="cloud-base")
    assert chosen() == ({BASE.image_name}, [BASE.image_name]), "one of an older recipe is not what is wanted"
    kept(store.folder, "cloud-base-ba9876543210", source="/a.qcow2")
    assert chosen() == ({"cloud-base-ba9876543210"}, [])
    kept(store.folder, BASE.image_name, recipe="cloud-base")
    assert chosen() == ({BASE.image_name}, [])


def test_an_image_without_a_manifest_is_none(tmp_path: Path) -> None:
    (kept(tmp_path, "broken-0123456789ab") / "manifest.json").unlink()
    assert ImageStore(tmp_path).list() == []


def test_a_manifest_of_another_version_is_named(tmp_path: Path) -> None:
    kept(tmp_path, "new-0123456789ab", unheard_of=1)
    with pytest.raises(ConflictError, match="another version"):
        ImageStore(tmp_path).list()


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_image_is_found_out(tmp_path: Path, damage: str) -> None:
    disk = kept(tmp_path, "mine-0123456789ab") / "disk.qcow2"
    store = ImageStore(tmp_path)
    store.verify(store.find("mine-0123456789ab"))
    if damage == "changed":
        disk.write_bytes(b"risk")
    else:
        disk.unlink()
    with pytest.raises(ProviderError, match="mine-0123456789ab is damaged"):
        store.verify(store.find("mine-0123456789ab"))


def test_an_image_without_its_file_is_named(tmp_path: Path) -> None:
    disk = kept(tmp_path, "mine-0123456789ab") / "disk.qcow2"
    store = ImageStore(tmp_path)
    assert store.disk(store.find("mine-0123456789ab")) == disk
    disk.unlink()
    with pytest.raises(ProviderError, match="mine-0123456789ab is gone") as caught:
        store.disk(store.find("mine-0123456789ab"))
    assert caught.value.next_step.startswith("ai-how image delete mine-0123456789ab")


def test_delete_leaves_nothing(tmp_path: Path) -> None:
    kept(tmp_path, "mine-0123456789ab")
    (tmp_path / "mine-0123456789ab.lock").touch()
    ImageStore(tmp_path).delete("mine-0123456789ab")
    assert list(tmp_path.iterdir()) == []


def test_clean_keeps_images(tmp_path: Path) -> None:
    kept(tmp_path, "mine-0123456789ab")
    (tmp_path / ".packages" / "trixie-amd64").mkdir(parents=True)
    (tmp_path / ".packages" / "trixie-amd64" / "apt_3.deb").write_bytes(b"12345")
    store = ImageStore(tmp_path)
    assert store.packages_bytes == 5
    assert store.clean() == 5
    assert [image.name for image in store.list()] == ["mine-0123456789ab"]
    assert not (tmp_path / ".packages").exists()


@pytest.mark.parametrize("name", ["", "Debian", "a/b", "-a", "a-", "a" * 61, "a b"])
def test_names_that_cannot_be_a_volume(name: str) -> None:
    assert not valid_image_name(name)


def test_sha512_is_checked_before_anything_is_fetched() -> None:
    assert checked_sha512("AB" * 64) == "ab" * 64
    for wrong in ("", "ab", "x" * 128, "ab" * 65):
        with pytest.raises(SpecError, match="no SHA-512"):
            checked_sha512(wrong)
    assert is_address("https://host/a.qcow2")
    assert not is_address("./https.qcow2")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    facts = {"kernel": "6.12.1", "nvidia_driver": "550.163.01"}
    kept(tmp_path / "ai-how" / "images", BASE.image_name, recipe="cloud-base", facts=facts)
    kept(tmp_path / "ai-how" / "images", "mine-0123456789ab", source="https://host/a.qcow2")
    return CliRunner()


def test_list_and_show(shell: CliRunner) -> None:
    said = shell.invoke(root, ["image", "list"]).output
    assert BASE.image_name in said
    assert "cloud-base (built)" in said
    assert max(map(len, said.splitlines())) <= 80
    shown = shell.invoke(root, ["image", "show", "cloud-base", "--packages"]).output
    assert "550.163.01" in shown
    assert "apt" in shown
    assert "https://host/a.qcow2" in shell.invoke(root, ["image", "show", "mine-0123456789ab"]).output


def test_show_verify_as_json(shell: CliRunner) -> None:
    said = json.loads(shell.invoke(root, ["image", "show", "cloud-base", "--verify", "-o", "json"]).stdout)
    assert said["verified"] is True
    assert said["facts"]["kernel"] == "6.12.1"
    assert said["packages"] == {"apt": "3.0"}


def test_list_as_json(shell: CliRunner) -> None:
    said = json.loads(shell.invoke(root, ["image", "list", "-o", "json"]).stdout)
    assert {row["name"] for row in said["images"]} == {BASE.image_name, "mine-0123456789ab"}
    assert {row["name"] for row in said["recipes"]} == {recipe.name for recipe in RECIPES}


def test_dry_run_shows_the_packages(shell: CliRunner) -> None:
    said = shell.invoke(root, ["image", "build", "cloud-minimal", "--dry-run", "--containerd"])
    assert said.exit_code == 0
    assert "containerd" in said.output
    assert "qemu-guest-agent" in said.output
    for recipe, there in (("cloud-minimal", False), ("cloud-base", True)):
        data = json.loads(shell.invoke(root, ["image", "build", recipe, "--dry-run", "-o", "json"]).stdout)
        assert data["image"].startswith(f"{recipe}-") and "openssh-server" in data["packages"]
        assert data["there"] is there


def test_a_build_that_is_there_is_not_repeated(shell: CliRunner) -> None:
    assert "is there already" in shell.invoke(root, ["image", "build", "cloud-base"]).output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["add", "https://host/a.qcow2", "--name", "a"], "needs its SHA-512"),
        (["add", "https://host/a.qcow2", "--name", "a", "--sha512", "abc"], "no SHA-512"),
        (["add", "a.qcow2", "--name", "A"], "cannot be an image's name"),
        (["add", "a.qcow2", "--name", "a" * 300], "it has 300 letters"),
        (["add", "a.qcow2", "--name", "a" * 300], "60 at most"),
        (["add", "/nowhere/a.qcow2", "--name", "a"], "is no file"),
        (["build", "cloud-bse"], "no image recipe"),
        (["show", "nothing"], "no image 'nothing'"),
        (["delete", "nothing"], "no image 'nothing'"),
        (["packer", "cloud-bse", "--base", "x", "--out", "y"], "no image recipe"),
        (["packer", "cloud-base", "--base", "nothing", "--out", "y"], "no image 'nothing'"),
    ],
)
def test_bad_input(shell: CliRunner, words: list[str], says: str) -> None:
    done = shell.invoke(root, ["image", *words])
    assert done.exit_code != 0
    assert says in done.output + str(done.exception)


def test_delete_and_clean_from_the_command_line(shell: CliRunner) -> None:
    assert "removed" in shell.invoke(root, ["image", "delete", "mine-0123456789ab"]).output
    assert "freed" in shell.invoke(root, ["image", "clean"]).output
    assert "mine" not in shell.invoke(root, ["image", "list"]).output
