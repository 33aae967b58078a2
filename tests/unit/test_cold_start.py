"""Waterfalls of a start: stages in order, a pod's status, events and log as stages, and what would shorten them."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.endpoints.cold_start.fresh import start_afresh, with_answer
from ai_how.endpoints.cold_start.pod import go_seconds, waterfall_of_pod
from ai_how.endpoints.cold_start.replica import Seen, marks_from_json, waterfall_of_replica
from ai_how.endpoints.cold_start.vllm_log import read_start
from ai_how.endpoints.cold_start.waterfall import Stage, StageName, Waterfall, from_json, waterfall
from ai_how.endpoints.types import EndpointSpec, EndpointState, EndpointStatus
from ai_how.errors import ConflictError, SpecError
from ai_how.kubernetes_api.times import epoch_s

if TYPE_CHECKING:
    from ai_how.endpoints.interface import Endpoints

TIMES = st.none() | st.floats(-5, 500, allow_nan=False)
STAGES = st.lists(
    st.builds(Stage, name=st.sampled_from(StageName), begin_s=TIMES, end_s=TIMES),
    max_size=16,
    unique_by=lambda s: s.name,
)


@given(STAGES, st.none() | st.floats(0, 400))
def test_stages_never_overlap_and_never_exceed_the_total(stages: list[Stage], total_s: float | None) -> None:
    found = waterfall(stages, asked_at="2026-01-01T00:00:00Z", total_s=total_s)
    clock_s = 0.0
    for stage in found.measured:
        assert stage.begin_s is not None
        assert stage.end_s is not None
        assert clock_s <= stage.begin_s <= stage.end_s
        clock_s = stage.end_s
    order = list(StageName)
    positions = [order.index(stage.name) for stage in found.stages]
    assert positions == sorted(positions)
    assert len(found.measured) <= sum(s.begin_s is not None and s.end_s is not None for s in stages)
    if total_s is not None:
        assert found.took_s(*StageName) <= total_s + 1e-6
        assert found.unmeasured_s == pytest.approx(total_s - found.took_s(*StageName), abs=1e-6)


@given(STAGES, st.none() | st.floats(0, 400))
def test_a_waterfall_survives_json(stages: list[Stage], total_s: float | None) -> None:
    found = waterfall(stages, asked_at="2026-01-01T00:00:00Z", total_s=total_s, replica="r")
    assert from_json(json.loads(json.dumps(asdict(found)))) == found


def test_what_is_no_waterfall_is_refused() -> None:
    with pytest.raises(SpecError, match="no waterfall") as refused:
        from_json({"asked_at": "2026-01-01T00:00:00Z", "stages": [{"name": "dance"}]})
    assert "stages.0.name" in refused.value.evidence


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("850ms", 0.85), ("1m2.5s", 62.5), ("7.264s", 7.264), ("2h1m0s", 7260), ("12", None), ("", None), ("1s!", None)],
)
def test_go_durations(text: str, seconds: float | None) -> None:
    assert go_seconds(text) == (None if seconds is None else pytest.approx(seconds))


@given(st.text())
def test_any_text_is_a_duration_or_none(text: str) -> None:
    found = go_seconds(text)
    assert found is None or found >= 0


def test_times_of_the_api_are_read_to_the_nanosecond_or_not_at_all() -> None:
    assert epoch_s("1970-01-01T00:00:10.123456789Z") == pytest.approx(10.123456)
    assert epoch_s("1970-01-01T01:00:10+01:00") == 10
    assert epoch_s("yesterday") is None
    assert epoch_s(None) is None


# vLLM 0.23 with times of the API server: a first start, nothing cached
LOG = """\
2026-03-01T10:01:10.000000000Z (APIServer pid=1) INFO 03-01 10:01:10 [api_server.py:1340] vLLM API server version 0.23.0
2026-03-01T10:01:30.500000000Z (EngineCore pid=74) INFO 03-01 10:01:30 [gpu_model_runner.py:4800] Starting to load model
2026-03-01T10:01:42.500000000Z (EngineCore pid=74) INFO 03-01 10:01:42 [gpu_model_runner.py:4901] Model loading took 15.27 GiB memory and 12.000000 seconds
2026-03-01T10:02:23.500000000Z (EngineCore pid=74) INFO 03-01 10:02:23 [monitor.py:53] torch.compile took 40.00 s in total
2026-03-01T10:02:25.000000000Z (EngineCore pid=74) INFO 03-01 10:02:25 [monitor.py:81] Initial profiling/warmup run took 1.25 s
2026-03-01T10:02:43.500000000Z (EngineCore pid=74) INFO 03-01 10:02:43 [gpu_model_runner.py:6800] Graph capturing finished in 8 secs, took 0.31 GiB
2026-03-01T10:02:44.000000000Z (EngineCore pid=74) INFO 03-01 10:02:44 [core.py:313] init engine (profile, create kv cache, warmup model) took 61.50 s (compilation: 40.00 s)
2026-03-01T10:02:46.000000000Z (APIServer pid=1) INFO:     Application startup complete.
""".splitlines()  # noqa: E501

# vLLM 0.10, no times, two workers, graphs from the cache
OLD_LOG = """\
(VllmWorker TP0 pid=10) INFO 10-06 15:57:40 [gpu_model_runner.py:2007] Model loading took 7.3272 GiB and 10.515026 seconds
(VllmWorker TP1 pid=11) INFO 10-06 15:57:41 [gpu_model_runner.py:2007] Model loading took 7.3272 GiB and 11.250000 seconds
(VllmWorker TP0 pid=10) INFO 10-06 15:57:50 [backends.py:164] Directly load the compiled graph(s) for dynamic shape from the cache, took 4.849 s
(VllmWorker TP0 pid=10) INFO 10-06 15:57:51 [monitor.py:34] torch.compile takes 13.11 s in total
(VllmWorker TP0 pid=10) INFO 10-06 15:58:09 [gpu_model_runner.py:2600] Graph capturing finished in 17 secs, took 0.48 GiB
(EngineCore_0 pid=9) INFO 10-06 15:58:10 [core.py:162] init engine (profile, create kv cache, warmup model) took 34.11 seconds
""".splitlines()  # noqa: E501


def event(reason: str, message: str, at: str, container: str) -> dict[str, Any]:
    field = "initContainers" if container == "storage-initializer" else "containers"
    return {
        "reason": reason,
        "message": message,
        "firstTimestamp": at,
        "involvedObject": {"kind": "Pod", "fieldPath": f"spec.{field}{{{container}}}"},
    }


def pod(**status: Any) -> dict[str, Any]:
    conditions = {
        "PodScheduled": "10:00:05",
        "Initialized": "10:00:50",
        "ContainersReady": "10:02:50",
        "Ready": "10:02:50",
    }
    return {
        "metadata": {"name": "m-r1-predictor-0", "creationTimestamp": "2026-03-01T10:00:00Z"},
        "status": {
            "conditions": [
                {"type": name, "status": "True", "lastTransitionTime": f"2026-03-01T{at}Z"}
                for name, at in conditions.items()
            ],
            "initContainerStatuses": [
                {
                    "name": "storage-initializer",
                    "state": {
                        "terminated": {"startedAt": "2026-03-01T10:00:10Z", "finishedAt": "2026-03-01T10:00:50Z"}
                    },
                }
            ],
            "containerStatuses": [
                {"name": "kserve-container", "state": {"running": {"startedAt": "2026-03-01T10:01:08Z"}}}
            ],
            **status,
        },
    }


EVENTS = [
    event(
        "Pulling", 'Pulling image "kserve/storage-initializer:v0.20.0"', "2026-03-01T10:00:06Z", "storage-initializer"
    ),
    event(
        "Pulled",
        'Container image "kserve/storage-initializer:v0.20.0" already present on machine',
        "2026-03-01T10:00:09Z",
        "storage-initializer",
    ),
    event(
        "Pulled",
        'Successfully pulled image "vllm/vllm-openai:v0.23.0" in 16s (17.5s including waiting). Image size: 9 bytes.',
        "2026-03-01T10:01:08Z",
        "kserve-container",
    ),
]


def seconds(found: Waterfall) -> dict[str, float | None]:
    return {stage.name.value: None if stage.took_s is None else round(stage.took_s, 2) for stage in found.stages}


def test_a_pods_start_stage_by_stage() -> None:
    found = waterfall_of_pod(pod(), EVENTS, LOG, first_token_at="2026-03-01T10:02:51.5Z")
    assert seconds(found) == {
        "schedule": 5,
        "pull fetcher": 0,
        "fetch weights": 40,
        "pull image": 17.5,
        "start engine": 22.5,
        "load": 12,
        "compile": 40,
        "profile memory": 12,
        "capture graphs": 8,
        "get ready": 6,
        "first token": 1.5,
    }
    assert found.total_s == 171.5
    assert found.until == "the first token"
    assert found.note(StageName.COMPILE) == "nothing was cached"
    assert found.note(StageName.PULL_FETCHER) == "the image was on the node"
    assert found.unmeasured_s == pytest.approx(171.5 - 164.5)


def test_a_pod_that_was_asked_for_earlier_waits_longer() -> None:
    found = waterfall_of_pod(pod(), EVENTS, LOG, asked_at="2026-03-01T09:59:30Z")
    assert found.asked_at == "2026-03-01T09:59:30Z"
    assert found.took_s(StageName.SCHEDULE) == 35
    assert (found.total_s, found.until) == (200, "ready")


def test_a_log_without_times_is_one_stage_with_a_note() -> None:
    found = waterfall_of_pod(pod(), EVENTS, OLD_LOG)
    assert found.took_s(StageName.LOAD) == 102
    assert found.note(StageName.LOAD) == (
        "of it, by vLLM's log: weights 11.2 s, compile (from the cache) 13.1 s, graphs 17.0 s"
    )
    assert StageName.COMPILE not in {stage.name for stage in found.stages}


def test_what_nothing_tells_is_not_measured() -> None:
    found = waterfall_of_pod({"metadata": {"name": "p", "creationTimestamp": "2026-03-01T10:00:00Z"}}, [], [])
    assert found.total_s is None
    assert found.measured == ()
    assert found.unmeasured_s is None
    assert found.largest is None
    assert "events are kept" in found.note(StageName.PULL)


def test_a_pod_without_initializer_fetches_nothing() -> None:
    found = waterfall_of_pod(pod(initContainerStatuses=[]), EVENTS, LOG)
    assert found.took_s(StageName.FETCH) == 0
    assert "no storage initializer" in found.note(StageName.FETCH)


def test_eager_mode_has_a_profile_but_neither_compile_nor_capture() -> None:
    eager = [line for line in LOG if "torch.compile" not in line and "Graph capturing" not in line]
    found = seconds(waterfall_of_pod(pod(), EVENTS, eager))
    assert found["profile memory"] == 61.5
    assert not {"compile", "capture graphs"} & set(found)


def test_a_container_that_was_started_again_in_one_log_tells_of_its_last_start() -> None:
    again = [line.replace("T10:0", "T11:0") for line in LOG]
    found = read_start([*LOG, *again])
    assert found.load is not None
    assert found.load.ended_at == epoch_s("2026-03-01T11:01:42.5Z")
    assert found.from_cache is False


@given(st.lists(st.sampled_from([*LOG, *OLD_LOG, "", "Traceback"]) | st.text(max_size=80)), st.randoms())
def test_any_log_gives_a_sound_waterfall(lines: list[str], random: Any) -> None:
    shuffled = list(lines)
    random.shuffle(shuffled)
    found = waterfall_of_pod(pod(), EVENTS, shuffled)
    assert found.total_s == 170
    assert found.took_s(*StageName) <= 170


MARKS = {"begun_s": 100.6, "fetched_s": 100.7, "prepared_s": 102.0, "fetched": "in the cache", "prepared": "converted"}
SEEN = Seen(asked_at="2026-03-01T10:00:00Z", asked_s=100.0, loaded_s=103.5, ready_s=103.75)


def test_a_replicas_start_stage_by_stage() -> None:
    found = waterfall_of_replica(SEEN, marks_from_json(MARKS), replica="engine-m-1")
    assert seconds(found) == {
        "start process": 0.6,
        "fetch weights": 0.1,
        "convert": 1.3,
        "load": 1.5,
        "first token": 0.25,
    }
    assert (found.total_s, found.unmeasured_s) == (3.75, pytest.approx(0))
    assert found.note(StageName.CONVERT) == "converted"


def test_a_replica_without_marks_has_one_stage_for_all_before_its_health() -> None:
    found = waterfall_of_replica(SEEN, None, replica="engine-m-1", engine_log=OLD_LOG)
    assert seconds(found) == {"load": 3.5, "first token": 0.25}
    assert found.note(StageName.LOAD).startswith("fetching included: the replica left no marks; of it, by vLLM's log:")


@pytest.mark.parametrize("broken", [{}, {**MARKS, "begun_s": None}, {**MARKS, "fetched_s": "soon"}])
def test_marks_that_are_not_whole_count_as_none(broken: dict[str, Any]) -> None:
    assert marks_from_json(broken) is None


ASKED = datetime(2026, 3, 1, 10, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(("created", "late_s"), [("10:00:02", 2), ("09:59:50", 0), ("11:00:00", 0)])
def test_what_a_cluster_takes_until_it_makes_the_pod_is_no_stage_of_the_pod(created: str, late_s: float) -> None:
    stages = [Stage(name=StageName.LOAD, begin_s=0, end_s=10), Stage(name=StageName.PULL)]
    seen = waterfall(stages, asked_at=f"2026-03-01T{created}Z", total_s=10, until="ready", replica="pod")
    found = with_answer(seen, asked=ASKED, total_s=15)
    assert seconds(found) == {"pull image": None, "load": 10, "first answer": 5 - late_s}
    assert (found.total_s, found.until, found.replica) == (15, "the first answer", "pod")
    assert found.unmeasured_s == pytest.approx(late_s)
    assert found.asked_at == "2026-03-01T10:00:00.000+00:00"


def test_a_start_that_nothing_tells_of_still_has_its_answer() -> None:
    found = with_answer(waterfall([], asked_at="", total_s=None), asked=ASKED, total_s=4)
    assert seconds(found) == {"first answer": 0}
    assert found.unmeasured_s == 4


@pytest.mark.parametrize("state", [EndpointState.STARTING, EndpointState.STOPPING])
def test_an_endpoint_that_is_about_to_change_is_not_started_afresh(state: EndpointState) -> None:
    spec = EndpointSpec(name="m", model_name="m", model_version=1, model_uri="", model_digest="", engine="vllm")
    found = EndpointStatus(spec=spec, state=state, url="")
    untouched = cast("Endpoints", None)
    with pytest.raises(ConflictError, match=f"endpoint m is {state}") as refused:
        start_afresh(untouched, found, lambda: None, start_timeout_s=1, stop_timeout_s=1, on_state=lambda status: None)
    assert "deploy status m --watch" in refused.value.next_step
