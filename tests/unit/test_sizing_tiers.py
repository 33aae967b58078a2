"""The resource requirements against arithmetic: each contradiction is shown, and what fits is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from ai_how.capacity.fit import fit
from ai_how.capacity.report import make_report, totals
from ai_how.capacity.rooms import Rule
from ai_how.capacity.sizing import Fit, solve
from ai_how.capacity.tiers import TIER_NAMES, TierName, stated_hosts
from ai_how.capacity.types import SizingRequest
from ai_how.site.roles import DEFAULTS, KIND_ROLES
from tests.sizing import BIG, SMALL, broken_rules, host, node, on_tier, request
from tests.unit.test_sizing import small_requests

CLOUD, BOTH = frozenset({"cloud"}), frozenset({"cloud", "hpc"})


def rules_broken(made: SizingRequest) -> list[Rule]:
    return [binding.rule for binding in solve(made).bindings]


@pytest.mark.parametrize("kind", ["cloud", "hpc"])
def test_the_default_clusters_sum_up_to_what_is_stated(kind: str) -> None:
    stated = stated_hosts().sums[frozenset({kind})]
    needs = on_tier("minimum", kind).needs
    sums = (sum(n.vcpus for n in needs), sum(n.memory_gib for n in needs), sum(n.disk_gib for n in needs))
    assert sums == (stated.cores, stated.memory_gib, stated.disk_gib)
    assert sum(n.gpus for n in needs) == stated.gpus


def test_the_root_disks_are_900_gib_and_not_600() -> None:
    total = sum(DEFAULTS[role].disk_gib * DEFAULTS[role].count for role in KIND_ROLES["cloud"])
    assert total == stated_hosts().sums[CLOUD].disk_gib == 900
    assert stated_hosts().root_disks_gib == 600


def test_the_minimum_host_holds_neither_cores_nor_memory_nor_disk() -> None:
    assert rules_broken(on_tier("minimum", "cloud")) == [Rule.VCPU_OVERCOMMIT, Rule.MEMORY, Rule.DISK]


@pytest.mark.parametrize("name", ["recommended", "production"])
def test_the_larger_hosts_lack_threads_unless_each_core_has_two(name: TierName) -> None:
    made = on_tier(name, "cloud")
    assert rules_broken(made) == [Rule.VCPU_OVERCOMMIT]
    report = make_report(made, site="s", kinds=CLOUD, tier=name)
    assert report.with_smt is not None
    assert report.with_smt.fit is Fit.FITS


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("recommended", [Rule.VCPU_OVERCOMMIT, Rule.MEMORY, Rule.DISK, Rule.GPUS]),
        ("production", [Rule.VCPU_OVERCOMMIT, Rule.DISK]),
    ],
)
def test_no_host_that_is_said_to_holds_both_clusters(name: TierName, short: list[Rule]) -> None:
    assert rules_broken(on_tier(name, "cloud", "hpc")) == short


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("minimum", [Rule.VCPU_OVERCOMMIT, Rule.MEMORY, Rule.DISK]),
        ("recommended", [Rule.VCPU_OVERCOMMIT, Rule.DISK]),
        ("production", [Rule.VCPU_OVERCOMMIT, Rule.DISK]),
    ],
)
def test_in_turns_the_disk_is_still_that_of_both(name: TierName, short: list[Rule]) -> None:
    assert list(dict.fromkeys(rules_broken(on_tier(name, "cloud", "hpc", schedule="in-turns")))) == sorted(
        short, key=list(Rule).index
    )


def test_in_turns_each_shortage_names_its_cluster() -> None:
    found = [one.what for one in solve(on_tier("minimum", "cloud", "hpc", schedule="in-turns")).bindings]
    assert found[:2] == [
        "18 threads short on host minimum-tier: 30 wanted, 12 usable, for cluster cloud",
        "30 threads short on host minimum-tier: 42 wanted, 12 usable, for cluster hpc",
    ]
    assert found[-1] == "1180 GiB short on host minimum-tier: 1900 wanted, 720 usable"


def test_the_host_that_is_stated_for_the_cluster_lacks_what_qemu_needs() -> None:
    stated = stated_hosts().sums[CLOUD]
    (tier_offer,) = on_tier("minimum", "cloud").hosts

    def on(memory_gib: float) -> Fit:
        capacity = replace(
            tier_offer.capacity,
            cores=stated.host_cores,
            threads=stated.host_cores,
            memory_gib=memory_gib,
            disk_gib=stated.host_disk_gib,
        )
        return solve(replace(on_tier("minimum", "cloud"), hosts=(replace(tier_offer, capacity=capacity),))).fit

    assert on(stated.host_memory_gib) is Fit.IMPOSSIBLE
    assert on(stated.host_memory_gib + 1) is Fit.FITS


def test_what_both_clusters_need_is_more_than_is_stated() -> None:
    report = make_report(on_tier("production", "cloud", "hpc"), site="s", kinds=BOTH)
    found = {total.resource: total for total in totals(report)}
    assert found["vcpus"].nodes == found["vcpus"].stated == 80
    # 205.3 GiB with QEMU's own and 4 for the host, where 208+ is stated; 1900 GiB are 90 % of 2111
    assert round(found["memory_gib"].with_reserve, 1) == 209.3
    assert round(found["disk_gib"].with_reserve) == 2111
    assert found["memory_gib"].stated_host == 208
    assert found["disk_gib"].stated_host == 2000


def test_in_turns_all_but_the_disk_is_the_larger_clusters() -> None:
    report = make_report(on_tier("production", "cloud", "hpc", schedule="in-turns"), site="s", kinds=BOTH)
    found = {total.resource: total for total in totals(report)}
    assert (found["vcpus"].nodes, found["memory_gib"].nodes, found["disk_gib"].nodes) == (44, 112, 1900)
    assert found["vcpus"].stated is None


def test_what_fits_on_the_minimum_host() -> None:
    fitted = fit(on_tier("minimum", "cloud"))
    assert fitted.request is not None
    sizes = {(n.role, n.vcpus, n.memory_gib, n.disk_gib, n.gpus) for n in fitted.request.needs}
    assert sizes == {
        ("control-plane", 2, 7, 120, 0),
        ("cpu-worker", 2, 10, 120, 0),
        ("gpu-worker", 5, 21, 240, 1),
    }
    assert len(fitted.request.needs) == 4


@pytest.mark.parametrize("name", TIER_NAMES)
def test_every_tier_has_a_layout_that_fits(name: TierName) -> None:
    fitted = fit(on_tier(name, "cloud"))
    assert fitted.request is not None
    assert broken_rules(fitted.request, fitted.solution.placed) == []


def test_fit_leaves_alone_what_fits() -> None:
    made = request([node()], [host()])
    assert fit(made).request == made
    assert fit(made).changes == ()


def test_fit_drops_nodes_where_the_floors_are_too_large() -> None:
    gpu_workers = [node(f"g{i}", "gpu-worker", gpus=1, memory_gib=16) for i in range(4)]
    made = request([node("w", "control-plane"), *gpu_workers], [host(gpus=(BIG, SMALL))])
    fitted = fit(made)
    assert [(c.role, c.key, c.before, c.after) for c in fitted.changes] == [("gpu-worker", "count", 4, 2)]
    control = [node(f"c{i}", "control-plane", memory_gib=16) for i in range(5)]
    fitted = fit(request(control, [host(memory_gib=34)]))
    # four at eight GiB would fit, but four survive no more failures than three
    assert ("control-plane", "count", 5, 3) in [(c.role, c.key, c.before, c.after) for c in fitted.changes]


def test_fit_takes_gpus_from_a_node_last() -> None:
    made = request([node("g", "gpu-worker", gpus=4)], [host(gpus=(SMALL, SMALL))])
    assert [(c.key, c.before, c.after) for c in fit(made).changes] == [("gpus", 4, 1)]


def test_fit_says_no_and_why() -> None:
    fitted = fit(request([node("g", "gpu-worker", gpus=1)], [host()]))
    assert fitted.request is None
    assert [binding.rule for binding in fitted.solution.bindings] == [Rule.GPUS]


@given(made=small_requests())
def test_what_is_fitted_fits_and_is_no_larger(made: SizingRequest) -> None:
    fitted = fit(made)
    if fitted.request is None:
        assert fitted.solution.fit is not Fit.FITS
        assert solve(made).fit is not Fit.FITS
        return
    assert broken_rules(fitted.request, fitted.solution.placed) == []
    asked = {need.name: need for need in made.needs}
    for need in fitted.request.needs:
        before = asked[need.name]
        assert need.vcpus <= before.vcpus
        assert -(-before.memory_gib // 2) <= need.memory_gib <= before.memory_gib
        assert -(-before.disk_gib // 2) <= need.disk_gib <= before.disk_gib
        assert need.gpus <= before.gpus
    assert fit(made) == fitted
