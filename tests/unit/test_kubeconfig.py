"""A cluster's kubeconfig, the user's own that it can be merged into, and the command that shows it."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ai_how.cli.app import root
from ai_how.errors import AiHowError, ConflictError, NotFoundError, ProviderError, SpecError
from ai_how.kubernetes import kubeconfig as module
from ai_how.kubernetes.kubeconfig import SERVER_NAME, Kubeconfig, certificate_trouble, entries, kubeconfig_text
from ai_how.kubernetes.merging import Merge, user_kubeconfig
from ai_how.kubernetes_api.kubeconfig import access_from_text
from ai_how.run.process import Completed
from tests.fake_cluster import admin_conf
from tests.kubernetes_nodes import nodes_of

NODE = nodes_of("four-machines")[0]
NOW = datetime(2030, 1, 1, tzinfo=UTC)
NAME = "lab-cloud"
THEIRS = """# mine
apiVersion: v1
kind: Config
clusters:
- name: work   # at work
  cluster: {server: "https://work:6443"}
users:
- name: work
  user: {token: abc}
contexts:
- name: work
  context: {cluster: work, user: work}
current-context: work
preferences: {}
"""


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubeconfig:
    """One that was fetched."""
    answer(monkeypatch, stdout=admin_conf())
    found = Kubeconfig(path=tmp_path / "kubernetes" / "cloud" / "kubeconfig", context=NAME)
    found.fetch(NODE)
    return found


def answer(monkeypatch: pytest.MonkeyPatch, *, stdout: str = "", stderr: str = "", code: int = 0) -> None:
    done = Completed(argv=(), returncode=code, stdout=stdout, stderr=stderr)
    monkeypatch.setattr(module, "run_remote", lambda *_words, **_options: done)


def read(path: Path) -> dict[str, object]:
    return dict(YAML(typ="safe").load(path.read_text()))


def test_it_is_private_and_reaches_the_control_plane_under_a_name_of_its_own(ours: Kubeconfig) -> None:
    assert stat.S_IMODE(ours.path.stat().st_mode) == 0o600
    access = ours.read()
    assert (access.context, access.server) == (NAME, "https://192.168.200.10:6443")
    assert (access.certificate_pem, access.key_pem, access.authority_pem) == ("CERTIFICATE", "KEY", "AUTHORITY")
    assert access.server_name == ""


def test_a_server_that_is_reached_at_another_address_is_known_by_a_name_of_its_certificate() -> None:
    node = replace(NODE, access=replace(NODE.access, host="203.0.113.7"))
    access = access_from_text(admin_conf(server="https://10.0.0.1:7443"), source="s", folder=Path("/"))
    again = access_from_text(kubeconfig_text(access, name=NAME, node=node), source="s", folder=Path("/"))
    assert (again.server, again.server_name) == ("https://203.0.113.7:7443", SERVER_NAME)


@pytest.mark.parametrize(
    ("code", "stderr", "brief", "step"),
    [
        (255, "ssh: connect to host x: No route to host", "does not answer", "start the machine"),
        (1, "cat: /etc/kubernetes/admin.conf: No such file", "cannot be read on", "ai-how up"),
        (1, "", "cannot be read on", "ai-how up"),
    ],
)
def test_a_control_plane_that_does_not_give_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, stderr: str, brief: str, step: str
) -> None:
    answer(monkeypatch, stderr=stderr, code=code)
    with pytest.raises(ProviderError, match=brief) as caught:
        Kubeconfig(path=tmp_path / "kubeconfig", context=NAME).fetch(NODE)
    assert (stderr or "exit code 1") in caught.value.evidence
    assert step in caught.value.next_step


def test_something_else_than_a_kubeconfig_is_not_kept(ours: Kubeconfig, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ours.path.read_text()
    answer(monkeypatch, stdout="Last login: never\n")
    with pytest.raises(SpecError, match=r"admin.conf on cloud-control-plane-1"):
        ours.fetch(NODE)
    assert ours.path.read_text() == before


def test_a_certificate_that_has_ended_there_too_is_renewed_there(
    ours: Kubeconfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ai_how.kubernetes_api.kubeconfig.valid_until", lambda _pem: NOW - timedelta(days=9999))
    with pytest.raises(ProviderError, match="has expired too") as caught:
        ours.fetch(NODE)
    assert "k8s-certs-renew.sh" in caught.value.next_step


@pytest.mark.parametrize(
    ("left", "words"),
    [(None, ""), (timedelta(days=8), ""), (timedelta(days=6), "ends on 2030-01-07"), (-timedelta(days=1), "ended on")],
)
def test_the_end_of_the_certificate_is_trouble_in_time(left: timedelta | None, words: str) -> None:
    found = certificate_trouble(None if left is None else NOW + left, NOW)
    assert words in found
    assert bool(found) == bool(words)


def test_trouble_names_what_is_wrong_with_the_file(ours: Kubeconfig) -> None:
    assert ours.trouble() == ""
    ours.path.write_text("[")
    assert "damaged" in ours.trouble()
    ours.path.write_bytes(b"\xff\xfe")
    assert "damaged" in ours.trouble()
    with pytest.raises(ProviderError, match="is damaged") as caught:
        ours.text()
    assert caught.value.next_step == "ai-how kubeconfig --renew"
    ours.path.unlink()
    assert ours.trouble() == "its kubeconfig is missing"
    with pytest.raises(NotFoundError, match="no kubeconfig of lab-cloud yet") as refused:
        ours.text()
    assert refused.value.next_step == "ai-how up"


def test_merging_keeps_others_and_is_undone_for_ours_alone(ours: Kubeconfig, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(THEIRS)
    file.chmod(0o640)
    Merge(ours).add(file)
    assert set(entries(read(file), NAME)) == set(entries(read(file), "work")) == {"clusters", "users", "contexts"}
    assert read(file)["current-context"] == "work"
    assert "# mine" in file.read_text()
    assert "# at work" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    Merge(ours).add(file)
    assert len(read(file)["clusters"]) == 2  # type: ignore[arg-type]
    assert Merge(ours).undo() == ""
    assert read(file) == YAML(typ="safe").load(THEIRS)
    assert Merge(ours).undo() == ""


def test_the_first_context_of_a_new_file_becomes_the_current_one(ours: Kubeconfig, tmp_path: Path) -> None:
    file = tmp_path / ".kube" / "config"
    Merge(ours).add(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read(file)["current-context"] == NAME
    Merge(ours).undo()
    assert read(file)["current-context"] == ""
    assert entries(read(file), NAME) == {}


def test_a_renewed_one_takes_its_place_in_the_users_file(
    ours: Kubeconfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config"
    file.write_text(THEIRS)
    Merge(ours).add(file)
    answer(monkeypatch, stdout=admin_conf(certificate="NEWER"))
    ours.fetch(NODE)
    Merge(ours).renew()
    assert entries(read(file), NAME) == entries(read(ours.path), NAME)
    assert Merge(ours).undo() == ""
    assert read(file) == YAML(typ="safe").load(THEIRS)


def test_what_the_user_has_under_our_name_is_neither_changed_nor_removed(ours: Kubeconfig, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(THEIRS.replace("work", NAME))
    before = file.read_text()
    with pytest.raises(ConflictError, match="did not put there"):
        Merge(ours).add(file)
    assert file.read_text() == before
    assert Merge(ours).undo() == ""
    assert file.read_text() == before


def test_what_the_user_changed_since_stays_and_is_told(ours: Kubeconfig, tmp_path: Path) -> None:
    file = tmp_path / "config"
    Merge(ours).add(file)
    file.write_text(file.read_text().replace("192.168.200.10", "api.example.org"))
    before = file.read_text()
    assert "was changed since" in Merge(ours).undo()
    assert file.read_text() == before


@pytest.mark.parametrize("content", [b"[", b"- a\n", b"clusters: {a: b}\n", b"\xff\xfe"])
def test_a_file_that_is_no_kubeconfig_is_left_alone(ours: Kubeconfig, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config"
    file.write_bytes(content)
    with pytest.raises(SpecError, match="nothing was changed"):
        Merge(ours).add(file)
    assert file.read_bytes() == content


def test_a_file_that_went_is_no_trouble(ours: Kubeconfig, tmp_path: Path) -> None:
    file = tmp_path / "config"
    Merge(ours).add(file)
    file.unlink()
    assert Merge(ours).undo() == ""
    assert not file.exists()


NAMES = st.text("abcdefgh-", min_size=1, max_size=6)


@given(NAMES.filter(lambda name: name != NAME), st.lists(NAMES, unique=True, max_size=4))
def test_others_are_what_they_were_after_adding_and_removing(
    tmp_path_factory: pytest.TempPathFactory, current: str, names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("k")
    ours = Kubeconfig(path=folder / "ours" / "kubeconfig", context=NAME)
    access = access_from_text(admin_conf(), source="s", folder=Path("/"))
    ours.path.parent.mkdir()
    ours.path.write_text(kubeconfig_text(access, name=NAME, node=NODE))
    theirs = {
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}"}} for name in names],
        "users": [],
        "contexts": [{"name": name, "context": {"cluster": name}} for name in names],
        "current-context": current,
    }
    file = folder / "config"
    file.write_text(json.dumps(theirs))
    Merge(ours).add(file)
    Merge(ours).undo()
    assert read(file) == theirs


def test_the_users_file_is_the_one_that_kubectl_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a:{tmp_path}/b")
    assert user_kubeconfig() == tmp_path / "a"
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_kubeconfig() == tmp_path / ".kube" / "config"


SITE = "name: lab\nprovider: libvirt\nclusters: {cloud: {}}\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site whose cluster's kubeconfig was fetched."""
    (tmp_path / "ai-how.yaml").write_text(SITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    answer(monkeypatch, stdout=admin_conf())
    file = tmp_path / ".ai-how" / "lab" / "kubernetes" / "cloud" / "kubeconfig"
    Kubeconfig(path=file, context=NAME).fetch(NODE)
    return file


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, ["kubeconfig", *words])
    if code == 0:
        assert result.exit_code == 0, (result.output, result.exception)
    return result


def test_the_command_shows_path_text_and_facts(site: Path) -> None:
    assert run("--path").stdout.strip() == str(site)
    assert run("cloud", "--print").stdout == site.read_text()
    found = json.loads(run("-o", "json").stdout)
    assert (found["context"], found["server"], found["expired"]) == (NAME, "https://192.168.200.10:6443", False)
    shown = run()
    assert "context:     lab-cloud" in shown.stdout
    assert "KEY" not in shown.output
    assert not (Path.home() / ".kube").exists()


def test_the_command_merges_only_when_asked(site: Path) -> None:
    assert "has the context lab-cloud" in run("--merge").stdout
    assert entries(read(Path.home() / ".kube" / "config"), NAME)


def test_an_expired_one_is_told_with_the_command(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ai_how.kubernetes_api.kubeconfig.valid_until", lambda _pem: NOW - timedelta(days=9999))
    shown = run()
    assert "certificate: ended" in shown.stdout
    assert "ai-how kubeconfig cloud --renew" in shown.stderr


@pytest.mark.parametrize(
    ("text", "words", "error", "said"),
    [
        (SITE, ("--path", "--print"), SpecError, "one at a time"),
        (SITE, ("other",), NotFoundError, "has no Kubernetes"),
        (SITE.replace("cloud: {}", "cloud: {kind: hpc}"), (), NotFoundError, "no cluster of site lab"),
        (
            SITE.replace("cloud: {}", "cloud: {}, more: {subnet: 10.9.0.0/24}"),
            (),
            SpecError,
            "several clusters have Kubernetes",
        ),
        ("name: lab\n", (), SpecError, "site lab has no Kubernetes"),
        (SITE.replace("name: lab", "name: new"), (), NotFoundError, "no kubeconfig of new-cloud yet"),
    ],
)
def test_what_cannot_be_shown_is_said_once(
    site: Path, text: str, words: tuple[str, ...], error: type[AiHowError], said: str
) -> None:
    Path("ai-how.yaml").write_text(text)
    result = run(*words, code=1)
    assert isinstance(result.exception, error), result.exception
    assert said in result.exception.brief
