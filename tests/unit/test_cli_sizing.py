"""``ai-how plan`` for clusters on the command line, every option of it; what is refused until clusters can be built."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ai_how.capacity.report import make_report
from ai_how.capacity.types import HostCapacity
from ai_how.cli.app import root
from ai_how.cli.sizing_text import sizing_lines
from ai_how.errors import AiHowError, NotFoundError, ProviderError, SpecError, TryAgainError
from ai_how.site.load import load_site
from ai_how.site.spec import Site
from tests.golden.conftest import ROOT
from tests.sizing import BIG, host, node, on_tier, request

DECLARED = "cores: 64, memory_gib: 256, disk_gib: 4000, gpus: [{model: RTX A6000, count: 4}]"
FITS = f"name: lab\nprovider: libvirt\nhosts: [{{name: h, declared: {{{DECLARED}}}}}]\n"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AI_HOW_SITE", raising=False)

    def unreachable(uri: str) -> None:
        raise TryAgainError(f"no connection to {uri}", next_step="try again")

    monkeypatch.setattr("ai_how.machines.provider.open_connection", unreachable)
    return tmp_path


def ai_how(*args: str) -> Result:
    done = CliRunner().invoke(root, args)
    assert done.exception is None or isinstance(done.exception, SystemExit | AiHowError), done.exception
    return done


def plan_json(*args: str, code: int) -> Any:
    done = ai_how("plan", "-o", "json", *args)
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_a_tier_needs_no_site_file() -> None:
    assert isinstance(ai_how("plan").exception, NotFoundError)
    plan = plan_json("--tier", "minimum", code=1)
    assert (plan["format"], plan["tier"], plan["fits"]) == ("ai-how/sizing/v1", "minimum", False)
    assert [short["rule"] for short in plan["schedules"]["side-by-side"]["short"]] == [
        "vcpu-overcommit",
        "memory",
        "disk",
    ]


def test_the_largest_that_fits_a_tier() -> None:
    plan = plan_json("--tier", "minimum", "--fit", code=0)
    assert (plan["fits"], plan["fitted"]["found"]) == (True, True)
    assert {"cluster": "cloud", "role": "gpu-worker", "key": "memory_gib", "before": 32, "after": 21} in plan["fitted"][
        "changes"
    ]
    assert {one["host"] for one in plan["nodes"]} == {"minimum-tier"}
    done = ai_how("plan", "--tier", "minimum", "--fit")
    assert (done.exit_code, done.stderr) == (0, "Next: write these sizes into the site file (clusters.<name>.nodes)\n")


def test_a_tier_is_asked_for_the_sites_own_clusters() -> None:
    Path("ai-how.yaml").write_text(
        FITS + "clusters: {c: {nodes: [{role: control-plane, host: h}, {role: cpu-worker}]}}\n"
    )
    assert [one["name"] for one in plan_json("--tier", "minimum", code=0)["nodes"]] == [
        "c-control-plane-1",
        "c-cpu-worker-1",
    ]
    Path("ai-how.yaml").write_text("name: local\n")
    assert len(plan_json("--tier", "production", code=1)["nodes"]) == 4


def test_sizing_is_an_answer_by_itself_where_no_libvirt_is() -> None:
    Path("ai-how.yaml").write_text(FITS)
    done = ai_how("plan")
    assert done.exit_code == 2
    assert done.stderr.startswith("What `up` would do is not known: ")
    assert done.stdout.startswith("Sizing of site lab on these hosts: fits (side by side)\n")
    plan = plan_json("--site", "ai-how.yaml", code=2)
    assert [one["gpus"][0]["name"] for one in plan["nodes"] if one["gpus"]] == ["NVIDIA RTX A6000"] * 2
    assert plan == plan_json(code=2)


def test_what_does_not_fit_says_what_to_type_next() -> None:
    Path("my site.yaml").write_text(FITS.replace("256", "64"))
    done = ai_how("plan", "--site", "my site.yaml")
    assert done.exit_code == 1
    assert done.stderr == "Next: ai-how plan --site 'my site.yaml' --fit shows the largest that fits\n"
    assert "memory: 32.6 GiB short on host h: 92.6 wanted, 60 usable" in done.stdout


def test_a_clear_no() -> None:
    Path("ai-how.yaml").write_text(
        FITS.replace("count: 4", "count: 1")
        + "clusters: {c: {nodes: "
        + ("[{role: control-plane}, {role: gpu-worker, gpu_model: T4}]}}\n")
    )
    done = ai_how("plan", "--fit")
    assert done.exit_code == 1
    assert "Fit: no. Even the smallest clusters do not fit:\n  gpus: 1 T4 GPUs wanted, 0 on host h\n" in done.stdout
    plan = plan_json("--fit", code=1)
    assert (plan["fitted"]["found"], plan["fitted"]["smallest"]["fit"]) == (False, "impossible")


def test_fit_needs_clusters() -> None:
    Path("ai-how.yaml").write_text("name: local\n")
    refused = ai_how("plan", "--fit").exception
    assert isinstance(refused, SpecError)
    assert refused.next_step == "ai-how plan --tier minimum --fit, or write provider: libvirt"


def test_both_schedules_are_answered() -> None:
    clusters = "clusters: {cloud: {}, hpc: {kind: hpc, start: manual}}\n"
    Path("ai-how.yaml").write_text(FITS.replace("cores: 64", "cores: 48, threads: 96").replace("256", "128") + clusters)
    plan = plan_json(code=1)
    assert {name: answer["fit"] for name, answer in plan["schedules"].items()} == {
        "side-by-side": "impossible",
        "in-turns": "fits",
    }
    assert "Also: fits (in turns)" in ai_how("plan").stdout
    Path("ai-how.yaml").write_text(
        FITS.replace("count: 4", "count: 2").replace("cores: 64", "cores: 48, threads: 96")
        + clusters
        + "schedule: in-turns\n"
    )
    plan = plan_json(code=2)
    assert [contended["nodes"] for contended in plan["contended_gpus"]] == [
        ["cloud-gpu-worker-1", "hpc-compute-1"],
        ["cloud-gpu-worker-2", "hpc-compute-2"],
    ]
    assert "contended: GPU 0 of host h serves cloud-gpu-worker-1 and hpc-compute-1" in ai_how("plan").stdout


SERVERS = """name: lab
provider: inventory
hosts: [{name: a, address: me@192.0.2.1}, {name: b, address: me@192.0.2.2}]
clusters: {c: {nodes: [{role: control-plane, host: a}, {role: cpu-worker, host: b}]}}
"""


def test_a_server_whose_size_is_asked_for_must_be_declared() -> None:
    Path("ai-how.yaml").write_text(SERVERS)
    refused = ai_how("plan", "--fit").exception
    assert isinstance(refused, SpecError)
    assert refused.brief == "what host a has is not known"
    assert "me@192.0.2.1" in refused.evidence


def test_the_plan_of_servers_says_how_the_stack_fits() -> None:
    Path("ai-how.yaml").write_text(SERVERS + "ssh: {key_file: none}\n")
    said = ai_how("plan")
    assert said.exit_code == 2
    assert "Stack of c: 14 parts fit by cores and memory" in said.stdout
    assert "by their planned sizes" in said.stdout
    assert plan_json(code=2)["stacks"]["c"]["fit"] is True


def test_an_inventory_is_planned() -> None:
    hosts = ", ".join(f"{{name: {name}, declared: {{{DECLARED}}}}}" for name in "abcd")
    Path("ai-how.yaml").write_text(f"name: lab\nprovider: inventory\nhosts: [{hosts}]\n")
    assert {one["host"] for one in plan_json(code=2)["nodes"]} == set("abcd")
    said = ai_how("plan")
    assert "one-node-a-host" in said.stdout
    assert said.stderr.startswith("Planned by size only: hosts without address.\nNext: write address: user@host")
    assert "planned by size only: hosts without address" in " ".join(ai_how("topology").stdout.split())
    assert "inventory (planned by size only: hosts without address)" in ai_how("validate").stdout


def test_servers_that_are_not_named_are_not_this_machine() -> None:
    Path("ai-how.yaml").write_text("name: lab\nprovider: inventory\nclusters: {cloud: {}}\n")
    assert "hosts         none yet" in ai_how("validate").stdout
    for command in ("plan", "topology"):
        refused = ai_how(command).exception
        assert isinstance(refused, SpecError)
        assert refused.brief == "site lab names no servers to plan with"
        assert "this-machine" not in f"{refused.evidence} {refused.next_step}"


def test_warnings_of_the_file_go_to_stderr() -> None:
    Path("ai-how.yaml").write_text(
        FITS + "clusters: {c: {nodes: [{role: control-plane, vcpus: 9}, {role: cpu-worker}]}}\n"
    )
    for words in (("plan",), ("validate",), ("validate", "-o", "json")):
        done = ai_how(*words)
        assert done.stderr.startswith("warning: ai-how.yaml:4:53: clusters.c.nodes[0].vcpus: 9 vCPUs, the resource ")
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("words", [("up", "--yes"), ("up", "--dry-run"), ("status",), ("down",)])
def test_nothing_is_done_for_a_site_that_can_only_be_planned(in_a_folder: Path, words: tuple[str, ...]) -> None:
    hosts = ", ".join(f"{{name: {name}, declared: {{{DECLARED}}}}}" for name in "abcd")
    Path("ai-how.yaml").write_text(f"name: lab\nprovider: inventory\nhosts: [{hosts}]\n")
    refused = ai_how(*words).exception
    assert isinstance(refused, SpecError)
    assert refused.brief == "site lab names no server that could be reached"
    assert "ai-how plan shows" in refused.next_step
    assert [path.name for path in in_a_folder.iterdir()] == ["ai-how.yaml"]


def test_clusters_on_servers_are_not_started_by_name() -> None:
    Path("ai-how.yaml").write_text(SERVERS)
    refused = ai_how("up", "--cluster", "c").exception
    assert isinstance(refused, SpecError)
    assert refused.next_step == "leave --cluster out"
    for words in (("hosts", "list"), ("hosts", "trust")):
        Path("ai-how.yaml").write_text(FITS)
        refused = ai_how(*words).exception
        assert isinstance(refused, SpecError)
        assert refused.brief == "site lab has no servers of its own"


def test_models_are_for_a_site_that_serves_them(in_a_folder: Path) -> None:
    Path("ai-how.yaml").write_text(FITS + "clusters: {cloud: {stack: {enabled: false}}}\n")
    refused = ai_how("model", "list").exception
    assert isinstance(refused, NotFoundError)
    assert refused.brief == "no cluster of site lab has a stack"
    assert [path.name for path in in_a_folder.iterdir()] == ["ai-how.yaml"]


def test_validate_says_what_the_clusters_are() -> None:
    Path("ai-how.yaml").write_text(FITS + "clusters: {cloud: {}, hpc: {kind: hpc}}\n")
    assert ai_how("validate").stdout.splitlines()[1:] == [
        "  name          lab",
        "  provider      libvirt (virtual machines)",
        "  hosts         h",
        "  clusters      cloud (cloud, 4 nodes), hpc (hpc, 3 nodes), side by side",
        "  versions      release set current",
    ]


def test_validate_names_local_paths_that_are_not_there(tmp_path: Path) -> None:
    wrong = "kubernetes: {kubespray_path: /nope, bundle: b}, stack: {helm_path: helm}"
    Path("ai-how.yaml").write_text(FITS + f"clusters: {{cloud: {{{wrong}}}}}\n")
    done = ai_how("validate")
    assert done.exit_code == 1
    assert [line.split(": ", 2)[1:] for line in done.stdout.splitlines()] == [
        [
            "clusters.cloud.kubernetes.kubespray_path",
            "there is no /nope; " + done.stdout.split("/nope; ")[1].split("\n")[0],
        ],
        [
            "clusters.cloud.kubernetes.bundle",
            f"there is no {tmp_path}/b; write the folder of a bundle (ai-how bundle create), or remove it",
        ],
        [
            "clusters.cloud.stack.helm_path",
            f"there is no {tmp_path}/helm; write Helm's program, or remove it: one is found or fetched then",
        ],
    ]
    assert "versions check" not in done.stderr
    (tmp_path / "b").mkdir()
    (tmp_path / "helm").touch()
    Path("ai-how.yaml").write_text(FITS + f"clusters: {{cloud: {{{wrong.replace('/nope', 'b')}}}}}\n")
    assert ai_how("validate").exit_code == 0


def test_a_misspelt_variable_is_refused_where_kubespray_is_at_hand(tmp_path: Path) -> None:
    roles = tmp_path / "kubespray/roles/kubernetes/defaults"
    roles.mkdir(parents=True)
    (roles / "main.yml").write_text("kube_proxy_mode: ipvs\n")
    section = "kubernetes: {kubespray_path: kubespray, extra_vars: {kube_proxy_mod: nftables}}"
    Path("ai-how.yaml").write_text(FITS + f"clusters: {{cloud: {{{section}}}}}\n")
    refused = ai_how("plan").exception
    assert isinstance(refused, SpecError)
    assert "has no variable kube_proxy_mod" in refused.brief and "kube_proxy_mode" in refused.evidence
    Path("ai-how.yaml").write_text(FITS + f"clusters: {{cloud: {{{section.replace('_mod:', '_mode:')}}}}}\n")
    assert ai_how("plan").exit_code == 2


def test_an_image_that_is_not_there_is_said_without_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("ai-how.yaml").write_text(FITS + "clusters: {cloud: {image: n1}}\n")
    assert "warning: there is no image 'n1' on this machine" in ai_how("plan").stderr
    assert plan_json(code=2)["missing_images"] == ["n1"]
    Path("ai-how.yaml").write_text(FITS)
    assert plan_json(code=2)["missing_images"] == []


def test_status_names_every_host_that_does_not_answer_and_what_is_planned() -> None:
    hosts = f"[{{name: a, uri: qemu+ssh://a/system, declared: {{{DECLARED}}}}}, {{name: b, uri: qemu+ssh://b/system}}]"
    Path("ai-how.yaml").write_text(f"name: lab\nprovider: libvirt\nhosts: {hosts}\n")
    done = ai_how("status", "-o", "json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["site"], found["healthy"]) == ("lab", False)
    assert [one["host"] for one in found["unreachable"]] == ["a", "b"]
    conditions = {one["name"]: one["condition"] for one in found["components"]}
    assert set(conditions.values()) == {"unknown"}
    assert {"cloud-control-plane-1", "kubernetes/cloud"} <= set(conditions)
    text = ai_how("status").stdout
    assert text.count("no connection to qemu+ssh://") == 2 and "host b: no connection" in text
    refused = ai_how("down").exception
    assert isinstance(refused, TryAgainError)
    assert refused.brief == "no connection to hosts a, b"


def test_init_writes_clusters() -> None:
    done = ai_how("init", "--provider", "libvirt", "--name", "lab")
    assert done.exit_code == 0
    assert done.stderr.endswith("Next: ai-how plan\n")
    assert load_site(Path("ai-how.yaml")).provider == "libvirt"
    assert ai_how("init", "--provider", "local", "--stdout").stdout.count("provider: local") == 1


def test_init_writes_clusters_that_fit_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def here(memory_gib: float) -> None:
        capacity = HostCapacity(name="this-machine", cores=8, threads=16, memory_gib=memory_gib, disk_gib=250)
        monkeypatch.setattr("ai_how.host.capacity.observe_capacity", lambda *_, **__: capacity)

    here(23.5)
    done = ai_how("init", "--provider", "libvirt", "-")
    assert "memory_gib: 8  # usually 12" in done.stdout and done.stderr == ""
    here(7.5)
    done = ai_how("init", "--provider", "libvirt", "-")
    assert "memory_gib: 12\n" in done.stdout
    assert done.stderr.startswith("warning: not even the smallest cluster fits this machine")

    def unknown(*_: object, **__: object) -> None:
        raise ProviderError("what this-machine has cannot be told")

    monkeypatch.setattr("ai_how.host.capacity.observe_capacity", unknown)
    done = ai_how("init", "--provider", "libvirt", "-")
    assert "memory_gib: 12\n" in done.stdout
    assert done.stderr == "warning: the sizes are the usual ones: what this-machine has cannot be told\n"


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.name)
def test_every_example_of_clusters_fits(file: Path) -> None:
    if not re.search("^provider: libvirt", file.read_text(), re.MULTILINE):
        pytest.skip("not a site with clusters that are placed")
    assert plan_json("--site", str(file), code=2)["warnings"] == []


def test_the_text_fits_a_terminal() -> None:
    many = [host(f"host-{i:02}", gpus=(BIG,)) for i in range(12)]
    gpu_nodes = [node(f"cloud-gpu-worker-{i}", "gpu-worker", gpus=1, cluster="cloud") for i in range(12)]
    short = [node(f"w{i}", memory_gib=100, cluster="cloud") for i in range(20)]
    for made in (
        request(gpu_nodes, many),
        request([*gpu_nodes, *short], many),
        on_tier("minimum", "cloud", "hpc"),
        on_tier("production", "cloud", "hpc", schedule="in-turns"),
    ):
        report = make_report(made, site="a" * 20, kinds=frozenset({"cloud"}), to_fit=True)
        lines = list(sizing_lines(report))
        assert max(map(len, lines)) <= 80, max(lines, key=len)
        assert not any(line != line.rstrip() for line in lines)


def test_a_local_site_is_planned_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ai-how.yaml").write_text("name: demo\n")
    plan = plan_json(code=2)
    assert (plan["format"], plan["site"]) == ("ai-how/plan/v1", "demo")
    assert Site(name="demo").planned_clusters == {}
