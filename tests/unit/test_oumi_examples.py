"""The examples for Oumi name the endpoint of our own example, and only keys that Oumi 0.9 has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ai_how.endpoints.deploy_file import load_deploy_file

EXAMPLES = Path(__file__).parents[2] / "examples"
# oumi.core.configs: InferenceConfig, RemoteParams, JobConfig
INFERENCE = {"model", "generation", "input_path", "output_path", "engine", "remote_params"}
REMOTE = {"api_url", "api_key", "api_key_env_varname", "max_retries", "connection_timeout", "num_workers"}
JOB = {"name", "user", "working_dir", "num_nodes", "resources", "envs", "file_mounts", "storage_mounts", "setup", "run"}


def example(name: str) -> dict[str, Any]:
    found = YAML(typ="safe").load(EXAMPLES / "oumi" / name)
    assert isinstance(found, dict)
    return found


def test_infer_asks_the_endpoint_of_our_example() -> None:
    config = example("infer.yaml")
    wanted, _ = load_deploy_file(EXAMPLES / "deploy.yaml", model_path=None, hardware=None, name=None, provider=None)
    assert config["model"] == {"model_name": wanted.model_name}
    assert config["engine"] == "REMOTE"
    assert set(config) <= INFERENCE
    assert set(config["remote_params"]) <= REMOTE
    assert "api_key" not in config["remote_params"], "a key belongs in no file"
    for line in (EXAMPLES.parent / config["input_path"]).read_text().splitlines():
        assert [message["role"] for message in json.loads(line)["messages"]] == ["user"]


def test_the_job_serves_what_it_trained() -> None:
    job = example("job.yaml")
    assert set(job) <= JOB
    assert job["resources"] == {"cloud": "local"}
    assert job["run"].splitlines()[1].startswith("oumi train")
    assert "ai-how deploy up --model-path" in job["run"]
