"""What charts are told is what they know: for the release sets always, for unpacked charts when they are there."""

from __future__ import annotations

import copy
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.errors import SpecError
from ai_how.releases import set_names
from ai_how.stack.chart_values import (
    Keys,
    chart_keys,
    check_known_values,
    check_values,
    keys_of,
    keys_text,
    known_keys,
    parse_keys,
    unknown_values,
)
from ai_how.stack.objects import Chart
from ai_how.stack.stack import render_parts
from tests.stacks import VARIANTS, setting


def charts(variant: str, release: str = "current") -> list[Chart]:
    parts = render_parts(setting(variant, release=release, mlflow="3.18.0"))
    return [chart for part in parts for chart in part.component.charts]


@pytest.mark.parametrize("release", set_names())
@pytest.mark.parametrize("variant", VARIANTS)
def test_charts_know_every_value_that_they_are_told(variant: str, release: str) -> None:
    for chart in charts(variant, release):
        known = known_keys(chart)
        assert known is not None, f"{chart.name} {chart.version} was not read: scripts/chart_values.py"
        assert unknown_values(chart.values, known, chart=chart.release) == ()


def leaves(values: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(values, dict) or not values:
        return [at] if at else []
    return [path for key, value in values.items() for path in leaves(value, (*at, key))]


CLOSED = [
    (chart, path) for chart in charts("document") for path in leaves(dict(chart.values)) if "resources" not in path
]


@given(data=st.data())
def test_a_slip_in_a_value_that_the_chart_names_is_found(data: st.DataObject) -> None:
    chart, path = data.draw(st.sampled_from(CLOSED))
    depth = data.draw(st.integers(0, len(path) - 1))
    slip = path[depth] + data.draw(st.sampled_from(string.ascii_lowercase))
    known: Keys | None = known_keys(chart)
    for key in path[:depth]:
        known = known.get(key) if known is not None else None
    if known is None or slip in known or path[:2] in (("grafana", "grafana.ini"), ("alertmanager", "config")):
        return
    values = copy.deepcopy(dict(chart.values))
    here = values
    for key in path[:depth]:
        here = here[key]
    here[slip] = here.pop(path[depth])
    found = unknown_values(values, known_keys(chart) or {}, chart=chart.release)
    assert [".".join(each.path) for each in found] == [".".join((*path[:depth], slip))]


KEYS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.just({}),
    lambda inner: st.dictionaries(st.text(string.ascii_letters + "-._", min_size=1, max_size=6), inner, max_size=4),
)


@given(keys=st.dictionaries(st.text(string.ascii_letters + "-._", min_size=1, max_size=6), KEYS, max_size=5))
def test_keys_survive_being_written(keys: Keys) -> None:
    assert parse_keys("# a comment\n" + keys_text(keys)) == keys


def test_below_nothing_anything_may_stand() -> None:
    known = keys_of({"a": {"b": 1, "c": {}, "d": None}, "e": []})
    assert unknown_values({"a": {"b": {"x": 1}}}, known)[0].path == ("a", "b", "x")
    assert unknown_values({"a": {"c": {"x": 1}, "d": {"y": 2}}, "e": [1]}, known) == ()


def test_a_value_of_the_user_that_the_chart_does_not_know_is_refused() -> None:
    (chart,) = (each for each in charts("document") if each.release == "keda")
    wrong = Chart(
        name=chart.name,
        release=chart.release,
        namespace=chart.namespace,
        repository=chart.repository,
        version=chart.version,
        values={**chart.values, "operater": {"replicaCount": 2}},
    )
    with pytest.raises(SpecError) as found:
        check_known_values([wrong])
    assert found.value.brief == "chart keda 2.20.2 has no value operater"
    assert "did you mean operator?" in found.value.evidence
    assert "stack.values.keda" in found.value.next_step


def unpacked(folder: Path) -> Path:
    (folder / "charts" / "sub" / "templates").mkdir(parents=True)
    (folder / "templates").mkdir()
    (folder / "values.yaml").write_text("a:\n  b: 1\nsub:\n  c: {}\n")
    (folder / "templates" / "x.yaml").write_text("{{ .Values.a.asked }} {{ .Values.other }} {{ .Values.a.b.deep }}")
    (folder / "charts" / "sub" / "values.yaml").write_text("d: text\n")
    (folder / "charts" / "sub" / "templates" / "_helpers.tpl").write_text("{{ .Values.fullnameOverride }}")
    return folder


def test_keys_are_read_from_an_unpacked_chart(tmp_path: Path) -> None:
    assert chart_keys(unpacked(tmp_path)) == {
        "a": {"b": {"deep": None}, "asked": None},
        "other": None,
        "sub": {"c": None, "d": {}, "fullnameOverride": None},
    }


def test_a_folder_without_a_chart_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is no unpacked chart"):
        chart_keys(tmp_path)


def test_a_chart_of_another_version_is_checked_by_its_own_values(tmp_path: Path) -> None:
    chart = Chart(name="x", release="x", namespace="", repository="", version="9", values={"a": {"bb": 1}})
    assert known_keys(chart) is None
    check_known_values([chart])
    with pytest.raises(SpecError, match=r"chart x 9 has no value a\.bb"):
        check_values(chart, chart_keys(unpacked(tmp_path)))
