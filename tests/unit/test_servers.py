"""The provider ``inventory`` without servers: what is checked, trusted, planned, and what is said."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ai_how.cli.app import root
from ai_how.cli.hosts import _next_steps
from ai_how.errors import AiHowError, ConflictError, NotFoundError, ProviderError, TryAgainError
from ai_how.host.check import Check, Verdict
from ai_how.host.checks.node import address_of_node, check_node, ports_of
from ai_how.host.checks.nodes import Clock, Unreached, check_clocks, check_reach, check_unique
from ai_how.host.facts.node import own_addresses, parse_record
from ai_how.host.facts.routes import Route
from ai_how.host.facts.sockets import Listener
from ai_how.host.remote.capture import MARK, NO_PYTHON, program, read_capture, write_tree
from ai_how.host.report_fleet import render_fleet
from ai_how.host.report_junit import render_junit_of
from ai_how.plan.compute import compute_plan
from ai_how.plan.model import Condition, Plan
from ai_how.run.ssh import SshTarget, SshTrouble, trouble_of
from ai_how.servers.desired import (
    Fleet,
    cluster_machines,
    explained,
    leaving_servers,
    left_alone,
    observed,
    resources,
    settings_of,
)
from ai_how.servers.known_hosts import HostKey, KnownHosts, check_kept, known_hosts_text, no_answer, parse_known_hosts
from ai_how.servers.record import record_text
from ai_how.servers.server import Reached, servers_of
from ai_how.servers.survey import explained as explained_ssh
from ai_how.servers.trust import judged
from ai_how.servers.ways import asked_ports, unreached_of, wish_of
from ai_how.site.load import check_site_text
from tests.golden.conftest import ROOT
from tests.servers import examine, facts, look, server, wish

SITE = """name: lab
provider: inventory
ssh: {user: admin, key_file: keys/login, port: 2222}
hosts:
- {name: c1, address: 192.0.2.11}
- {name: w1, address: root@192.0.2.12, ssh: {port: 22, jump: me@bastion}, cluster_address: 10.0.0.12}
- {name: spare, address: 192.0.2.13}
clusters:
  cloud:
    nodes:
    - {role: control-plane, host: c1}
    - {role: cpu-worker, host: w1}
"""
KEY = HostKey(kind="ssh-ed25519", public="AAAAC3NzaC1lZDI1NTE5AAAAIGDpyOXpiTaVR1GqNpV7O5YgZPZ0PpCSi7WLJqgmgaxr")


def test_what_the_host_says_goes_before_what_is_said_for_all(tmp_path: Path) -> None:
    site, mistakes = check_site_text(SITE, tmp_path / "ai-how.yaml")
    assert site is not None, mistakes
    control, worker = servers_of(site, tmp_path / "ai-how.yaml", set_up={"w1"})
    assert control.reached == Reached(host="192.0.2.11", user="admin", port=2222, key_file=str(tmp_path / "keys/login"))
    assert (worker.reached.text, worker.reached.jump, worker.reached.port) == ("root@192.0.2.12", "me@bastion", 22)
    assert (control.reached.known_as, worker.reached.known_as) == ("[192.0.2.11]:2222", "192.0.2.12")
    assert (worker.wish.cluster_address, worker.wish.set_up, control.wish.set_up) == ("10.0.0.12", True, False)
    words = worker.reached.target(Path("/known")).argv()
    assert words[-1] == "192.0.2.12" and "StrictHostKeyChecking=yes" in words
    assert "ProxyCommand=ssh -o BatchMode=yes -W %h:%p me@bastion" in words


def test_without_a_key_file_the_agents_keys_are_taken() -> None:
    words = SshTarget(host="h", user="u", key_file=None, known_hosts=Path("/k")).argv()
    assert not [word for word in words if word.startswith(("IdentityFile", "IdentitiesOnly"))]


# trust


def test_the_fingerprint_is_openssh_own() -> None:
    # as `ssh-keygen -lf` prints it for this public key
    assert KEY.fingerprint == "SHA256:BKJIoqBeA0QN5DzGD5hO5Idsvfhxn/VvmqmfjeB/8Pk"


NAMES = st.from_regex(r"\A[a-z][a-z0-9.-]{0,12}\Z")
KEYS = st.builds(
    HostKey,
    kind=st.sampled_from(["ssh-ed25519", "ssh-rsa"]),
    public=st.binary(min_size=1).map(base64.b64encode).map(bytes.decode),
)


@given(kept=st.dictionaries(NAMES, st.lists(KEYS, min_size=1, max_size=2), max_size=4))
def test_known_hosts_are_read_as_they_were_written(kept: dict[str, list[HostKey]]) -> None:
    assert parse_known_hosts(known_hosts_text(kept)) == kept


def test_lines_of_another_shape_are_no_keys() -> None:
    text = "# a comment\n|1|hash= ssh-rsa AAAA\n@revoked h ssh-rsa AAAA\nh ssh-rsa !!\nh ssh-rsa\na,b ssh-rsa AAAA\n"
    assert list(parse_known_hosts(text)) == ["a", "b"]


def test_a_damaged_file_of_keys_is_called_so(tmp_path: Path) -> None:
    known = KnownHosts(tmp_path / "known_hosts")
    assert known.keys() == {}
    known.path.write_bytes(b"h ssh-ed25519 \xff\xfe\x00\n")
    for act in (known.keys, lambda: known.keep({"w1": KEY})):
        with pytest.raises(ProviderError, match="known_hosts is damaged") as caught:
            act()
        assert str(known.path) in caught.value.evidence and "ai-how hosts trust" in caught.value.next_step
    known.path.write_text("h ssh-ed25519 \u00e4\u00f6\n")
    assert known.keys() == {}


def test_a_key_is_kept_by_word_or_by_the_site_file_alone() -> None:
    named = server(host_key=KEY.fingerprint)
    assert check_kept(server(), [KEY], None) is None
    assert check_kept(named, [], KEY) == KEY
    other = replace(KEY, public=base64.b64encode(b"other").decode())
    with pytest.raises(ConflictError, match="nobody has said yet"):
        check_kept(server(), [], KEY)
    with pytest.raises(ConflictError, match="SHOWS ANOTHER HOST KEY"):
        check_kept(named, [], other)
    with pytest.raises(ConflictError, match="names another host key than the one that is kept"):
        check_kept(named, [other], None)


@pytest.mark.parametrize(
    ("host_key", "kept", "state", "may"),
    [
        ("", [], "not trusted", True),
        ("", [KEY], "trusted", True),
        ("", [replace(KEY, public="AAAA")], "CHANGED", True),
        (KEY.fingerprint, [], "by site file", True),
        (KEY.fingerprint, [KEY], "trusted", True),
        (KEY.fingerprint, [replace(KEY, public="AAAA")], "CHANGED", True),
        ("SHA256:" + "A" * 43, [], "CHANGED", False),
    ],
)
def test_how_a_key_stands(host_key: str, kept: list[HostKey], state: str, may: bool) -> None:
    found = judged(server(host_key=host_key), KEY, kept)
    assert (found.state, found.may_be_trusted) == (state, may)
    assert bool(found.trouble) == (state == "CHANGED")


def test_listed_keys_lead_to_the_command_that_mends_them() -> None:
    other = [replace(KEY, public="AAAA")]
    again, named, new = (
        judged(server(), KEY, other),
        judged(server(host_key="SHA256:x"), KEY, []),
        judged(server(), KEY, []),
    )
    assert list(_next_steps([again, new])) == [
        f"ai-how hosts trust {server().name} --replace    (only if installed anew)",
        "ai-how hosts trust",
    ]
    (step,) = _next_steps([named])
    assert "correct its host_key in the site file" in step
    assert list(_next_steps([judged(server(), KEY, [KEY])])) == []


@pytest.mark.parametrize(
    ("said", "kind", "brief"),
    [
        ("@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@", ConflictError, "SHOWS ANOTHER HOST KEY"),
        ("No ED25519 host key is known for h\nHost key verification failed.", ConflictError, "host key is not known"),
        ("admin@h: Permission denied (publickey).", ConflictError, "does not let admin in with your keys"),
        ("ssh: Could not resolve hostname h: Name unknown", NotFoundError, "a name that nobody knows"),
        ("ssh: connect to host h port 22: Connection refused", TryAgainError, "does not answer"),
        ("ssh: connect to host h port 22: No route to host", TryAgainError, "does not answer"),
        ("client_loop: send disconnect: Broken pipe", TryAgainError, "the connection to w1 was lost"),
    ],
)
def test_ssh_failures_have_one_clear_message_each(said: str, kind: type[AiHowError], brief: str) -> None:
    error = explained_ssh(server(), said)
    assert isinstance(error, kind)
    assert brief in error.brief and error.next_step


def test_a_way_through_another_machine_is_named() -> None:
    error = no_answer(Reached(host="h", user="u", jump="me@bastion"), "Connection timed out")
    assert error.brief == "u@h does not answer through me@bastion" and "-J me@bastion" in error.next_step
    assert trouble_of("anything else") is SshTrouble.LOST


# what a machine says


def captured(**more: Any) -> str:
    data = {
        "python": [3, 11, 2],
        "sudo": "yes",
        "user": "admin",
        "reached_at": "192.0.2.12",
        "disk": {"free_bytes": 5, "size_bytes": 10},
        "clock_synchronised": True,
        "owners": {"77": "nginx (process 5)"},
        "files": {"etc/machine-id": base64.b64encode(b"abc\n").decode()},
        "links": {"sys/class/net/eno1/device/driver": "../../igb"},
        "time_s": 1.5,
    }
    return f"Welcome!\n{MARK}{json.dumps({**data, **more})}\n"


def test_a_capture_is_read_whatever_the_shell_printed_before(tmp_path: Path) -> None:
    found = read_capture(captured(), tmp_path)
    assert found is not None
    assert (found.python, found.sudo, found.owners) == ((3, 11, 2), "yes", {77: "nginx (process 5)"})
    assert found.root.text("etc/machine-id") == "abc"
    assert found.root.link("sys/class/net/eno1/device/driver") == "igb"
    assert read_capture(f"hello\n{NO_PYTHON}\n", tmp_path) is None


@pytest.mark.parametrize(
    "said",
    [
        "",
        "garbage",
        f"{MARK}{{",
        f"{MARK}[]",
        captured(python=3),
        captured(files={"../../etc/passwd": ""}),
        captured(files={"/etc/passwd": ""}),
        captured(files={"a": "no base64!"}),
        captured(links={"..": "x"}),
        captured(owners=[]),
    ],
)
def test_nonsense_is_no_capture(said: str, tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="did not answer as expected"):
        read_capture(said, tmp_path / "tree")
    assert not (tmp_path / "etc").exists()


PATHS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)


@given(
    files=st.dictionaries(PATHS, st.just(""), max_size=4),
    links=st.dictionaries(PATHS, st.just("../../../out"), max_size=4),
)
def test_nothing_is_written_through_a_link(
    files: dict[str, str], links: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    top = tmp_path_factory.mktemp("top")
    inner = top / "x" / "y" / "tree"
    inner.mkdir(parents=True)
    # a name cannot be a file and a folder
    with contextlib.suppress(OSError):
        write_tree(inner, files, links)
    assert not (top / "out").exists() and not (top / "x" / "out").exists() and not (top / "x" / "y" / "out").exists()


def test_the_programs_that_are_sent_are_plain_python() -> None:
    for name in ("collect", "reach"):
        compile(program(name), name, "exec")  # type: ignore[arg-type]


FIB = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 192.0.2.12
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
"""


def test_own_addresses_are_read_from_the_kernels_table() -> None:
    assert own_addresses(FIB) == ("192.0.2.12",)
    assert own_addresses("nonsense") == ()


def test_a_damaged_record_is_not_none() -> None:
    assert parse_record(None) is None
    assert parse_record("{") == parse_record("[1]") == {}
    assert parse_record(record_text(wish()))["node"] == "w1"  # type: ignore[index]


# checks


def verdicts(checks: list[Check]) -> dict[str, Verdict]:
    return {check.id: check.verdict for check in checks}


def test_a_good_server_passes_every_check() -> None:
    (one,) = examine(look(server())).values()
    assert {check.verdict for check in one.checks} == {Verdict.PASS}
    assert {check.fix for check in one.checks} == {""}
    assert one.blocking == () and one.address == "192.0.2.12"


LISTENER = Listener(protocol="tcp", port=10250, address="0.0.0.0", inode=5, owner="nginx (process 7)")
POD_ROUTE = Route(network=IPv4Network("10.233.64.0/24"), interface="eno1")


@pytest.mark.parametrize(
    ("spoilt", "check", "verdict", "found"),
    [
        ({"record": {"site": "x", "cluster": "y"}}, "owner", "fail", "cluster y of site x"),
        ({"record": {}}, "owner", "fail", "its record cannot be read"),
        ({"record": {"site": "lab", "cluster": "cloud"}}, "owner", "pass", "cluster cloud of site lab"),
        ({"python": (3, 6, 8)}, "python", "fail", "3.6.8"),
        ({"sudo": "no"}, "sudo", "fail", "sudo wants a password"),
        ({"sudo": "missing"}, "sudo", "fail", "no sudo"),
        ({"sudo": "root"}, "sudo", "pass", "is root"),
        ({"systemd": False}, "systemd", "fail", "another one"),
        ({"cgroups": 1}, "cgroups", "fail", "version 1"),
        ({"cgroups": None}, "cgroups", "unknown", "cannot be told"),
        ({"kubernetes": ("K3s (/etc/rancher/k3s)",)}, "kubernetes", "fail", "K3s (/etc/rancher/k3s)"),
        ({"swaps": ("/dev/sda2",)}, "swap", "warn", "/dev/sda2"),
        ({"addresses": ()}, "address", "fail", "has none"),
        ({"routes": (POD_ROUTE,)}, "ranges", "fail", "10.233.64.0/24 via eno1"),
        ({"routes": None}, "ranges", "unknown", "routes cannot be read"),
        ({"listeners": (LISTENER, LISTENER)}, "ports", "fail", "10250 (kubelet) by nginx (process 7)"),
        ({"listeners": None}, "ports", "unknown", "sockets cannot be read"),
        ({"disk_free_bytes": 50 * 10**9}, "disk", "fail", "50 GB of 1 TB at /var/lib"),
        ({"disk_free_bytes": 140 * 10**9}, "disk", "fail", "140 GB of 1 TB at /var/lib"),
        (
            {"disk_free_bytes": 120 * 10**9, "disk_size_bytes": 500 * 10**9},
            "disk",
            "warn",
            "120 GB of 500 GB at /var/lib",
        ),
    ],
)
def test_what_a_check_finds(spoilt: dict[str, Any], check: str, verdict: str, found: str) -> None:
    (one,) = (each for each in check_node(facts(**spoilt), wish()) if each.id == f"node.{check}")
    assert (one.verdict.value, one.found) == (verdict, found)
    assert bool(one.fix) == (verdict != "pass")


def test_old_control_groups_are_the_users_own_choice() -> None:
    assert verdicts(check_node(facts(cgroups=1), wish(old_cgroups=True)))["node.cgroups"] is Verdict.WARN


def test_a_node_of_ours_has_its_own_kubernetes_ports_and_routes() -> None:
    mine = {"site": "lab", "cluster": "cloud"}
    seen = facts(record=mine, kubernetes=("x",), listeners=(LISTENER,), routes=(POD_ROUTE,))
    assert set(verdicts(check_node(seen, wish(set_up=True))).values()) == {Verdict.PASS}


def test_what_a_set_up_that_broke_off_left_does_not_stand_against_the_next() -> None:
    mine = {"site": "lab", "cluster": "cloud"}
    etcd = Listener(protocol="tcp", port=2379, address="0.0.0.0", inode=6, owner="etcd (process 8)")
    half = {"record": mine, "kubernetes": ("/etc/kubernetes/admin.conf",), "routes": (POD_ROUTE,)}
    role = wish(role="control-plane")
    assert "fail" not in verdicts(check_node(facts(**half, listeners=(etcd,)), role)).values()
    # what is not Kubernetes' does, and what was there before us
    assert verdicts(check_node(facts(**half, listeners=(etcd, LISTENER)), role))["node.ports"] is Verdict.FAIL
    assert verdicts(check_node(facts(listeners=(etcd,)), role))["node.ports"] is Verdict.FAIL


def test_a_gpu_worker_needs_a_gpu_and_a_batch_node_no_ports() -> None:
    assert verdicts(check_node(facts(), wish(role="gpu-worker", gpus=True)))["node.gpus"] is Verdict.FAIL
    assert "node.gpus" not in verdicts(check_node(facts(), wish(role="hpc-compute")))
    assert "node.ports" not in verdicts(check_node(facts(), wish(role="hpc-controller", ranges=())))


def test_small_servers_warn_and_useless_ones_fail() -> None:
    small = facts(cpu=replace(facts().cpu, threads=2), memory=replace(facts().memory, total_gib=4.0))
    found = verdicts(check_node(small, wish(role="control-plane")))
    assert (found["node.processors"], found["node.memory"]) == (Verdict.WARN, Verdict.WARN)
    tiny = facts(cpu=replace(facts().cpu, threads=1), memory=replace(facts().memory, total_gib=1.2))
    found = verdicts(check_node(tiny, wish(role="control-plane")))
    assert (found["node.processors"], found["node.memory"]) == (Verdict.FAIL, Verdict.FAIL)


def test_the_address_for_other_nodes() -> None:
    seen = facts(addresses=("192.0.2.12", "10.0.0.12"))
    assert address_of_node(seen, wish()) == "192.0.2.12"
    assert address_of_node(seen, wish(subnet=IPv4Network("10.0.0.0/24"))) == "10.0.0.12"
    assert address_of_node(seen, wish(cluster_address="10.0.0.12")) == "10.0.0.12"
    assert address_of_node(seen, wish(cluster_address="10.0.0.13")) == ""
    assert address_of_node(facts(reached_at="203.0.113.1"), wish()) == "192.0.2.12"


def test_what_must_be_a_servers_own() -> None:
    nodes = {"a": facts("a", last=1), "b": facts("b", last=2, hostname="a"), "c": facts("c", last=3, machine_id="")}
    found = check_unique(nodes)
    assert [check.verdict.value for check in found["a"]] == ["fail", "pass", "pass"]
    assert found["b"][0].found == "a is a's too"
    assert [check.verdict.value for check in found["c"]] == ["pass", "unknown", "pass"]


def test_clocks_are_compared_with_each_other_not_with_ours() -> None:
    clocks = {name: Clock(offset_s=offset, error_s=0.2) for name, offset in (("a", 60), ("b", 60.5), ("c", 63))}
    found = check_clocks(clocks)
    assert {name: check.verdict.value for name, check in found.items()} == {"a": "pass", "b": "pass", "c": "warn"}
    assert found["c"].found == "2.5 s ahead"


# the ways between servers


def test_who_must_reach_what() -> None:
    control, other, worker = (
        server(name, role) for name, role in (("c", "control-plane"), ("d", "control-plane"), ("w", "cpu-worker"))
    )  # type: ignore[arg-type]
    assert {port for _, port in asked_ports(control, worker)} == {6443, 10250, 4789}
    assert {port for _, port in asked_ports(control, other)} == {6443, 2379, 2380, 10250, 4789}
    assert {port for _, port in asked_ports(worker, control)} == {10250, 4789}
    assert 10259 in {port for _, port, _ in ports_of("control-plane")}
    nodes = [(each, facts(each.name, last=n)) for n, each in enumerate((control, other, worker), start=1)]
    told = wish_of(nodes[2], nodes)
    assert told["listen"]["address"] == "192.0.2.3"
    assert [peer["name"] for peer in told["peers"]] == ["c", "d"]


def test_a_port_that_something_of_the_others_own_has_cannot_be_asked() -> None:
    answer = {"failed": [["w", "udp", 4789, "no answer"], ["w", "tcp", 10250, "no answer"]], "busy": []}
    assert [each.port for each in unreached_of(answer, {"w": {("udp", 4789)}})] == [10250]
    said = check_reach([Unreached(peer="w", protocol="tcp", port=n, why="no answer") for n in range(5)], ["w"])
    assert said.found.endswith("w 2/tcp: no answer and 2 more") and said.verdict is Verdict.FAIL


# plans


def made(name: str = "w1", **more: Any) -> dict[str, Any]:
    (one,) = examine(look(server(name))).values()
    return {**settings_of(one, None), **more}


def fleet(*looks: Any, recorded: dict[str, Any] | None = None, leaving: Any = ()) -> Fleet:
    return Fleet(wanted=examine(*looks), leaving=examine(*leaving), recorded=recorded or {})


def plan(one: Fleet) -> Plan:
    return explained(compute_plan("lab", resources(one), observed(one)), one)


AWAY = TryAgainError("admin@192.0.2.12 does not answer", next_step="look at it")


def test_a_new_server_becomes_a_node() -> None:
    (action,) = plan(fleet(look(server()))).actions
    assert (action.verb, action.reason) == ("create", "becomes a cpu-worker of cluster cloud")


def test_a_recorded_one_is_left_alone_though_its_kernel_counts_memory_anew() -> None:
    ours = {"record": {"site": "lab", "cluster": "cloud"}, "memory": replace(facts().memory, total_gib=250.9)}
    seen = look(server(set_up=True), facts(**ours))
    assert plan(fleet(seen, recorded={"w1": made()})).empty


def test_one_that_does_not_answer_is_one_line_and_keeps_what_it_was() -> None:
    one = fleet(look(server(set_up=True), facts=None, clock=None, trouble=AWAY), recorded={"w1": made()})
    (action,) = plan(one).actions
    assert (action.verb, action.reason) == ("repair", AWAY.brief)
    site, _ = check_site_text(SITE, Path("ai-how.yaml"))
    assert site is not None
    (cloud,) = cluster_machines(site, one, known_hosts=Path("/k"), recorded_clusters={})
    assert cloud.there == {"w1"} and cloud.nodes[0].memory_gib == 251


def test_a_check_that_fails_stands_against_a_new_node_not_against_one_that_runs() -> None:
    full = {"disk_free_bytes": 10**9}
    (action,) = plan(fleet(look(server(), facts(**full)))).actions
    assert action.reason == ("blocked: 1 check fails: Free disk; without that it becomes a cpu-worker of cluster cloud")
    ours = {**full, "record": {"site": "lab", "cluster": "cloud"}}
    assert plan(fleet(look(server(set_up=True), facts(**ours)), recorded={"w1": made()})).empty


def test_one_that_leaves_and_does_not_answer_is_lost() -> None:
    site, _ = check_site_text(SITE, Path("ai-how.yaml"))
    assert site is not None
    recorded = {"w9": made("w9")}
    (gone,) = leaving_servers(recorded, [], site="lab")
    assert gone.reached == server().reached
    for seen, there in ((look(gone), {"w1", "w9"}), (look(gone, facts=None, trouble=AWAY), {"w1"})):
        one = fleet(look(server()), recorded=recorded, leaving=(seen,))
        (cloud,) = cluster_machines(site, one, known_hosts=Path("/k"), recorded_clusters={})
        assert cloud.there == there
    assert observed(one)["server/w9"].condition is Condition.HEALTHY
    assert [action.verb for action in plan(one).actions] == ["create", "delete"]


def test_a_server_that_destroy_leaves_alone_is_named_with_what_to_do_later() -> None:
    def said(**more: Any) -> list[str]:
        (one,) = examine(look(server(set_up=True), **more)).values()
        return list(left_alone(one))

    away = replace(look(server(set_up=True)), facts=None, trouble=AWAY)
    lines = list(left_alone(examine(away)["w1"]))
    assert lines[0] == f"w1 is left as it is: {AWAY.brief}"
    assert "kubeadm reset" in lines[-1] and max(map(len, lines)) <= 80
    assert "record that it is our node is gone" in said()[0]
    assert "cannot be read" in said(seen=facts(record={}))[0]
    assert said(seen=facts(record={"site": "b", "cluster": "c"})) == ["w1 is left as it is: another site has it"]


def test_another_installation_at_the_same_address_is_another_node() -> None:
    one = fleet(look(server(set_up=True)), recorded={"w1": made(machine_id="of-old")})
    (action,) = plan(one).actions
    assert action.reason == "another machine, or the same one installed anew, has its address"
    site, _ = check_site_text(SITE, Path("ai-how.yaml"))
    assert site is not None
    (cloud,) = cluster_machines(site, one, known_hosts=Path("/k"), recorded_clusters={})
    assert cloud.there == frozenset()


# reports


def test_the_report_of_several_servers_fits_a_terminal() -> None:
    spoilt = facts("w2", last=13, swaps=("/dev/sda2",), sudo="no", record={"site": "a" * 30, "cluster": "b" * 30})
    away = look(server("w3", last=14), facts=None, clock=None, trouble=AWAY)
    found = examine(look(server()), look(server("w2", last=13), spoilt), away)
    shown = {name: one.checks for name, one in found.items()}
    about = {name: (one.server.reached.text, "cpu-worker of cloud") for name, one in found.items()}
    text = render_fleet(shown, about=about)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "w1  admin@192.0.2.12  cpu-worker of cloud  ready"
    assert "w2" in lines[1] and "2 failures, 1 warning" in lines[1]
    assert "  fail     SSH (node.ssh): w3" in lines
    assert "w1\n" not in text
    assert "w1\n" in render_fleet(shown, about=about, shows=tuple(Verdict))
    short = render_fleet(shown, about=about, shows=(Verdict.FAIL,), remedies=False)
    assert "Swap" not in short and "Belongs to" in short and "What to do" not in short
    assert '<testsuite name="w3.node" tests="1" failures="1"' in render_junit_of(shown)


def test_servers_that_do_not_answer_are_listed_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(reached: Reached) -> HostKey:
        raise no_answer(reached, f"ssh: connect to host {reached.host} port {reached.port}: Connection refused")

    monkeypatch.setattr("ai_how.servers.trust.ask_host_key", away)
    words = ["hosts", "list", "--site", str(ROOT / "examples" / "inventory.yaml")]
    done = CliRunner().invoke(root, words)
    assert done.exit_code == 1, done.exception
    assert "Connection" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    done = CliRunner().invoke(root, [*words, "-o", "json"])
    assert done.exit_code == 1, done.exception
    assert {each["key"] for each in json.loads(done.stdout)["hosts"]} == {"no answer"}


TWO_SERVERS = (
    "name: lab\nprovider: inventory\nssh: {user: admin}\n"
    "hosts: [{name: w1, address: w1}, {name: w2, address: w2}]\nclusters: {cloud: {nodes: "
    "[{role: control-plane, host: w1}, {role: cpu-worker, host: w2}]}}\n"
)


@pytest.mark.parametrize(("answers", "code"), [(("w1",), 1), (("w1", "w2"), 0)])
def test_the_list_of_servers_fails_as_soon_as_one_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: tuple[str, ...], code: int
) -> None:
    def ask(reached: Reached) -> HostKey:
        if reached.host in answers:
            return KEY
        raise no_answer(reached, "Connection refused")

    monkeypatch.setattr("ai_how.servers.trust.ask_host_key", ask)
    file = tmp_path / "ai-how.yaml"
    file.write_text(TWO_SERVERS)
    done = CliRunner().invoke(root, ["hosts", "list", "--site", str(file)])
    assert done.exit_code == code, done.exception
    assert "not trusted" in done.stdout


def test_servers_that_do_not_answer_end_up_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = threading.Barrier(2, timeout=60)

    def away(reached: Reached) -> HostKey:
        at_once.wait()
        raise no_answer(reached, f"ssh: connect to host {reached.host} port {reached.port}: Connection timed out")

    monkeypatch.setattr("ai_how.servers.survey.ask_host_key", away)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "ai-how.yaml"
    file.write_text(TWO_SERVERS)
    done = CliRunner().invoke(root, ["up", "--yes", "--site", str(file)])
    assert isinstance(done.exception, TryAgainError)
    assert done.exception.brief in ("admin@w1 does not answer", "admin@w2 does not answer")
    assert "skipped kubernetes/cloud" in done.stderr
    assert not (tmp_path / "cache").exists()
    assert sorted(path.name for path in (tmp_path / ".ai-how" / "lab").iterdir()) == [
        ".ai-how-site",
        "events.jsonl",
        "lock",
    ]
