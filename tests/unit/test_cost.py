"""Cost: prices from files, power, payback with its range, cost of tokens, and the command that shows them."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.capacity.claims import check_claims
from ai_how.capacity.cost import Cost, compare
from ai_how.capacity.equipment import of_hosts, of_tier
from ai_how.capacity.payback import INPUTS, Drivers, Payback, months_to_pay_back, payback, sensitivities
from ai_how.capacity.power import HOURS_IN_MONTH, Use, draw
from ai_how.capacity.prices import Prices, default_prices, default_text, parse_prices
from ai_how.capacity.ranges import between, exactly
from ai_how.capacity.tiers import TIER_NAMES
from ai_how.capacity.types import GpuCapacity, HostCapacity
from ai_how.capacity.unit_cost import Throughput, unit_cost
from ai_how.cli.app import main
from ai_how.cli.cost_page import render_cost_page
from ai_how.cli.cost_text import cost_json, cost_lines
from ai_how.errors import SpecError

RECOMMENDED = of_tier("recommended")
MEASURED = Throughput(
    endpoint="demo",
    concurrency=8,
    requests_per_s=10,
    output_tokens_per_s=1000,
    measured_on="NVIDIA RTX A6000",
    started_at="2026-11-25",
)
OWN = """
currency: USD
power:
  price_per_kwh: {low: 0.3, source: my bill, date: 2026}
gpus:
  RTX 4090: {low: 1500, high: 2100, source: two shops, date: 2026-11}
cloud:
  rented: {gpu_hour: {low: 0.5, source: its price list, date: 2026-11-01}}
"""


def host(*cards: str, threads: int = 32) -> HostCapacity:
    gpus = tuple(GpuCapacity(name=card, memory_gib=24) for card in cards)
    return HostCapacity(name="box", cores=threads // 2, threads=threads, memory_gib=64, disk_gib=1000, gpus=gpus)


def cost(prices: Prices | None = None, *, hours: float = 24, utilisation: float = 0.7, staff: float = 0) -> Cost:
    use = Use(hours_per_day=hours, utilisation=utilisation)
    return compare(RECOMMENDED, prices or default_prices(), use=use, staff_per_month=staff)


def later(one: float | None) -> float:
    return math.inf if one is None else one


positive = st.floats(0.01, 1e5)
ranges = st.tuples(positive, positive).map(lambda ends: between(min(ends), max(ends)))
all_drivers = st.builds(Drivers, **dict.fromkeys(INPUTS, ranges))


class TestDocument:
    """The figures of the resource requirements, computed."""

    def test_hardware_is_the_sum_of_its_lines_and_not_quite_the_stated_total(self) -> None:
        total = cost().hardware_total
        assert (total.low, total.high) == (11_900, 31_000)

    def test_its_own_figures_give_2_to_19_months_where_it_says_6_to_12(self) -> None:
        claim = next(each for each in check_claims(default_prices()) if each.subject == "months to pay back")
        assert (claim.stated.low, claim.stated.high) == (6, 12)
        best, worst = claim.computed
        assert best == pytest.approx(12_000 / (5_500 - 50))
        assert worst == pytest.approx(31_000 / (1_800 - 150))

    def test_its_power_against_what_the_cards_draw(self) -> None:
        claim = next(each for each in check_claims(default_prices()) if each.subject == "power a month")
        low, high = claim.computed
        assert low is not None
        assert high is not None
        assert low < claim.stated.low < claim.stated.high < high
        assert "600-1200 W" in claim.how

    def test_a_file_without_claims_is_not_held_to_any(self) -> None:
        assert check_claims(parse_prices(OWN, "own.yaml")) == ()


class TestPower:
    def test_at_rest_and_at_full_load(self) -> None:
        rates = default_prices().power
        idle = draw(RECOMMENDED, rates, Use(hours_per_day=0, utilisation=1))
        full = draw(RECOMMENDED, rates, Use(hours_per_day=24, utilisation=1))
        assert idle.average_w == idle.gpu_idle_w + idle.host_idle_w
        assert full.average_w == full.gpu_full_w + full.host_full_w
        assert (full.gpu_full_w.low, full.gpu_full_w.high) == (600, 1200)

    def test_half_a_day_at_half_load_is_a_quarter_of_the_way(self) -> None:
        rates = default_prices().power
        at = draw(RECOMMENDED, rates, Use(hours_per_day=12, utilisation=0.5))
        assert at.average_w.mid == pytest.approx(
            0.75 * (at.gpu_idle_w.mid + at.host_idle_w.mid) + 0.25 * (at.gpu_full_w.mid + at.host_full_w.mid)
        )

    def test_a_limit_that_the_host_reports_comes_before_the_catalogue(self) -> None:
        capped = replace(host(), gpus=(GpuCapacity(name="RTX 4090", memory_gib=24, power_limit_w=300),))
        assert draw(of_hosts("s", [capped]), default_prices().power, Use()).gpu_full_w == exactly(300)
        assert draw(of_hosts("s", [host("RTX 4090")]), default_prices().power, Use()).gpu_full_w == exactly(450)

    def test_a_card_that_nobody_knows_is_named(self) -> None:
        with pytest.raises(SpecError, match="power limit of Voodoo 2 is not known"):
            draw(of_hosts("s", [host("Voodoo 2")]), default_prices().power, Use())

    @given(st.floats(0, 24), st.floats(0, 24), st.floats(0, 1), st.floats(0, 1))
    def test_more_use_never_draws_less(self, hours: float, more_hours: float, busy: float, busier: float) -> None:
        rates = default_prices().power
        little = draw(RECOMMENDED, rates, Use(hours_per_day=min(hours, more_hours), utilisation=min(busy, busier)))
        much = draw(RECOMMENDED, rates, Use(hours_per_day=max(hours, more_hours), utilisation=max(busy, busier)))
        assert little.average_w.high <= much.average_w.high * (1 + 1e-9)

    @pytest.mark.parametrize("wrong", [{"hours_per_day": 25}, {"hours_per_day": math.nan}, {"utilisation": 70}])
    def test_use_that_cannot_be(self, wrong: dict[str, float]) -> None:
        with pytest.raises(SpecError) as caught:
            Use(**wrong)
        assert caught.value.next_step


class TestPayback:
    def test_by_hand(self) -> None:
        assert months_to_pay_back(12_000, cloud_per_month=1_100, running_per_month=100) == 12
        assert months_to_pay_back(12_000, cloud_per_month=100, running_per_month=100) is None
        assert months_to_pay_back(0, cloud_per_month=100, running_per_month=50) == 0
        assert months_to_pay_back(0, cloud_per_month=50, running_per_month=100) is None

    @given(all_drivers)
    def test_the_range_contains_the_likely_and_its_ends_are_in_order(self, drivers: Drivers) -> None:
        found = payback(drivers)
        assert later(found.best) <= later(found.likely) <= later(found.worst)

    @given(all_drivers, st.floats(1, 10))
    def test_dearer_hardware_never_pays_back_sooner(self, drivers: Drivers, factor: float) -> None:
        dearer = replace(drivers, gpus=drivers.gpus * factor)
        for end in ("best", "likely", "worst"):
            assert later(getattr(payback(dearer), end)) >= later(getattr(payback(drivers), end)) * (1 - 1e-9)

    @given(all_drivers, st.floats(1, 10))
    def test_a_dearer_cloud_never_makes_it_later(self, drivers: Drivers, factor: float) -> None:
        dearer = replace(drivers, cloud_per_month=drivers.cloud_per_month * factor)
        for end in ("best", "likely", "worst"):
            assert later(getattr(payback(dearer), end)) <= later(getattr(payback(drivers), end)) * (1 + 1e-9)

    @given(all_drivers)
    def test_one_input_alone_stays_within_the_range(self, drivers: Drivers) -> None:
        whole = payback(drivers)
        swings = []
        for each in sensitivities(drivers):
            for end in (each.at_low, each.at_high):
                assert later(whole.best) * (1 - 1e-9) <= later(end) <= later(whole.worst) * (1 + 1e-9)
            swings.append(math.inf if each.swing is None else each.swing)
        assert swings == sorted(swings, reverse=True)

    def test_what_is_certain_moves_nothing(self) -> None:
        assert "staff" not in {each.input for each in cost().sensitivities}

    def test_little_use_never_pays_back(self) -> None:
        assert (cost(hours=0.1).payback.likely, cost(hours=0.1).payback.worst) == (None, None)
        assert cost(hours=0).payback == Payback(best=None, likely=None, worst=None)

    def test_staff_can_make_it_never_pay_back(self) -> None:
        assert cost(staff=6000).payback.best is None

    def test_break_even_is_where_the_likely_payback_is_the_lifetime(self) -> None:
        hours = cost().break_even_hours_per_day
        assert hours is not None
        assert cost(hours=hours).payback.likely == pytest.approx(cost().lifetime_months.mid)
        assert cost(staff=6000).break_even_hours_per_day is None

    @pytest.mark.parametrize("staff", [-1, math.nan, math.inf])
    def test_staff_that_cannot_be(self, staff: float) -> None:
        with pytest.raises(SpecError) as caught:
            cost(staff=staff)
        assert caught.value.next_step


class TestEquipment:
    @pytest.mark.parametrize("tier", TIER_NAMES)
    def test_tiers_rise(self, tier: str) -> None:
        equipment = of_tier(tier)
        assert equipment.least[0].cores <= equipment.most[0].cores
        assert len(equipment.least[0].gpus) <= len(equipment.most[0].gpus)

    def test_hosts_are_counted_and_their_cards_priced(self) -> None:
        prices = parse_prices(OWN, "own.yaml")
        two = compare(of_hosts("site", [host("NVIDIA GeForce RTX 4090"), host("4090", "4090")]), prices, use=Use())
        assert {item.name: (item.amount.low, item.amount.high) for item in two.hardware}["3x GeForce RTX 4090"] == (
            4500,
            6300,
        )
        assert two.hardware[0].amount.low == 2 * 3000
        # 3 GPUs at 0.5 an hour, all hours
        assert two.clouds[0].per_month.mid == pytest.approx(3 * 0.5 * HOURS_IN_MONTH)

    def test_a_site_without_hosts_says_what_to_do(self) -> None:
        with pytest.raises(SpecError) as caught:
            of_hosts("demo", [])
        assert "ai-how cost --tier" in caught.value.next_step

    def test_monthly_prices_for_other_machines_are_cautioned(self) -> None:
        assert not cost().cautions
        assert "recommended tier" in compare(of_tier("minimum"), default_prices(), use=Use()).cautions[0]

    def test_a_card_without_a_price_is_named(self) -> None:
        with pytest.raises(SpecError, match="no price for NVIDIA A100") as caught:
            compare(of_tier("production"), default_prices(), use=Use())
        assert "--price-file" in caught.value.next_step


class TestPriceFile:
    def test_the_default_says_of_every_line_who_says_so_and_when(self) -> None:
        lines = [*default_prices().hardware, *default_prices().power, *default_prices().running]
        assert all(line.source and line.date for _, line in lines)
        assert "own estimates" in default_prices().title

    def test_it_can_be_given_back_as_it_is(self) -> None:
        assert parse_prices(default_text(), "prices.yaml") == default_prices()

    def test_what_is_left_out_is_taken_from_the_default_and_providers_stand_for_themselves(self) -> None:
        prices = parse_prices(OWN, "own.yaml")
        assert prices.hardware == default_prices().hardware
        assert prices.power.price_per_kwh.range == exactly(0.3)
        assert prices.power.cooling_factor == default_prices().power.cooling_factor
        assert list(prices.cloud) == ["rented"]
        assert prices.title == "own.yaml"

    def test_the_example_of_the_how_to_page_is_right(self) -> None:
        page = (Path(__file__).parents[2] / "docs/how-to/estimate-cost.md").read_text(encoding="utf-8")
        example = page[page.index("    gpus:\n") :].partition("\n\n")[0]
        prices = parse_prices(textwrap.dedent(example), "example.yaml")
        assert (list(prices.cloud), prices.gpu("4090").low) == (["rented"], 1500)

    def test_another_currency_mixes_with_no_default_price(self) -> None:
        with pytest.raises(SpecError) as caught:
            parse_prices("currency: EUR\ncloud: {x: {month: {low: 1, source: s, date: 2026}}}\n", "own.yaml")
        assert caught.value.evidence == (
            "own.yaml:1:11: currency: is EUR, and the defaults are in USD; "
            "write hardware, running, power.price_per_kwh in EUR too"
        )

    def test_a_whole_file_in_another_currency(self) -> None:
        text = default_text().replace("currency: USD", "currency: EUR")
        assert parse_prices(text, "own.yaml").currency == "EUR"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "empty"),
            ("[1, 2]", "not a mapping"),
            ("hardware: {server: {low: 1}}", "hardware.server.source: missing"),
            ("hardware: {server: {low: -1, source: s, date: 2026}}", "-1 is not allowed"),
            ("hardware: {server: {low: .inf, source: s, date: 2026}}", "hardware.server.low"),
            ("hardware: {server: {low: many, source: s, date: 2026}}", "hardware.server.low"),
            ("hardware: {server: {low: 2, high: 1, source: s, date: 2026}}", "does not rise from low"),
            ("hardware: {server: {low: 2, source: s, date: yesterday}}", "such as 2026-11-25"),
            ("power: {gpu_idle_share: {low: 38, source: s, date: 2026}}", "a share of the GPU's power limit"),
            ("power: {cooling_factor: {low: 0.5, source: s, date: 2026}}", "write 1 to 10"),
            ("cloud: {x: {}}", "month or gpu_hour"),
            ("cloud: {}", "names no provider"),
            ("gpus: 3", "gpus"),
            ("gpus: {RTX A600: {low: 1, source: s, date: 2026}}", "did you mean NVIDIA RTX A6000"),
            ("prizes: 3", "unknown key"),
            ("currency: 3", "not text"),
        ],
    )
    def test_each_mistake_is_named_with_its_line(self, text: str, said: str) -> None:
        with pytest.raises(SpecError) as caught:
            parse_prices(text, "own.yaml")
        assert said in caught.value.evidence
        assert caught.value.evidence.startswith("own.yaml")

    @given(st.text(max_size=200))
    def test_no_text_breaks_it(self, text: str) -> None:
        try:
            parse_prices(text, "own.yaml")
        except SpecError as error:
            assert error.evidence


class TestUnitCost:
    def test_by_hand(self) -> None:
        found = unit_cost(cost(utilisation=0.5), MEASURED)
        tokens = 1000 * 3600 * HOURS_IN_MONTH * 0.5
        assert found.tokens_per_month == pytest.approx(tokens)
        whole = cost(utilisation=0.5)
        assert found.million_tokens_own.mid == pytest.approx(
            (whole.hardware_total.mid / 60 + whole.running_per_month.mid) / (tokens / 1e6)
        )
        assert found.request_own.mid * 100 == pytest.approx(found.million_tokens_own.mid / 1e6 * 1e4)

    @given(st.floats(0.1, 1e5), st.floats(1, 10))
    def test_a_faster_endpoint_is_never_dearer(self, rate: float, factor: float) -> None:
        slow = unit_cost(cost(), replace(MEASURED, output_tokens_per_s=rate))
        fast = unit_cost(cost(), replace(MEASURED, output_tokens_per_s=rate * factor))
        assert fast.million_tokens_own.high <= slow.million_tokens_own.high * (1 + 1e-9)

    def test_without_answers_or_use_there_is_no_cost(self) -> None:
        for whole, measured in ((cost(), replace(MEASURED, output_tokens_per_s=0)), (cost(hours=0), MEASURED)):
            with pytest.raises(SpecError, match="nothing is answered"):
                unit_cost(whole, measured)


class TestReports:
    def test_text_fits_80_columns(self) -> None:
        prices = default_prices()
        for hours in (0, 1, 24):
            lines = cost_lines(cost(hours=hours, staff=1234.5), claims=check_claims(prices))
            assert max(map(len, lines)) <= 80
        assert max(map(len, cost_lines(cost(), unit=unit_cost(cost(), MEASURED)))) <= 80

    def test_never_and_not_measured_are_said(self) -> None:
        text = "\n".join(cost_lines(cost(hours=0.1)))
        assert "never" in text
        assert "not measured" in text
        assert "not measured" not in "\n".join(cost_lines(cost(), unit=unit_cost(cost(), MEASURED)))

    def test_json_is_plain_and_keeps_every_source(self) -> None:
        prices = default_prices()
        data = json.loads(json.dumps(cost_json(cost(), prices, claims=check_claims(prices)), allow_nan=False))
        assert data["format"] == "ai-how/cost/v1"
        assert data["unit_cost"] is None
        assert data["prices"]["power"]["price_per_kwh"]["source"].startswith("EIA")

    @pytest.mark.parametrize("hours", [0, 1, 24])
    def test_the_page_is_whole_and_asks_nobody(self, hours: float) -> None:
        prices = default_prices()
        made = cost(hours=hours)
        unit = unit_cost(made, MEASURED) if hours else None
        html = render_cost_page(made, prices, claims=check_claims(prices), unit=unit)
        tags: list[str] = []
        links: list[str] = []

        class Reader(HTMLParser):
            def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
                tags.append(tag)
                links.extend(value or "" for name, value in attrs if name in ("src", "href", "xlink:href"))

        Reader().feed(html)
        assert "script" not in tags
        assert all(link.startswith("#") for link in links)
        assert tags.count("figure") == (2 if hours == 0 else 3)

    def test_names_from_files_cannot_break_the_page(self) -> None:
        prices = parse_prices(OWN.replace("rented", "'<b>x'"), "<i>.yaml")
        html = render_cost_page(compare(of_hosts("s", [host("4090")]), prices, use=Use()), prices)
        assert "<b>x" not in html
        assert "<i>.yaml" not in html


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``ai-how cost``: exit code, stdout, stderr."""
    monkeypatch.delenv("AI_HOW_SITE", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["cost", *arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


class TestCommand:
    def test_without_anything_it_is_the_recommended_tier(self, run: Run) -> None:
        code, out, _ = run()
        assert code == 0
        assert "the recommended tier" in out
        assert "its figures give 2.2-18.8" in out

    def test_hours_utilisation_price_and_staff_change_the_answer(self, run: Run) -> None:
        base = json.loads(run("-o", "json")[1])
        for option, value in (
            ("--hours-per-day", "4"),
            ("--utilisation", "0.1"),
            ("--price-per-kwh", "1"),
            ("--staff", "500"),
        ):
            changed = json.loads(run(option, value, "-o", "json")[1])
            assert changed["payback"]["likely"] != base["payback"]["likely"], option

    @pytest.mark.parametrize(
        ("option", "value", "said"),
        [
            ("--hours-per-day", "25", "from 0 to 24"),
            ("--hours-per-day", "nan", "from 0 to 24"),
            ("--utilisation", "70", "0.7 means 70 %"),
            ("--price-per-kwh", "-1", "from 0"),
            ("--staff", "lots", "an amount"),
            ("--tier", "huge", "recommended"),
            ("--benchmark", "nowhere.json", "nowhere.json"),
        ],
    )
    def test_each_bad_value_has_one_message(self, run: Run, option: str, value: str, said: str) -> None:
        code, out, err = run(option, value)
        assert code == 2
        assert out == ""
        assert said in err
        assert err.count("Error:") == 1

    def test_a_price_file_of_ones_own(self, run: Run, tmp_path: Path) -> None:
        file = tmp_path / "prices.yaml"
        file.write_text(run("--show-prices")[1].replace("AWS", "elsewhere"), encoding="utf-8")
        code, out, _ = run("--price-file", str(file))
        assert code == 0
        assert "cloud, elsewhere" in out

    def test_a_price_file_that_is_wrong_or_missing(self, run: Run, tmp_path: Path) -> None:
        file = tmp_path / "prices.yaml"
        code, _, err = run("--price-file", str(file))
        assert code == 1
        assert "--show-prices" in err
        file.write_text("prizes: 3\n", encoding="utf-8")
        code, _, err = run("--price-file", str(file))
        assert code == 1
        assert "prices.yaml:1:1: prizes: unknown key" in err

    def test_the_result_goes_to_a_file(self, run: Run, tmp_path: Path) -> None:
        for kind, begins in (("html", "<!doctype html>"), ("json", "{"), ("text", "own machines")):
            file = tmp_path / f"cost.{kind}"
            code, out, err = run("-o", kind, "--out", str(file))
            assert (code, out) == (0, "")
            assert str(file) in err
            assert file.read_text(encoding="utf-8").startswith(begins)

    def test_a_benchmark_gives_the_cost_of_tokens(self, run: Run, tmp_path: Path) -> None:
        file = tmp_path / "result.json"
        file.write_text(json.dumps(kept_result()), encoding="utf-8")
        code, out, _ = run("--benchmark", str(file))
        assert code == 0
        assert "million tokens, own" in out
        assert "200 output tokens/s and 12.5 requests/s at 4 at once" in out
        assert "no GPU" in out

    def test_a_file_that_is_no_benchmark(self, run: Run, tmp_path: Path) -> None:
        file = tmp_path / "result.json"
        file.write_text("{}", encoding="utf-8")
        code, _, err = run("--benchmark", str(file))
        assert code == 1
        assert "result.json: the file is not a benchmark result" in err

    def test_a_benchmark_without_levels(self, run: Run, tmp_path: Path) -> None:
        file = tmp_path / "result.json"
        file.write_text(json.dumps({**kept_result(), "levels": []}), encoding="utf-8")
        code, _, err = run("--benchmark", str(file))
        assert code == 1
        assert "no load level" in err

    def test_a_sites_hosts_are_those_it_declares(self, run: Run, tmp_path: Path) -> None:
        file = tmp_path / "ai-how.yaml"
        gpus = "[{model: RTX A6000, count: 2}, {model: A6000}]"
        host = f"{{cores: 32, threads: 64, memory_gib: 256, disk_gib: 2000, gpus: {gpus}}}"
        file.write_text(
            f"name: lab\nprovider: libvirt\nhosts: [{{name: a, declared: {host}}}, {{name: b, declared: {host}}}]\n"
        )
        found = json.loads(run("--site", str(file), "-o", "json")[1])
        assert [line["name"] for line in found["hardware"] if line["kind"] == "gpu"] == ["6x RTX A6000"]
        assert found["equipment"]["source"] == "declared in the site file"
        assert [host["threads"] for host in found["equipment"]["least"]] == [64, 64]
        assert run("--site", str(file), "--tier", "minimum")[1].count("the minimum tier") == 1

    def test_a_site_of_this_machine_is_looked_at(self, run: Run, tmp_path: Path) -> None:
        file = tmp_path / "ai-how.yaml"
        file.write_text("version: 1\nname: demo\n", encoding="utf-8")
        code, out, _ = run("--site", str(file), "-o", "json")
        equipment = json.loads(out)["equipment"]
        assert (code, equipment["name"], equipment["source"]) == (0, "demo", "observed")
        assert equipment["least"][0]["threads"] >= 1

    def test_a_card_that_nobody_knows_needs_its_power_limit(self, run: Run, tmp_path: Path) -> None:
        file, prices = tmp_path / "ai-how.yaml", tmp_path / "prices.yaml"
        prices.write_text("gpus: {Unheard-of: {low: 10, source: me, date: '2026'}}\n")
        text = (
            "name: lab\nprovider: libvirt\nhosts: [{name: a, declared: {cores: 8, memory_gib: 64, disk_gib: 800, "
            "gpus: [{model: Unheard-of, memory_gib: 8, power_limit_w: 70}]}}]\n"
        )
        file.write_text(text.replace(", power_limit_w: 70", ""))
        assert "power_limit_w" in run("--site", str(file), "--price-file", str(prices))[2]
        file.write_text(text)
        found = json.loads(run("--site", str(file), "--price-file", str(prices), "-o", "json")[1])
        assert found["draw"]["gpu_full_w"]["high"] == 70

    def test_a_host_elsewhere_must_be_declared(self, run: Run, tmp_path: Path) -> None:
        file = tmp_path / "ai-how.yaml"
        file.write_text(
            "name: lab\nprovider: inventory\nhosts: [{name: far, address: me@far}]\n"
            "clusters: {hpc: {kind: hpc, nodes: [{role: hpc-controller, host: far}]}}\n"
        )
        code, _, err = run("--site", str(file))
        assert code == 1
        assert "what host far has is not known" in err


def kept_result() -> dict[str, object]:
    """A result as `ai-how bench run` keeps it: two levels, the second with more tokens a second."""
    summary = {"count": 50, "mean": 300.0, "minimum": 200.0, "maximum": 400.0, "p50": 300.0, "p95": 390.0, "p99": None}
    level = {
        "duration_s": 10.0,
        "answered": 50,
        "errors": {},
        "prompt_tokens": 32.0,
        "output_tokens": 16.0,
        "latency_ms": summary,
        "first_token_ms": summary,
        "inter_token_ms": summary,
        "latencies_ms": [],
    }
    probe = {"value": None, "note": "", "stages": {}}
    return {
        "format": "ai-how/bench/v1",
        "endpoint": {"name": "demo", "model": "demo/1", "engine": "llamacpp", "hardware": "cpu"},
        "machine": {
            "cpu": "a processor",
            "cores": 2,
            "memory_gib": 8.0,
            "load_average_before": 0.1,
            "gpus": [],
            "kernel": "6.12",
            "python": "3.11",
        },
        "workload": {"prompt_words": 32, "output_tokens": 16, "chat": True, "seed": 1},
        "started_at": "2026-11-25T12:00:00",
        "levels": [
            {**level, "concurrency": 1, "requests_per_s": 5.0, "output_tokens_per_s": 80.0},
            {**level, "concurrency": 4, "requests_per_s": 12.5, "output_tokens_per_s": 200.0},
        ],
        "cold_start_s": probe,
        "scale_out_s": probe,
        "gpu_utilization_percent": probe,
        "verdict": [],
        "interrupted": False,
    }
