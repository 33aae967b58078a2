"""``ai-how deploy``: the commands of ``oumi deploy``, with this machine as the provider."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ai_how.cli.options import output_option, site_option
from ai_how.cli.output import human_bytes, note, print_json, print_table
from ai_how.errors import SpecError

if TYPE_CHECKING:
    from ai_how.endpoints.types import EndpointStatus

Function = TypeVar("Function", bound=Callable[..., Any])

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def _provider_option(function: Function) -> Function:
    return click.option(
        "--provider", "-p", default=None, help="Accepted as in Oumi; the only provider here is ai-how."
    )(function)


def _endpoint_options(function: Function) -> Function:
    function = click.argument("endpoint", required=False)(function)
    return click.option("--endpoint-id", "-e", help="Name of the endpoint, as in Oumi; or give it as argument.")(
        function
    )


def _wait_option(*, default: bool) -> Callable[[Function], Function]:
    return click.option("--wait/--no-wait", "-w", default=default, show_default=True, help="Wait until it is so.")


@click.group()
def deploy() -> None:
    """Serve a model; the commands and the deploy file of `oumi deploy`.

    \b
    Example:
      ai-how deploy up --config deploy.yaml
      ai-how deploy up --model-path output/my-model --name my-model
      ai-how deploy test my-model --prompt "Hello"
    """


@deploy.command()
@click.option("--config", "-c", type=click.Path(path_type=Path), help="Deploy file in Oumi's format.")
@click.option("--model-path", "-m", help="Checkpoint directory, GGUF file, hf://org/name or model://name@alias.")
@click.option("--hardware", help="Accelerator in Oumi's spelling, or cpu. Default: what this machine has.")
@click.option("--name", "-n", help="Name of the endpoint and of the registered model.")
@_provider_option
@_wait_option(default=True)
@site_option
@output_option
def up(
    config: Path | None,
    model_path: str | None,
    hardware: str | None,
    name: str | None,
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
    """
    from ai_how.cli.deploy_up import deploy_up
    from ai_how.endpoints.deploy_file import load_deploy_file

    wanted, warnings = load_deploy_file(config, model_path=model_path, hardware=hardware, name=name, provider=provider)
    for warning in warnings:
        note(f"Warning: {warning}")
    deploy_up(wanted, site_path=site_path, wait=wait, output=output)


@deploy.command()
@click.option("--model-path", "-m", required=True, help="Checkpoint directory, GGUF file or hf://org/name.")
@click.option("--model-name", "-n", required=True, help="Name to register it under.")
@click.option("--model-type", "-t", type=click.Choice(["full", "adapter"]), default=None, help="Checked if given.")
@click.option("--base-model", "-b", default=None, help="Registered base of an adapter (checked when it is deployed).")
@_provider_option
@_wait_option(default=True)
@site_option
@output_option
def upload(
    model_path: str,
    model_name: str,
    model_type: str | None,
    base_model: str | None,
    provider: str | None,
    wait: bool,  # noqa: ARG001 - an upload here is always complete when the command ends
    site_path: Path | None,
    output: str,
) -> None:
    """Check, upload and register a model, without serving it.

    \b
    Example:
      ai-how deploy upload --model-path output/my-model --model-name my-model
    """
    from ai_how.cli.deploy_up import push_model

    _check_provider(provider)
    version = push_model(model_path, model_name, site_path=site_path, quiet=output == "json")
    if model_type and (version.info.format == "peft") != (model_type == "adapter"):
        raise SpecError(
            f"--model-type is {model_type}, but {model_path} is not",
            evidence=f"its format is {version.info.format}; it was registered as {version.name}/{version.version}",
        )
    if base_model:
        note(f"base model {base_model} is looked up when the adapter is deployed")
    if output == "json":
        print_json(version)
    else:
        click.echo(f"model id: {version.name}/{version.version}  ({human_bytes(version.size_bytes)})")


@deploy.command("create-endpoint")
@click.option("--model-id", "-m", required=True, help="Registered model: name, name@alias or name/version.")
@click.option("--hardware", "-hw", default=None, help="Accelerator in Oumi's spelling, or cpu.")
@click.option("--gpu-count", "-g", type=click.IntRange(1), default=1, show_default=True, help="GPUs a replica.")
@click.option("--min-replicas", type=click.IntRange(0), default=1, show_default=True, help="0 lets it sleep.")
@click.option("--max-replicas", type=click.IntRange(1), default=None, help="Default: the minimum, at least 1.")
@click.option("--name", "-n", default=None, help="Name of the endpoint. Default: the model's.")
@_provider_option
@_wait_option(default=False)
@site_option
@output_option
def create_endpoint(
    model_id: str,
    hardware: str | None,
    gpu_count: int,
    min_replicas: int,
    max_replicas: int | None,
    name: str | None,
    provider: str | None,
    wait: bool,
    site_path: Path | None,
    output: str,
) -> None:
    """Serve a model that is registered already.

    \b
    Example:
      ai-how deploy create-endpoint --model-id my-model@champion --wait
    """
    from ai_how.cli.deploy_up import serve_version
    from ai_how.endpoints.types import Autoscaling, Hardware
    from ai_how.local.site_access import open_stores
    from ai_how.models.library import resolve

    _check_provider(provider)
    top = max_replicas if max_replicas is not None else max(1, min_replicas)
    if min_replicas > top:
        raise SpecError(f"--min-replicas {min_replicas} is more than --max-replicas {top}")
    version = resolve(model_id, open_stores(site_path))
    served = serve_version(
        version,
        name=check_name(name or version.name),
        hardware=Hardware(accelerator=hardware, count=gpu_count) if hardware else None,
        autoscaling=Autoscaling(min_replicas=min_replicas, max_replicas=top),
        base_model=None,
        site_path=site_path,
        wait=wait,
        quiet=output == "json",
    )
    _show(served.status, output)


@deploy.command("list")
@_provider_option
@site_option
@output_option
def list_endpoints(provider: str | None, site_path: Path | None, output: str) -> None:
    """List all endpoints.

    \b
    Example:
      ai-how deploy list -o json
    """
    from ai_how.cli.endpoint_table import endpoint_rows

    _check_provider(provider)
    found = _client(site_path).list_endpoints()
    if output == "json":
        print_json(found)
    else:
        print_table(("ENDPOINT", "STATE", "REPLICAS", "MODEL"), endpoint_rows(found), empty="there are no endpoints")


@deploy.command("list-models")
@_provider_option
@click.option("--all", "-a", "_all", is_flag=True, help="Accepted as in Oumi; all models here are yours.")
@click.option("--status", "-s", default=None, help="Accepted as in Oumi; a registered model is always ready.")
@click.pass_context
@site_option
@output_option
def list_models(
    context: click.Context, provider: str | None, _all: bool, status: str | None, site_path: Path | None, output: str
) -> None:
    """List the registered models; the same as `ai-how model list`.

    \b
    Example:
      ai-how deploy list-models
    """
    from ai_how.cli.model import model

    _check_provider(provider)
    if status and status.lower() != "ready":
        click.echo(f"no model has status {status!r}: what is registered is ready")
        return
    context.invoke(model.commands["list"], site_path=site_path, output=output)


@deploy.command("list-hardware")
@_provider_option
@click.option("--model-id", "-m", default=None, help="Only hardware that can serve this registered model.")
@site_option
@output_option
def list_hardware(provider: str | None, model_id: str | None, site_path: Path | None, output: str) -> None:
    """List what this machine can run a replica on.

    \b
    Example:
      ai-how deploy list-hardware
    """
    from dataclasses import replace

    from ai_how.endpoints.deploy import CPU, available_hardware
    from ai_how.endpoints.engines.choose import choose
    from ai_how.endpoints.engines.host import observe_engine_host

    _check_provider(provider)
    host = observe_engine_host()
    found = available_hardware(host)
    if model_id:
        from ai_how.local.site_access import open_stores
        from ai_how.models.library import resolve

        info = resolve(model_id, open_stores(site_path)).info
        usable = []
        for hardware in found:
            try:
                choose(info, host if hardware.accelerator != CPU else replace(host, accelerators=()), "auto")
            except SpecError as error:
                note(f"{hardware.accelerator}: {error.evidence or error.brief}")
                continue
            usable.append(hardware)
        found = usable
    if output == "json":
        print_json(found)
    else:
        print_table(("ACCELERATOR", "COUNT"), [(h.accelerator, h.count) for h in found])


@deploy.command()
@_endpoint_options
@_provider_option
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
    """Show one endpoint: state, replicas, address.

    \b
    Example:
      ai-how deploy status my-model
    """
    from ai_how.endpoints.deploy import wait_for_state
    from ai_how.endpoints.types import EndpointState

    _check_provider(provider)
    name, client = _endpoint(endpoint_id, endpoint), _client(site_path)
    found = client.get(name)
    if watch and found.state not in (EndpointState.RUNNING, EndpointState.ERROR, EndpointState.STOPPED):
        found = wait_for_state(client, name, EndpointState.RUNNING, timeout_s=1800, on_state=_say_state)
    _show(found, output)


@deploy.command()
@_endpoint_options
@_provider_option
@click.option("--min-replicas", type=click.IntRange(0), default=None, help="Replicas to start. Default: as before.")
@_wait_option(default=False)
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

    _check_provider(provider)
    name, client = _endpoint(endpoint_id, endpoint), _client(site_path)
    spec = client.get(name).spec
    bounds = spec.autoscaling
    if min_replicas is not None:
        bounds = replace(bounds, min_replicas=min_replicas, max_replicas=max(1, min_replicas, bounds.max_replicas))
    found = client.put(replace(spec, stopped=False, autoscaling=bounds))
    if wait:
        client.want_replicas(name, 1)
        found = wait_for_state(client, name, EndpointState.RUNNING, timeout_s=1800, on_state=_say_state)
    _show(found, output)


@deploy.command()
@_endpoint_options
@_provider_option
@_wait_option(default=False)
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

    _check_provider(provider)
    name, client = _endpoint(endpoint_id, endpoint), _client(site_path)
    found = client.put(replace(client.get(name).spec, stopped=True))
    if wait:
        found = wait_for_state(client, name, EndpointState.STOPPED, timeout_s=300, on_state=_say_state)
    _show(found, output)


@deploy.command()
@_endpoint_options
@_provider_option
@click.option("--force", "-f", is_flag=True, help="Do not ask.")
@site_option
def delete(
    endpoint_id: str | None, endpoint: str | None, provider: str | None, force: bool, site_path: Path | None
) -> None:
    """Delete an endpoint; the registered model stays.

    \b
    Example:
      ai-how deploy delete my-model --force
    """
    _check_provider(provider)
    name, client = _endpoint(endpoint_id, endpoint), _client(site_path)
    client.get(name)
    if not force:
        click.confirm(f"Delete endpoint {name}?", abort=True, err=True)
    client.delete(name)
    click.echo(f"endpoint {name} is deleted")


@deploy.command("delete-model")
@click.option("--model-id", "-m", required=True, help="Registered model: name, name@alias or name/version.")
@_provider_option
@click.option("--force", "-f", is_flag=True, help="Do not ask.")
@click.pass_context
@site_option
def delete_model(
    context: click.Context, model_id: str, provider: str | None, force: bool, site_path: Path | None
) -> None:
    """Delete a registered model; the same as `ai-how model delete`.

    \b
    Example:
      ai-how deploy delete-model --model-id my-model/2 --force
    """
    from ai_how.cli.model import model

    _check_provider(provider)
    context.invoke(model.commands["delete"], ref=model_id, yes=force, site_path=site_path)


@deploy.command()
@_endpoint_options
@_provider_option
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
    """Ask an endpoint one question; wakes it where it sleeps.

    \b
    Example:
      ai-how deploy test my-model --prompt "What is the capital of France?"
    """
    from ai_how.cli.deploy_up import ask_endpoint

    _check_provider(provider)
    name = _endpoint(endpoint_id, endpoint)
    found = _client(site_path).get(name)
    answer = ask_endpoint(found, prompt, max_tokens=max_tokens, site_path=site_path)
    if output == "json":
        print_json({"endpoint": name, "prompt": prompt, **vars(answer)})
    else:
        click.echo(answer.text or "(an empty answer)")


def check_name(name: str) -> str:
    """An endpoint's name, as it appears in URLs and file names.

    Raises:
        SpecError: it has other characters, with a name that would do.
    """
    if _NAME.fullmatch(name):
        return name
    near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    raise SpecError(
        f"{name!r} cannot be the name of an endpoint",
        evidence="lower-case letters, digits and dashes; 40 at most",
        next_step=f"use --name {near}" if near else "use --name my-model",
    )


def _check_provider(provider: str | None) -> None:
    if provider not in (None, "ai-how"):
        raise SpecError(
            f"provider {provider!r} is not ai-how's",
            evidence="ai-how serves on your own machines",
            next_step=f"leave --provider out, or use: oumi deploy ... --provider {provider}",
        )


def _endpoint(option: str | None, argument: str | None) -> str:
    if option and argument and option != argument:
        raise SpecError(f"two endpoints are named: {argument} and {option}")
    name = option or argument
    if not name:
        raise SpecError("which endpoint?", next_step="name it, see them with: ai-how deploy list")
    return check_name(name)


def _client(site_path: Path | None) -> Any:
    from ai_how.cli.deploy_up import open_client

    return open_client(site_path)


def _say_state(status: EndpointStatus) -> None:
    states = ", ".join(replica.state for replica in status.replicas) or "no replica yet"
    note(f"  {status.spec.name}: {status.state} ({states})")


def _show(status: EndpointStatus, output: str) -> None:
    if output == "json":
        print_json(status)
        return
    spec = status.spec
    click.echo(f"endpoint   {spec.name}")
    click.echo(f"state      {status.state}")
    click.echo(f"model      {spec.model_name}/{spec.model_version}")
    click.echo(f"engine     {spec.engine} on {spec.hardware.count}x {spec.hardware.accelerator}")
    click.echo(f"replicas   {spec.autoscaling.min_replicas}..{spec.autoscaling.max_replicas}")
    for replica in status.replicas:
        click.echo(
            f"           {replica.name}  {replica.state}  {replica.in_flight} in flight  {replica.message}".rstrip()
        )
    click.echo(f"url        {status.url}")
    if status.message:
        click.echo(f"message    {status.message}")
