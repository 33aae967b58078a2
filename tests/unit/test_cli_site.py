"""``init``, ``validate`` and ``schema`` on the command line, every option of them."""

from __future__ import annotations

import errno
import io
import json
import re
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import ai_how.cli.init as commands
from ai_how.cli.app import root
from ai_how.errors import ConflictError, NotFoundError, ProviderError, SpecError, TryAgainError
from ai_how.run.process import Completed
from ai_how.site.load import load_site
from ai_how.site.reference import site_schema
from ai_how.site.spec import Site


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "My Project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AI_HOW_SITE", raising=False)
    monkeypatch.setattr(commands, "which", lambda _: None)
    return folder


def ai_how(*args: str) -> Result:
    return CliRunner().invoke(root, args)


def test_init_writes_a_file_that_loads() -> None:
    done = ai_how("init")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "ai-how.yaml written\n", "Next: ai-how up\n")
    assert load_site(Path("ai-how.yaml")) == Site(name="my-project")


def test_init_takes_a_file_and_a_name(in_a_folder: Path) -> None:
    done = ai_how("init", "--name", "other", "my site.yaml")
    assert done.stderr == "Next: ai-how up --site 'my site.yaml'\n"
    assert load_site(Path("my site.yaml")).name == "other"
    assert [path.name for path in in_a_folder.iterdir()] == ["my site.yaml"]


def test_init_refuses_a_name_and_offers_one() -> None:
    done = ai_how("init", "--name", "My Site")
    assert isinstance(done.exception, SpecError)
    assert done.exception.next_step == "ai-how init --name my-site"
    assert not Path("ai-how.yaml").exists()


@pytest.mark.parametrize("more", [(), ("--force",)])
def test_init_of_a_folder_names_a_file_in_it(in_a_folder: Path, more: tuple[str, ...]) -> None:
    (in_a_folder / "lab").mkdir()
    done = ai_how("init", "lab", *more)
    assert isinstance(done.exception, SpecError)
    assert done.exception.next_step == "ai-how init lab/ai-how.yaml"


def test_init_overwrites_only_with_force() -> None:
    Path("ai-how.yaml").write_text("name: mine\n")
    done = ai_how("init")
    assert isinstance(done.exception, ConflictError)
    assert Path("ai-how.yaml").read_text() == "name: mine\n"
    assert ai_how("init", "--force").exit_code == 0
    assert load_site(Path("ai-how.yaml")).name == "my-project"


@pytest.mark.parametrize("args", [("-",), ("--stdout",), ("--stdout", "--name", "my-project")])
def test_init_prints(in_a_folder: Path, args: tuple[str, ...]) -> None:
    done = ai_how("init", *args)
    assert done.exit_code == 0
    assert "name: my-project\n" in done.stdout
    assert list(in_a_folder.iterdir()) == []


def test_init_writes_example_servers_and_says_what_to_edit() -> None:
    done = ai_how("init", "--provider", "inventory")
    assert done.exit_code == 0
    assert done.stderr == (
        "Next: write your servers' addresses, user and key_file into ai-how.yaml (hosts, ssh), then: "
        "ai-how hosts trust\n"
    )
    assert ai_how("validate").stdout.startswith("ai-how.yaml: ok\n")
    site = load_site(Path("ai-how.yaml"))
    assert (site.provider, site.ssh.user) == ("inventory", "admin")
    assert [host.address for host in site.hosts] == ["192.0.2.11", "192.0.2.21"]
    assert max(map(len, Path("ai-how.yaml").read_text().splitlines())) <= 80


def test_what_is_commented_out_of_the_servers_loads_too() -> None:
    text = ai_how("init", "--provider", "inventory", "-").stdout.replace("SHA256:...", f"SHA256:{'a' * 43}")
    Path("ai-how.yaml").write_text(re.sub(r"^( *)#(?! [^ ])", r"\1", text, flags=re.MULTILINE))
    site = load_site(Path("ai-how.yaml"))
    assert [node.host for node in site.clusters["cloud"].nodes] == ["control-1", "worker-1", "gpu-1"]


@pytest.mark.parametrize(
    ("addresses", "user"), [(("root@10.0.0.1", "me@n.example", "10.0.0.3"), "admin"), (("a@10.0.0.1", "a@n"), None)]
)
def test_init_takes_servers(monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...], user: str | None) -> None:
    home = Path("home").absolute()
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_rsa").touch()
    monkeypatch.setenv("HOME", str(home))
    words = [word for address in addresses for word in ("--host", address)]
    done = ai_how("init", "--provider", "inventory", *words, "lab.yaml")
    assert done.stderr == "Next: ai-how hosts trust --site lab.yaml\n"
    site = load_site(Path("lab.yaml"))
    assert tuple(host.address for host in site.hosts) == addresses
    assert (site.ssh.user, site.ssh.key_file) == (user, "~/.ssh/id_rsa")
    roles = [node.role for node in site.clusters["cloud"].nodes]
    assert roles == ["control-plane"] + ["cpu-worker"] * (len(addresses) - 1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--host", "a@10.0.0.1"), "--host is for servers, and the provider is local"),
        (("--provider", "libvirt", "--host", "a@10.0.0.1"), "--host is for servers, and the provider is libvirt"),
        (("--provider", "inventory", "--host", "a@10.0.0.1"), "one server is no cluster"),
        (("--provider", "inventory", "--host", "a@10.0.0.1", "--host", "b@10.0.0.1"), "10.0.0.1 is given twice"),
        (("--provider", "inventory", "--host", "a@h:22", "--host", "b@h"), "'a@h:22' is no address of a server"),
        (("--provider", "inventory", "--host", "a b@h", "--host", "b@h"), "'a b@h' is no address of a server"),
    ],
)
def test_init_refuses_servers_that_no_site_has(words: tuple[str, ...], told: str) -> None:
    done = ai_how("init", *words)
    assert isinstance(done.exception, SpecError)
    assert told in done.exception.brief and done.exception.next_step
    assert not Path("ai-how.yaml").exists()


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write to a text file fails as on a full disk."""

    class Full(io.TextIOWrapper):
        def write(self, _text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def open_full(path: Path, mode: str, **_: object) -> Full:
        return Full(io.FileIO(path, mode))

    monkeypatch.setattr(Path, "open", open_full)


def test_init_on_a_full_disk_leaves_nothing(in_a_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full(monkeypatch)
    done = ai_how("init")
    assert isinstance(done.exception, ProviderError)
    assert "the disk is full" in done.exception.brief
    assert list(in_a_folder.iterdir()) == []


def test_init_with_force_keeps_the_old_file_s_mode(in_a_folder: Path) -> None:
    Path("ai-how.yaml").write_text("name: mine\n")
    Path("ai-how.yaml").chmod(0o640)
    assert ai_how("init", "--force").exit_code == 0
    assert stat.S_IMODE(Path("ai-how.yaml").stat().st_mode) == 0o640
    assert [path.name for path in in_a_folder.iterdir()] == ["ai-how.yaml"]


def test_init_where_it_cannot_write() -> None:
    done = ai_how("init", "none/ai-how.yaml")
    assert isinstance(done.exception, SpecError)
    assert done.exception.evidence == "No such file or directory"


def test_init_points_editors_to_a_schema_that_is_there() -> None:
    assert "$schema" not in ai_how("init", "-").stdout
    Path("ai-how.schema.json").write_text(ai_how("schema").stdout)
    first = ai_how("init", "-").stdout.splitlines()[0]
    assert first == "# yaml-language-server: $schema=ai-how.schema.json"


LISTED = """\
GPU 0: NVIDIA L4 (UUID: GPU-6c1)
GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-7d2)
  MIG 1g.10gb     Device  0: (UUID: MIG-8e3)
"""


def test_init_names_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "which", lambda _: Path("/usr/bin/nvidia-smi"))
    answer = Completed(argv=(), returncode=0, stdout=LISTED, stderr="")
    monkeypatch.setattr(commands, "run", lambda *_args, **_kwargs: answer)
    said = ai_how("init", "-").stdout.replace("\n# ", " ")
    assert "1 x NVIDIA L4 and 1 x NVIDIA A100-SXM4-80GB." in said


def test_init_goes_on_when_the_driver_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_args: object, **_kwargs: object) -> None:
        raise TryAgainError("nvidia-smi did not finish within 20 s")

    monkeypatch.setattr(commands, "which", lambda _: Path("/usr/bin/nvidia-smi"))
    monkeypatch.setattr(commands, "run", hang)
    done = ai_how("init")
    assert done.exit_code == 0
    assert done.stderr.startswith("GPUs not read: nvidia-smi did not finish within 20 s\n")


def test_validate_says_ok_and_a_summary() -> None:
    Path("ai-how.yaml").write_text(
        "name: a\ngateway: {port: 8080}\nregistry: {database: 'postgresql://user@host/db'}\n"
    )
    done = ai_how("validate")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "ai-how.yaml: ok",
        "  name          a",
        "  provider      local (processes on this machine)",
        "  gateway       127.0.0.1, port 8080",
        "  object store  seaweedfs",
        "  registry      MLflow on postgresql",
        "  engine        auto",
    ]


def test_validate_tells_every_mistake() -> None:
    Path("site.yaml").write_text("name: a\nx: 1\ny: 2\n")
    done = ai_how("validate", "--site", "site.yaml")
    assert (done.exit_code, done.stderr) == (1, "2 mistakes\n")
    assert [line.split(": ")[:2] for line in done.stdout.splitlines()] == [
        ["site.yaml:2:1", "x"],
        ["site.yaml:3:1", "y"],
    ]


def test_validate_tells_the_mistakes_of_every_kind_in_one_run() -> None:
    Path("ai-how.yaml").write_text(
        "name: a\nprovider: libvirt\ngateway: {port: x}\nclusters:\n"
        "  c: {subnet: 10.0.0.0/33, kubernetes: {bundle: none}}\npins: {nonsense: '1'}\ntargets: {latency: 1}\n"
    )
    done = ai_how("validate")
    assert [line.split(": ")[1] for line in done.stdout.splitlines()] == [
        "gateway.port",
        "clusters.c.subnet",
        "clusters.c.kubernetes.bundle",
        "pins.nonsense",
        "targets.latency",
    ]
    assert done.stderr.endswith("5 mistakes\n")


def test_validate_says_nothing_of_what_only_seems_wrong_by_another_mistake() -> None:
    Path("ai-how.yaml").write_text(
        "name: a\nprovider: inventory\nssh: {user: me}\nhosts: [{name: n, address: 7}, {name: m, address: 10.0.0.2}]\n"
        "clusters: {c: {nodes: [{role: control-plane, host: n}, {role: cpu-worker, host: m}]}}\n"
    )
    # n has an address, if a wrong one
    assert [line.split(": ")[1] for line in ai_how("validate").stdout.splitlines()] == ["hosts[0].address"]


def test_validate_as_json() -> None:
    Path("ai-how.yaml").write_text("name: a\ngateway: {prot: 1}\n")
    done = ai_how("validate", "-o", "json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == [
        {
            "file": "ai-how.yaml",
            "line": 2,
            "column": 11,
            "key": "gateway.prot",
            "problem": "unknown key",
            "remedy": "did you mean port?",
        }
    ]
    Path("ai-how.yaml").write_text("name: a\n")
    done = ai_how("validate", "--output", "json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, [])


def test_validate_finds_the_file(monkeypatch: pytest.MonkeyPatch, in_a_folder: Path) -> None:
    assert isinstance(ai_how("validate").exception, NotFoundError)
    Path("other.yaml").write_text("name: other\n")
    monkeypatch.setenv("AI_HOW_SITE", "other.yaml")
    assert "other.yaml: ok" in ai_how("validate").stdout
    monkeypatch.delenv("AI_HOW_SITE")
    Path("ai-how.yaml").write_text("name: a\n")
    below = in_a_folder / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    assert "ai-how.yaml: ok" in ai_how("validate").stdout


def test_validate_without_the_file_it_was_given() -> None:
    done = ai_how("validate", "-s", "none.yaml")
    assert (done.exit_code, done.stdout) == (1, "none.yaml: no such file; write one with: ai-how init\n")


def test_schema_is_the_models() -> None:
    done = ai_how("schema")
    assert json.loads(done.stdout) == site_schema()
    assert json.loads(done.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("command", ["init", "validate", "schema"])
def test_help_has_an_example_and_fits(command: str) -> None:
    text = ai_how(command, "--help").stdout
    assert f"Example:\n    ai-how {command}" in text
    assert max(map(len, text.splitlines())) <= 80
