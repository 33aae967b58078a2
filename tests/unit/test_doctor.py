"""``ai-how doctor`` on trees: exit codes, every option, every format, every bad input."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree as ET

import click
import pytest
from click.testing import CliRunner, Result

from ai_how.capacity.tiers import TIER_NAMES
from ai_how.cli import doctor as command
from ai_how.cli import options
from ai_how.cli.app import root
from ai_how.errors import SpecError
from ai_how.host.check import Check, Verdict
from ai_how.host.doctor import GROUPS, NODE_GROUP, PROVIDERS, Provider, Readiness, Wanted, judge
from ai_how.host.report_junit import render_junit
from ai_how.host.report_text import render_text
from ai_how.host.requirements import load_requirements
from ai_how.host.tier_answer import TierAnswer
from ai_how.servers.preflight import examined
from ai_how.site.load import SITE_FILE
from tests.servers import look, server

from ..host_trees import ROUTE_HEAD, good_facts, good_host, socket_line, tree

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = good_host()
    files["proc/net/tcp"] += socket_line(6443)
    files["proc/net/route"] = ROUTE_HEAD + "eth0\t00C8A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    files["sys/class/net/virbr7/bridge/bridge_id"] = "x"
    return tree(tmp_path_factory.mktemp("host"), files).path


def doctor(host: Path, *words: str) -> Result:
    return CliRunner().invoke(root, ["doctor", "--root", str(host), *words], prog_name="ai-how", standalone_mode=False)


def as_json(host: Path, *words: str) -> dict[str, Any]:
    result = doctor(host, "-o", "json", *words)
    assert result.exception is None, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def verdicts(answer: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["verdict"] for check in answer["checks"]}


def test_the_words_of_the_command_line_are_the_library_s() -> None:
    assert command._PROVIDERS == PROVIDERS == get_args(Provider)
    assert options.TIERS == TIER_NAMES
    assert (command._GROUPS, command._NODE_GROUP) == (GROUPS, NODE_GROUP)
    assert command._SITE_FILE == SITE_FILE


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--only", "numa"], 0),
        (["--only", "port"], 1),
        (["--only", "software"], 1),
        (["--only", "network"], 2),
        ([], 2),
    ],
)
def test_the_exit_code_is_of_the_checks_shown(host: Path, words: list[str], code: int) -> None:
    assert doctor(host, *words).return_value == code
    assert as_json(host, *words)["exit_code"] == code


def test_text_fits_80_columns_and_leads_with_who_can_use_this_machine(host: Path) -> None:
    lines = doctor(host).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[:4]] == ["local", "libvirt", "inventory", "tier"]
    # one verdict a check, aligned
    assert "  pass     CPU cores             32 cores, 64 threads, 2        16 cores" in lines
    assert "  fail     Cluster's subnet (network.subnet)" in lines


def test_the_tier_chooses_the_figures(host: Path) -> None:
    checks = {check["id"]: check for check in as_json(host, "--tier", "production")["checks"]}
    assert checks["cpu.cores"]["wanted"] == "32 cores"
    assert checks["disk.size"]["wanted"] == "2 TB"
    assert "disk.size" not in verdicts(as_json(host))


def test_for_a_provider_only_what_it_needs_is_shown(host: Path) -> None:
    assert set(verdicts(as_json(host, "--for", "local"))) == {
        "local.platform",
        "local.memory",
        "local.disk",
        "software.python",
    }
    assert set(verdicts(as_json(host, "--for", "inventory"))) == {
        "software.python",
        "software.ansible",
        "system.dns",
        "system.clock",
    }
    assert "local.memory" not in verdicts(as_json(host, "--for", "libvirt"))


def test_a_site_file_chooses_the_provider_and_the_folder(host: Path, tmp_path: Path) -> None:
    site = tmp_path / "ai-how.yaml"
    site.write_text("version: 1\nname: demo\nstate_dir: data\n")
    answer = as_json(host, "--site", str(site))
    assert answer["for"] == "local"
    assert answer["facts"]["site_storage"]["path"] == str(tmp_path / "data")
    assert as_json(host, "--site", str(site), "--for", "libvirt")["for"] == "libvirt"


def test_it_says_which_hosts_of_a_site_it_did_not_check(host: Path, tmp_path: Path) -> None:
    site = tmp_path / "ai-how.yaml"
    hosts = "[{name: big, uri: qemu+ssh://admin@big/system}, {name: here}]"
    site.write_text(f"name: demo\nprovider: libvirt\nhosts: {hosts}\n")
    said = doctor(host, "--site", str(site)).stderr
    assert "Checked: this machine alone. Not checked: big (qemu+ssh://admin@big/system);" in said
    assert "Not checked" not in doctor(host).stderr


def test_a_site_file_that_was_not_named_is_told(host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "was not looked at" not in doctor(host, "--for", "local").output
    (tmp_path / "ai-how.yaml").write_text("name: lab\n")
    assert "ai-how.yaml of this folder was not looked at" in doctor(host, "--for", "local").output


def test_what_to_type_next_depends_on_whether_there_is_a_site(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # a capture does not tell how much disk is free
    monkeypatch.setattr(Readiness, "ready", True)
    assert "The local provider works here: ai-how init\n" in doctor(host).stderr
    (tmp_path / "ai-how.yaml").write_text("name: lab\n")
    assert "The local provider works here: ai-how up\n" in doctor(host).stderr


def test_subnet_bridge_and_disk(host: Path) -> None:
    assert verdicts(as_json(host))["network.subnet"] == "fail"
    assert verdicts(as_json(host, "--subnet", "10.9.0.0/24"))["network.subnet"] == "pass"
    assert verdicts(as_json(host, "--bridge", "virbr7"))["network.bridge"] == "warn"
    assert verdicts(as_json(host, "--bridge", "virbr8"))["network.bridge"] == "pass"
    assert as_json(host, "--disk", "/srv/vm")["facts"]["storage"]["path"] == "/srv/vm"


@pytest.mark.parametrize("subnet", ["192.168.200.1/24", "192.168.200.0/99", "cluster", ""])
def test_a_bad_subnet_is_named(host: Path, subnet: str) -> None:
    error = doctor(host, "--subnet", subnet).exception
    assert isinstance(error, SpecError)
    # 1 would be a warning's
    assert error.exit_code == 2
    assert error.brief == f"{subnet!r} is no subnet"
    assert error.next_step.startswith("ai-how doctor --subnet")


@pytest.mark.parametrize(
    "words",
    [["--tier", "huge"], ["--for", "cloud"], ["--only", "disks"], ["--root", "/no/such"], ["-o", "yaml"]],
)
def test_a_word_that_is_none_is_refused_with_the_choices(host: Path, words: list[str]) -> None:
    assert isinstance(doctor(host, *words).exception, click.UsageError)


def test_a_group_that_the_provider_does_not_need_is_said(host: Path) -> None:
    error = doctor(host, "--for", "local", "--only", "gpu").exception
    assert isinstance(error, SpecError)
    assert error.brief == "local needs no check of gpu"
    error = doctor(host, "--only", "node").exception
    assert isinstance(error, SpecError)
    assert error.next_step == "ai-how doctor --site FILE --only node"


def test_json_holds_facts_checks_tier_and_providers(host: Path) -> None:
    answer = as_json(host)
    assert set(answer) == {"version", "exit_code", "for", "wanted", "providers", "tier", "checks", "facts"}
    assert answer["facts"]["cpu"]["cores"] == 32
    # free space of a capture is unknown, so no tier is claimed
    assert answer["tier"]["reached"] is None
    assert any(text.startswith("Free disk") for text in answer["tier"]["unclear"])
    assert answer["providers"]["local"]["ready"] is False
    assert answer["wanted"] == {"tier": "minimum", "subnet": "192.168.200.0/24", "bridge": ""}


def test_junit_counts_what_failed_and_what_was_skipped(host: Path) -> None:
    suites = ET.fromstring(doctor(host, "-o", "junit").stdout)
    assert suites.tag == "testsuites"
    assert [suite.get("name") for suite in suites] == list(GROUPS)
    found = verdicts(as_json(host))
    assert suites.get("tests") == str(len(found))
    assert suites.get("failures") == str(list(found.values()).count("fail")) == str(len(suites.findall(".//failure")))
    assert suites.get("skipped") == str(list(found.values()).count("unknown")) == str(len(suites.findall(".//skipped")))
    for case in suites.iter("testcase"):
        tags = {"fail": "failure", "unknown": "skipped"}
        assert case[0].tag == tags.get(found[case.attrib["name"]], "system-out")


def check(verdict: Verdict, *, found: str = "x", fix: str = "", needs_root: bool = False) -> Check:
    return Check(
        id="port.tcp.1",
        title="T",
        found=found,
        wanted="w",
        verdict=verdict,
        why="Because.",
        fix=fix,
        needs_root=needs_root,
    )


def test_junit_is_xml_whatever_a_device_is_called() -> None:
    text = render_junit([check(Verdict.FAIL, found="a\x00\x1b]<&>\ud800\uffff")])
    failure = ET.fromstring(text.encode()).find(".//failure")
    assert failure is not None
    assert failure.get("message") == "T: a??]<&>??, wanted w"


def test_a_fix_stands_line_by_line_and_root_is_offered_only_to_others() -> None:
    checks = [check(Verdict.WARN, fix="sudo one; sudo two", needs_root=True), check(Verdict.PASS, fix="")]
    tier = TierAnswer(reached="minimum", next="recommended", missing=("Memory: 64 (wanted: 128 GB)",))
    providers = [Readiness(provider="local", failures=0, warnings=1, unknown=0)]
    text = render_text(checks, providers=providers, tier=tier)
    assert text.startswith("local      ready, 1 warning\ntier       minimum\n           missing for recommended:\n")
    root = '    root would tell more:\n         sudo "$(command -v ai-how)" doctor --only port'
    assert f"    fix  sudo one\n         sudo two\n{root}" in text
    assert "root would" not in render_text(checks, providers=providers, tier=tier, as_root=True)
    top = render_text([], providers=providers, tier=TierAnswer(reached="production", next=None))
    assert top.endswith("tier       production")


def test_the_reference_lists_every_check(tmp_path: Path) -> None:
    text = (DOCS / "reference" / "doctor.md").read_text()
    listed = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `") and "." in line.split("`")[1]}
    wanted = Wanted(tier="production", subnet=ip_network("192.168.200.0/24"))
    found = {
        re.sub(r"[0-9a-f]{4}(:[0-9a-f]{2}){2}\.[0-7]", "ADDRESS", check.id) for check in everything(tmp_path, wanted)
    }
    of_servers = set(re.findall(r"`(node\.[a-z-]+)`", text))
    ports = {f"port.{port.protocol}.{port.text}" for port in load_requirements().ports}
    assert listed - of_servers == (found - ports) | {"port.PROTOCOL.PORT"}
    looks = [look(server(name, last=last, gpus=True)) for name, last in (("a", 1), ("b", 2))]
    checks = examined({each.server.name: each for each in looks}, {"a": [], "b": []})["a"].checks
    assert of_servers == {check.id for check in checks if check.group == NODE_GROUP}


def everything(folder: Path, wanted: Wanted) -> list[Check]:
    """The checks of a host on which all of them have something to look at."""
    return judge(good_facts(folder), wanted=wanted)


def test_what_passes_alike_shares_a_line_until_it_is_asked_for(tmp_path: Path) -> None:
    checks = everything(tmp_path, Wanted(tier="production", subnet=ip_network("10.0.0.0/24")))
    short = render_text(checks, providers=[], tier=None)
    assert "  pass     Other GPU checks      Group 4, Isolation 4           see --only iommu" in short
    assert "  pass     Free ports            6443," in short
    assert "Reset of 01:00.0" not in short
    assert [line for line in short.splitlines() if line.startswith("  pass     GPU ")] != []
    full = render_text(checks, providers=[], tier=None, folded=False)
    assert "  pass     Reset of 01:00.0      flr, bus " in full
    assert "  pass     Kubernetes API        free " in full
    assert max(map(len, [*short.splitlines(), *full.splitlines()])) <= 80


def test_a_failure_never_shares_a_line_and_the_worst_comes_first() -> None:
    checks = [
        check(Verdict.UNKNOWN, fix="look"),
        check(Verdict.WARN, fix="mend"),
        replace(check(Verdict.FAIL, fix="mend"), id="port.tcp.2", why="Also."),
    ]
    text = render_text(checks, providers=[], tier=None)
    assert len([line for line in text.splitlines() if line.startswith(("  fail     T  ", "  warn     T  "))]) == 2
    assert text.endswith(
        "What to do\n  fail     T (port.tcp.2)\n  warn     T (port.tcp.1)\n"
        "    why  Also.\n         Because.\n    fix  mend\n"
        "  unknown  T (port.tcp.1)\n    why  Because.\n    fix  look"
    )


def test_many_reasons_of_one_remedy_are_not_all_told() -> None:
    checks = [replace(check(Verdict.UNKNOWN, fix="look"), id=f"cpu.{n}", why=f"Reason {n}.") for n in range(4)]
    text = render_text(checks, providers=[], tier=None)
    assert "Reason" not in text
    assert text.count("    fix  look") == 1
    assert "cpu.3" in text


def test_only_what_is_asked_for_stands_above_the_checks(host: Path) -> None:
    assert doctor(host, "--for", "local").stdout.startswith("local      2 unknown\n\nLocal provider\n")
    libvirt = doctor(host, "--for", "libvirt").stdout.splitlines()
    assert [line.split()[0] for line in libvirt[:2]] == ["libvirt", "tier"]
    assert doctor(host, "--only", "kvm").stdout.startswith("Virtualization\n")


def test_a_tier_is_not_below_what_could_not_be_told() -> None:
    unclear = TierAnswer(reached=None, next="minimum", unclear=("Free disk: a capture tells no free space",))
    assert "tier       not known\n" in render_text([], providers=[], tier=unclear)
    missing = TierAnswer(reached=None, next="minimum", missing=("Memory: 8",))
    assert "tier       below minimum\n" in render_text([], providers=[], tier=missing)
