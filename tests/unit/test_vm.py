"""``ai-how vm``, ``up --cluster`` and ``down --cluster`` on libvirt's own test driver."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from ai_how.cli.app import root
from ai_how.errors import AiHowError, ConflictError, NotFoundError, SpecError, TryAgainError
from ai_how.machines import clock, disks, power
from ai_how.machines.turns import check_turn, clusters_to_run
from ai_how.run.process import Completed
from ai_how.site.spec import Site
from tests.libvirt_test_driver import TestHost, new_test_host

SITE = """name: lab
provider: libvirt
virtualization: emulated
hosts:
- name: one
  declared: {cores: 32, memory_gib: 128, disk_gib: 4000}
clusters:
  hand:
    kind: hpc
    start: manual
    nodes:
    - {role: hpc-controller, vcpus: 1, memory_gib: 1, disk_gib: 8}  # its sizes
    - role: hpc-compute
      count: 2
      vcpus: 1
      memory_gib: 1
      disk_gib: 8
      gpus: 0
  self:
    kind: hpc
    subnet: 192.168.7.0/24
    firmware: uefi
    nodes:
    - {role: hpc-controller, vcpus: 2, memory_gib: 2, disk_gib: 9}
"""
HAND, SELF = "hand-controller-1", "self-controller-1"
Make = Callable[..., TestHost]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AI_HOW_SITE", raising=False)

    def answer(_target: object, words: list[str], **_options: object) -> Completed:
        return Completed(argv=tuple(words), returncode=0, stdout="", stderr="")

    monkeypatch.setattr("ai_how.machines.ready.run_remote", answer)

    def host(text: str = SITE, *, made: set[str] | None = None) -> TestHost:
        return new_test_host(tmp_path, text, monkeypatch, made=made)

    return host


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The programs that this process would have become."""
    found: list[list[str]] = []

    def become(_file: str, words: list[str]) -> None:
        found.append(words)
        raise SystemExit(0)

    monkeypatch.setattr("ai_how.run.process.os.execvp", become)
    return found


def ai_how(*args: str) -> Result:
    done = CliRunner().invoke(root, args)
    assert done.exception is None or isinstance(done.exception, SystemExit | AiHowError), done.exception
    return done


def said(*args: str) -> str:
    done = ai_how(*args)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def refused(kind: type[AiHowError], *args: str) -> AiHowError:
    done = ai_how(*args)
    assert isinstance(done.exception, kind), (done.output, done.exception)
    return done.exception


def listed() -> dict[str, Any]:
    return {machine["node"]: machine for machine in json.loads(said("vm", "list", "-o", "json"))["machines"]}


def test_list_shows_what_is_made_and_what_is_not(make: Make) -> None:
    host = make(made={HAND})
    host.domain(HAND).create()
    found = listed()
    assert {node: machine["state"] for node, machine in found.items()} == {
        HAND: "running",
        "hand-compute-1": "not made",
        "hand-compute-2": "not made",
        SELF: "not made",
    }
    assert found[HAND]["agent"] is False and found[SELF]["agent"] is None
    assert (found[HAND]["vcpus"], found[HAND]["memory_mib"], found[HAND]["disk_size_bytes"]) == (1, 1024, 8 * 2**30)
    assert found[SELF]["address"] == "192.168.7.10" and found[SELF]["disk_used_bytes"] is None
    text = said("vm", "list")
    assert text.splitlines()[0].split()[:4] == ["MACHINE", "STATE", "ADDRESS", "CPU"]


def test_list_says_what_is_odd(make: Make) -> None:
    host = make()
    pool = host.connect.storagePoolLookupByName("ai-how-lab")
    pool.storageVolLookupByName(f"{HAND}.qcow2").delete(0)
    host.site_file.write_text(SITE.replace("count: 2", "count: 1"))
    text = said("vm", "list")
    assert f"{HAND}: its disk {HAND}.qcow2 is gone" in text
    assert "hand-compute-2: the site file no longer asks for it" in text


def test_a_machine_of_another_site_of_that_name_is_not_ours(make: Make, tmp_path: Path) -> None:
    make()
    other = tmp_path / "other" / "ai-how.yaml"
    other.parent.mkdir()
    other.write_text(SITE)
    rows = json.loads(said("vm", "list", "-s", str(other), "-o", "json"))["machines"]
    assert {row["state"] for row in rows} == {"not made"}


def test_start_waits_and_remembers_and_up_leaves_it_alone(make: Make) -> None:
    host = make()
    assert "ready" in said("vm", "start", HAND)
    assert listed()[HAND]["state"] == "running"
    assert said("vm", "start", HAND) == f"{HAND}: runs already\n"
    assert host.provider.look.observed[f"machine/{HAND}"].condition == "healthy"
    assert "start" in said("events")


def test_start_that_fails_shows_the_serial_log(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    host = make()
    monkeypatch.setattr("ai_how.machines.storage.tail_bytes", lambda *_a, **_k: b"kernel panic\r\n")

    def refuse(*_args: object, **_options: object) -> Completed:
        host.domain(HAND).destroy()
        return Completed(argv=(), returncode=255, stdout="", stderr="refused")

    monkeypatch.setattr("ai_how.machines.ready.run_remote", refuse)
    monkeypatch.setattr("ai_how.machines.ready.time.sleep", lambda _s: None)
    error = refused(AiHowError, "vm", "start", HAND)
    assert "kernel panic" in error.evidence


def test_stop_and_restart_say_how(make: Make) -> None:
    host = make()
    host.domain(HAND).create()
    assert said("vm", "stop", HAND, "--timeout-s", "5").endswith(f"{HAND}: shut down\n")
    assert said("vm", "stop", HAND).endswith(f"{HAND}: was off\n")
    host.domain(HAND).create()
    again = said("vm", "restart", HAND, "--timeout-s", "5")
    assert f"{HAND}: shut down" in again and "ready" in again


def test_a_wrong_name_is_answered_with_the_nearest(make: Make) -> None:
    make(made={HAND})
    error = refused(NotFoundError, "vm", "stop", "hand-controler-1")
    assert error.evidence == f"did you mean {HAND}?"
    assert "not made yet" in refused(NotFoundError, "vm", "stop", SELF).brief
    assert "it has: hand-compute-1" in refused(NotFoundError, "vm", "ssh", "zzz").evidence


def test_vm_is_for_virtual_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ai-how.yaml").write_text("name: a\n")
    assert "no virtual machines" in refused(SpecError, "vm", "list").brief
    assert "has no clusters" in refused(SpecError, "up", "--cluster", "c").brief
    assert "has no clusters" in refused(SpecError, "down", "--cluster", "c").brief


def test_ssh_becomes_ssh(make: Make, became: list[list[str]]) -> None:
    host = make()
    error = refused(ConflictError, "vm", "ssh", HAND)
    assert (error.brief, error.next_step) == (f"{HAND} is off", f"ai-how vm start {HAND}")
    host.domain(HAND).create()
    said("vm", "ssh", HAND)
    said("vm", "ssh", HAND, "--", "ls", "-l | head")
    said("vm", "ssh", HAND, "uptime")
    shell, listing, uptime = became
    assert shell[0] == "ssh" and shell[-3:] == ["-l", "ai-how", "192.168.100.10"]
    assert "StrictHostKeyChecking=yes" in shell
    assert listing[-3:] == ["192.168.100.10", "--", "ls -l | head"]
    assert uptime[-1] == "uptime"


def test_ssh_goes_through_a_host_that_is_another_machine(make: Make, became: list[list[str]]) -> None:
    host = make(SITE.replace("- name: one", "- name: one\n  uri: qemu+ssh://root@far/system"))
    host.domain(HAND).create()
    said("vm", "ssh", HAND)
    assert any(word.startswith("ProxyCommand=ssh") and word.endswith("root@far") for word in became[0])


def test_console_by_virsh_or_the_serial_log(
    make: Make, became: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make()
    monkeypatch.setattr("ai_how.run.process.which", lambda _program: Path("/usr/bin/virsh"))
    assert "no console" in refused(ConflictError, "vm", "console", HAND).brief
    host.domain(HAND).create()
    parts = iter((b"\x1b[0mlogin: \r\n", b""))

    def grow(*_args: object, **_options: object) -> bytes:
        return next(parts)

    def leave(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ai_how.machines.storage.read_from", grow)
    monkeypatch.setattr("ai_how.machines.storage.size_of", lambda *_args: 10)
    monkeypatch.setattr("ai_how.cli.vm.time.sleep", leave)
    done = ai_how("vm", "console", HAND, "--log")
    assert done.stdout == "login: \n" and "Ctrl-C" in done.stderr
    done = ai_how("vm", "console", HAND)
    assert became == [["virsh", "-c", "qemu:///system", "console", "lab-hand-controller-1"]]
    assert "Ctrl-]" in done.stderr


def test_snapshots_are_taken_listed_gone_back_to_and_deleted(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    host = make()
    assert "has no snapshot" in refused(NotFoundError, "vm", "rollback", HAND, "--yes").brief
    assert said("vm", "snapshot", HAND, "--list") == "no snapshots\n"
    host.domain(HAND).create()
    assert json.loads(said("vm", "snapshot", HAND, "--name", "one", "-o", "json"))["with_memory"] is True
    assert "already" in refused(ConflictError, "vm", "snapshot", HAND, "--name", "one").brief
    assert "cannot be a snapshot's name" in refused(SpecError, "vm", "snapshot", HAND, "--name", "a b").brief
    assert "exclude" in refused(SpecError, "vm", "snapshot", HAND, "--name", "x", "--list").brief
    assert listed()[HAND]["snapshots"] == ["one"]
    assert [one["name"] for one in json.loads(said("vm", "snapshot", HAND, "--list", "-o", "json"))] == ["one"]
    assert "--yes" in refused(SpecError, "vm", "rollback", HAND).next_step
    host.domain(HAND).destroy()
    assert "its clock is set" in said("vm", "rollback", HAND, "--yes", "--name", "one")
    assert listed()[HAND]["state"] == "running"
    assert "it has: one" in refused(NotFoundError, "vm", "snapshot", HAND, "--delete", "two").evidence
    said("vm", "snapshot", HAND, "--delete", "one")
    assert listed()[HAND]["snapshots"] == []


def test_a_name_is_the_time_where_none_is_given(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    monkeypatch.setattr("ai_how.cli.vm_change.time.strftime", lambda *_args: "20260131-174500")
    assert "snapshot 20260131-174500 is taken" in said("vm", "snapshot", HAND)


def with_snapshot(make: Make) -> None:
    """A running machine, kept once."""
    make().domain(HAND).create()
    said("vm", "snapshot", HAND, "--name", "one")


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ([0], "and its clock is set"),
        # the network does not know the machine yet
        ([255, 255, 0], "and its clock is set"),
        ([255] * 40, "but its clock could not be set (said 255): restart it"),
        # waiting would not help
        ([1], "but its clock could not be set (said 1): restart it"),
    ],
)
def test_a_clock_that_the_agent_does_not_set_is_set_over_ssh(
    make: Make, monkeypatch: pytest.MonkeyPatch, codes: list[int], told: str
) -> None:
    with_snapshot(make)
    asked: list[tuple[list[str], str]] = []
    now = iter(range(10_000))

    def run(_target: object, words: list[str], *, send: Callable[[], str], timeout_s: float) -> Completed:
        asked.append(([*words], send()))
        code = codes[len(asked) - 1]
        return Completed(argv=tuple(words), returncode=code, stdout="", stderr=f"said {code}")

    monkeypatch.setattr(clock, "_by_agent", lambda _machine: False)
    monkeypatch.setattr(clock, "run_remote_once_ready", run)
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: next(now) * 10, time=lambda: 0, sleep=id))
    assert told in said("vm", "rollback", HAND, "--yes")
    assert asked[0] == (["sudo", "-n", "sh", "-c", 'echo ready; read -r now && date -u -s "@$now"'], "0.000")
    assert len(asked) < 40


@pytest.mark.parametrize(("delays_s", "settings"), [([0.1], 1), ([4.0, 0.2, 0.2], 3), ([1.0, 1.0], 2)])
def test_a_clock_that_was_set_late_is_set_again(
    make: Make, monkeypatch: pytest.MonkeyPatch, delays_s: list[float], settings: int
) -> None:
    with_snapshot(make)
    now_s, ahead_s, left = [1000.0], [0.0], [*delays_s]

    class Agent:
        """Sets what it was told some time after it was asked, and answers what time it is a moment later."""

        def agentSetResponseTimeout(self, *_words: int) -> None:  # noqa: N802
            pass

        def setTime(self, told: dict[str, int], _flags: int) -> None:  # noqa: N802
            now_s[0] += left.pop(0)
            ahead_s[0] = told["seconds"] + told["nseconds"] / 1e9 - now_s[0]

        def getTime(self, _flags: int) -> dict[str, int]:  # noqa: N802
            now_s[0] += 0.3
            seconds, fraction = divmod(now_s[0] + ahead_s[0], 1)
            return {"seconds": int(seconds), "nseconds": int(fraction * 1e9)}

    monkeypatch.setattr(clock, "optional", lambda *_words: Agent())
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: 0.0, time=lambda: now_s[0], sleep=id))
    assert "and its clock is set" in said("vm", "rollback", HAND, "--yes")
    assert len(delays_s) - len(left) == settings
    assert abs(ahead_s[0]) < 0.5


def test_a_uefi_machine_is_kept_only_while_it_is_off(make: Make) -> None:
    host = make()
    host.domain(SELF).create()
    error = refused(ConflictError, "vm", "snapshot", SELF)
    assert "must be off" in error.brief and "UEFI" in error.evidence and f"vm stop {SELF}" in error.next_step
    host.domain(SELF).destroy()
    said("vm", "snapshot", SELF, "--name", "off")


def test_resize_refuses_before_anything_is_written(make: Make) -> None:
    make()
    before = Path("ai-how.yaml").read_text()
    assert "say what to change" in refused(SpecError, "vm", "resize", HAND).brief
    shrink = refused(SpecError, "vm", "resize", HAND, "--disk-gib", "7")
    assert shrink.evidence == "it has 8 GiB, wanted 7 GiB"
    shared = refused(SpecError, "vm", "resize", "hand-compute-2", "--vcpus", "2")
    assert shared.evidence == "ai-how.yaml: clusters.hand.nodes[1].count: 2"
    assert "do not fit" in refused(SpecError, "vm", "resize", HAND, "--memory-gib", "512", "--yes").brief
    assert "confirmed" in refused(SpecError, "vm", "resize", HAND, "--vcpus", "2").brief
    assert "nothing to do" in said("vm", "resize", HAND, "--vcpus", "1")
    assert Path("ai-how.yaml").read_text() == before


def test_resize_needs_an_entry_that_is_written(make: Make) -> None:
    host = make(made=set())
    host.site_file.write_text(SITE[: SITE.index("    nodes:")])
    assert "has no entry in the site file" in refused(SpecError, "vm", "resize", HAND, "--vcpus", "9").brief


def test_resize_of_a_machine_that_the_site_file_has_dropped(make: Make) -> None:
    host = make()
    host.site_file.write_text(SITE.replace("count: 2", "count: 1"))
    assert (
        "no longer asks for hand-compute-2"
        in refused(SpecError, "vm", "resize", "hand-compute-2", "--vcpus", "9").brief
    )


def test_resize_shows_the_line_and_the_plan(make: Make) -> None:
    host = make()
    host.domain(HAND).create()
    done = ai_how("vm", "resize", HAND, "--vcpus", "2", "--memory-gib", "3")
    assert "ai-how.yaml: clusters.hand.nodes[0].vcpus: 1 -> 2" in done.stdout
    assert "clusters.hand.nodes[0].memory_gib: 1 -> 3 GiB" in done.stdout
    assert f"update  machine/{HAND}" in done.stdout
    assert f"{HAND} is restarted for that." in done.stderr


def test_delete_asks_and_names_what_goes(make: Make) -> None:
    make()
    done = ai_how("vm", "delete", HAND)
    assert isinstance(done.exception, SpecError) and "--yes" in done.exception.next_step
    assert f"{HAND}.qcow2, {HAND}-seed.iso, {HAND}.log" in done.stderr
    assert listed()[HAND]["state"] == "off"


def test_a_cluster_is_started_and_stopped_by_name(make: Make) -> None:
    host = make()
    plan = said("up", "--cluster", "hand", "--dry-run")
    assert all(f"machine/{node}" in plan for node in (HAND, "hand-compute-1", "hand-compute-2"))
    assert f"machine/{HAND}" not in said("up", "--dry-run")
    started = power.start_cluster(host.provider, "hand")
    assert sorted(started) == ["hand-compute-1", "hand-compute-2", HAND]
    assert listed()["hand-compute-2"]["state"] == "running"
    stopped = said("down", "--cluster", "hand")
    assert stopped.endswith("cluster hand is stopped\n") and f"{HAND}: shut down" in stopped
    assert said("down", "--cluster", "hand") == "cluster hand was stopped already\n"
    assert "clusters: hand, self" in refused(NotFoundError, "up", "--cluster", "x").evidence


def test_a_cluster_that_is_not_made_cannot_be_stopped(make: Make) -> None:
    make(made={SELF})
    assert "is not made yet" in refused(NotFoundError, "down", "--cluster", "hand").brief


def test_status_shows_networks_and_the_pool(make: Make) -> None:
    make()
    done = ai_how("status", "-o", "json")
    found = {part["name"]: part for part in json.loads(done.stdout)["components"]}
    assert set(found) == {HAND, SELF, "hand-compute-1", "hand-compute-2", "network/hand", "network/self", "pool"}
    assert found["network/self"]["address"] == "192.168.7.0/24" and found["pool"]["condition"] == "healthy"
    assert found[HAND]["condition"] == "healthy" and found[SELF]["detail"] == "is off"


TURNS = SITE.replace("clusters:", "schedule: in-turns\nclusters:")


def test_clusters_take_turns(make: Make) -> None:
    host = make(TURNS)
    power.start_cluster(host.provider, "hand")
    for words in (("up", "--cluster", "self", "--dry-run"), ("vm", "start", SELF)):
        error = refused(ConflictError, *words)
        assert "cannot start while hand runs" in error.brief and error.next_step == "ai-how down --cluster hand"
    # the cluster that has the turn keeps it
    assert f"machine/{SELF}" not in said("up", "--dry-run")
    said("down", "--cluster", "hand")
    assert f"machine/{SELF}" in said("up", "--dry-run")


@pytest.mark.parametrize(
    ("schedule", "running", "asked", "shall"),
    [
        ("side-by-side", set(), None, {"a"}),
        ("side-by-side", {"b"}, None, {"a"}),
        ("side-by-side", set(), "b", {"a", "b"}),
        ("in-turns", set(), None, {"a"}),
        ("in-turns", {"b"}, None, {"b"}),
        ("in-turns", {"a", "b"}, None, {"a"}),
        ("in-turns", {"a"}, "b", {"b"}),
    ],
)
def test_which_clusters_shall_run(schedule: str, running: set[str], asked: str | None, shall: set[str]) -> None:
    clusters = {"a": {"kind": "hpc"}, "b": {"kind": "hpc", "start": "manual", "subnet": "10.0.0.0/24"}}
    site = Site.model_validate({"name": "s", "provider": "libvirt", "schedule": schedule, "clusters": clusters})
    assert clusters_to_run(site, running=running, asked=asked) == shall


def test_side_by_side_clusters_may_start_at_any_time() -> None:
    check_turn(Site(name="s"), "a", running={"b"})


@pytest.mark.parametrize(
    ("words", "typed", "names"),
    [
        (["vm", "ssh"], "hand-co", ["hand-compute-1", "hand-compute-2", HAND]),
        (["vm", "start", HAND], "self", [SELF]),
        (["up", "--cluster"], "h", ["hand"]),
    ],
)
def test_the_shell_completes_names(make: Make, words: list[str], typed: str, names: list[str]) -> None:
    make(made=set())
    found = ShellComplete(root, {}, "ai-how", "_AI_HOW_COMPLETE").get_completions(words, typed)
    assert [item.value for item in found] == names


def test_completion_without_a_site_file_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ShellComplete(root, {}, "ai-how", "_AI_HOW_COMPLETE").get_completions(["vm", "ssh"], "") == []


def test_becoming_a_program_that_is_not_there() -> None:
    from ai_how.errors import MissingToolError
    from ai_how.run.process import replace_process

    with pytest.raises(MissingToolError, match="no-such-program is not installed"):
        replace_process(["no-such-program"])


def test_down_needs_no_placement(make: Make) -> None:
    host = make()
    host.domain(HAND).create()
    host.site_file.write_text(SITE.replace("memory_gib: 128", "memory_gib: 5"))
    assert "do not fit" in refused(SpecError, "up", "--dry-run").brief
    assert f"stopping {HAND}" in ai_how("down").stderr
    assert listed()[HAND]["state"] == "off"


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (None, "grown from 8 to 10 GiB while it runs, with its file system"),
        (
            TryAgainError("ssh did not finish"),
            "grown from 8 to 10 GiB while it runs; its file system grows at the next restart (ssh did not finish)",
        ),
    ],
)
def test_a_disk_grows_under_its_machine(
    make: Make, monkeypatch: pytest.MonkeyPatch, ends: AiHowError | None, said: str
) -> None:
    host = make()
    host.domain(HAND).create()
    grown: list[tuple[str, int]] = []
    scripts: list[str] = []

    def run(_target: object, words: list[str], **_options: object) -> None:
        scripts.append(words[-1])
        if ends is not None:
            raise ends

    def grow(_connect: object, _name: str, device: str, *, size_bytes: int) -> None:
        grown.append((device, size_bytes))

    monkeypatch.setattr(disks, "run_remote", run)
    monkeypatch.setattr("ai_how.machines.domains.grow_disk", grow)
    machine = host.wanted.machines[HAND].machine
    (disk,) = machine.disks
    pool, target = host.provider.pool_of("one"), host.provider.target_of(host.provider.find(HAND))
    larger = replace(disk, size_bytes=10 * 2**30)
    machine = replace(machine, disks=(larger,))
    assert disks.ensure_machine_disk(host.connect, pool, machine, larger, target=target) == said
    assert grown == [("vda", 10 * 2**30)] and "growpart" in scripts[0]
    # the driver knows no image under a disk
    same = replace(disk, backing="")
    assert disks.ensure_machine_disk(host.connect, pool, machine, same, target=target) == "was there"
