"""How full disks become: the document's table, its contradictions, and what must hold for any volume."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.capacity.disk_budget import (
    FullDay,
    Volume,
    disk_budget,
    growth_advice,
    used_gib,
    volume_full,
    wanted_gib,
)
from ai_how.capacity.ranges import Range, between, exactly
from ai_how.capacity.storage_plan import StoragePlan, plan_storage, storage_to_json
from ai_how.capacity.storage_table import storage_contradictions, storage_volumes
from ai_how.cli.disk_budget import disk_budget_lines
from ai_how.errors import SpecError
from ai_how.site.clusters import Storage
from ai_how.site.stack import Stack
from tests.sizing import host, node

sizes = st.floats(0.1, 10_000)
ranges = st.tuples(st.floats(0, 1_000), st.floats(0, 1_000)).map(lambda ends: between(min(ends), max(ends)))
volumes = st.builds(
    Volume,
    component=st.sampled_from(["models", "metrics"]),
    size_gib=st.tuples(sizes, sizes).map(lambda ends: between(min(ends), max(ends))),
    used_gib=st.just(exactly(0)),
    growth_gib_per_day=st.none() | ranges,
    bounded_at_gib=st.none() | ranges,
)


def volume(**changes: object) -> Volume:
    return replace(Volume(component="data", size_gib=exactly(100)), **changes)  # type: ignore[arg-type]


class TestRange:
    @pytest.mark.parametrize("ends", [(-1, 0, 1), (2, 1, 3), (1, 3, 2), (0, 0, float("inf")), (0, float("nan"), 1)])
    def test_what_is_no_range_is_refused(self, ends: tuple[float, float, float]) -> None:
        with pytest.raises(SpecError):
            Range(low=ends[0], mid=ends[1], high=ends[2])

    @given(ranges, ranges)
    def test_sums_and_products_stay_in_order(self, one: Range, other: Range) -> None:
        for made in (one + other, one * other, one * 3):
            assert made.low <= made.mid <= made.high


class TestDocument:
    def test_the_totals_are_those_of_the_table(self) -> None:
        promised = disk_budget(storage_volumes(), disk_gib=None).promised_gib
        assert (promised.low, promised.high) == (1145, 1150)
        promised = disk_budget(storage_volumes(root_disks_gib=600), disk_gib=None).promised_gib
        assert (promised.low, promised.high) == (845, 850)

    def test_metrics_outgrow_their_volume_at_the_higher_rate_only(self) -> None:
        metrics = next(each for each in storage_volumes() if each.component == "metrics")
        assert volume_full(metrics) == FullDay(earliest=25, latest=None)
        assert (wanted_gib(metrics, 30).low, wanted_gib(metrics, 365).high) == (30, 60)

    def test_a_shorter_retention_holds(self) -> None:
        metrics = next(each for each in storage_volumes(retention_days=25) if each.component == "metrics")
        assert volume_full(metrics) == FullDay(earliest=None, latest=None)

    def test_logs_are_full_on_day_40_unless_rotated(self) -> None:
        full = {
            rotated: volume_full(next(v for v in storage_volumes(rotate_logs=rotated) if v.component == "logs"))
            for rotated in (True, False)
        }
        assert full == {True: FullDay(earliest=None, latest=None), False: FullDay(earliest=40, latest=40)}

    def test_twice_the_size_for_six_months(self) -> None:
        advice = {
            (each.component, rotated): growth_advice(each).holds
            for rotated in (True, False)
            for each in storage_volumes(models_per_month=2, rotate_logs=rotated)
        }
        assert advice["metrics", True] is True
        assert advice["logs", True] is True
        assert advice["logs", False] is False
        # two models of 5-50 GB a month: 60-600 GB against 200
        assert advice["models", True] is None

    def test_growth_that_is_not_stated_is_unknown(self) -> None:
        budget = disk_budget(storage_volumes(), disk_gib=2000)
        assert budget.unstated == ("root disks", "models", "database", "container images")
        assert growth_advice(next(v for v in storage_volumes() if v.component == "models")).holds is None

    def test_the_contradictions_are_computed(self) -> None:
        said = {each.subject: each.computed for each in storage_contradictions()}
        assert said["root disks of the nodes"].startswith("150 + 150 + 300 + 300 = 900 GB")
        assert "845-850 GB" in said["all storage on the smallest host"]
        assert "30-60 GB" in said["metrics"]
        assert "91 GB" in said["logs"]
        assert "4 models of 50 GB" in said["models"]

    @pytest.mark.parametrize(
        "wrong", [{"models_per_month": -1}, {"retention_days": 0}, {"retention_days": float("nan")}]
    )
    def test_rates_that_cannot_be(self, wrong: dict[str, float]) -> None:
        with pytest.raises(SpecError) as caught:
            storage_volumes(**wrong)  # type: ignore[arg-type]
        assert caught.value.next_step


class TestBudget:
    def test_a_full_volume_stops_growing_and_so_spares_the_disk(self) -> None:
        budget = disk_budget([volume(growth_gib_per_day=exactly(10))], days=365, disk_gib=150)
        assert budget.used_after_gib == exactly(100)
        assert budget.full == FullDay(earliest=None, latest=None)

    def test_the_day_of_the_disk_where_two_volumes_grow(self) -> None:
        grown = [volume(growth_gib_per_day=exactly(10)), volume(growth_gib_per_day=exactly(5))]
        # 100 GiB from day 10 on, and 5 a day: 150 on day 10
        assert disk_budget(grown, disk_gib=150).full == FullDay(earliest=10, latest=10)
        assert disk_budget(grown, disk_gib=175).full == FullDay(earliest=15, latest=15)
        assert disk_budget(grown, disk_gib=75).full == FullDay(earliest=5, latest=5)

    def test_what_is_full_now_is_full_on_day_0(self) -> None:
        assert volume_full(volume(used_gib=exactly(120))) == FullDay(earliest=0, latest=0)
        assert disk_budget([volume(used_gib=exactly(100))], disk_gib=50).full == FullDay(earliest=0, latest=0)

    @pytest.mark.parametrize(
        ("days", "disk_gib"), [(-1, 10), (float("nan"), 10), (10, 0), (10, float("nan")), (10, -5)]
    )
    def test_what_cannot_be_is_refused(self, days: float, disk_gib: float) -> None:
        with pytest.raises(SpecError) as caught:
            disk_budget([volume()], days=days, disk_gib=disk_gib)
        assert caught.value.next_step

    @given(volumes, st.floats(0, 1_000), st.floats(0, 1_000))
    def test_use_never_falls_with_time(self, any_volume: Volume, one: float, other: float) -> None:
        early, late = sorted((one, other))
        for end in ("low", "mid", "high"):
            assert getattr(wanted_gib(any_volume, early), end) <= getattr(wanted_gib(any_volume, late), end)

    @given(volumes, st.floats(1, 10))
    def test_faster_growth_is_never_full_later(self, slow: Volume, factor: float) -> None:
        rate = slow.growth_gib_per_day
        fast = slow if rate is None else replace(slow, growth_gib_per_day=rate * factor)
        for end in ("earliest", "latest"):
            late, early = getattr(volume_full(slow), end), getattr(volume_full(fast), end)
            assert late is None or (early is not None and early <= late * (1 + 1e-9))

    @given(volumes)
    def test_never_full_before_the_size_is_reached(self, any_volume: Volume) -> None:
        full = volume_full(any_volume)
        if full.earliest:
            assert wanted_gib(any_volume, full.earliest * 0.99).high < any_volume.size_gib.low
        assert full.latest is None or (full.earliest is not None and full.earliest <= full.latest)

    @given(st.lists(volumes, min_size=1, max_size=5), st.floats(1, 20_000))
    def test_the_disk_is_full_exactly_when_its_volumes_fill_it(self, many: list[Volume], disk_gib: float) -> None:
        budget = disk_budget(many, disk_gib=disk_gib)
        assert budget.full is not None
        day = budget.full.earliest
        if day is None:
            assert used_gib(many, 36_500).high < disk_gib * (1 + 1e-9)
        else:
            assert used_gib(many, day).high >= disk_gib * (1 - 1e-6)
            assert day == 0 or used_gib(many, day * 0.999).high <= disk_gib * (1 + 1e-6)

    @given(st.lists(volumes, min_size=1, max_size=5), st.floats(1, 20_000))
    def test_a_disk_that_holds_all_sizes_is_never_full(self, many: list[Volume], room_gib: float) -> None:
        disk_gib = disk_budget(many, disk_gib=None).promised_gib.high + room_gib
        budget = disk_budget(many, disk_gib=disk_gib)
        assert budget.full == FullDay(earliest=None, latest=None)
        assert budget.over_promised_gib == 0


def made_of(volumes: Sequence[Volume], disk_gib: float | None = 1000) -> StoragePlan:
    return StoragePlan(
        budget=disk_budget(volumes, disk_gib=disk_gib),
        hosts=1,
        advice=tuple(growth_advice(each) for each in volumes if each.component in ("models", "metrics", "logs")),
        contradictions=storage_contradictions(),
    )


class TestText:
    def lines(self, **table: object) -> list[str]:
        return disk_budget_lines(made_of(storage_volumes(**table)))  # type: ignore[arg-type]

    def test_it_fits_80_columns(self) -> None:
        assert max(map(len, self.lines(models_per_month=2.5, rotate_logs=False))) <= 80

    def test_it_says_when_each_disk_is_full_and_what_is_not_known(self) -> None:
        text = " ".join(" ".join(self.lines(rotate_logs=False)).split())
        for said in ("day 25, or never", "day 40", "150 GiB more promised", "not stated", "not enough (needs 4.6)"):
            assert said in text

    def test_without_a_host_its_disk_is_not_known(self) -> None:
        assert "host's disk  not known" in disk_budget_lines(made_of(storage_volumes(), disk_gib=None))

    def test_the_json_form_is_plain_data(self) -> None:
        again = json.loads(json.dumps(storage_to_json(made_of(storage_volumes())), allow_nan=False))
        assert again["over_promised_gib"] == 150
        assert again["volumes"][4]["full"] == {"earliest": 25, "latest": None}


class TestPlan:
    def test_the_root_disks_are_those_of_the_nodes_and_the_table_is_each_clouds(self) -> None:
        nodes, hosts = [node("a", disk_gib=70), node("b", disk_gib=30)], [host("x"), host("y")]
        one, two = (plan_storage(nodes, hosts, Storage(), clouds=n, with_document=False) for n in (1, 2))
        assert one is not None
        assert two is not None
        sizes = [[each.volume.size_gib.high for each in plan.budget.volumes] for plan in (one, two)]
        assert sizes == [[10, 100, 100, 20, 50, 50, 20], [10, 100, 200, 40, 100, 100, 40]]
        assert [each.full for each in one.budget.volumes] == [each.full for each in two.budget.volumes]
        assert (one.budget.disk_gib, one.hosts, one.contradictions) == (2000, 2, ())

    def test_what_the_site_says_of_growth_counts(self) -> None:
        storage = Storage(models_per_month=4, metrics_retention_days=20)
        plan = plan_storage([node()], [host()], storage, clouds=1, with_document=True)
        assert plan is not None
        by_name = {each.volume.component: each for each in plan.budget.volumes}
        # 4 models of 5 to 50 GiB a month fill 100 GiB in 15 days to 5 months
        full = by_name["models"].full
        assert (full.earliest, full.latest) == (pytest.approx(15.2, abs=0.1), pytest.approx(152, abs=1))
        assert by_name["metrics"].full == FullDay(earliest=None, latest=None)
        assert plan.contradictions == storage_contradictions()

    def test_the_stacks_sizes_are_those_of_the_site(self) -> None:
        stack = Stack.model_validate(
            {
                "object_store": {"size_gib": 99999},
                "database": {"size_gib": 7777, "instances": 3},
                "monitoring": {"size_gib": 5000},
            }
        )
        elsewhere = Stack.model_validate(
            {"object_store": {"type": "external", "endpoint_url": "https://s3", "credentials_secret": "s"}}
        )

        def sizes(clouds: int, *stacks: Stack) -> dict[str, float]:
            plan = plan_storage([node()], [host()], Storage(), clouds=clouds, stacks=stacks, with_document=False)
            assert plan is not None
            return {each.volume.component: each.volume.size_gib.high for each in plan.budget.volumes}

        assert (sizes(1, stack)["models"], sizes(1, stack)["database"], sizes(1, stack)["metrics"]) == (
            99999,
            3 * 7777,
            5000,
        )
        assert sizes(1, Stack()) == sizes(1)
        assert sizes(2, stack)["models"] == 99999 + 100
        assert "models" not in sizes(1, elsewhere) and sizes(2, elsewhere)["models"] == 100

    def test_without_a_cloud_cluster_there_is_no_table(self) -> None:
        assert plan_storage([node()], [host()], Storage(), clouds=0, with_document=True) is None
