"""Where a model goes: what fits really fits, nothing is taken that is not there, the smallest that does comes first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_how.accelerators.catalogue import by_name, load_catalogue
from ai_how.capacity.demand import needs_of
from ai_how.capacity.gpu_memory import UsableGpu
from ai_how.capacity.model_memory import Fits, Load, ModelInMemory, judge
from ai_how.endpoints.types import Hardware
from ai_how.errors import SpecError
from ai_how.kserve.node_facts import label_values, nodes_of_cluster, nodes_of_site
from ai_how.kserve.nodes import GpuNode, GpuPool
from ai_how.kserve.placement import Placing, place, planned_placement, rows, spelling
from ai_how.models.registered import sized_memory
from ai_how.site.load import check_site_text
from ai_how.site.spec import Site
from tests.kserve import A100, A6000, INFO, T4, api_node, api_pod, lab, model

AUTO = Hardware(accelerator="auto")
LOAD = Load(context_tokens=2048, sequences=4)
MODELS = [model(name) for name in ("Granite-3.1-2B", "Llama-3.1-8B")]
untimed = settings(deadline=None, max_examples=60)


def put(what: ModelInMemory, nodes: tuple[GpuNode, ...], wanted: Hardware = AUTO, **changes: Any) -> Placing:
    return place(what, nodes, wanted=wanted, load=replace(LOAD, gpus=wanted.count, **changes))


POOLS = st.builds(
    lambda kind, count, taken, turns: GpuPool(
        product=kind[0],
        memory_gib=kind[1],
        count=count * turns,
        taken=min(taken, count * turns),
        turns=turns,
        compute_capability=kind[2],
    ),
    st.sampled_from(
        [
            ("Tesla-T4", 14.6, (7, 5)),
            ("NVIDIA-RTX-A6000", 47.5, (8, 6)),
            ("NVIDIA-A100-SXM4-80GB", 79.5, (8, 0)),
            ("Tesla-P40", 22.0, (6, 1)),
        ]
    ),
    st.integers(1, 4),
    st.integers(0, 8),
    st.sampled_from([1, 1, 2]),
)
NODES = st.lists(POOLS, min_size=0, max_size=5).map(
    lambda pools: tuple(GpuNode(name=f"n{at}", pools=(pool,)) for at, pool in enumerate(pools))
)


@untimed
@given(st.sampled_from(MODELS), NODES, st.integers(1, 4))
def test_what_is_chosen_fits_and_is_there(what: ModelInMemory, nodes: tuple[GpuNode, ...], count: int) -> None:
    wanted = Hardware(accelerator="auto", count=count)
    try:
        found = put(what, nodes, wanted)
    except SpecError as error:
        # nothing was overlooked: no node alone would do either
        for node in nodes:
            with pytest.raises(SpecError):
                put(what, (node,), wanted)
        assert len(error.evidence.splitlines()) == len(nodes)
        return
    pool = found.chosen.pool
    gpu = UsableGpu(
        name=pool.product,
        nominal_gib=pool.memory_gib,
        usable_gib=pool.memory_gib / pool.turns,
        source="test",
        compute_capability=pool.compute_capability,
    )
    assert judge(what, gpu, replace(LOAD, gpus=count)).fits in (Fits.YES, Fits.TIGHT)
    assert found.placement.count == count <= pool.count
    assert found.waits or count <= pool.free
    assert found.placement.memory_share == 1 / pool.turns
    assert (pool.compute_capability or (9, 0)) >= (7, 5)


@untimed
@given(st.sampled_from(MODELS), NODES)
def test_nothing_smaller_that_is_free_would_do(what: ModelInMemory, nodes: tuple[GpuNode, ...]) -> None:
    try:
        found = put(what, nodes)
    except SpecError:
        return
    able = [each for each in found.options if not each.refusal and (found.waits or not each.full)]
    smallest = min(each.pool.memory_gib / each.pool.turns for each in able)
    assert found.chosen.pool.memory_gib / found.chosen.pool.turns == smallest


@untimed
@given(st.sampled_from(MODELS), NODES, POOLS)
def test_another_node_never_makes_it_worse(what: ModelInMemory, nodes: tuple[GpuNode, ...], more: GpuPool) -> None:
    try:
        before = put(what, nodes)
    except SpecError:
        return
    after = put(what, (*nodes, GpuNode(name="more", pools=(more,))))
    assert after.waits <= before.waits
    if after.waits == before.waits:
        assert after.chosen.pool.memory_gib / after.chosen.pool.turns <= (
            before.chosen.pool.memory_gib / before.chosen.pool.turns
        )


@untimed
@given(NODES, st.integers(256, 8192), st.integers(1, 16))
def test_who_asks_for_more_is_never_put_on_less(nodes: tuple[GpuNode, ...], context: int, sequences: int) -> None:
    try:
        more = put(MODELS[1], nodes, context_tokens=2 * context, sequences=sequences)
    except SpecError:
        return
    less = put(MODELS[1], nodes, context_tokens=context, sequences=sequences)
    if less.waits == more.waits:
        assert less.chosen.pool.memory_gib / less.chosen.pool.turns <= (
            more.chosen.pool.memory_gib / more.chosen.pool.turns
        )


def test_small_models_go_to_the_small_card_and_large_ones_to_the_large() -> None:
    assert put(model("Granite-3.1-2B"), lab()).chosen.node == "t4"
    assert put(model("Llama-3.1-8B"), lab()).chosen.node == "a6000"


def test_a_card_that_is_in_use_is_passed_over_and_the_table_says_so() -> None:
    found = put(model("Granite-3.1-2B"), lab(api_pod("t4", 1)))
    assert found.chosen.node == "a6000"
    assert [(row[0], row[2], row[4]) for row in rows(found)] == [
        ("a100", "1 of 1", "larger than needed"),
        ("a6000", "2 of 2", "chosen"),
        ("t4", "0 of 1", "in use: 1 of 1"),
    ]


def test_nodes_alike_are_told_to_be_as_good() -> None:
    nodes = nodes_of_cluster([api_node("a", T4), api_node("b", T4)], [])
    assert [row[4] for row in rows(put(model("Granite-3.1-2B"), nodes))] == ["chosen", "may be taken as well"]


def test_where_all_are_in_use_it_waits_for_the_smallest() -> None:
    found = put(model("Granite-3.1-2B"), lab(api_pod("t4", 1), api_pod("a6000", 2), api_pod("a100", 1)))
    assert found.waits
    assert found.chosen.node == "t4"
    assert ("t4", "nvidia_t4", "0 of 1", "yes", "chosen, and waits: in use: 1 of 1") in rows(found)


def test_pods_that_have_ended_take_nothing() -> None:
    nodes = lab(api_pod("t4", 1, phase="Succeeded"), api_pod("t4", 1, phase="Failed"))
    assert put(model("Granite-3.1-2B"), nodes).chosen.node == "t4"


def test_two_gpus_of_one_node_share_a_model() -> None:
    found = put(model("Llama-3.1-8B"), lab(), Hardware(accelerator="auto", count=2))
    assert (found.chosen.node, found.placement.count, found.placement.total) == ("a6000", 2, 2)
    assert next(each for each in found.options if each.node == "t4").refusal == (
        "2 GPUs are wanted of one node, it has 1"
    )


@pytest.mark.parametrize("name", ["nvidia_a100_80gb", "nvidia_rtx_a6000", "rtx a6000", "A100"])
def test_a_gpu_is_asked_for_by_any_of_its_names(name: str) -> None:
    found = put(model("Granite-3.1-2B"), lab(), Hardware(accelerator=name))
    assert found.chosen.node == ("a6000" if "6000" in name else "a100")


def test_a_card_with_other_memory_is_another_card() -> None:
    with pytest.raises(SpecError) as caught:
        put(model("Granite-3.1-2B"), lab(), Hardware(accelerator="nvidia_a100_40gb"))
    assert "a100  1x nvidia_a100_80gb: not the nvidia_a100_40gb that was asked for" in caught.value.evidence


def test_another_board_of_the_same_chip_and_memory_will_do() -> None:
    nodes = nodes_of_cluster([api_node("n", A100 | {"nvidia.com/gpu.product": "NVIDIA-A100-80GB-PCIe"})], [])
    assert put(model(), nodes, Hardware(accelerator="nvidia_a100_80gb")).placement.products == (
        "NVIDIA-A100-80GB-PCIe",
    )


def test_what_fits_nowhere_is_told_node_by_node_with_what_would_help() -> None:
    with pytest.raises(SpecError) as caught:
        put(model("Llama-3.1-70B"), lab())
    assert [line.split(":")[0] for line in caught.value.evidence.splitlines()] == [
        "a100  1x nvidia_a100_80gb",
        "a6000  2x nvidia_rtx_a6000",
        "t4  1x nvidia_t4",
    ]
    assert "GiB short on each GPU" in caught.value.evidence
    assert "what would help on nvidia_a100_80gb: " in caught.value.next_step


def test_a_quantization_that_a_card_cannot_compute_is_told() -> None:
    from ai_how.capacity.weight_types import WEIGHT_TYPES

    with pytest.raises(SpecError) as caught:
        put(model("Granite-3.1-2B", kind=WEIGHT_TYPES["fp8"]), lab(), Hardware(accelerator="nvidia_t4"))
    assert "too old: compute 7.5, needs 8.0" in caught.value.evidence


def test_a_card_that_vllm_no_longer_runs_on_is_told() -> None:
    nodes = (
        GpuNode(name="old", pools=(GpuPool(product="Tesla-P40", memory_gib=22, count=1, compute_capability=(6, 1)),)),
    )
    with pytest.raises(SpecError) as caught:
        put(model("Granite-3.1-2B"), nodes)
    assert "too old for vLLM: compute 6.1, needs 7.5" in caught.value.evidence


def test_the_processor_is_no_choice_here() -> None:
    with pytest.raises(SpecError, match="serves on GPUs only"):
        put(model("Granite-3.1-2B"), lab(), Hardware(accelerator="cpu"))


def test_a_cluster_without_gpus_says_so() -> None:
    with pytest.raises(SpecError, match="no node of this cluster has a GPU"):
        put(model("Granite-3.1-2B"), ())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spec": {"unschedulable": True}}, "the node takes no new pods (cordoned)"),
        ({"spec": {"taints": [{"key": "maintenance", "effect": "NoExecute"}]}}, "kept free: taint maintenance"),
        ({"status": {"allocatable": {"nvidia.com/gpu": "1"}, "conditions": []}}, "the node is not ready"),
    ],
)
def test_a_node_that_takes_nothing_is_told_why(change: dict[str, Any], said: str) -> None:
    nodes = nodes_of_cluster([{**api_node("t4", T4), **change}], [])
    with pytest.raises(SpecError) as caught:
        put(model("Granite-3.1-2B"), nodes)
    assert said in caught.value.evidence


def test_turns_on_a_shared_card_have_their_part_of_its_memory_and_no_more() -> None:
    labels = A6000 | {"nvidia.com/gpu.product": "NVIDIA-RTX-A6000-SHARED", "nvidia.com/gpu.replicas": "4"}
    (node,) = nodes_of_cluster([api_node("n", labels, count=8)], [])
    assert (node.pools[0].turns, node.pools[0].count) == (4, 8)
    found = put(model("Granite-3.1-2B"), (node,))
    assert found.placement.memory_share == 0.25
    assert found.placement.products == ("NVIDIA-RTX-A6000-SHARED",)
    with pytest.raises(SpecError, match="nowhere"):
        put(model("Llama-3.1-8B"), (node,))
    with pytest.raises(SpecError) as caught:
        put(model("Granite-3.1-2B"), (node,), Hardware(accelerator="auto", count=2))
    assert "shared in turns" in caught.value.evidence


def test_slices_of_mig_are_asked_for_by_their_own_name() -> None:
    labels = {
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "nvidia.com/gpu.memory": "81559",
        "nvidia.com/mig-1g.10gb.memory": "9984",
        "nvidia.com/mig-1g.10gb.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb",
    }
    nodes = nodes_of_cluster([api_node("n", labels, count=7, resource="nvidia.com/mig-1g.10gb")], [])
    found = put(model("Granite-3.1-2B"), nodes)
    assert found.placement.resource == "nvidia.com/mig-1g.10gb"
    assert found.placement.products == ("NVIDIA-H100-80GB-HBM3",)
    with pytest.raises(SpecError, match="nowhere"):
        put(model("Llama-3.1-8B"), nodes)


def test_of_a_registered_model_only_its_size_is_known_and_that_is_said() -> None:
    found = put(sized_memory(INFO, 16 * 1024**3), lab())
    assert found.chosen.node == "a6000"
    assert found.chosen.fits is Fits.UNKNOWN


@pytest.mark.parametrize("card", load_catalogue(), ids=lambda card: card.name)
def test_every_label_that_is_looked_for_means_its_card(card: Any) -> None:
    for value in label_values(card):
        assert by_name(value) is card


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("Tesla-T4", "nvidia_t4"),
        ("NVIDIA-RTX-A6000-SHARED", "nvidia_rtx_a6000"),
        ("NVIDIA-A100-SXM4-80GB", "nvidia_a100_80gb"),
        ("NVIDIA-Z9000", "nvidia_z9000"),
    ],
)
def test_a_product_has_a_name_for_the_deploy_file(product: str, name: str) -> None:
    assert spelling(product) == name


SITE = """\
name: lab
provider: libvirt
hosts:
  - name: big
    declared:
      cores: 32
      memory_gib: 128
      disk_gib: 2000
      gpus: [{model: RTX A6000, count: 1}, {model: T4, count: 4}]
"""


def site(text: str) -> Site:
    found, mistakes = check_site_text(text, Path("ai-how.yaml"))
    assert found is not None, mistakes
    return found


def test_without_a_cluster_the_nodes_are_those_that_the_site_plans() -> None:
    nodes = nodes_of_site(site(SITE), "cloud")
    assert {pool.product for node in nodes for pool in node.pools} == {"NVIDIA-RTX-A6000", "Tesla-T4"}
    assert put(model("Granite-3.1-2B"), nodes).placement.products[:2] == ("Tesla-T4", "T4")


def test_no_more_nodes_are_planned_than_there_are_cards_for() -> None:
    nodes = nodes_of_site(site(SITE), "cloud")
    assert [(node.name, [pool.product for pool in node.pools]) for node in nodes] == [
        ("cloud-gpu-worker-1", ["NVIDIA-RTX-A6000", "Tesla-T4"]),
        ("cloud-gpu-worker-2", ["Tesla-T4"]),
    ]


def test_nodes_of_several_groups_are_named_as_they_will_be() -> None:
    text = SITE + (
        "clusters:\n  cloud:\n    nodes:\n      - role: control-plane\n"
        "      - {role: gpu-worker, gpu_model: T4}\n      - {role: gpu-worker, gpu_memory_gib: 40, count: 1}\n"
    )
    nodes = nodes_of_site(site(text), "cloud")
    named = {node.name: {pool.product for pool in node.pools} for node in nodes}
    assert len(named) == len(nodes)
    assert named["cloud-gpu-worker-1"] == {"Tesla-T4"}
    assert nodes[-1].pools[0].product == "NVIDIA-RTX-A6000"
    needs = needs_of("cloud", site(text).planned_clusters["cloud"])
    assert set(named) <= {need.name for need in needs if need.role == "gpu-worker"}


def test_a_group_with_a_model_has_that_one_alone() -> None:
    text = SITE + (
        "clusters:\n  cloud:\n    nodes:\n      - role: control-plane\n"
        "      - {role: gpu-worker, gpus: 2, gpu_model: T4, count: 2}\n"
    )
    nodes = nodes_of_site(site(text), "cloud")
    assert [(node.name, node.pools[0].count) for node in nodes] == [
        ("cloud-gpu-worker-1", 2),
        ("cloud-gpu-worker-2", 2),
    ]


@pytest.mark.parametrize(
    ("gpus", "product", "count"),
    [
        ("{time_slices: 4}", "Tesla-T4-SHARED", 4),
        ("{mig: all-1g.10gb}", "Tesla-T4-MIG-1g.10gb", 1),
    ],
)
def test_planned_cards_that_are_shared_are_planned_so(gpus: str, product: str, count: int) -> None:
    text = SITE + (
        f"clusters:\n  cloud:\n    stack: {{gpus: {gpus}}}\n    nodes:\n      - role: control-plane\n"
        "      - {role: gpu-worker, gpu_model: T4, count: 1}\n"
    )
    (node,) = nodes_of_site(site(text), "cloud")
    assert (node.pools[0].product, node.pools[0].count) == (product, count)


def test_slices_that_only_the_cluster_knows_are_not_guessed() -> None:
    text = SITE + "clusters:\n  cloud:\n    stack: {gpus: {mig: all-balanced}}\n"
    with pytest.raises(SpecError) as caught:
        put(model("Granite-3.1-2B"), nodes_of_site(site(text), "cloud"))
    assert "which slices all-balanced makes" in caught.value.evidence


def test_a_named_gpu_will_do_while_nothing_is_known_of_nodes() -> None:
    found = planned_placement(Hardware(accelerator="nvidia_a100_80gb", count=2))
    assert "NVIDIA-A100-SXM4-80GB" in found.products
    assert found.nodes == ()
    with pytest.raises(SpecError, match="no GPU is known by 'auto'"):
        planned_placement(AUTO)
