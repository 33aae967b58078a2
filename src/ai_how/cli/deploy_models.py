"""The ``deploy`` commands about registered models, and what they can be served on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.deploy_adapters import adapter_option, registered_adapters
from ai_how.cli.deploy_common import check_name, check_provider, provider_option, show_endpoint, wait_option
from ai_how.cli.open_site import open_serving
from ai_how.cli.options import force_option, output_option, site_option
from ai_how.cli.output import human_bytes, note, print_json, print_table
from ai_how.errors import SpecError

if TYPE_CHECKING:
    from ai_how.endpoints.types import Hardware


@click.command()
@click.option("--model-path", "-m", required=True, help="Checkpoint directory, GGUF file or hf://org/name.")
@click.option("--model-name", "-n", required=True, help="Name to register it under.")
@click.option("--model-type", "-t", type=click.Choice(["full", "adapter"]), default=None, help="Checked if given.")
@click.option("--base-model", "-b", default=None, help="Registered base of an adapter (checked when it is deployed).")
@provider_option
@wait_option(default=True)
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

    check_provider(provider)
    stores = open_serving(site_path, provider=provider).stores()
    version = push_model(model_path, model_name, stores=stores, quiet=output == "json")
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


@click.command("create-endpoint")
@click.option("--model-id", "-m", required=True, help="Registered model: name, name@alias or name/version.")
@click.option("--hardware", "-hw", default="auto", show_default=True, help="auto, cpu, or Oumi's name of a GPU.")
@click.option("--gpu-count", "-g", type=click.IntRange(1), default=1, show_default=True, help="GPUs a replica.")
@click.option("--min-replicas", type=click.IntRange(0), default=1, show_default=True, help="0 lets it sleep.")
@click.option("--max-replicas", type=click.IntRange(1), default=None, help="Default: the minimum, at least 1.")
@click.option("--name", "-n", default=None, help="Name of the endpoint. Default: the model's.")
@adapter_option("One more registered LoRA adapter on the same base, asked for as NAME:TAG; may be given several times.")
@provider_option
@wait_option(default=False)
@site_option
@output_option
def create_endpoint(
    model_id: str,
    hardware: str,
    gpu_count: int,
    min_replicas: int,
    max_replicas: int | None,
    name: str | None,
    adapters: dict[str, str],
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
    from ai_how.models.library import resolve

    check_provider(provider)
    top = max_replicas if max_replicas is not None else max(1, min_replicas)
    if min_replicas > top:
        raise SpecError(f"--min-replicas {min_replicas} is more than --max-replicas {top}")
    serving = open_serving(site_path, provider=provider)
    version = resolve(model_id, serving.stores())
    served = serve_version(
        serving,
        version,
        name=check_name(name or version.name),
        hardware=Hardware(accelerator=hardware, count=gpu_count),
        autoscaling=Autoscaling(min_replicas=min_replicas, max_replicas=top),
        base_model=None,
        wait=wait,
        quiet=output == "json",
        reference=model_id,
        adapters=registered_adapters(adapters, serving.stores()),
    )
    show_endpoint(served.status, output)


@click.command("list-models")
@provider_option
@click.option("--all", "-a", "_all", is_flag=True, help="Accepted as in Oumi; all models here are yours.")
@click.option("--status", default=None, help="Accepted as in Oumi; a registered model is always ready.")
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

    check_provider(provider)
    if status and status.lower() != "ready":
        click.echo(f"no model has status {status!r}: what is registered is ready")
        return
    context.invoke(model.commands["list"], site_path=site_path, output=output)


@click.command("list-hardware")
@provider_option
@click.option("--model-id", "-m", default=None, help="Only hardware that can serve this registered model.")
@site_option
@output_option
def list_hardware(provider: str | None, model_id: str | None, site_path: Path | None, output: str) -> None:
    """List what a replica can run on: this machine, or the cluster's GPUs.

    \b
    Example:
      ai-how deploy list-hardware
    """
    check_provider(provider)
    # for those who have no site file yet, too
    from ai_how.site.load import has_site_file

    has_site = site_path is not None or has_site_file(Path.cwd())
    serving = open_serving(site_path, provider=provider) if has_site or model_id else None
    found = _this_machine() if serving is None else serving.hardware()
    if serving is not None and model_id:
        from ai_how.models.library import resolve

        version = resolve(model_id, serving.stores())
        reasons = {hardware.accelerator: serving.why_not_on(hardware, version) for hardware in found}
        for accelerator, reason in reasons.items():
            if reason:
                note(f"{accelerator}: {reason}")
        found = [hardware for hardware in found if not reasons[hardware.accelerator]]
    if output == "json":
        print_json(found)
    else:
        print_table(("ACCELERATOR", "COUNT"), [(h.accelerator, h.count) for h in found])


def _this_machine() -> list[Hardware]:
    """What a replica can run on here."""
    from ai_how.endpoints.deploy import available_hardware
    from ai_how.endpoints.engines.host import observe_engine_host

    return available_hardware(observe_engine_host())


@click.command("delete-model")
@click.option("--model-id", "-m", required=True, help="Registered model: name, name@alias or name/version.")
@provider_option
@force_option
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

    check_provider(provider)
    context.invoke(model.commands["delete"], ref=model_id, yes=force, site_path=site_path)
