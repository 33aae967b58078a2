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
    site.run("key", "revoke", "alice")
    assert "default" in site.run("key", "show", "alice", code=1).stderr


def test_up_and_destroy_want_to_be_confirmed(site: SiteUnderTest) -> None:
    assert "--yes" in site.run("destroy", code=1).stderr
    site.run("down")
    assert "--yes" in site.run("up", code=1).stderr
    assert site.run("up", "--dry-run").stdout.startswith("Plan for site demo")
    assert site.processes() == []


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
