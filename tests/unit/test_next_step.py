"""What a message says to type next: quoted, and for the site that was given."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from ai_how.cli.app import root
from ai_how.cli.deploy_up import curl_line
from ai_how.cli.next_step import with_site
from ai_how.endpoints.door import Door
from ai_how.errors import AiHowError, SpecError
from ai_how.models.types import SecretText

SITE = Path("my sites/größe.yaml")
OPTION = "--site 'my sites/größe.yaml'"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ai-how up", f"ai-how up {OPTION}"),
        ("ai-how up, then run the same command again", f"ai-how up {OPTION}, then run the same command again"),
        ("ai-how deploy test chat --prompt x", f"ai-how deploy test {OPTION} chat --prompt x"),
        ("read its log: ai-how logs registry", f"read its log: ai-how logs {OPTION} registry"),
        ("ai-how up makes new ones", f"ai-how up {OPTION} makes new ones"),
        ("ai-how deploy list (or: ai-how status)", f"ai-how deploy list {OPTION} (or: ai-how status {OPTION})"),
        ("ai-how validate --site x.yaml", "ai-how validate --site x.yaml"),
        ("ai-how init", "ai-how init"),
        ("install ai-how again", "install ai-how again"),
        ("use .venv/bin/ai-how up", "use .venv/bin/ai-how up"),
        ("free some space", "free some space"),
        ("", ""),
    ],
)
def test_every_command_that_takes_a_site_gets_it(text: str, shown: str) -> None:
    assert with_site(text, SITE) == shown


def test_an_error_s_next_step_has_the_site_that_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a b.yaml"
    file.write_text("name: a\n")
    named = CliRunner().invoke(root, ["deploy", "list", "--site", str(file)])
    assert isinstance(named.exception, AiHowError)
    assert named.exception.next_step == f"ai-how up --site '{file}'"
    monkeypatch.setenv("AI_HOW_SITE", str(file))
    found = CliRunner().invoke(root, ["deploy", "list"])
    assert isinstance(found.exception, AiHowError)
    assert found.exception.next_step == "ai-how up"


def test_status_says_the_site_too(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("name: b\n")
    assert f"Next: ai-how up --site {file}\n" in CliRunner().invoke(root, ["status", "--site", str(file)]).stdout


@pytest.mark.parametrize("chat", [True, False])
def test_the_curl_line_is_one_command_for_a_shell(chat: bool) -> None:
    door = Door(url="http://[::1]:8080", api_key=SecretText("sk-a"))
    line = curl_line(door, "tiny", chat=chat, site_path=SITE)
    words = shlex.split(line)
    assert words[1] == f"http://[::1]:8080/v1/{'chat/' if chat else ''}completions"
    assert f"'{words[1]}'" in line
    # a shell begins a new quotation within $(...), so what stands there is quoted by itself
    inner = line.partition("$(")[2].partition(")")[0]
    assert shlex.split(inner) == ["ai-how", "key", "show", "--site", str(SITE)]


def test_the_curl_line_knows_the_way_into_a_cluster() -> None:
    door = Door(
        url="https://chat-models.ai-how.internal:30443",
        api_key=SecretText("sk-a"),
        connect_to="10.0.0.5:30443",
        authority_pem="-----BEGIN CERTIFICATE-----",
    )
    line = curl_line(door, "chat", chat=True, site_path=None)
    url = "https://chat-models.ai-how.internal:30443/v1/chat/completions"
    assert line.startswith(f"curl --connect-to ::10.0.0.5:30443 --cacert <(ai-how key authority) {url} ")


def test_the_curl_line_says_how_to_get_to_nodes_behind_another_host() -> None:
    door = Door(
        url="https://chat-models.ai-how.internal:30443",
        api_key=SecretText("sk-a"),
        connect_to="127.0.0.1:45678",
        forward=("ssh", "-N", "-L", "127.0.0.1:30443:10.0.0.5:30443", "me@big-host"),
    )
    first, second = curl_line(door, "chat", chat=True, site_path=None).splitlines()[:2]
    assert first.endswith(": ssh -N -L 127.0.0.1:30443:10.0.0.5:30443 me@big-host")
    assert second.startswith("curl --connect-to ::127.0.0.1:30443 https://chat-models.")


def test_a_deletion_without_a_terminal_wants_its_option(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        deleted = ""

        def get(self, name: str) -> None:
            """There is one."""

        def delete(self, name: str) -> None:
            Client.deleted = name

    class Serving:
        endpoints = Client()

    monkeypatch.setattr("ai_how.cli.deploy.open_serving", lambda _site, provider=None: Serving())
    refused = CliRunner().invoke(root, ["deploy", "delete", "chat"], input="")
    assert isinstance(refused.exception, SpecError)
    assert refused.exception.brief == "a deletion wants to be confirmed"
    assert refused.exception.next_step == "ai-how deploy delete chat --yes"
    for option in ("--force", "-f", "--yes", "-y"):
        Client.deleted = ""
        assert CliRunner().invoke(root, ["deploy", "delete", "chat", option]).exit_code == 0
        assert Client.deleted == "chat"


def test_a_key_is_not_revoked_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys.json"
    file.write_text('{"alice": "sk-a", "default": "sk-d"}')
    monkeypatch.setattr("ai_how.cli.key._refuse_on_cluster", lambda _site: None)
    monkeypatch.setattr(
        "ai_how.local.site_access.open_gateway", lambda _site: SimpleNamespace(api_keys_file=file, api_key="sk-d")
    )
    refused = CliRunner().invoke(root, ["key", "revoke", "alice"], input="")
    assert isinstance(refused.exception, SpecError)
    assert refused.exception.next_step == "ai-how key revoke alice --yes"
    assert "sk-a" in file.read_text()
    assert CliRunner().invoke(root, ["key", "revoke", "alice", "--yes"]).exit_code == 0
    assert "sk-a" not in file.read_text()


@pytest.mark.parametrize("command", ["revoke", "renew"])
def test_keys_that_others_make_during_the_question_stay(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.json"
    file.write_text('{"alice": "sk-a", "default": "sk-d"}')
    monkeypatch.setattr("ai_how.cli.key._cluster", lambda _site: None)
    monkeypatch.setattr(
        "ai_how.local.site_access.open_gateway", lambda _site: SimpleNamespace(api_keys_file=file, api_key="sk-d")
    )

    def asked(*_: object, **__: object) -> None:
        file.write_text('{"alice": "sk-a", "bob": "sk-b", "default": "sk-d"}')

    monkeypatch.setattr("ai_how.cli.key.confirm", asked)
    assert CliRunner().invoke(root, ["key", command, "alice"]).exit_code == 0
    kept = json.loads(file.read_text())
    assert kept.pop("alice", None) != "sk-a"
    assert kept == {"bob": "sk-b", "default": "sk-d"}


@pytest.mark.parametrize("folder", ["/proc/x", "/dev/null/x"])
def test_a_state_folder_that_cannot_be_is_one_clear_error(folder: str, tmp_path: Path) -> None:
    file = tmp_path / "ai-how.yaml"
    file.write_text(f"name: a\nstate_dir: {folder}\n")
    done = CliRunner().invoke(root, ["up", "--yes", "--site", str(file)])
    assert isinstance(done.exception, SpecError)
    assert done.exception.brief == f"the state folder {folder} cannot be made"
    assert done.exception.next_step == "write another state_dir in the site file"


@pytest.mark.parametrize("words", [["plan"], ["plan", "-o", "json"], ["up", "--dry-run"]])
def test_a_plan_for_a_folder_of_others_is_refused_as_up_is(words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "ai-how.yaml"
    file.write_text("name: a\nstate_dir: .\n")
    done = CliRunner().invoke(root, [*words, "--site", str(file)])
    assert isinstance(done.exception, SpecError)
    assert done.exception.brief == f"{tmp_path} is no folder of ai-how's, and is not empty"
    assert [path.name for path in tmp_path.iterdir()] == ["ai-how.yaml"]
