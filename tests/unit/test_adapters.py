"""Adapters that share an endpoint's base: which may, how they are named, and what a request says of them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from click.testing import CliRunner

from ai_how.cli.app import root
from ai_how.cli.deploy_adapters import _wanted, check_fit
from ai_how.cli.deploy_up import _base
from ai_how.cli.endpoint_table import endpoint_rows
from ai_how.cli.model import _serving_command
from ai_how.endpoints.adapters import WantedAdapter, base_warnings, removal_note, served_adapters
from ai_how.endpoints.deploy import serves_alike
from ai_how.endpoints.digest import process_digest
from ai_how.endpoints.engines.chat_template import agreed_template, read_template
from ai_how.endpoints.engines.llamacpp import LlamaCpp
from ai_how.endpoints.types import EndpointSpec, EndpointState, EndpointStatus, ServedAdapter, loaded_names, served_text
from ai_how.endpoints.wire import spec_from_json
from ai_how.errors import SpecError
from ai_how.gateway.adapters import for_replica, in_force
from ai_how.gateway.backend import ReplicaProcess
from ai_how.local.replica import _launch
from ai_how.local.replicas import SupervisedReplicas
from ai_how.models.types import NOT_REGISTERED, ModelFormat, ModelInfo, RegisteredVersion, Stores
from tests.tiny_model import write_safetensors, write_tiny_adapter, write_tiny_checkpoint

SPEC = EndpointSpec(
    name="smol",
    model_name="smollm2",
    model_version=3,
    model_uri="s3://models/smollm2/abc",
    model_digest="ab" * 32,
    engine="llamacpp",
)
LEGAL = ServedAdapter(
    tag="legal", model_name="law", model_version=2, model_uri="s3://models/law/2", model_digest="cd" * 32, rank=8
)


def version(name: str, format_: ModelFormat = ModelFormat.PEFT_ADAPTER, base: str | None = "org/Tiny") -> Any:
    info = ModelInfo(format=format_, architecture="LORA", parameters=1, dtype="float32", base_model=base)
    return RegisteredVersion(
        name=name,
        version=2,
        uri=f"s3://models/{name}/2",
        digest="cd" * 32,
        size_bytes=1,
        info=info,
        source="",
        created_at="",
    )


FULL = version("base", ModelFormat.HUGGING_FACE, None)


def test_adapters_are_kept_by_tag() -> None:
    wanted = [
        WantedAdapter(tag="support", version=version("help")),
        WantedAdapter(tag="legal", version=version("law"), rank=8),
    ]
    found = served_adapters(wanted, version=FULL, base=None)
    assert [one.tag for one in found] == ["legal", "support"]
    assert found[0] == LEGAL
    on_adapter = served_adapters(wanted, version=version("own"), base=FULL)
    assert on_adapter == found


def test_what_cannot_share_a_base_is_refused() -> None:
    law = WantedAdapter(tag="legal", version=version("law"))
    with pytest.raises(SpecError, match="is no adapter, and cannot be served as legal") as caught:
        served_adapters([replace(law, version=FULL)], version=FULL, base=None)
    assert caught.value.evidence == "its format is huggingface"
    with pytest.raises(SpecError, match="cannot be the base of adapter legal") as caught:
        served_adapters([law], version=version("q4", ModelFormat.GGUF), base=None)
    assert "gguf" in caught.value.evidence
    assert served_adapters([], version=version("q4", ModelFormat.GGUF), base=None) == ()


def test_what_is_not_registered_yet_is_called_by_where_it_is() -> None:
    law = WantedAdapter(tag="legal", version=version("law"))
    whole, small = (
        replace(one, version=NOT_REGISTERED, source=source)
        for one, source in ((FULL, "/models/whole"), (version("q4", ModelFormat.GGUF), "/models/q4.gguf"))
    )
    with pytest.raises(SpecError, match=r"^/models/whole is no adapter"):
        served_adapters([replace(law, version=whole)], version=FULL, base=None)
    with pytest.raises(SpecError, match=r"^/models/q4\.gguf cannot be the base"):
        served_adapters([law], version=small, base=None)


def test_a_base_that_is_named_for_a_whole_model_does_not_make_an_adapter_of_it() -> None:
    nowhere = cast("Stores", None)
    assert _base(FULL, "something", nowhere) is None
    assert _base(version("own"), None, nowhere) is None


def test_different_bases_are_told_and_the_same_from_elsewhere_is_not() -> None:
    same = [WantedAdapter(tag="a", version=version("a")), WantedAdapter(tag="b", version=version("b", base="/x/tiny/"))]
    assert base_warnings(FULL, same) == ()
    other = [*same, WantedAdapter(tag="c", version=version("c", base="org/Large"))]
    (said,) = base_warnings(FULL, other)
    assert "a: org/Tiny, b: /x/tiny/, c: org/Large" in said
    assert base_warnings(version("own", base="org/Large"), same)


def test_adapters_that_would_go_are_named() -> None:
    both = replace(SPEC, adapters=(LEGAL, replace(LEGAL, tag="support")))
    (said,) = removal_note(replace(SPEC, adapters=(replace(LEGAL, tag="sales"),)), both)
    assert said.startswith("removes adapters: legal, support (")
    assert len(said) <= 80
    assert removal_note(both, both) == removal_note(both, SPEC) == removal_note(both, None) == ()


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("org/Tiny_1.5", "--model-path hf://org/Tiny_1.5 --name tiny-1-5 --adapter law-ai=model://Law_AI/2"),
        ("output/My Base", "--model-path 'output/My Base' --name my-base --adapter law-ai=model://Law_AI/2"),
        ("output/base", "--model-path output/base --name base --adapter law-ai=model://Law_AI/2"),
        ("/gone/base", "--model-path BASE --name NAME --adapter law-ai=model://Law_AI/2"),
        (None, "--model-path BASE --name NAME --adapter law-ai=model://Law_AI/2"),
    ],
)
def test_an_adapter_that_was_pushed_is_served_on_its_base(
    base: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("My Base", "base"):
        (tmp_path / "output" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert _serving_command(version("Law_AI", base=base)) == f"ai-how deploy up {said}"
    whole = _serving_command(version("Tiny_1.5", ModelFormat.GGUF))
    assert whole == "ai-how deploy up --model-path model://Tiny_1.5/2 --name tiny-1-5"


def test_names_are_in_the_order_in_which_an_engine_numbers_them() -> None:
    assert loaded_names("chat", ["a", "b"], model_is_adapter=False) == ("chat:a", "chat:b")
    assert loaded_names("chat", ["a"], model_is_adapter=True) == ("chat", "chat:a")
    assert loaded_names("chat", [], model_is_adapter=True) == ()
    assert replace(SPEC, adapters=(LEGAL,)).served_names == ("smol", "smol:legal")


def test_a_spec_without_adapters_has_the_digest_that_it_had_before_there_were_any() -> None:
    assert process_digest(SPEC) == "cbcbc5fa4f7a4af68da5100bd2863d68a943dec42e1b3fff42426df21a062a3f"
    assert process_digest(replace(SPEC, adapters=(LEGAL,))) != process_digest(SPEC)


def test_how_an_adapter_was_named_needs_no_new_process() -> None:
    spec = replace(SPEC, adapters=(LEGAL,))
    renamed = replace(SPEC, model_ref="smol@best", adapters=(replace(LEGAL, model_ref="law@champion"),))
    assert process_digest(renamed) == process_digest(spec)
    assert serves_alike(renamed, spec)
    assert not serves_alike(SPEC, spec)
    assert not serves_alike(replace(SPEC, adapters=(replace(LEGAL, model_version=3),)), spec)


def test_a_spec_is_read_from_json_as_it_was_written() -> None:
    spec = replace(SPEC, adapters=(LEGAL, replace(LEGAL, tag="sales")))
    assert spec_from_json(json.loads(json.dumps(asdict(spec)))) == spec
    older = json.loads(json.dumps(asdict(SPEC)))
    del older["adapters"]
    assert spec_from_json(older) == SPEC


def process(*adapters: str, by_number: bool) -> ReplicaProcess:
    return ReplicaProcess(
        name="r",
        endpoint="chat",
        host="127.0.0.1",
        port=1,
        spec_digest="",
        state="running",
        adapters=adapters,
        adapters_by_number=by_number,
    )


@pytest.mark.parametrize(("model", "strengths"), [("chat", [0.0, 0.0]), ("chat:a", [1.0, 0.0]), ("chat:b", [0.0, 1.0])])
def test_a_request_says_each_time_which_adapter_is_in_force(model: str, strengths: list[float]) -> None:
    replica = process("chat:a", "chat:b", by_number=True)
    # what a client says of it does not count
    sent = json.loads(for_replica(json.dumps({"model": model, "lora": [], "n": 1}).encode(), replica, model))
    assert sent == {"model": model, "n": 1, "lora": [{"id": at, "scale": s} for at, s in enumerate(strengths)]}
    assert in_force(replica, model) == {"lora": sent["lora"]}


def test_an_engine_that_knows_names_gets_the_body_as_it_is() -> None:
    for replica in (process("chat:a", by_number=False), process(by_number=True)):
        assert for_replica(b"not even JSON", replica, "chat") == b"not even JSON"
        assert in_force(replica, "chat") == {}


def test_a_replica_from_before_an_adapter_does_not_answer_for_it() -> None:
    replica = process("chat:a", by_number=False)
    assert replica.has_loaded("chat")
    assert replica.has_loaded("chat:a")
    assert not replica.has_loaded("chat:b")


def test_it_is_shown_in_lists() -> None:
    spec = replace(SPEC, adapters=(LEGAL, replace(LEGAL, tag="sales", model_version=0)))
    assert served_text(spec) == "smollm2/3 with legal: law/2, sales: law/new"
    assert served_text(SPEC) == "smollm2/3"
    rows = endpoint_rows([EndpointStatus(spec=each, state=EndpointState.RUNNING, url="") for each in (SPEC, spec)])
    assert [row[3] for row in rows] == ["smollm2/3", "smollm2/3 +2 adapters"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--adapter", "legal"], "--adapter legal names no adapter"),
        (["--adapter", "legal="], "--adapter legal= names no adapter"),
        (["--adapter", "Legal=a"], "--adapter Legal=a names no adapter"),
        (["--adapter", f"{'x' * 21}=a"], "names no adapter"),
        (["--adapter", "a:b=c"], "names no adapter"),
        (["--adapter", "a=b", "--adapter", "a=c"], "two adapters have the tag a"),
    ],
)
@pytest.mark.parametrize("command", [["up"], ["create-endpoint", "--model-id", "m"], ["export"]])
def test_a_bad_adapter_on_the_command_line_gets_one_message(command: list[str], words: list[str], said: str) -> None:
    done = CliRunner().invoke(root, ["deploy", *command, *words])
    assert done.exit_code == 1
    assert said in str(done.exception)


def test_a_template_is_read_from_where_trainers_put_it(tmp_path: Path) -> None:
    assert read_template(tmp_path) is None
    (tmp_path / "chat_template.json").write_text('{"chat_template": "from json"}')
    assert read_template(tmp_path) == "from json"
    (tmp_path / "chat_template.jinja").write_text("from jinja")
    assert read_template(tmp_path) == "from jinja"
    config = tmp_path / "tokenizer_config.json"
    config.write_text('{"chat_template": [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]}')
    assert read_template(tmp_path) == "d"
    config.write_text("{")
    with pytest.raises(SpecError, match=r"tokenizer_config\.json is damaged"):
        read_template(tmp_path)


def test_one_template_for_all(tmp_path: Path) -> None:
    def folder(name: str, template: str | None) -> Path:
        made = tmp_path / name
        made.mkdir()
        if template is not None:
            (made / "chat_template.jinja").write_text(template)
        return made

    base, bare, first = folder("base", "x"), folder("bare", None), folder("first", "y")
    like_base, like_first = folder("like-base", "x"), folder("like-first", "y")
    assert agreed_template(base, {"a": like_base, "b": bare}, base_is_served=True) is None
    assert agreed_template(base, {"a": first, "b": like_first}, base_is_served=False) == first
    # a base without one answers in the adapters' words, which harms nobody
    assert agreed_template(bare, {"a": first}, base_is_served=True) == first
    assert agreed_template(bare, {}, base_is_served=True) is None
    with pytest.raises(SpecError, match="their chat templates differ"):
        agreed_template(base, {"a": first}, base_is_served=True)
    with pytest.raises(SpecError, match="their chat templates differ"):
        agreed_template(base, {"a": first, "b": bare}, base_is_served=False)


def not_registered(name: str, folder: Path, format_: ModelFormat = ModelFormat.PEFT_ADAPTER) -> RegisteredVersion:
    return cast(
        "RegisteredVersion", replace(version(name, format_), version=NOT_REGISTERED, source=str(folder), digest=name)
    )


def test_an_adapter_of_another_base_is_refused_before_it_is_pushed(tmp_path: Path) -> None:
    base = not_registered("base", write_tiny_checkpoint(tmp_path / "base"), ModelFormat.HUGGING_FACE)
    narrow = not_registered("narrow", write_tiny_checkpoint(tmp_path / "n", hidden_size=32), ModelFormat.HUGGING_FACE)
    adapter = not_registered("law", write_tiny_adapter(tmp_path / "law"))
    stores = cast("Stores", SimpleNamespace(cache_dir=tmp_path / "cache"))
    beside = [WantedAdapter(tag="legal", version=adapter)]
    check_fit(beside, stores, name="chat", version=base, base=None)
    with pytest.raises(SpecError, match=rf"^adapter legal \({tmp_path}/law\): the adapter was trained on another base"):
        check_fit(beside, stores, name="chat", version=narrow, base=None)
    with pytest.raises(SpecError, match=r"^adapter chat "):
        check_fit([], stores, name="chat", version=adapter, base=narrow)
    # where one of the two is not on this machine, the engine says it
    check_fit(beside, stores, name="chat", version=version("far", ModelFormat.HUGGING_FACE), base=None)
    # a registered one that a replica has fetched is
    fetched = stores.cache_dir / "models" / "cd"
    write_tiny_checkpoint(fetched, hidden_size=32)
    with pytest.raises(SpecError, match="another base"):
        check_fit(beside, stores, name="chat", version=replace(FULL, digest="cd"), base=None)


def test_a_rank_that_has_no_room_is_refused_by_tag(tmp_path: Path) -> None:
    big = not_registered("big", write_tiny_adapter(tmp_path / "big", r=1024))
    stores = cast("Stores", SimpleNamespace(cache_dir=tmp_path / "cache"))
    with pytest.raises(SpecError, match=r"^adapter legal \(.*/big\): adapter_config.json: r is 1024"):
        _wanted("legal", big, stores)
    ranked = _wanted("legal", not_registered("law", write_tiny_adapter(tmp_path / "law")), stores)
    assert ranked.rank == 4


def test_a_replica_that_does_not_start_says_which_adapter_is_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    s3 = {"endpoint_url": "http://127.0.0.1:1", "region": "r", "bucket": "b", "env_file": ""}
    made = SupervisedReplicas({"root": str(tmp_path), "site": "s", "serving": {}, "s3": s3})
    bad = replace(LEGAL, tag="bad", model_name="smol-bad", model_version=1, model_digest="ef" * 32)
    spec = replace(SPEC, adapters=(bad, LEGAL))
    models = made.layout.cache / "models"
    write_tiny_checkpoint(models / SPEC.model_digest)
    write_tiny_adapter(models / LEGAL.model_digest)
    misfit = write_tiny_adapter(models / bad.model_digest)
    shapes = {"A": (4, 32), "B": (32, 4)}
    of = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {f"{of}.lora_{side}.weight": np.zeros(shape, np.float32) for side, shape in shapes.items()}
    write_safetensors(misfit / "adapter_model.safetensors", tensors, "F32")
    (content,) = made._process("engine-smol-1", spec, 1, revision=1, gpus=()).files.values()
    launch, fetched = _launch(json.loads(content))
    assert not fetched
    with pytest.raises(
        SpecError, match=r"^adapter bad \(smol-bad/1\): the adapter was trained on another base"
    ) as caught:
        LlamaCpp().prepare(launch)
    assert "it is for 32 x 32, the base has 64 x 64" in caught.value.evidence
    assert "merge" not in str(caught.value)
