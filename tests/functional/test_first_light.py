"""The whole line: a site, a registered checkpoint, an endpoint that answers; driven as a user types it.

The model is tiny and made on the spot; everything else is real.
"""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.tiny_model import write_tiny_adapter, write_tiny_checkpoint, write_tiny_gguf

from .site import SiteUnderTest, eventually

pytestmark = pytest.mark.slow

SERVING = """serving:
  context_tokens: 256
  parallel_requests: 2
  threads: 1
  idle_after_s: 3
  scale_out_after_s: 0.5
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteUnderTest]:
    made = SiteUnderTest(folder=tmp_path_factory.mktemp("first-light"), name="light")
    made.write(SERVING)
    write_tiny_gguf(made.folder / "tiny.gguf")
    write_tiny_checkpoint(made.folder / "checkpoint")
    made.run("up", "--yes")
    (made.folder / "deploy.yaml").write_text(
        "model_source: tiny.gguf\nprovider: ai-how\nmodel_name: tiny\n"
        "autoscaling:\n  min_replicas: 1\n  max_replicas: 2\ntest_prompts:\n  - Hello\n"
    )
    made.run("deploy", "up", "--config", "deploy.yaml")
    yield made
    made.run("destroy", "--yes", code=None)
    assert made.processes() == []


@pytest.fixture(scope="module")
def client(site: SiteUnderTest) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url_of(site)}/v1", api_key=key_of(site), max_retries=0, timeout=120)


def url_of(site: SiteUnderTest) -> str:
    return str(site.components()["gateway"]["address"])


def key_of(site: SiteUnderTest) -> str:
    return site.run("key", "show").stdout.strip()


def endpoint(site: SiteUnderTest, name: str = "tiny") -> Any:
    return site.run("deploy", "status", name, "-o", "json").json()


def replica_pids(site: SiteUnderTest, name: str) -> set[int]:
    return {p.pid for p in site.processes() if f"::engine-{name}-" in p.environ()["AI_HOW_PROCESS"]}


def test_deploying_again_changes_nothing(site: SiteUnderTest) -> None:
    before = replica_pids(site, "tiny")
    again = site.run("deploy", "up", "--config", "deploy.yaml", "-o", "json").json()
    assert again["changed"] is False
    assert again["answers"][0]["prompt"] == "Hello"
    assert replica_pids(site, "tiny") == before
    assert endpoint(site)["spec"]["model_version"] == 1


def test_the_output_says_how_to_call_it(site: SiteUnderTest) -> None:
    said = site.run("deploy", "up", "--config", "deploy.yaml").stdout
    assert f"{url_of(site)}/v1" in said
    assert "ai-how key show" in said
    assert key_of(site) not in said


def test_a_hugging_face_checkpoint_is_served_too(site: SiteUnderTest) -> None:
    site.run("deploy", "up", "--model-path", "checkpoint", "--name", "from-oumi")
    assert site.run("deploy", "test", "from-oumi", "--prompt", "Hello", "--max-tokens", "4").stdout
    shown = site.run("model", "show", "from-oumi", "-o", "json").json()
    assert shown["info"]["architecture"] == "LlamaForCausalLM"
    cached = site.root / "cache" / "models" / shown["digest"]
    assert cached.exists()
    assert "ai-how deploy delete from-oumi" in site.run("model", "delete", "from-oumi", "--yes", code=1).stderr
    site.run("deploy", "delete", "from-oumi", "--force")
    site.run("model", "delete", "from-oumi", "--yes")
    assert not cached.exists()


def test_an_endpoint_whose_record_is_broken_is_deployed_again(site: SiteUnderTest) -> None:
    site.run("deploy", "up", "--model-path", "checkpoint", "--name", "torn")
    (site.root / "endpoints" / "torn.json").write_text('{"x":')
    os.kill(site.components()["gateway"]["pid"], signal.SIGKILL)
    eventually(lambda: "is broken" in site.run("deploy", "status", "torn", code=None).stdout)
    listed = next(line for line in site.run("deploy", "list").stdout.splitlines() if line.startswith("torn"))
    assert listed.split()[-1] == "-"
    for words in (("update", "torn", "--model", "checkpoint"), ("stop", "torn"), ("test", "torn", "--prompt", "Hi")):
        assert "with its model again" in site.run("deploy", *words, code=1).stderr
    site.run("deploy", "up", "--model-path", "checkpoint", "--name", "torn")
    assert endpoint(site, "torn")["state"] == "running"
    site.run("deploy", "delete", "torn", "--force")


def test_adapters_share_one_base(site: SiteUnderTest, client: openai.OpenAI) -> None:
    for seed, tag in enumerate(("legal", "support", "sales"), start=2):
        write_tiny_adapter(site.folder / tag, seed=seed)
    (site.folder / "shared.yaml").write_text(
        "model_source: checkpoint\nmodel_name: shared\nadapters: {legal: legal, support: support}\n"
        "test_prompts: [Hello]\n"
    )
    write_tiny_checkpoint(site.folder / "narrow", hidden_size=32)
    words = ("--model-path", "narrow", "--name", "narrow", "--adapter", "legal=legal")
    refused = site.run("deploy", "up", *words, code=1).stderr
    assert "adapter legal" in refused
    assert "was trained on another base" in refused
    assert site.run("model", "list", "--name", "narrow", "-o", "json").json() == []
    write_tiny_adapter(site.folder / "unsound", r=0)
    refused = site.run("deploy", "up", "--config", "shared.yaml", "--adapter", "bad=unsound", code=1).stderr
    assert "adapter bad: unsound is no sound model" in refused
    up = site.run("deploy", "up", "--config", "shared.yaml").stdout
    assert "model: shared, shared:legal, shared:support" in up
    assert "shared:legal > Hello" in up
    assert {"shared", "shared:legal", "shared:support"} <= {model.id for model in client.models.list()}
    with pytest.raises(openai.NotFoundError, match="shared:legal"):
        client.completions.create(model="shared:leagl", prompt="Hello", max_tokens=1)

    names = ("shared", "shared:legal", "shared:support")

    def said(name: str) -> str:
        # the same prompt again and again: what one adapter computed of it must not serve another
        answer = client.completions.create(model=name, prompt="the quick", max_tokens=12, temperature=0)
        return answer.choices[0].text

    answers = {name: said(name) for name in names}
    assert len(set(answers.values())) == 3
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(said, names * 8)) == list(answers.values()) * 8
    (pid,) = replica_pids(site, "shared")
    asked = site.run("deploy", "test", "shared", "--max-tokens", "3", "-o", "json").json()
    assert [one["model"] for one in asked["adapters"]] == ["shared:legal", "shared:support"]
    assert site.run("deploy", "test", "shared", "--max-tokens", "3").stdout.startswith("shared:\n")
    shown = site.run("deploy", "status", "shared").stdout
    assert "adapter    shared:legal  shared-legal/1" in shown
    assert "shared/1 +2 adapters" in site.run("deploy", "list").stdout
    listed = site.run("deploy", "list", "-o", "json").json()
    (spec,) = (one["spec"] for one in listed if one["spec"]["name"] == "shared")
    assert [(one["tag"], one["rank"]) for one in spec["adapters"]] == [("legal", 4), ("support", 4)]
    metrics = urllib.request.urlopen(f"{url_of(site)}/metrics", timeout=10).read().decode()
    assert 'vllm:request_success_total{model_name="shared:legal"' in metrics

    refused = site.run("model", "delete", "shared-legal", "--yes", code=1).stderr
    assert "take legal out of adapters in the deploy file" in refused
    again = site.run("deploy", "up", "--config", "shared.yaml", "-o", "json").json()
    assert again["changed"] is False
    assert replica_pids(site, "shared") == {pid}
    site.run("deploy", "up", "--config", "shared.yaml", "--adapter", "sales=sales")
    assert said("shared:sales") not in answers.values()
    assert {name: said(name) for name in names} == answers
    (site.folder / "own.yaml").write_text(
        "model_source: legal\nmodel_name: own\nmodel_type: adapter\nbase_model: shared\nadapters: {support: support}\n"
    )
    site.run("deploy", "up", "--config", "own.yaml")
    assert said("own") == answers["shared:legal"]
    assert said("own:support") == answers["shared:support"]
    site.run("deploy", "delete", "own", "--force")
    for source in ("tiny.gguf", "model://tiny"):
        wrong = site.run("deploy", "up", "--config", "shared.yaml", "--adapter", f"legal={source}", code=1).stderr
        assert "is no adapter, and cannot be served as legal" in wrong
    site.run("deploy", "delete", "shared", "--force")


def test_the_openai_client_runs_unmodified(client: openai.OpenAI) -> None:
    assert "tiny" in [model.id for model in client.models.list()]
    message: Any = [{"role": "user", "content": "Hello"}]
    answer = client.chat.completions.create(model="tiny", messages=message, max_tokens=5)
    assert answer.choices[0].message.content is not None
    pieces = list(client.chat.completions.create(model="tiny", messages=message, max_tokens=5, stream=True))
    assert pieces[-1].choices == [] or pieces[-1].choices[0].finish_reason
    assert client.completions.create(model="tiny", prompt="the quick", max_tokens=3).choices[0].text is not None
    with pytest.raises(openai.NotFoundError, match="tiny"):
        client.chat.completions.create(model="tinny", messages=message)


def test_a_wrong_key_is_refused(site: SiteUnderTest) -> None:
    stranger = openai.OpenAI(base_url=f"{url_of(site)}/v1", api_key="sk-wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_health_paths_and_metrics(site: SiteUnderTest) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready"):
        assert urllib.request.urlopen(url_of(site) + path, timeout=10).status == 200
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{url_of(site)}/v2/models/none/ready", timeout=10)
    metrics = urllib.request.urlopen(f"{url_of(site)}/metrics", timeout=10).read().decode()
    assert 'endpoint="tiny"' in metrics


def test_a_killed_engine_is_replaced_and_no_request_hangs(site: SiteUnderTest, client: openai.OpenAI) -> None:
    for pid in replica_pids(site, "tiny"):
        os.kill(pid, signal.SIGKILL)
    answer = client.completions.create(model="tiny", prompt="the quick", max_tokens=3)
    assert answer.choices[0].text is not None
    eventually(lambda: endpoint(site)["state"] == "running")


def test_a_killed_gateway_finds_its_replicas_again(site: SiteUnderTest, client: openai.OpenAI) -> None:
    eventually(lambda: any(r["state"] == "ready" for r in endpoint(site)["replicas"]))
    before = replica_pids(site, "tiny")
    os.kill(site.components()["gateway"]["pid"], signal.SIGKILL)

    def answers() -> bool:
        try:
            return client.completions.create(model="tiny", prompt="the quick", max_tokens=3).choices[0].text is not None
        except openai.OpenAIError:
            return False

    eventually(answers, timeout_s=60)
    assert replica_pids(site, "tiny") == before


def test_load_brings_a_second_replica_and_quiet_takes_it_away(site: SiteUnderTest, client: openai.OpenAI) -> None:
    enough = threading.Event()

    def ready() -> int:
        return sum(replica["state"] == "ready" for replica in endpoint(site)["replicas"])

    def ask_on() -> int:
        answered = 0
        while not enough.is_set() and answered < 2000:
            answer = client.completions.create(
                model="tiny", prompt="the quick", max_tokens=100, extra_body={"ignore_eos": True}
            )
            answered += len(answer.choices)
        return answered

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask_on) for _ in range(8)]
        try:
            eventually(lambda: ready() == 2, timeout_s=60)
        finally:
            enough.set()
        assert all(one.result() for one in asking)
    eventually(lambda: ready() == 1, timeout_s=60)
    assert endpoint(site)["state"] == "running"


def test_a_sleeping_model_is_woken_by_a_request_that_is_held(site: SiteUnderTest, client: openai.OpenAI) -> None:
    site.run("deploy", "create-endpoint", "--model-id", "tiny", "--name", "sleepy", "--min-replicas", "0", "--wait")
    eventually(lambda: not endpoint(site, "sleepy")["replicas"], timeout_s=60)
    assert endpoint(site, "sleepy")["state"] == "running"
    assert client.completions.create(model="sleepy", prompt="the quick", max_tokens=3).choices[0].text is not None
    site.run("deploy", "delete", "sleepy", "--force")
    assert "sleepy" not in site.run("deploy", "list").stdout


def test_stop_and_start(site: SiteUnderTest, client: openai.OpenAI) -> None:
    site.run("deploy", "stop", "tiny", "--wait")
    assert endpoint(site)["state"] == "stopped"
    assert replica_pids(site, "tiny") == set()
    with pytest.raises(openai.APIStatusError, match="stopped"):
        client.completions.create(model="tiny", prompt="the", max_tokens=1)
    site.run("deploy", "start", "tiny", "--wait")
    assert client.completions.create(model="tiny", prompt="the", max_tokens=1).choices


def test_stopping_loses_no_request_in_flight(site: SiteUnderTest, client: openai.OpenAI) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(client.completions.create, model="tiny", prompt="the quick", max_tokens=200) for _ in range(2)
        ]
        eventually(lambda: sum(r["in_flight"] for r in endpoint(site)["replicas"]) or all(a.done() for a in asked))
        site.run("deploy", "stop", "tiny", "--wait")
        assert all(one.result().choices for one in asked)
    site.run("deploy", "start", "tiny", "--wait")


def test_a_new_serving_section_reaches_the_replicas(site: SiteUnderTest, client: openai.OpenAI) -> None:
    long: Any = {"model": "tiny", "prompt": "the quick " * 200, "max_tokens": 1}
    with pytest.raises(openai.BadRequestError):
        client.completions.create(**long)
    before = replica_pids(site, "tiny")
    site.write(SERVING.replace("context_tokens: 256", "context_tokens: 2048"))
    site.run("up", "--yes")

    def is_replaced() -> bool:
        now = replica_pids(site, "tiny")
        return bool(now) and not now & before and endpoint(site)["state"] == "running"

    eventually(is_replaced, timeout_s=60)
    assert client.completions.create(**long).choices
    site.write(SERVING)
    site.run("up", "--yes")


def test_a_model_that_is_served_cannot_be_deleted(site: SiteUnderTest) -> None:
    refused = site.run("model", "delete", "tiny", "--yes", code=1).stderr
    assert "tiny" in refused
    assert "deploy delete" in refused


def test_endpoints_come_back_after_down_and_up(site: SiteUnderTest) -> None:
    site.run("down")
    assert site.processes() == []
    site.run("up", "--yes")
    eventually(lambda: any(r["state"] == "ready" for r in endpoint(site)["replicas"]), timeout_s=60)
    assert site.run("deploy", "test", "tiny", "--prompt", "Hello", "--max-tokens", "3").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("deploy", "up", "--model-path", "missing.gguf", "--name", "x"), "missing.gguf"),
        (("deploy", "up", "--model-path", "tiny.gguf", "--name", "Not A Name"), "not-a-name"),
        (("deploy", "up", "--model-path", "tiny.gguf", "--name", "x", "--hardware", "nvidia_a100_80gb"), "it has: cpu"),
        (("deploy", "up", "--model-path", "model://tinny", "--name", "x"), "tiny"),
        (("deploy", "up", "--config", "nothing.yaml"), "nothing.yaml"),
        (("deploy", "status", "tinny"), "tiny"),
        (("deploy", "status"), "which endpoint"),
        (("deploy", "list", "--provider", "fireworks"), "oumi deploy"),
        (("deploy", "create-endpoint", "--model-id", "tiny@nobody"), "nobody"),
        (("model", "show", "tinny"), "tiny"),
    ],
)
def test_a_mistake_gets_one_clear_message(site: SiteUnderTest, words: tuple[str, ...], said: str) -> None:
    result = site.run(*words, code=1)
    assert said in result.stderr
    assert "Next: " in result.stderr


def test_a_truncated_model_is_refused_before_it_is_sent(site: SiteUnderTest) -> None:
    whole = (site.folder / "tiny.gguf").read_bytes()
    (site.folder / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    assert "cut.gguf" in site.run("deploy", "up", "--model-path", "cut.gguf", "--name", "cut", code=1).stderr
    assert "cut" not in site.run("model", "list").stdout
    broken = site.folder / "broken"
    shutil.copytree(site.folder / "checkpoint", broken)
    (broken / "config.json").write_text("{")
    assert "config.json" in site.run("deploy", "up", "--model-path", "broken", "--name", "broken", code=1).stderr


def test_a_dead_store_is_said_and_up_repairs_it(site: SiteUnderTest) -> None:
    supervisor = int((site.root / "run" / "supervisor.pid").read_text())
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: not site.processes())
    said = site.run("model", "list", code=1).stderr
    assert "ai-how up" in said
    said = site.run("deploy", "list", code=1).stderr
    assert "ai-how up" in said
    site.run("up", "--yes")
    assert "tiny" in site.run("model", "list").stdout
