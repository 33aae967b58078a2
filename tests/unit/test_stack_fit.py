"""Whether the stack's pods find a place: on the resource requirements' worker they do, on a smaller one they do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ai_how.capacity.demand import needs_of
from ai_how.capacity.types import NodeNeed
from ai_how.cli.app import root
from ai_how.cli.site_stack import answers
from ai_how.kubernetes.reservations import reservation
from ai_how.site.clusters import Cluster
from ai_how.site.load import check_site_text
from ai_how.stack.fit import PLATFORM, fit_stack, node_room
from ai_how.stack.requests import Request, cpu_m, cpu_quantity, memory_mib, memory_quantity, total
from ai_how.stack.stack import render_parts
from ai_how.stack.volumes import volume_need
from tests.stacks import HEAD, VARIANTS, setting

DOCUMENT = needs_of("cloud", Cluster())
PARTS = render_parts(setting())


def worker(name: str, vcpus: int, memory_gib: int) -> NodeNeed:
    return NodeNeed(name=name, cluster="cloud", role="cpu-worker", vcpus=vcpus, memory_gib=memory_gib, disk_gib=100)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_fits_on_the_worker_of_the_resource_requirements(variant: str) -> None:
    fit = fit_stack(render_parts(setting(variant)), DOCUMENT)
    assert fit.fits
    (cpu_worker,) = (load for load in fit.nodes if load.name == "cloud-cpu-worker-1")
    assert cpu_worker.asked.cpu_m <= cpu_worker.room.cpu_m <= 6000 - 600
    assert cpu_worker.asked.memory_mib <= cpu_worker.room.memory_mib < 16 * 1024 - reservation(16).kube_memory_mib


def test_gpu_workers_are_left_to_models_where_there_are_others() -> None:
    for load in fit_stack(PARTS, DOCUMENT).nodes:
        if "gpu" in load.name:
            assert "mlflow" not in load.pods and "nvidia-gpu-node" in load.pods


def test_without_cpu_workers_gpu_workers_take_it() -> None:
    nodes = [node for node in DOCUMENT if node.role != "cpu-worker"]
    fit = fit_stack(PARTS, nodes)
    assert fit.fits and any("mlflow" in load.pods for load in fit.nodes)


def test_a_small_worker_is_refused_and_what_is_left_over_is_named() -> None:
    fit = fit_stack(PARTS, [worker("small", 2, 4)])
    assert not fit.fits
    assert fit.unplaced[0].name == "mlflow"


def test_one_large_pod_needs_one_node_that_takes_it() -> None:
    small = [worker(f"w{number}", 4, 3) for number in range(12)]
    assert "prometheus" in [pod.name for pod in fit_stack(PARTS, small).unplaced]


@given(sizes=st.lists(st.tuples(st.integers(1, 16), st.integers(1, 64)), max_size=5))
def test_nothing_is_lost_and_no_node_is_overfull(sizes: list[tuple[int, int]]) -> None:
    nodes = [worker(f"w{number}", *size) for number, size in enumerate(sizes)]
    fit = fit_stack(PARTS, nodes)
    wanted = [pod for part in PARTS for pod in part.workloads] + list(PLATFORM)
    daemons = [pod.name for pod in wanted if pod.place == "every-node"] * len(nodes)
    singles = [pod.name for pod in wanted if pod.place == "workers" for _ in range(pod.replicas)]
    placed = [name for load in fit.nodes for name in load.pods] + [pod.name for pod in fit.unplaced]
    assert sorted(placed) == sorted(daemons + singles)
    for load in fit.nodes:
        if any(name not in daemons for name in load.pods):
            assert load.asked.cpu_m <= load.room.cpu_m and load.asked.memory_mib <= load.room.memory_mib


@given(vcpus=st.integers(1, 512), memory_gib=st.integers(1, 4096))
def test_a_node_never_gives_more_than_it_has(vcpus: int, memory_gib: int) -> None:
    room = node_room(vcpus, memory_gib)
    assert 0 <= room.cpu_m < vcpus * 1000
    assert 0 <= room.memory_mib < memory_gib * 1024


def test_the_volumes_of_the_resource_requirements_may_outgrow_the_workers_disk() -> None:
    need = volume_need(PARTS, setting(), DOCUMENT)
    assert (need.volumes_gib, need.disks_gib, need.fits) == (100 + 20 + 50, 150, False)
    elsewhere = volume_need(render_parts(setting("other-ways")), setting("other-ways"), DOCUMENT)
    assert (elsewhere.volumes_gib, elsewhere.fits) == (200 + 2 * 20 + 50, True)


@pytest.mark.parametrize(
    ("text", "mib"), [("1Gi", 1024), ("64M", 62), ("512Mi", 512), ("1073741824", 1024), ("1.5Gi", 1536)]
)
def test_memory_is_read_as_kubernetes_writes_it(text: str, mib: int) -> None:
    assert memory_mib(text) == mib


@pytest.mark.parametrize(("text", "millis"), [("250m", 250), ("1", 1000), ("0.5", 500), (2, 2000), ("0.0001", 1)])
def test_processors_are_read_as_kubernetes_writes_them(text: object, millis: int) -> None:
    assert cpu_m(text) == millis


@pytest.mark.parametrize("text", ["", "1 Gi", "-1", "1e3", "Gi"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        memory_mib(text)


def test_amounts_are_written_as_operators_write_them_back() -> None:
    assert [cpu_quantity(one) for one in (0, 250, 1000, 1500, 2000)] == ["0", "250m", "1", "1500m", "2"]
    sizes = {0: "0", 128: "128Mi", 1024: "1Gi", 1536: "1536Mi", 3072: "3Gi", 1024**2: "1Ti"}
    assert {one: memory_quantity(one) for one in sizes} == sizes


@given(st.lists(st.builds(Request, cpu_m=st.integers(0, 9999), memory_mib=st.integers(0, 9999)), max_size=6))
def test_sums_are_those_of_the_parts(requests: list[Request]) -> None:
    whole = total(requests)
    assert whole.cpu_m == sum(each.cpu_m for each in requests)
    assert cpu_m(whole.resources()["requests"]["cpu"]) == whole.cpu_m
    assert memory_mib(whole.resources()["requests"]["memory"]) == whole.memory_mib


def answer_to(stack: str, nodes: str = "") -> list[str]:
    site, mistakes = check_site_text(f"{HEAD}clusters:\n  cloud:\n    stack: {stack}\n{nodes}", Path("f"))
    assert site is not None, mistakes
    return [line for found in answers(site) for line in found.lines()]


SMALL = "    nodes:\n      - role: control-plane\n      - {role: cpu-worker, vcpus: 2, memory_gib: 4}\n"


def test_the_plan_says_that_it_fits() -> None:
    lines = "\n".join(answer_to("{domain: ai.example.org}"))
    lines = " ".join(lines.split())
    assert "parts fit by cores and memory, full volumes do not; cloud-cpu-worker-1 is the fullest node" in lines
    assert "cloud-cpu-worker-1 is planned with 150 GiB for 170" in lines
    roomy = (
        "    nodes:\n      - role: control-plane\n      - {role: cpu-worker, disk_gib: 300}\n      - role: gpu-worker\n"
    )
    lines = " ".join(" ".join(answer_to("{domain: ai.example.org}", roomy)).split())
    assert "parts fit; cloud-cpu-worker-1 is the fullest" in lines and "full volumes" not in lines


def test_the_plan_says_what_does_not_fit_and_what_to_do() -> None:
    lines = " ".join(" ".join(answer_to("{domain: ai.example.org}", SMALL)).split())
    assert "does not fit: mlflow" in lines and "find no place on cloud-cpu-worker-1" in lines
    assert "give the workers more vcpus or memory_gib" in lines


def test_the_plan_refuses_values_that_a_chart_does_not_know() -> None:
    lines = " ".join(" ".join(answer_to("{values: {keda: {operater: 1}}}")).split())
    assert "chart keda 2.20.2 has no value operater" in lines and "did you mean operator?" in lines


def test_a_stack_that_is_not_written_is_answered_as_it_is_applied_all_the_same() -> None:
    site, _ = check_site_text(HEAD, Path("f"))
    assert site is not None
    (cloud,) = answers(site)
    assert cloud.cluster == "cloud" and cloud.fit
    assert answer_to("{enabled: false}") == []
    site, mistakes = check_site_text(f"{HEAD}clusters: {{cloud: {{kubernetes: {{enabled: false}}}}}}\n", Path("f"))
    assert site is not None, mistakes
    assert answers(site) == ()


def test_a_volume_lies_whole_on_one_node() -> None:
    workers = [worker("a", 4, 8), worker("b", 4, 8)]
    need = volume_need(PARTS, setting(), workers)
    assert need.disks is not None
    # 100 GiB on one of them, 50 and 20 on the other
    assert sorted(disk.volumes_gib for disk in need.disks) == [70, 100] and need.fits
    assert not volume_need(PARTS, setting(), []).fits


DECLARED = """\
hosts:
  - name: big
    uri: qemu+ssh://admin@192.0.2.1/system
    declared: {cores: 64, threads: 128, memory_gib: 256, disk_gib: 3000, gpus: [{model: RTX A6000, count: 2}]}
"""


@pytest.mark.parametrize("output", ["text", "json"])
def test_the_command_ends_with_1_where_the_stack_does_not_fit(tmp_path: Path, output: str) -> None:
    file = tmp_path / "ai-how.yaml"
    file.write_text(f"{HEAD}{DECLARED}clusters:\n  cloud:\n    stack: {{domain: ai.example.org}}\n{SMALL}")
    done = CliRunner().invoke(root, ["plan", "--site", str(file), "-o", output])
    assert done.exit_code == 1, done.output
    if output == "json":
        found = json.loads(done.stdout)["stacks"]["cloud"]
        assert found["fit"] is False and "mlflow" in found["unplaced"]
    else:
        assert "Stack of cloud: does not fit" in done.stdout


def test_a_tier_says_of_the_stack_beside_its_answer() -> None:
    done = CliRunner().invoke(root, ["plan", "--tier", "minimum", "--fit"])
    assert (done.exit_code, "Stack of cloud: " in done.stdout) == (0, True)


def test_the_command_says_why_a_stack_cannot_be_rendered(tmp_path: Path) -> None:
    file = tmp_path / "ai-how.yaml"
    file.write_text(f"{HEAD}{DECLARED}release: '2025.10'\nclusters:\n  cloud:\n    stack: {{domain: ai.example.org}}\n")
    done = CliRunner().invoke(root, ["plan", "--site", str(file), "-o", "json"])
    assert done.exit_code == 1
    assert "the image of mlflow 3.5.1 cannot be used" in json.loads(done.stdout)["stacks"]["cloud"]["why"]
