"""A site's life on this machine: made, found again, broken in every way, repaired, stopped, removed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_model import write_tiny_gguf

from .site import SiteUnderTest, eventually

pytestmark = pytest.mark.slow

STACK = {"object-store", "registry", "gateway", "watchdog"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteUnderTest]:
    made = SiteUnderTest(folder=tmp_path_factory.mktemp("life cycle 100%"), name="demo")
    made.write()
    made.run("up", "--yes")
    yield made
    made.run("destroy", "--yes", code=None)
    assert made.processes() == []


def test_up_made_what_the_plan_said_and_a_second_one_does_nothing(site: SiteUnderTest) -> None:
    plan = site.run("plan", "-o", "json", code=0).json()
    assert plan["changes"] == 0
    assert plan["actions"] == []
    assert "nothing to do" in site.run("up", "--yes").stdout
    assert set(site.components()) == STACK
    assert site.run("status").returncode == 0


def test_secrets_are_private_and_nowhere_else(site: SiteUnderTest) -> None:
    secrets = site.root / "secrets"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    values = list(json.loads((secrets / "api-keys.json").read_text()).values())
    values += [line.split("=", 1)[1] for line in (secrets / "s3.env").read_text().splitlines()]
    values.append((secrets / "admin-key").read_text().strip())
    for path in secrets.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    elsewhere = [site.root / "state.json", site.root / "events.jsonl", *(site.root / "conf").rglob("*")]
    elsewhere += list((site.root / "logs").iterdir())
    for path in elsewhere:
        if path.is_file():
            text = path.read_text(errors="replace")
            assert not any(value in text for value in values), path
    for process in site.processes():
        assert not any(value in " ".join(process.cmdline()) for value in values), process
    plan = site.run("plan", "-o", "json", code=0).stdout
    assert not any(value in plan for value in values)


def test_everything_listens_on_loopback(site: SiteUnderTest) -> None:
    listening = [
        connection.laddr.ip
        for process in site.processes()
        for connection in process.net_connections(kind="tcp")
        if connection.status == "LISTEN"
    ]
    assert listening
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.parametrize("name", sorted(STACK))
def test_a_killed_component_comes_back(site: SiteUnderTest, name: str) -> None:
    before = site.components()[name]["pid"]
    os.kill(before, signal.SIGKILL)

    def is_back() -> bool:
        now = site.components()[name]
        return now["condition"] == "healthy" and now["pid"] not in (None, before)

    eventually(is_back, timeout_s=90)


def test_a_killed_supervisor_takes_everything_with_it_and_up_repairs_it(site: SiteUnderTest) -> None:
    pid = int((site.root / "run" / "supervisor.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not site.processes(), timeout_s=60)
    said = site.run("status", code=1).stdout
    assert "ai-how up" in said
    assert site.run("plan", code=2).stdout.count("start") >= len(STACK)
    site.run("up", "--yes")
    assert all(c["condition"] == "healthy" for c in site.components().values())


def test_up_goes_on_after_ctrl_c_and_after_it_was_killed(site: SiteUnderTest) -> None:
    site.run("down")
    assert site.processes() == []
    going = site.start("up", "--yes")
    eventually(lambda: len(site.processes()) >= 2)
    going.send_signal(signal.SIGINT)
    _, said = going.communicate(timeout=200)
    assert going.returncode == 130
    assert "interrupted: nothing new is begun" in said
    assert "run the same command again" in said
    assert "Traceback" not in said
    going = site.start("up", "--yes")
    eventually(lambda: len(site.processes()) >= 3)
    going.kill()
    going.communicate()
    site.run("up", "--yes")
    names = [process.environ()["AI_HOW_PROCESS"] for process in site.processes()]
    assert all(c["condition"] == "healthy" for c in site.components().values())
    # one weed, one gateway, one watchdog, one supervisor: nothing was started twice
    for name in ("object-store", "gateway", "watchdog", "supervisor"):
        assert names.count(f"{site.root}::{name}") == 1, names


def test_ctrl_c_of_a_saved_plan_names_what_goes_on(site: SiteUnderTest) -> None:
    site.run("down")
    saved = site.folder / "stopped.json"
    saved.write_text(site.run("plan", "-o", "json", code=2).stdout)
    going = site.start("up", "--plan", str(saved))
    eventually(lambda: len(site.processes()) >= 2)
    going.send_signal(signal.SIGINT)
    _, said = going.communicate(timeout=200)
    assert going.returncode == 130
    assert "Next: go on with: ai-how up\n" in said
    site.run("up", "--yes")


def test_a_saved_plan_runs_alone_and_is_refused_once_the_world_has_changed(site: SiteUnderTest) -> None:
    site.run("down")
    saved = site.folder / "plan.json"
    saved.write_text(site.run("plan", "-o", "json", code=2).stdout)
    first = site.start("up", "--plan", str(saved))
    eventually((site.root / "run" / "supervisor.pid").exists)
    second = site.run("up", "--yes", code=1)
    assert "another command is changing this site" in second.stderr
    assert f"process {first.pid}" in second.stderr
    first.communicate(timeout=200)
    assert first.returncode == 0
    assert all(c["condition"] == "healthy" for c in site.components().values())
    refused = site.run("up", "--plan", str(saved), code=1)
    assert "the world has changed" in refused.stderr
    assert "planned for stopped" in refused.stderr


def test_a_changed_setting_changes_only_what_it_concerns(site: SiteUnderTest) -> None:
    before = {name: c["pid"] for name, c in site.components().items()}
    site.write("gateway:\n  max_request_mib: 2\n")
    plan = site.run("plan", "-o", "json", code=2).json()
    assert [(a["verb"], a["resource"]) for a in plan["actions"]] == [("update", "process/gateway")]
    assert "max_request_mib" in plan["actions"][0]["reason"] or "gateway.json" in plan["actions"][0]["reason"]
    site.run("up", "--yes")
    after = {name: c["pid"] for name, c in site.components().items()}
    assert after.pop("gateway") != before.pop("gateway")
    assert after == before
    site.write()
    site.run("up", "--yes")


def test_a_taken_port_is_one_clear_error(site: SiteUnderTest) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        site.write(f"gateway:\n  port: {port}\n")
        said = site.run("up", "--yes", code=1).stderr
    assert f"port {port} is taken" in said
    assert f"process {os.getpid()}" in said
    site.write()
    assert site.run("plan", code=0)


def test_a_lost_state_file_is_made_again(site: SiteUnderTest) -> None:
    before = {name: c["pid"] for name, c in site.components().items()}
    (site.root / "state.json").unlink()
    site.run("up", "--yes")
    after = {name: c["pid"] for name, c in site.components().items()}
    assert after["registry"] is not None
    assert site.run("plan", code=0)
    assert set(before) == set(after)


def test_a_damaged_state_file_is_told_and_counts_as_lost(site: SiteUnderTest) -> None:
    (site.root / "state.json").write_text("{")
    assert "state.json is damaged and counts as lost" in site.run("status").stderr
    site.run("up", "--yes")
    assert "damaged" not in site.run("plan").stderr
    assert (site.root / "state.json.damaged").read_text() == "{"


def test_a_lost_conf_folder_is_made_again(site: SiteUnderTest) -> None:
    before = site.components()
    (site.root / "state.json").unlink()
    site.run("up", "--yes")
    shutil.rmtree(site.root / "conf")
    planned = site.run("plan", "-o", "json", code=2).json()["actions"]
    assert ("repair", "supervisor") in [(action["verb"], action["resource"]) for action in planned]
    site.run("up", "--yes")
    after = site.components()
    assert {name: c["address"] for name, c in after.items()} == {name: c["address"] for name, c in before.items()}
    assert all(c["condition"] == "healthy" for c in after.values())
    assert site.run("plan", code=0)


def test_damaged_keys_are_made_anew_and_it_is_said(site: SiteUnderTest) -> None:
    keys = site.root / "secrets" / "api-keys.json"
    old = site.run("key", "show").stdout.strip()
    keys.write_text("[")
    assert "ai-how up" in site.run("key", "show", code=1).stderr
    assert "api-keys.json is damaged" in site.run("plan", code=2).stdout
    # even a gateway that starts with it says so in a line
    os.kill(site.components()["gateway"]["pid"], signal.SIGKILL)
    log = site.root / "logs" / "gateway.log"
    eventually(lambda: "Error: cannot read the keys in" in log.read_text(), timeout_s=60)
    assert "Traceback" not in log.read_text().rpartition("gateway_ready")[2]
    said = site.run("up", "--yes").stderr
    assert "no longer works" in said
    new = site.run("key", "show").stdout.strip()
    assert new.startswith("sk-")
    assert new != old
    assert (site.root / "secrets" / "api-keys.json.damaged").read_text() == "["
    gateway = site.components()["gateway"]
    assert gateway["condition"] == "healthy"
    assert site.run("deploy", "list").stdout == "there are no endpoints\n"


def test_a_lost_admin_key_is_one_clear_error(site: SiteUnderTest) -> None:
    (site.root / "secrets" / "admin-key").unlink()
    said = site.run("deploy", "list", code=1).stderr
    assert "admin-key" in said
    assert "Next: ai-how up" in said
    site.run("up", "--yes")
    site.run("deploy", "list")


def test_lost_store_keys_reach_the_store_and_the_registry(site: SiteUnderTest) -> None:
    for name in ("s3.json", "s3.env"):
        (site.root / "secrets" / name).write_text("nonsense")
    assert "no longer works" in site.run("up", "--yes").stderr
    assert all(c["condition"] == "healthy" for c in site.components().values())
    site.run("model", "push", str(write_tiny_gguf(site.folder / "tiny.gguf")), "--name", "after")


def test_an_address_of_another_machine_is_one_clear_error(site: SiteUnderTest) -> None:
    site.write("gateway:\n  host: 192.0.2.1\n")
    said = site.run("up", "--yes", code=1).stderr
    assert "cannot listen on 192.0.2.1" in said
    assert "gateway.host" in said
    site.write()
    assert site.run("plan", code=0)


def test_logs_and_events_tell_what_happened(site: SiteUnderTest) -> None:
    assert site.run("logs", "registry", "-n", "5").stdout.strip()
    missing = site.run("logs", "regstry", code=1).stderr
    assert "there are: " in missing
    events = site.run("events", "-o", "json", "-n", "1000").json()
    assert {"create", "start", "update", "repair"} & {event["verb"] for event in events}
    assert site.run("events").stdout


def test_keys_are_made_and_revoked(site: SiteUnderTest) -> None:
    made = site.run("key", "create", "alice").stdout.strip()
    assert made.startswith("sk-")
    assert made not in site.run("key", "list").stdout
    assert site.run("key", "show", "alice").stdout.strip() == made
    assert "there is a key called alice" in site.run("key", "create", "alice", code=1).stderr
    assert "ai-how key revoke" in site.run("key", "revoke", "alice", code=1).stderr.partition("Next: ")[2]
    assert site.run("key", "show", "alice").stdout.strip() == made
    site.run("key", "revoke", "alice", "--yes")
    assert "default" in site.run("key", "show", "alice", code=1).stderr


def test_up_and_destroy_want_to_be_confirmed(site: SiteUnderTest) -> None:
    assert "--yes" in site.run("destroy", code=1).stderr
    site.run("down")
    assert "--yes" in site.run("up", code=1).stderr
    assert site.run("up", "--dry-run").stdout.startswith("Plan for site demo")
    assert site.processes() == []


def sockets(site: SiteUnderTest) -> list[str]:
    """What the object store keeps in the folder for temporary files; the names end in its ports."""
    spec = json.loads((site.root / "conf" / "processes" / "object-store.json").read_text())
    ports = {str(port) for port in spec["ports"].values()}
    return [path.name for path in Path("/tmp").glob("seaweedfs-*") if path.stem.rpartition("-")[2] in ports]


def test_destroy_removes_the_sockets_of_a_store_that_was_killed(tmp_path: Path) -> None:
    site = SiteUnderTest(folder=tmp_path, name="killed")
    site.write()
    site.run("up", "--yes")
    made = sockets(site)
    assert made
    os.kill(int((site.root / "run" / "supervisor.pid").read_text()), signal.SIGKILL)
    site.run("destroy", "--yes")
    assert [name for name in made if Path("/tmp", name).exists()] == []


def test_destroy_removes_what_we_made_and_nothing_else(tmp_path: Path) -> None:
    site = SiteUnderTest(folder=tmp_path, name="short")
    site.write()
    site.run("up", "--yes")
    mine = site.root / "mine.txt"
    mine.write_text("not ai-how's")
    said = site.run("destroy", "--yes")
    assert "mine.txt" in said.stderr
    assert [path.name for path in site.root.iterdir()] == ["mine.txt"]
    mine.unlink()
    shutil.rmtree(site.root)
    assert "does not exist" in site.run("destroy", "--yes").stdout
    assert site.processes() == []
