"""Oumi's deploy file: its keys, limits and defaults; unknown keys are warnings, all else is told at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_how.endpoints.deploy_file import DeployFile, DeployKeys, ModelType, load_deploy_file
from ai_how.endpoints.types import Autoscaling, Hardware
from ai_how.errors import SpecError
from ai_how.site.check import sections
from tests.golden.conftest import ROOT

KEYS = dict(sections(DeployKeys))


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def deploy(text: str, **flags: str) -> tuple[DeployFile, list[str]]:
    path = Path("deploy.yaml")
    path.write_text(text, encoding="utf-8")
    wanted, warnings = load_deploy_file(path, **flags)
    return wanted, [str(warning).removeprefix("deploy.yaml:") for warning in warnings]


def refusal(text: str, **flags: str) -> list[str]:
    with pytest.raises(SpecError) as error:
        deploy(text, **flags)
    return [re.sub(r"^deploy\.yaml:(?=\d)", "", line) for line in error.value.evidence.splitlines()]


def test_the_example_loads() -> None:
    wanted, warnings = load_deploy_file(ROOT / "examples" / "deploy.yaml")
    assert warnings == []
    assert wanted == DeployFile(
        model_source=".demo/SmolLM2-135M-Instruct.Q4_1.gguf",
        model_name="smollm2",
        hardware=Hardware(accelerator="cpu", count=1),
        autoscaling=Autoscaling(min_replicas=1, max_replicas=2),
        test_prompts=("What is the capital of France? Answer in one sentence.", "Write one sentence about the sea."),
    )


def test_defaults_are_oumis_but_for_the_accelerator() -> None:
    wanted, warnings = deploy("model_source: m\n")
    assert warnings == []
    assert wanted == DeployFile(
        model_source="m",
        provider="ai-how",
        model_name="deployed-model",
        model_type=ModelType.FULL,
        base_model=None,
        hardware=Hardware(accelerator="auto", count=1),
        autoscaling=Autoscaling(min_replicas=1, max_replicas=1),
        test_prompts=(),
    )


def test_every_key_is_read() -> None:
    wanted, _ = deploy(
        "model_source: m\nprovider: AI-How\nmodel_name: n\nmodel_type: Adapter\nbase_model: b\n"
        "hardware: {accelerator: NVIDIA_H100_80GB, count: 2}\nautoscaling: {min_replicas: 0, max_replicas: 4}\n"
        "adapters: {support: ../b, legal: model://law@champion}\ntest_prompts: [p]\n"
    )
    assert wanted == DeployFile(
        model_source="m",
        model_name="n",
        model_type=ModelType.ADAPTER,
        base_model="b",
        adapters={"legal": "model://law@champion", "support": "../b"},
        hardware=Hardware(accelerator="nvidia_h100_80gb", count=2),
        autoscaling=Autoscaling(min_replicas=0, max_replicas=4),
        test_prompts=("p",),
    )


def test_unknown_keys_are_warnings_with_line_and_nearest_key() -> None:
    wanted, warnings = deploy("model_source: m\nmodel_nam: x\nhardware:\n  cuont: 2\nregion: eu\n")
    assert wanted == DeployFile(model_source="m")
    assert warnings == [
        "2:1: model_nam: unknown key; did you mean model_name?",
        "4:3: hardware.cuont: unknown key; did you mean count?",
        f"5:1: region: unknown key; the keys here are {', '.join(KEYS[''])}",
    ]


def test_a_required_key_that_is_misspelt_is_told() -> None:
    assert refusal("model_sorce: m\n") == ["1:1: model_sorce: unknown key; did you mean model_source?"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("provider: ai-how\n", "1:1: model_source: missing; write model_source: and a path, or pass --model-path"),
        ("model_source:\n", "1:1: model_source: has no value; write model_source: and a path, or pass --model-path"),
        (
            "model_source: ''\n",
            "1:15: model_source: has no value; write model_source: and a path, or pass --model-path",
        ),
        (
            "model_source: m\nprovider: fireworks\n",
            "2:11: provider: fireworks is another provider; write ai-how here for your own machines",
        ),
        (
            "model_source: m\nprovider: Parasail\n",
            "2:11: provider: parasail is another provider; write ai-how here for your own machines",
        ),
        (
            "model_source: m\nprovider: aihow\n",
            "2:11: provider: 'aihow' is not allowed; did you mean ai-how? It takes ai-how or kserve",
        ),
        (
            "model_source: m\nmodel_name: My Model_v1.5\n",
            "2:13: model_name: takes lower-case letters, digits and dashes, 40 at most; write my-model-v1-5",
        ),
        (
            "model_source: m\nmodel_type: lora\n",
            "2:13: model_type: 'lora' is not allowed; write full or adapter",
        ),
        (
            "model_source: m\nmodel_type: adapter\n",
            "2:13: model_type: adapter needs base_model; write base_model: and the model that the adapter belongs to",
        ),
        (
            "model_source: m\nhardware: {count: 0}\n",
            "2:19: hardware.count: 0 is not allowed; write a whole number of 1 or more",
        ),
        ('model_source: m\nhardware: {count: "2"}\n', "2:19: hardware.count: '2' is text; write 2 without quotes"),
        (
            "model_source: m\nhardware: {accelerator: ''}\n",
            "2:25: hardware.accelerator: has no value; write cpu, or a GPU such as nvidia_a100_80gb",
        ),
        (
            "model_source: m\nhardware: nvidia_a100_80gb\n",
            "2:11: hardware: is not a section; write its keys below it, one a line",
        ),
        (
            "model_source: m\nautoscaling: {min_replicas: -1}\n",
            "2:29: autoscaling.min_replicas: -1 is not allowed; write a whole number of 0 or more",
        ),
        (
            "model_source: m\nautoscaling: {min_replicas: 0, max_replicas: 0}\n",
            "2:46: autoscaling.max_replicas: 0 is not allowed; write a whole number of 1 or more",
        ),
        (
            "model_source: m\nautoscaling: {min_replicas: 2}\n",
            "2:29: autoscaling.min_replicas: 2 is more than max_replicas, 1; write max_replicas or less",
        ),
        (
            "model_source: m\nadapters: {Le.gal: a}\n",
            "2:12: adapters.Le.gal: cannot be a name here; write lower-case letters, digits and dashes, 20 at most",
        ),
        (
            "model_source: m\nadapters: {legal: 3}\n",
            '2:19: adapters.legal: 3 is not text; write it in quotes: "3"',
        ),
        (
            "model_source: m\nadapters: {legal: a, legal: b}\n",
            "2:22: adapters.legal: written twice, first in line 2; keep one",
        ),
        (
            "model_source: m\nadapters: [a]\n",
            "2:11: adapters: is not text by name; write names below it, each with a value behind it",
        ),
        ("model_source: m\ntest_prompts: hello\n", "2:15: test_prompts: 'hello' is not allowed; write a list of text"),
        ("model_source: m\ntest_prompts: [a, 3]\n", '2:19: test_prompts[1]: 3 is not text; write it in quotes: "3"'),
        ("model_source: m\nmodel_source: n\n", "2:1: model_source: written twice, first in line 1; keep one"),
        ("", "deploy.yaml: is empty; it needs at least one key"),
        ("model_source: 'm\n", "1:15: a quote that is never closed; close it"),
    ],
)
def test_one_mistake_gives_one_message(text: str, message: str) -> None:
    assert refusal(text) == [message]


def test_all_mistakes_come_at_once() -> None:
    lines = refusal(
        "provider: fireworks\nmodel_type: adapter\nhardware: {count: x}\nautoscaling: {min_replicas: 3}\nextra: 1\n"
    )
    # a key that is missing and one in the first line share a place
    assert sorted(line.split(": ")[1] for line in lines[:2]) == ["model_source", "provider"]
    assert [line.split(": ")[1] for line in lines[2:]] == [
        "model_type",
        "hardware.count",
        "autoscaling.min_replicas",
        "extra",
    ]


def test_flags_replace_what_the_file_says_before_it_is_checked() -> None:
    wanted, _ = deploy(
        "model_source: 3\nprovider: fireworks\nmodel_name: A B\nhardware: {accelerator: 7, count: 2}\n",
        model_path="m",
        provider="ai-how",
        name="n",
        hardware="cpu",
    )
    assert wanted == DeployFile(model_source="m", model_name="n", hardware=Hardware(accelerator="cpu", count=2))


def test_adapters_on_the_command_line_come_beside_those_of_the_file() -> None:
    Path("deploy.yaml").write_text("model_source: m\nadapters: {legal: a, sales: b}\n")
    wanted, _ = load_deploy_file(Path("deploy.yaml"), adapters={"sales": "c", "support": "d"})
    assert wanted.adapters == {"legal": "a", "sales": "c", "support": "d"}
    wanted, _ = load_deploy_file(None, model_path="m", adapters={"legal": "a"})
    assert wanted.adapters == {"legal": "a"}


def test_flags_alone_are_enough() -> None:
    wanted, warnings = load_deploy_file(None, model_path="m", name="n", hardware="nvidia_a100_80gb")
    assert warnings == []
    assert wanted == DeployFile(model_source="m", model_name="n", hardware=Hardware(accelerator="nvidia_a100_80gb"))


def test_a_wrong_flag_is_named() -> None:
    with pytest.raises(SpecError) as error:
        load_deploy_file(None, provider="parasail", name="A")
    assert error.value.evidence.splitlines() == [
        "command line: model_source: missing; write model_source: and a path, or pass --model-path",
        "--provider: provider: parasail is another provider; write ai-how here for your own machines",
        "--name: model_name: takes lower-case letters, digits and dashes, 40 at most; write a",
    ]


def test_no_such_file() -> None:
    with pytest.raises(SpecError, match=r"none\.yaml: no such file; give the path of a deploy file"):
        load_deploy_file(Path("none.yaml"))


@settings(max_examples=300)
@given(raw=st.binary(max_size=200) | st.text("abn:{}[]&*!%-<>'\"\n\t #|?,~=0.x@`\\", max_size=60).map(str.encode))
def test_any_bytes_give_a_deploy_file_or_our_error(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(raw)
    try:
        load_deploy_file(path, model_path="m", hardware="cpu")
    except SpecError as error:
        assert error.evidence.splitlines()


@given(data=st.data())
def test_any_slip_of_one_letter_is_recognised(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    section, key = data.draw(st.sampled_from([(section, key) for section, keys in KEYS.items() for key in keys]))
    at, letter = data.draw(st.integers(0, len(key) - 1)), data.draw(st.sampled_from("aeiouxs_"))
    slip = data.draw(
        st.sampled_from([key[:at] + key[at + 1 :], key[:at] + letter + key[at:], key[:at] + letter + key[at + 1 :]])
    )
    if slip in KEYS[section]:
        return
    path = tmp_path_factory.getbasetemp() / "slip.yaml"
    path.write_text(f"{section}:\n  {slip}: 1\n" if section else f"{slip}: 1\n", encoding="utf-8")
    (warning,) = load_deploy_file(path, model_path="m")[1]
    assert re.search(rf"did you mean .*\b{key}\b", str(warning)), warning
