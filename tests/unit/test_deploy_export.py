"""``deploy export`` on the command line: from a deploy file without a cluster, and of an endpoint of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

import ai_how.cli.deploy_export as command
from ai_how.cli.app import root
from ai_how.errors import AiHowError
from ai_how.kserve.objects import endpoint_objects
from ai_how.models.registered import sized_memory
from ai_how.releases import load_set
from ai_how.site.load import load_site
from ai_how.stack.checks.fit import check_objects
from ai_how.stack.setting import setting_of
from tests.checkpoints import write_gguf
from tests.kserve import INFO, revision, setting
from tests.tiny_model import write_tiny_adapter, write_tiny_checkpoint
from tests.unit.test_registered_memory import version

SITE = """\
name: lab
provider: libvirt
hosts:
  - name: big
    declared:
      cores: 32
      memory_gib: 128
      disk_gib: 2000
      gpus: [{model: RTX A6000, count: 1}, {model: T4, count: 1}]
"""
DEPLOY = "model_source: checkpoint\nmodel_name: tiny\n"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AI_HOW_SITE", raising=False)
    Path("ai-how.yaml").write_text(SITE)
    Path("deploy.yaml").write_text(DEPLOY)
    write_tiny_checkpoint(Path("checkpoint"))


def export(*args: str) -> Result:
    return CliRunner().invoke(root, ["deploy", "export", *args])


def refusal(done: Result) -> str:
    """The error's whole text."""
    assert done.exit_code == 1
    assert isinstance(done.exception, AiHowError)
    assert done.stdout == ""
    return str(done.exception)


def read(text: str) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(text))


def by_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(thing for thing in objects if thing["kind"] == kind)


def test_a_deploy_file_becomes_valid_yaml_without_a_cluster() -> None:
    done = export("--config", "deploy.yaml")
    assert done.exit_code == 0, done.stderr
    objects = read(done.stdout)
    assert [str(misfit) for misfit in check_objects(objects)] == []
    assert "Secret" not in {thing["kind"] for thing in objects}
    predictor = by_kind(objects, "InferenceService")["spec"]["predictor"]
    assert predictor["model"]["storageUri"].startswith("s3://models/tiny/")
    (term,) = predictor["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert "Tesla-T4" in term["matchExpressions"][0]["values"]
    assert "ai-how model push checkpoint --name tiny" in done.stderr
    assert "chosen" in done.stderr


def test_the_same_file_gives_the_same_text() -> None:
    assert export("-c", "deploy.yaml").stdout == export("-c", "deploy.yaml").stdout


def test_a_file_for_each_object() -> None:
    done = export("--config", "deploy.yaml", "--output-dir", "manifests/tiny")
    assert done.exit_code == 0, done.stderr
    names = sorted(path.name for path in Path("manifests/tiny").glob("*.yaml"))
    assert "inferenceservice-tiny-r1.yaml" in names
    assert done.stdout == f"{len(names)} files in manifests/tiny\n"
    together = [thing for name in names for thing in read((Path("manifests/tiny") / name).read_text())]
    assert sorted(map(str, together)) == sorted(map(str, read(export("--config", "deploy.yaml").stdout)))


def test_a_folder_that_cannot_be_written_is_told() -> None:
    Path("taken").write_text("")
    said = refusal(export("--config", "deploy.yaml", "--output-dir", "taken/below"))
    assert "cannot be written" in said
    assert "name another folder" in said


def test_an_earlier_export_leaves_nothing_that_would_be_applied_with_the_new_one() -> None:
    assert export("--config", "deploy.yaml", "--output-dir", "od").exit_code == 0
    before = {path.name for path in Path("od").iterdir()}
    (Path("od") / "notes.md").write_text("ours")
    done = export("--config", "deploy.yaml", "--name", "chat", "--output-dir", "od")
    assert done.exit_code == 0, done.stderr
    after = {path.name for path in Path("od").iterdir()}
    assert before & after <= {".ai-how-export"}
    assert "notes.md" in after
    assert "removed, from an earlier export: " in done.stderr
    assert "inferenceservice-tiny-r1.yaml" in done.stderr


def test_what_somebody_else_wrote_is_not_overwritten_without_a_word() -> None:
    assert export("--config", "deploy.yaml", "--output-dir", "od").exit_code == 0
    file = Path("od/inferenceservice-tiny-r1.yaml")
    ours = file.read_text()
    file.write_text("edited")
    words = ("--config", "deploy.yaml", "--output-dir", "od")
    for other in ((), ("--name", "chat")):  # it would be overwritten, or removed
        said = refusal(export(*words, *other))
        assert "inferenceservice-tiny-r1.yaml" in said
        assert "--force" in said
    assert file.read_text() == "edited"
    assert sum(path.name.startswith("inferenceservice") for path in Path("od").iterdir()) == 1
    assert export(*words, "--force").exit_code == 0
    assert file.read_text() == ours


def test_a_folder_of_others_is_left_alone() -> None:
    Path("theirs").mkdir()
    Path("theirs/own.yaml").write_text("kind: Own")
    words = ("--config", "deploy.yaml", "--output-dir", "theirs")
    assert "own.yaml" in refusal(export(*words))
    assert [path.name for path in Path("theirs").iterdir()] == ["own.yaml"]
    assert export(*words, "--force").exit_code == 0
    assert Path("theirs/own.yaml").read_text() == "kind: Own"


def test_a_damaged_record_of_an_earlier_export_makes_nothing_ours() -> None:
    assert export("--config", "deploy.yaml", "--output-dir", "od").exit_code == 0
    Path("od/.ai-how-export").write_text('{"../../x": "y"}')
    assert "--force" in refusal(export("--config", "deploy.yaml", "--output-dir", "od"))


def test_what_can_only_be_a_path_is_not_looked_for_on_a_cluster() -> None:
    assert "nodir does not exist" in refusal(export("--model-path", "./nodir", "--name", "chat"))


def test_a_checkpoint_without_a_tokenizer_is_warned_of() -> None:
    for file in Path("checkpoint").glob("*token*"):
        file.unlink()
    done = export("--config", "deploy.yaml")
    assert done.exit_code == 0, done.stderr
    assert "Warning: no tokenizer files" in done.stderr


def test_the_push_that_is_needed_names_the_site() -> None:
    Path("ai-how.yaml").rename("lab.yaml")
    done = export("--config", "deploy.yaml", "--site", "lab.yaml")
    assert "ai-how model push --site lab.yaml checkpoint --name tiny" in done.stderr


def test_flags_replace_what_the_file_says() -> None:
    write_tiny_checkpoint(Path("other"), seed=7)
    done = export("-c", "deploy.yaml", "-m", "other", "--hardware", "nvidia_rtx_a6000", "--name", "chat")
    assert done.exit_code == 0, done.stderr
    objects = read(done.stdout)
    assert by_kind(objects, "HTTPRoute")["spec"]["hostnames"] == ["chat-models.ai-how.internal"]
    assert "NVIDIA-RTX-A6000" in str(by_kind(objects, "InferenceService")["spec"]["predictor"]["affinity"])


def test_a_model_alone_will_do() -> None:
    assert export("--model-path", "checkpoint", "--name", "chat").exit_code == 0


def test_an_adapter_is_put_on_its_base() -> None:
    write_tiny_adapter(Path("adapter"))
    Path("deploy.yaml").write_text(
        "model_source: adapter\nmodel_name: tuned\nmodel_type: adapter\nbase_model: checkpoint\n"
    )
    done = export("--config", "deploy.yaml")
    assert done.exit_code == 0, done.stderr
    uris = [each["uri"] for each in by_kind(read(done.stdout), "InferenceService")["spec"]["predictor"]["storageUris"]]
    assert [uri.rpartition("/")[0] for uri in uris] == ["s3://models/checkpoint", "s3://models/tuned"]


def test_a_whole_model_is_served_without_the_base_that_its_file_names() -> None:
    Path("deploy.yaml").write_text(f"{DEPLOY}base_model: checkpoint\n")
    done = export("--config", "deploy.yaml")
    assert done.exit_code == 0, done.stderr
    Path("deploy.yaml").write_text(DEPLOY)
    assert done.stdout == export("--config", "deploy.yaml").stdout


def test_adapters_are_put_beside_their_base() -> None:
    write_tiny_adapter(Path("legal"))
    write_tiny_adapter(Path("support"), seed=3, rank=12, base_model_name_or_path="else")
    Path("deploy.yaml").write_text(f"{DEPLOY}adapters:\n  legal: legal\n")
    done = export("--config", "deploy.yaml", "--adapter", "support=support")
    assert done.exit_code == 0, done.stderr
    objects = read(done.stdout)
    uris = [each["uri"] for each in by_kind(objects, "InferenceService")["spec"]["predictor"]["storageUris"]]
    folders = ["s3://models/tiny", "s3://models/tiny-legal", "s3://models/tiny-support"]
    assert [uri.rpartition("/")[0] for uri in uris] == folders
    args = by_kind(objects, "ServingRuntime")["spec"]["containers"][0]["args"]
    assert args[args.index("--max-lora-rank") + 1] == "16"
    assert "ai-how model push support --name tiny-support" in done.stderr
    assert "the adapters name different bases (legal: tiny, support: else)" in done.stderr
    assert "is no adapter" in refusal(export("--config", "deploy.yaml", "--adapter", "legal=checkpoint"))


def test_without_gpus_in_the_site_file_a_named_one_is_taken() -> None:
    Path("ai-how.yaml").write_text("name: lab\nprovider: libvirt\n")
    assert "no GPU is known by 'auto'" in refusal(export("--config", "deploy.yaml"))
    done = export("--config", "deploy.yaml", "--hardware", "nvidia_a100_80gb")
    assert done.exit_code == 0, done.stderr
    assert "NVIDIA-A100-SXM4-80GB" in done.stdout


def test_the_cluster_is_named_where_there_are_several() -> None:
    Path("ai-how.yaml").write_text(
        SITE + "clusters:\n  one: {kind: cloud}\n  two: {kind: cloud, subnet: 192.168.201.0/24}\n"
    )
    assert "several clusters have a stack" in refusal(export("--config", "deploy.yaml"))
    assert export("--config", "deploy.yaml", "--cluster", "two").exit_code == 0


def test_a_model_without_a_chat_template_is_exported_and_that_is_said() -> None:
    config = Path("checkpoint/tokenizer_config.json")
    text = YAML(typ="safe").load(config.read_text())
    import json

    config.write_text(json.dumps({key: value for key, value in text.items() if key != "chat_template"}))
    done = export("--config", "deploy.yaml")
    assert done.exit_code == 0, done.stderr
    assert "no chat template: tiny answers /v1/completions" in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "what is to be exported?"),
        (("chat", "--config", "deploy.yaml"), "what is to be exported?"),
        (("--config", "deploy.yaml", "--name", "7b"), "cannot be named '7b'"),
        (("--config", "deploy.yaml", "--hardware", "nvidia_h100_80gb"), "can be served nowhere in this cluster"),
        (("--config", "deploy.yaml", "--hardware", "cpu"), "serves on GPUs only"),
        (("--config", "deploy.yaml", "-m", "hf://org/name"), "is not in the cluster's registry"),
        (("--config", "deploy.yaml", "--cluster", "other"), "site lab has no cluster 'other'"),
        (("--config", "missing.yaml"), "missing.yaml"),
    ],
)
def test_each_mistake_has_one_message(args: tuple[str, ...], said: str) -> None:
    assert said in refusal(export(*args))


def test_a_gguf_file_is_refused() -> None:
    write_gguf(Path("model.gguf"))
    assert "vLLM" in refusal(export("--model-path", "model.gguf", "--name", "chat"))


def test_a_local_site_has_no_cluster() -> None:
    Path("ai-how.yaml").write_text("name: lab\nprovider: local\n")
    assert "has no cluster to export for" in refusal(export("--config", "deploy.yaml"))


class Api:
    """What the command asks an API server, answered from objects."""

    def __init__(self, objects: list[Any]) -> None:
        self.objects = objects

    def list_objects(self, api_version: str, kind: str, namespace: str, *, labels: str) -> SimpleNamespace:
        key, _, value = labels.partition("=")
        items = [
            thing for thing in self.objects if thing["kind"] == kind and thing["metadata"]["labels"].get(key) == value
        ]
        return SimpleNamespace(items=items)

    def get(self, ref: Any) -> Any:
        found = (thing for thing in self.objects if (thing["kind"], thing["metadata"]["name"]) == (ref.kind, ref.name))
        return next(found, None)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A cluster with one endpoint of two revisions."""
    there = list(endpoint_objects([revision(1, share=90), revision(2, share=10)], setting=setting()))

    @contextmanager
    def running(name: str | None, site_path: Path | None) -> Iterator[SimpleNamespace]:
        site = load_site(Path("ai-how.yaml"))
        found = setting_of(site, "cloud", load_set("current").versions)
        yield SimpleNamespace(site=site, cluster="cloud", setting=found, api=Api(there))

    monkeypatch.setattr(command, "running", running)
    return there


def test_an_endpoint_is_exported_as_the_cluster_has_it(cluster: list[Any]) -> None:
    done = export("chat")
    assert done.exit_code == 0, done.stderr
    assert read(done.stdout) == [dict(thing) for thing in cluster]


def test_an_endpoint_that_is_not_there_is_told(cluster: list[Any]) -> None:
    assert "cluster cloud has no endpoint 'other'" in refusal(export("other"))


def test_a_registered_model_is_exported_with_its_version(monkeypatch: pytest.MonkeyPatch, cluster: list[Any]) -> None:
    monkeypatch.setattr(command.ModelSources, "_open", lambda self: SimpleNamespace(access=None))
    monkeypatch.setattr("ai_how.models.library.resolve", lambda reference, stores: version(reference))
    monkeypatch.setattr(
        "ai_how.models.registered.registered_memory", lambda found, access, base: sized_memory(INFO, found.size_bytes)
    )
    done = export("--model-path", "model://chat@live", "--name", "chat")
    assert done.exit_code == 0, done.stderr
    predictor = by_kind(read(done.stdout), "InferenceService")["spec"]["predictor"]
    assert predictor["model"]["storageUri"] == "s3://models/chat@live/0123456789abcdef"
    assert "must be in the store" not in done.stderr
