"""Steps as typed, prompt files, and what is remembered of revisions."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.bench.rollout.moves import label
from ai_how.cli.rollout_text import history_lines, history_rows, moved_line, rollout_lines
from ai_how.endpoints.interface import STILL_ANSWER, Revision
from ai_how.endpoints.rollout.checks import Check, load_checks, problem
from ai_how.endpoints.rollout.journal import (
    Entry,
    Journal,
    Outcome,
    Rollout,
    after_removal,
    after_shares,
    begun,
    earlier,
    ended,
    fate_when_replaced,
    history,
    may_move,
    parts,
)
from ai_how.endpoints.rollout.steps import parse_steps
from ai_how.endpoints.types import EndpointSpec, EndpointState, ServedAdapter
from ai_how.endpoints.wire import journal_from_json, revision_from_json
from ai_how.errors import SpecError
from ai_how.models.types import ModelFormat, ModelInfo, RegisteredVersion

SPEC = EndpointSpec(
    name="m", model_name="m", model_version=1, model_uri="s3://models/m/1", model_digest="1" * 64, engine="llamacpp"
)
ROLLOUT = Rollout(id="a", old=1, new=2, steps=(10, 100), started_at="t", heard_at="2026-01-02T03:04:05+00:00", step=1)


def revision(number: int, share: int) -> Revision:
    spec = replace(SPEC, model_version=number)
    return Revision(number=number, spec=spec, share_percent=share, state=EndpointState.RUNNING)


@pytest.mark.parametrize(
    ("text", "steps"),
    [("10,50,100", (10, 50, 100)), ("100", (100,)), (" 5 % , 100% ", (5, 100)), ("99,100", (99, 100))],
)
def test_steps(text: str, steps: tuple[int, ...]) -> None:
    assert parse_steps(text) == steps


@pytest.mark.parametrize(
    "text", ["", "10", "50,10,100", "0,100", "10,10,100", "10,100,200", "ten,100", "1.5,100", "-1,100"]
)
def test_steps_that_are_none(text: str) -> None:
    with pytest.raises(SpecError, match="no steps of a rollout") as error:
        parse_steps(text)
    assert "--steps 10,50,100" in error.value.next_step


@given(st.text(max_size=20))
def test_any_text_is_steps_or_an_error(text: str) -> None:
    try:
        steps = parse_steps(text)
    except SpecError:
        return
    assert steps[-1] == 100
    assert list(steps) == sorted(set(steps))


def test_a_prompt_file_in_yaml(tmp_path: Path) -> None:
    file = tmp_path / "prompts.yaml"
    file.write_text(
        "prompts:\n"
        "  - prompt: What is the capital of France?\n"
        "    contains: [Paris]\n"
        "  - prompt: Count to three.\n"
        "    matches: ['1.*2.*3']\n"
        "    min_characters: 5\n"
        "    max_tokens: 20\n"
    )
    assert load_checks(file) == (
        Check(prompt="What is the capital of France?", contains=("Paris",)),
        Check(prompt="Count to three.", matches=("1.*2.*3",), min_characters=5, max_tokens=20),
    )


def test_a_prompt_file_of_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "Hi"}\n\n{"prompt": "Ho", "contains": ["ho"]}\n')
    assert load_checks(file) == (Check(prompt="Hi"), Check(prompt="Ho", contains=("ho",)))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.yaml", "", "is empty"),
        ("p.yaml", "prompts:\n  - contains: [x]\n", "prompt"),
        ("p.yaml", "prompts:\n  - prompt: x\n    containz: [y]\n", "containz"),
        (
            "p.yaml",
            "prompts:\n  - prompt: x\n    matches: ['(']\n",
            "p.yaml:3:15: prompts[0].matches[0]: is no regular",
        ),
        ("p.yaml", "prompts:\n  - prompt: x\n    min_characters: 0\n", "min_characters"),
        ("p.yaml", "prompts: {}\n", "prompts"),
        ("p.yaml", "prompts: []\n", "prompts: has no prompts; write - prompt: Hello below it"),
        ("p.yaml", "prompts:\n  - prompt: x\n    matches: ['(']\n  - prompt: 5\n", "is no regular expression"),
        ("p.yaml", "prompts:\n  - prompt: x\n    matches: ['(']\n  - prompt: 5\n", "prompts[1].prompt"),
        ("p.yaml", "- prompt: x\n", "is not a mapping"),
        ("p.jsonl", '{"prompt": "x"}\n{"prompt": 5}\n', "p.jsonl:2:1: prompts[1].prompt"),
        ("p.jsonl", '{"prompt": "x"}\nnonsense\n', "p.jsonl:2:1: is not JSON"),
        ("p.jsonl", '"x"\n', "p.jsonl:1:1: prompts[0]"),
        ("p.jsonl", "\n", "is empty"),
    ],
)
def test_mistakes_in_a_prompt_file_are_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SpecError) as error:
        load_checks(tmp_path / name)
    assert said in error.value.evidence


def test_a_prompt_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as error:
        load_checks(tmp_path / "none.yaml")
    assert "no such file" in error.value.evidence


@pytest.mark.parametrize(
    ("check", "answer", "wrong"),
    [
        (Check(prompt="x"), "anything", ""),
        (Check(prompt="x"), "  ", "0 characters, 1 wanted"),
        (Check(prompt="x", min_characters=5), "four", "4 characters, 5 wanted"),
        (Check(prompt="x", contains=("PARIS",)), "It is Paris.", ""),
        (Check(prompt="x", contains=("Paris", "Rome")), "Paris", "does not contain 'Rome'"),
        (Check(prompt="x", matches=(r"\d+",)), "about 42", ""),
        (Check(prompt="x", matches=(r"^\d+$",)), "about 42", r"does not match '^\\d+$'"),
    ],
)
def test_answers(check: Check, answer: str, wrong: str) -> None:
    assert problem(check, answer) == wrong


def test_what_is_remembered_survives_the_wire() -> None:
    journal = begun(Journal(rollout=ROLLOUT), 1, SPEC, at="t", outcome=Outcome.SERVING)
    assert journal_from_json(json.loads(json.dumps(asdict(journal)))) == journal
    assert journal_from_json({}) == Journal()
    one = revision(2, 10)
    assert revision_from_json(json.loads(json.dumps(asdict(one)))) == one


def test_the_history_of_a_place_that_remembers_nothing_is_what_runs() -> None:
    found = history(Journal(), (revision(1, 90), revision(2, 10)))
    assert [(entry.number, entry.outcome) for entry in found] == [(1, Outcome.UNDER_WAY), (2, Outcome.UNDER_WAY)]
    assert history(Journal(), (revision(1, 100),))[0].outcome is Outcome.SERVING


def test_what_could_not_start_is_told_and_not_gone_back_to() -> None:
    failed = replace(
        revision(2, 100),
        state=EndpointState.ERROR,
        was_ready=False,
        message=f"m-2: its process has ended\nno such layer\nno such layer\n{STILL_ANSWER}",
    )
    outcome, why = fate_when_replaced(failed, why="replaced at once")
    assert (outcome, why) == (Outcome.COULD_NOT_START, "m-2: its process has ended no such layer")
    starting = replace(failed, state=EndpointState.STARTING, message="")
    said = fate_when_replaced(starting, why="replaced at once")
    assert said == (Outcome.NEVER_READY, "replaced at once before it was ready")
    served = replace(failed, was_ready=True)
    assert fate_when_replaced(served, why="replaced at once") == (Outcome.REPLACED, "replaced at once")

    (shown,) = history(Journal(), (failed,))
    assert shown.outcome is Outcome.COULD_NOT_START
    assert shown.why.startswith("m-2: its process has ended no such layer")
    (shown,) = history(Journal(), (served,))
    assert (shown.outcome, shown.why.partition(":")[0]) == (Outcome.SERVING, "m-2")
    journal = begun(Journal(), 1, SPEC, at="t", outcome=Outcome.REPLACED)
    journal = ended(begun(journal, 2, SPEC, at="t", outcome=Outcome.SERVING), 2, outcome, at="t", why=why)
    assert [entry.number for entry in (earlier(journal.history, serving=3),) if entry] == [1]


def test_where_to_go_back_to() -> None:
    def entry(number: int, outcome: Outcome) -> Entry:
        return Entry(number=number, spec=SPEC, started_at="", outcome=outcome)

    entries = (
        entry(1, Outcome.REPLACED),
        entry(2, Outcome.REPLACED),
        entry(3, Outcome.ROLLED_BACK),
        entry(4, Outcome.SERVING),
    )
    found = earlier(entries, serving=4)
    assert found is not None
    assert found.number == 2, "what was rolled back never served"
    assert earlier(entries[3:], serving=4) is None


def test_removal_and_shares_leave_what_was_said() -> None:
    journal = begun(Journal(), 1, SPEC, at="t", outcome=Outcome.UNDER_WAY)
    assert after_shares(journal, {1: 50, 2: 50}) == journal
    assert after_shares(journal, {1: 100}).history[0].outcome is Outcome.SERVING
    said = ended(journal, 1, Outcome.ROLLED_BACK, at="then", why="slow")
    assert after_removal(said, 1, at="later") == said
    assert after_removal(journal, 9, at="later") == journal


def test_the_parts_of_a_rollout_of_which_nothing_was_written_down() -> None:
    pair = (revision(3, 100), revision(4, 0))
    assert parts(pair, None) == pair
    assert parts(pair, ROLLOUT) == pair, "one of other revisions says nothing of these"
    assert parts(pair[:1], ROLLOUT) is None


@pytest.mark.parametrize(
    ("reference", "kept"),
    [("model://m@champion", "m@champion"), ("m", "m"), ("m/3", ""), ("model://m/3", ""), ("", "")],
)
def test_only_a_name_that_may_move_is_followed(reference: str, kept: str) -> None:
    assert may_move(reference) == kept


def test_what_people_read() -> None:
    revisions = (revision(1, 90), revision(2, 10))
    later, soon = datetime(2026, 1, 2, 4, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 7, tzinfo=UTC)
    lines = rollout_lines("m", revisions, Journal(rollout=ROLLOUT), now=later)
    assert lines[:3] == [
        "revisions  1  m/1  90 % of the requests  running",
        "           2  m/2  10 % of the requests  running",
        "rollout    step 1 of 2, last heard of 2026-01-02 03:04:05 UTC",
    ]
    assert "ai-how deploy rollback m" in lines[-1]
    assert rollout_lines("m", revisions, Journal(rollout=ROLLOUT), now=soon)[2:4] == [
        "rollout    step 1 of 2, by a command that was heard of 2 s ago",
        "           go on, should it have ended: ai-how deploy update m --resume",
    ]
    held = rollout_lines("m", revisions, Journal(rollout=replace(ROLLOUT, held=True)), now=soon)
    assert held[2] == "rollout    step 1 of 2, held 2026-01-02 03:04:05 UTC"
    assert "nothing was written down" in rollout_lines("m", revisions, Journal(), now=later)[2]
    assert rollout_lines("m", revisions, Journal(rollout=replace(ROLLOUT, back_to=7)), now=later)[2:] == [
        "rollback   under way, to what revision 7 served",
        "           go on: ai-how deploy rollback m",
        "           end it: ai-how deploy rollback m --to 1",
    ]
    assert rollout_lines("m", revisions[:1], Journal(), now=later) == []
    over = ended(begun(Journal(), 2, SPEC, at="t", outcome=Outcome.UNDER_WAY), 2, Outcome.ROLLED_BACK, at="t")
    assert rollout_lines("m", (revision(1, 100), revision(2, 0)), over, now=later)[2:] == [
        "rollout    ended, but the revision without requests was not removed yet",
        "           remove it: ai-how deploy update m --resume",
    ]
    entries = history(Journal(), revisions)
    lines = history_lines([replace(entries[0], why="slow " * 30), entries[1]], revisions)
    assert lines[0].split() == ["REVISION", "STARTED", "MODEL", "SHARE", "OUTCOME"]
    assert lines[2] == "          " + ("slow " * 14).strip()
    assert max(map(len, lines)) <= 80
    rows = history_rows(entries, revisions)
    assert [row[:4] for row in rows] == [("1", "unknown", "m/1", "90 %"), ("2", "unknown", "m/2", "10 %")]


def test_adapters_are_named_wherever_a_revision_is() -> None:
    sales, legal = (
        ServedAdapter(tag=tag, model_name=f"m-{tag}", model_version=3, model_uri="", model_digest="")
        for tag in ("sales", "legal")
    )
    old, new = revision(1, 90), revision(2, 10)
    old = replace(old, spec=replace(old.spec, adapters=(legal,)))
    new = replace(new, spec=replace(old.spec, adapters=(legal, sales)))
    assert label(old) == "revision 1 (m/1 with legal: m-legal/3)"
    assert label(new) == "revision 2 (m/1 with legal: m-legal/3, sales: m-sales/3)"
    lines = rollout_lines("m", (old, new), Journal(rollout=ROLLOUT), now=datetime(2026, 1, 2, 4, tzinfo=UTC))
    assert lines[1] == "              with legal: m-legal/3"
    assert lines[3] == "              with legal: m-legal/3, sales: m-sales/3"
    first, *_, last = history_lines(history(Journal(), (old, new)), (old, new))[1:]
    assert first.split()[2] == "m/1"
    assert last == "          with legal: m-legal/3, sales: m-sales/3"


def test_an_alias_that_moved_is_told() -> None:
    info = ModelInfo(format=ModelFormat.GGUF, architecture="x", parameters=1, dtype="F16")
    version = RegisteredVersion(
        name="m", version=1, uri="s3://models/m/1", digest="1" * 64, size_bytes=1, info=info, source="", created_at=""
    )
    spec = replace(SPEC, model_ref="m@champion")
    assert moved_line(spec, version, endpoint=spec.name) == ""
    said = moved_line(spec, replace(version, version=4), endpoint=spec.name)
    assert said == "newer      m@champion is now version 4: ai-how deploy update m"
