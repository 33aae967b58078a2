"""``ai-how deploy``: the commands of ``oumi deploy``, with your own machines as the provider."""

from __future__ import annotations

from pathlib import Path

import click

from ai_how.cli.confirm import confirm
from ai_how.cli.deploy_adapters import adapter_option
from ai_how.cli.deploy_coldstart import coldstart
from ai_how.cli.deploy_common import (
    check_provider,
    endpoint_name,
    endpoint_options,
    known_endpoint,
    provider_option,
    say_state,
    show_endpoint,
    show_status,
    wait_option,
)
from ai_how.cli.deploy_export import export
from ai_how.cli.deploy_models import create_endpoint, delete_model, list_hardware, list_models, upload
from ai_how.cli.deploy_rollout import history, rollback, update
from ai_how.cli.open_site import open_serving
from ai_how.cli.options import force_option, output_option, site_option
from ai_how.cli.output import note, print_json, print_table
from ai_how.errors import SpecError


@click.group()
def deploy() -> None:
    """Serve a model; the commands and the deploy file of `oumi deploy`.

    \b
    Example:
      ai-how deploy up --config deploy.yaml
      ai-how deploy up --model-path output/my-model --name my-model
      ai-how deploy test my-model --prompt "Hello"
    """


_OTHERS = (
    *(upload, create_endpoint, list_models, list_hardware, delete_model),
    *(update, history, rollback, coldstart, export),
)
for command in _OTHERS:
    deploy.add_command(command)


@deploy.command()
@click.option("--config", "-c", type=click.Path(path_type=Path), help="Deploy file in Oumi's format.")
@click.option("--model-path", "-m", help="Checkpoint directory, GGUF file, hf://org/name or model://name@alias.")
@click.option("--hardware", help="Accelerator in Oumi's spelling, or cpu. Default: what this machine has.")
@click.option("--name", "-n", help="Name of the endpoint and of the registered model.")
@adapter_option("One more LoRA adapter on the same base, asked for as NAME:TAG; may be given several times.")
@provider_option
@wait_option(default=True)
@site_option
@output_option
def up(
    config: Path | None,
    model_path: str | None,
    hardware: str | None,
    name: str | None,
    adapters: dict[str, str],
    provider: str | None,
    wait: bool,
    site_path: Path | None,
    output: str,
) -> None:
    """Register a model and serve it; ends when it has answered the test prompts.

    What is registered already is not uploaded again; an endpoint that is already
    so is left alone. Flags override the file.

    \b
    Example:
      ai-how deploy up --config deploy.yaml
      ai-how deploy up --config deploy.yaml --adapter legal=output/legal-adapter
    """
    from ai_how.cli.deploy_up import deploy_up
    from ai_how.endpoints.deploy_file import load_deploy_file

    wanted, warnings = load_deploy_file(
        config, model_path=model_path, hardware=hardware, name=name, provider=provider, adapters=adapters
    )
    for warning in warnings:
        note(f"Warning: {warning}")
    deploy_up(wanted, site_path=site_path, wait=wait, output=output)


@deploy.command("list")
@provider_option
@site_option
@output_option
def list_endpoints(provider: str | None, site_path: Path | None, output: str) -> None:
    """List all endpoints.

    \b
    Example:
      ai-how deploy list -o json
    """
    from ai_how.cli.endpoint_table import endpoint_rows

    check_provider(provider)
    found = open_serving(site_path, provider=provider).endpoints.list_endpoints()
    if output == "json":
        print_json(found)
    else:
        print_table(("ENDPOINT", "STATE", "REPLICAS", "MODEL"), endpoint_rows(found), empty="there are no endpoints")


@deploy.command()
@endpoint_options
@provider_option
@click.option("--watch", "-w", is_flag=True, help="Wait until it runs or has failed.")
@site_option
@output_option
def status(
    endpoint_id: str | None,
    endpoint: str | None,
    provider: str | None,
    watch: bool,
    site_path: Path | None,
    output: str,
) -> None:
    """Show one endpoint: state, replicas, address, the rollout under way.

    \b
    Example:
      ai-how deploy status my-model
    """
    from ai_how.endpoints.deploy import wait_for_state
    from ai_how.endpoints.types import EndpointState

    check_provider(provider)
    name, serving = endpoint_name(endpoint_id, endpoint), open_serving(site_path, provider=provider)
    client = serving.endpoints
    found = client.get(name)
    if watch and found.state not in (EndpointState.RUNNING, EndpointState.ERROR, EndpointState.STOPPED):
        found = wait_for_state(client, name, EndpointState.RUNNING, timeout_s=1800, on_state=say_state)
    show_status(found, serving, output)


@deploy.command()
@endpoint_options
@provider_option
@click.option("--min-replicas", type=click.IntRange(0), default=None, help="Replicas to start. Default: as before.")
@wait_option(default=False)
@site_option
@output_option
def start(
    endpoint_id: str | None,
    endpoint: str | None,
    provider: str | None,
    min_replicas: int | None,
    wait: bool,
    site_path: Path | None,
    output: str,
) -> None:
    """Start a stopped endpoint.

    \b
    Example:
      ai-how deploy start my-model --wait
    """
    from dataclasses import replace

    from ai_how.endpoints.deploy import wait_for_state
    from ai_how.endpoints.types import EndpointState

    check_provider(provider)
    name, client = endpoint_name(endpoint_id, endpoint), open_serving(site_path, provider=provider).endpoints
    spec = known_endpoint(client, name).spec
    bounds = spec.autoscaling
    if min_replicas is not None:
        if min_replicas > bounds.max_replicas:
            raise SpecError(
                f"--min-replicas {min_replicas} is more than the most that endpoint {name} may have",
                evidence=f"its replicas are {bounds.min_replicas}..{bounds.max_replicas}",
                next_step="raise autoscaling.max_replicas in its deploy file, then: ai-how deploy up --config FILE",
            )
        bounds = replace(bounds, min_replicas=min_replicas)
    found = client.put(replace(spec, stopped=False, autoscaling=bounds))
    if wait:
        client.want_replicas(name, 1)
        found = wait_for_state(client, name, EndpointState.RUNNING, timeout_s=1800, on_state=say_state)
    show_endpoint(found, output)


@deploy.command()
@endpoint_options
@provider_option
@wait_option(default=False)
@site_option
@output_option
def stop(
    endpoint_id: str | None, endpoint: str | None, provider: str | None, wait: bool, site_path: Path | None, output: str
) -> None:
    """Stop an endpoint; requests in flight are finished first.

    \b
    Example:
      ai-how deploy stop my-model
    """
    from dataclasses import replace

    from ai_how.endpoints.deploy import wait_for_state
    from ai_how.endpoints.types import EndpointState

    check_provider(provider)
    name, client = endpoint_name(endpoint_id, endpoint), open_serving(site_path, provider=provider).endpoints
    found = client.put(replace(known_endpoint(client, name).spec, stopped=True))
    if wait:
        found = wait_for_state(client, name, EndpointState.STOPPED, timeout_s=300, on_state=say_state)
    show_endpoint(found, output)


@deploy.command()
@endpoint_options
@provider_option
@force_option
@site_option
def delete(
    endpoint_id: str | None, endpoint: str | None, provider: str | None, force: bool, site_path: Path | None
) -> None:
    """Delete an endpoint; the registered model stays.

    \b
    Example:
      ai-how deploy delete my-model --yes
    """
    check_provider(provider)
    name, client = endpoint_name(endpoint_id, endpoint), open_serving(site_path, provider=provider).endpoints
    client.get(name)
    if not force:
        confirm(f"Delete endpoint {name}?", what="a deletion", otherwise=f"ai-how deploy delete {name} --yes")
    client.delete(name)
    click.echo(f"endpoint {name} is deleted")


@deploy.command()
@endpoint_options
@provider_option
@click.option("--prompt", default="Hello, how are you?", show_default=True, help="What to ask.")
@click.option("--max-tokens", type=click.IntRange(1), default=100, show_default=True, help="Longest answer.")
@site_option
@output_option
def test(
    endpoint_id: str | None,
    endpoint: str | None,
    provider: str | None,
    prompt: str,
    max_tokens: int,
    site_path: Path | None,
    output: str,
) -> None:
    """Ask an endpoint one question, and each adapter that shares its base; wakes it where it sleeps.

    \b
    Example:
      ai-how deploy test my-model --prompt "What is the capital of France?"
    """
    from ai_how.cli.deploy_up import ask_endpoint

    check_provider(provider)
    name = endpoint_name(endpoint_id, endpoint)
    serving = open_serving(site_path, provider=provider)
    found = known_endpoint(serving.endpoints, name)
    answer, *others = (
        (model, ask_endpoint(serving, found, prompt, max_tokens=max_tokens, model=model))
        for model in found.spec.served_names
    )
    if output == "json":
        beside = {"adapters": [{"model": model, **vars(one)} for model, one in others]} if others else {}
        print_json({"endpoint": name, "prompt": prompt, **vars(answer[1]), **beside})
        return
    for model, one in (answer, *others):
        if others:
            click.echo(f"{model}:")
        click.echo(one.text or "(an empty answer)")
