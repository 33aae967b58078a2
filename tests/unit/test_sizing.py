"""Whether nodes fit on hosts: every rule, what it says when it binds, and properties against brute force."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_how.capacity.rooms import Rule, overhead_mib, room_of, same_card
from ai_how.capacity.sizing import Fit, contended_gpus, host_uses, solve, warnings_of
from ai_how.capacity.types import GpuCapacity, HostOffer, HostReserve, NodeNeed, SizingRequest
from tests.sizing import BIG, SMALL, broken_rules, brute_force, host, node, request, rules


def bindings(made: SizingRequest) -> dict[Rule, str]:
    solution = solve(made)
    assert solution.fit is Fit.IMPOSSIBLE, solution
    return {one.rule: one.what for one in solution.bindings}


def ways(made: SizingRequest, rule: Rule) -> list[str]:
    return [way for one in solve(made).bindings if one.rule is rule for way in one.ways]


def test_qemu_takes_memory_beside_the_guests() -> None:
    # 30 + 8 x (6 + 1) + 12288 / 512
    assert overhead_mib(6, 12) == 110
    assert solve(request([node(memory_gib=64)], [host(memory_gib=64)])).fit is Fit.IMPOSSIBLE
    assert solve(request([node(memory_gib=63)], [host(memory_gib=64)])).fit is Fit.FITS


def test_memory_says_how_much_is_short_and_what_helps() -> None:
    needs = [node("w1", "gpu-worker", cluster="c", memory_gib=32, gpus=1), node("h1", cluster="hpc", memory_gib=40)]
    made = request(needs, [host(memory_gib=60, gpus=(SMALL,))])
    assert bindings(made) == {Rule.MEMORY: "12.3 GiB short on host a: 72.3 wanted, 60 usable"}
    assert ways(made, Rule.MEMORY) == [
        "add 13 GiB to host a",
        "lower hpc cpu-worker memory_gib to 27",
        "run the clusters in turns (schedule: in-turns)",
    ]
    assert solve(replace(made, schedule="in-turns")).fit is Fit.FITS
    assert solve(replace(made, needs=(needs[0], replace(needs[1], memory_gib=27)))).fit is Fit.FITS
    assert solve(replace(made, needs=(needs[0], replace(needs[1], memory_gib=28)))).fit is Fit.IMPOSSIBLE


def test_vcpus_are_shared_up_to_their_factor() -> None:
    needs = [node(f"n{i}", vcpus=8) for i in range(4)]
    made = request(needs, [host(cores=20)])
    assert bindings(made) == {Rule.VCPU_OVERCOMMIT: "12 threads short on host a: 32 wanted, 20 usable"}
    assert ways(made, Rule.VCPU_OVERCOMMIT) == [
        "add 12 threads to host a",
        "lower c cpu-worker vcpus to 5",
        "raise placement.vcpu_overcommit.cpu_worker to 1.6",
    ]
    shared = dict(made.rules.vcpu_overcommit) | {"cpu-worker": 1.6}
    assert solve(replace(made, rules=replace(made.rules, vcpu_overcommit=shared))).fit is Fit.FITS
    assert solve(request(needs, [host(cores=16, threads=32)])).fit is Fit.FITS


def test_thin_disks_may_exceed_the_disk_by_their_factor() -> None:
    needs = [node(f"n{i}", disk_gib=300) for i in range(4)]
    made = request(needs, [host()])
    assert bindings(made) == {Rule.DISK: "200 GiB short on host a: 1200 wanted, 1000 usable"}
    assert ways(made, Rule.DISK) == [
        "add 200 GiB to host a",
        "lower c cpu-worker disk_gib to 250",
        "raise placement.thin_disk_overcommit to 1.2, and watch the disk",
    ]
    assert solve(request(needs, [host()], thin_disk_overcommit=1.2)).fit is Fit.FITS


def test_the_disk_is_not_free_again_in_another_turn() -> None:
    needs = [node("x", cluster="one", disk_gib=600, vcpus=30), node("y", cluster="two", disk_gib=600, vcpus=30)]
    made = request(needs, [host()], schedule="in-turns")
    assert list(bindings(made)) == [Rule.DISK]


def test_hosts_keep_their_reserve() -> None:
    reserve = HostReserve(cores=4, memory_gib=8, disk_percent=10)
    room = room_of(host(cores=16, threads=32, reserve=reserve), rules())
    assert (room.threads_m, room.memory_mib, room.disk_mib) == (24_000, 120 * 1024, 900 * 1024)
    assert list(bindings(request([node()], [host(cores=2, reserve=reserve)]))) == [Rule.VCPU_OVERCOMMIT]


def test_huge_pages_that_are_set_aside_are_no_use_without_them() -> None:
    small = [host(memory_gib=16, hugepages_gib=10)]
    assert list(bindings(request([node()], small))) == [Rule.MEMORY]
    made = request([node(memory_gib=15)], small, hugepages="1gib")
    solution = solve(made)
    assert solution.fit is Fit.FITS
    assert list(warnings_of(made, solution.placed)) == [
        "host a must set aside huge pages at boot: hugepagesz=1G hugepages=15"
    ]
    assert "hugepagesz=2M hugepages=7680" in next(
        warnings_of(replace(made, rules=rules(hugepages="2mib")), solution.placed)
    )


def test_gpus_are_of_the_memory_and_model_that_is_asked_for() -> None:
    gpus = (SMALL, BIG)
    needs = [node("any", "gpu-worker", gpus=1), node("big", "gpu-worker", gpus=1, gpu_memory_gib=24)]
    solution = solve(request(needs, [host(gpus=gpus)]))
    assert {placed.need.name: placed.gpus for placed in solution.placed} == {"any": (0,), "big": (1,)}
    two_big = request([replace(need, gpu_memory_gib=24) for need in needs], [host(gpus=gpus)])
    assert bindings(two_big) == {Rule.GPUS: "2 GPUs with 24 GiB or more wanted, 1 on host a"}
    assert ways(two_big, Rule.GPUS) == ["add 1 GPU with 24 GiB or more to host a", "lower c gpu-worker count to 1"]
    by_name = request([replace(need, gpu_model="A6000") for need in needs], [host(gpus=gpus)])
    assert bindings(by_name) == {Rule.GPUS: "2 A6000 GPUs wanted, 1 on host a"}
    assert same_card("nvidia_a6000_48gb", "NVIDIA RTX A6000")
    assert same_card("Something New", "something new")
    assert not same_card("Something New", "T4")


def test_a_gpu_that_cannot_be_passed_through_is_none() -> None:
    blocked = replace(SMALL, blocked="shares its IOMMU group with a USB controller")
    made = request([node("g", "gpu-worker", gpus=1)], [host(gpus=(blocked,))])
    assert bindings(made) == {Rule.GPUS: "1 GPUs wanted, 0 on host a"}
    assert ways(made, Rule.GPUS)[-1] == (
        "free 1 GPU that cannot be passed through: T4, shares its IOMMU group with a USB controller"
    )


def test_gpus_contended_by_two_clusters() -> None:
    needs = [node("c1", "gpu-worker", gpus=1), node("h1", "hpc-compute", cluster="hpc", gpus=1)]
    made = request(needs, [host(gpus=(SMALL,))])
    assert "run the clusters in turns (schedule: in-turns)" in ways(made, Rule.GPUS)
    turns = solve(replace(made, schedule="in-turns"))
    assert contended_gpus(turns.placed) == {("a", 0): ("c1", "h1")}
    enough = solve(request(needs, [host(gpus=(SMALL, SMALL))], schedule="in-turns"))
    assert contended_gpus(enough.placed) == {}


NUMA_GPUS = (replace(SMALL, numa_node=0), replace(SMALL, numa_node=1))


def test_a_node_lies_beside_its_gpu() -> None:
    needs = [node(f"g{i}", "gpu-worker", gpus=1, vcpus=14, memory_gib=50) for i in (1, 2)]
    hosts = [host(gpus=NUMA_GPUS, numa_nodes=2)]
    placed = solve(request(needs, hosts, numa_locality="require")).placed
    assert [(one.gpus, one.numa_node) for one in placed] == [((0,), 0), ((1,), 1)]
    wide = [replace(needs[0], vcpus=20)]
    made = request(wide, hosts, numa_locality="require")
    assert bindings(made) == {Rule.NUMA_LOCALITY: "no node of c gpu-worker would fit on host a"}
    assert "write placement.numa_locality: prefer" in ways(made, Rule.NUMA_LOCALITY)
    preferred = request(wide, hosts)
    (only,) = solve(preferred).placed
    assert only.numa_node is None
    assert next(warnings_of(preferred, (only,))).startswith("g1 spans NUMA nodes")


def test_a_gpu_whose_numa_node_is_unknown_is_not_promised_to_be_local() -> None:
    made = request([node("g", "gpu-worker", gpus=1)], [host(gpus=(SMALL,), numa_nodes=2)], numa_locality="require")
    assert solve(made).fit is Fit.IMPOSSIBLE
    assert solve(replace(made, rules=rules())).fit is Fit.FITS


def test_three_control_planes_lie_on_three_hosts() -> None:
    needs = [node(f"cp{i}", "control-plane") for i in range(3)]
    made = request(needs, [host(name) for name in "abc"])
    solution = solve(made)
    assert {placed.host for placed in solution.placed} == {"a", "b", "c"}
    assert list(warnings_of(made, solution.placed)) == []
    one_is_full = request(needs, [host("a"), host("b", memory_gib=1)])
    solution = solve(one_is_full)
    assert solution.fit is Fit.FITS
    assert list(warnings_of(one_is_full, solution.placed)) == [
        "cluster c loses its control plane's majority with host a"
    ]


def test_many_machines_on_one_host_are_warned_of() -> None:
    made = request([node(f"n{i}", vcpus=1, memory_gib=1, disk_gib=1) for i in range(21)], [host()])
    assert list(warnings_of(made, solve(made).placed)) == ["21 virtual machines on host a: 10 to 20 are typical"]


def test_a_server_is_one_node() -> None:
    needs = [node("x", memory_gib=128), node("y")]
    made = request(needs, [host("a"), host("b")], whole_hosts=True)
    assert {placed.need.name: placed.host for placed in solve(made).placed} == {"x": "a", "y": "b"}
    short = request(needs, [host("a", memory_gib=256)], whole_hosts=True)
    assert bindings(short) == {Rule.ONE_NODE: "2 nodes for 1 servers"}


def test_a_pinned_node_goes_where_it_is_pinned() -> None:
    needs = [node("x", host="b"), node("y", host="b")]
    hosts = [host("a"), host("b", memory_gib=20)]
    assert {placed.host for placed in solve(request(needs, hosts)).placed} == {"b"}
    too_much = request([replace(need, memory_gib=12) for need in needs], hosts)
    assert bindings(too_much) == {Rule.MEMORY: "4.2 GiB short on host b: 24.2 wanted, 20 usable"}


def test_what_fits_in_sum_but_on_no_host_is_said_so() -> None:
    hosts = [host("a", memory_gib=20), host("b", memory_gib=20)]
    needs = [node(f"n{i}", memory_gib=12) for i in range(3)]
    made = request(needs, hosts)
    assert bindings(made) == {Rule.MEMORY: "2 of 3 nodes of c cpu-worker would fit on the hosts"}
    assert ways(made, Rule.MEMORY)[0] == "lower c cpu-worker memory_gib to 9"
    assert solve(request([replace(need, memory_gib=9) for need in needs], hosts)).fit is Fit.FITS
    assert solve(request([replace(need, memory_gib=10) for need in needs], hosts)).fit is Fit.IMPOSSIBLE


def test_every_placement_was_tried_where_no_single_rule_proves_it() -> None:
    hosts = [host("a", memory_gib=20), host("b", memory_gib=20)]
    needs = [node("x", memory_gib=12), node("y", memory_gib=13), node("z", memory_gib=11)]
    solution = solve(request(needs, hosts))
    assert solution.fit is Fit.IMPOSSIBLE
    assert solution.bindings == ()
    assert re.match(r"every placement was tried \(\d+ steps\)\. \w found no place: host ", solution.why)


def test_what_was_not_found_is_not_called_impossible() -> None:
    # nodes of many sizes that all but fill their hosts: far too many ways to try them all
    draw = random.Random(0)
    sizes = [draw.randint(10, 29) for _ in range(57)]
    room = sum(sizes) / 18 + 0.35
    needs = [node(f"n{i:02}", vcpus=1, memory_gib=size, disk_gib=10) for i, size in enumerate(sizes)]
    solution = solve(request(needs, [host(f"h{i:02}", memory_gib=room, cores=64) for i in range(18)]))
    assert solution.fit is Fit.NOT_FOUND
    assert solution.bindings == ()
    assert solution.why.startswith("no placement was found; that there is none is not proved. n")
    assert solution.why.endswith("and 15 more hosts")


def test_more_nodes_than_are_searched_are_answered_all_the_same() -> None:
    needs = [node(f"n{i:03}", vcpus=1, memory_gib=7 if i % 2 else 5, disk_gib=1) for i in range(250)]
    solution = solve(request(needs, [host(f"h{i:03}", memory_gib=12.2) for i in range(125)]))
    assert solution.fit in (Fit.NOT_FOUND, Fit.FITS)


def test_uses_add_up() -> None:
    needs = [node("x"), node("y", "gpu-worker", gpus=1), node("z", cluster="other", vcpus=6)]
    made = request(needs, [host(gpus=(SMALL,))], schedule="in-turns")
    (use,) = host_uses(made, solve(made).placed)
    assert (use.nodes, use.threads, use.threads_room, use.gpus) == (2, 8, 32, 1)
    assert use.disk_gib == 150


# properties

GPUS = st.sampled_from([SMALL, BIG, replace(SMALL, numa_node=0), replace(BIG, numa_node=1)])


@st.composite
def offers(draw: st.DrawFn, name: str) -> HostOffer:
    cores = draw(st.integers(2, 12))
    return host(
        name,
        cores=cores,
        threads=cores * draw(st.sampled_from([1, 2])),
        memory_gib=draw(st.integers(4, 40)),
        disk_gib=draw(st.integers(40, 300)),
        gpus=tuple(draw(st.lists(GPUS, max_size=2))),
        numa_nodes=draw(st.sampled_from([0, 2])),
        reserve=HostReserve(cores=draw(st.integers(0, 2)), memory_gib=draw(st.integers(0, 2))),
    )


@st.composite
def small_requests(draw: st.DrawFn) -> SizingRequest:
    names = "abc"[: draw(st.integers(1, 3))]
    needs = []
    for index in range(draw(st.integers(1, 4))):
        gpus = draw(st.sampled_from([0, 0, 1, 2]))
        needs.append(
            NodeNeed(
                name=f"n{index}",
                cluster=draw(st.sampled_from(["c", "d"])),
                role="gpu-worker" if gpus else draw(st.sampled_from(["control-plane", "cpu-worker"])),
                vcpus=draw(st.integers(1, 10)),
                memory_gib=draw(st.integers(1, 20)),
                disk_gib=draw(st.integers(10, 150)),
                gpus=gpus,
                gpu_model=draw(st.sampled_from(["", "", "T4"])) if gpus else "",
                gpu_memory_gib=draw(st.sampled_from([0, 0, 24])) if gpus else 0,
                host=draw(st.sampled_from(["", "", "", *names])),
            )
        )
    return SizingRequest(
        needs=tuple(needs),
        hosts=tuple(draw(offers(name)) for name in names),
        rules=rules(
            vcpu_overcommit={"control-plane": 2, "cpu-worker": 1.5, "gpu-worker": 1},
            numa_locality=draw(st.sampled_from(["require", "prefer", "ignore"])),
            thin_disk_overcommit=draw(st.sampled_from([1, 1.5])),
            whole_hosts=draw(st.sampled_from([False, False, True])),
        ),
        schedule=draw(st.sampled_from(["side-by-side", "in-turns"])),
    )


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(made=small_requests())
def test_the_answer_agrees_with_brute_force(made: SizingRequest) -> None:
    solution = solve(made)
    if solution.fit is Fit.FITS:
        assert broken_rules(made, solution.placed) == []
    else:
        assert solution.fit is Fit.IMPOSSIBLE
        assert not brute_force(made)


@given(made=small_requests(), seed=st.integers())
def test_the_order_of_nodes_and_hosts_does_not_matter(made: SizingRequest, seed: int) -> None:
    needs, hosts = list(made.needs), list(made.hosts)
    random.Random(seed).shuffle(needs)
    random.Random(seed + 1).shuffle(hosts)
    assert solve(replace(made, needs=tuple(needs), hosts=tuple(hosts))) == solve(made)


@given(made=small_requests(), more=st.sampled_from(["cores", "memory_gib", "disk_gib", "gpus", "host"]))
def test_more_resources_never_hurt(made: SizingRequest, more: str) -> None:
    if solve(made).fit is not Fit.FITS:
        return
    first = made.hosts[0]
    capacity = first.capacity
    if more == "host":
        larger = replace(made, hosts=(*made.hosts, host("d", cores=2, memory_gib=2, disk_gib=10)))
    else:
        bigger = {
            "cores": {"cores": capacity.cores + 1, "threads": capacity.threads + capacity.threads // capacity.cores},
            "memory_gib": {"memory_gib": capacity.memory_gib + 1},
            "disk_gib": {"disk_gib": capacity.disk_gib + 10},
            "gpus": {"gpus": (*capacity.gpus, GpuCapacity(name="T4", memory_gib=16))},
        }[more]
        larger = replace(made, hosts=(replace(first, capacity=replace(capacity, **bigger)), *made.hosts[1:]))
    assert solve(larger).fit is Fit.FITS


@given(made=small_requests())
def test_what_is_said_to_be_short_is_enough_when_added(made: SizingRequest) -> None:
    made = replace(made, hosts=made.hosts[:1], needs=tuple(replace(need, host="") for need in made.needs))
    solution = solve(made)
    capacity = made.hosts[0].capacity
    for binding in solution.bindings:
        found = re.match(r"add (\d+) (threads|GiB) to host", binding.ways[0])
        if found is None:
            continue
        added = int(found[1])
        ratio = capacity.threads // capacity.cores
        bigger = {
            Rule.VCPU_OVERCOMMIT: {"cores": capacity.cores + added, "threads": capacity.threads + added * ratio},
            Rule.MEMORY: {"memory_gib": capacity.memory_gib + added},
            Rule.DISK: {"disk_gib": capacity.disk_gib + added},
        }[binding.rule]
        enough = replace(made, hosts=(replace(made.hosts[0], capacity=replace(capacity, **bigger)),))
        again = [one.what for one in solve(enough).bindings if one.rule is binding.rule and " short on " in one.what]
        others = [one.what for one in solution.bindings if one.rule is binding.rule]
        assert len(again) < len(others), (binding, again)


@given(made=small_requests())
def test_a_size_that_is_said_to_be_enough_is_enough(made: SizingRequest) -> None:
    made = replace(made, hosts=made.hosts[:1], needs=tuple(replace(need, host="") for need in made.needs))
    for binding in solve(made).bindings:
        for way in binding.ways:
            found = re.fullmatch(r"lower (\w+) ([\w-]+) (vcpus|memory_gib|disk_gib) to (\d+)", way)
            if found is None:
                continue
            cluster, role, key, size = found[1], found[2], found[3], int(found[4])
            needs = tuple(
                replace(need, **{key: min(size, getattr(need, key))})
                if (need.cluster, need.role) == (cluster, role)
                else need
                for need in made.needs
            )
            again = solve(replace(made, needs=needs)).bindings
            assert binding.what not in [one.what for one in again], (binding, again)


@pytest.mark.parametrize("count", [1000])
def test_a_thousand_nodes_are_placed_by_the_rules(count: int) -> None:
    gpus = (replace(BIG, numa_node=0), replace(BIG, numa_node=1)) * 2
    hosts = [
        host(f"h{i:03}", cores=128, threads=256, memory_gib=1024, disk_gib=8000, gpus=gpus, numa_nodes=2)
        for i in range(count // 10)
    ]
    needs = [
        node(f"g{i:04}", "gpu-worker", vcpus=12, memory_gib=32, disk_gib=300, gpus=1) for i in range(count * 4 // 10)
    ]
    needs += [node(f"w{i:04}", vcpus=6, memory_gib=16, disk_gib=150) for i in range(count * 6 // 10)]
    made = request(needs, hosts, numa_locality="require")
    solution = solve(made)
    assert solution.fit is Fit.FITS
    assert broken_rules(made, solution.placed) == []
