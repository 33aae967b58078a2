"""``ai-how deploy export``: an endpoint as plain YAML, for people who keep their manifests in git."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.deploy_adapters import adapter_option
from ai_how.cli.export_sources import ModelSources, running
from ai_how.cli.nodes import complete_cluster
from ai_how.cli.options import site_option
from ai_how.cli.output import columns, note
from ai_how.errors import NotFoundError, SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ai_how.endpoints.deploy_file import DeployFile
    from ai_how.kserve.planning import Planned
    from ai_how.kserve.revision import KServeRevision
    from ai_how.kserve.setting import ServingSetting
    from ai_how.site.spec import Site


@click.command()
@click.argument("endpoint", required=False)
@click.option("--config", "-c", type=click.Path(path_type=Path), help="Deploy file in Oumi's format.")
@click.option("--model-path", "-m", help="Checkpoint directory or model://name@alias, in place of the file's.")
@click.option("--hardware", help="GPU in Oumi's spelling, in place of the file's.")
@click.option("--name", "-n", help="Name of the endpoint, in place of the file's.")
@adapter_option("One more LoRA adapter on the same base, beside the file's; may be given several times.")
@click.option("--cluster", shell_complete=complete_cluster, help="Cluster, where the site has several.")
@click.option(
    "--output-dir", type=click.Path(path_type=Path, file_okay=False), help="Write a file for each object there."
)
@click.option("--force", "-f", is_flag=True, help="Overwrite files there that this command did not write.")
@site_option
def export(
    endpoint: str | None,
    config: Path | None,
    model_path: str | None,
    hardware: str | None,
    name: str | None,
    adapters: dict[str, str],
    cluster: str | None,
    output_dir: Path | None,
    force: bool,
    site_path: Path | None,
) -> None:
    """Print what an endpoint is on a cluster, as YAML that can be applied.

    With a deploy file no cluster is needed: GPUs are those that the site file
    plans. With ENDPOINT it is what the cluster has now. No Secret is in it.

    \b
    Example:
      ai-how deploy export --config deploy.yaml > chat.yaml
      ai-how deploy export chat --output-dir manifests/chat
    """
    from ai_how.kserve.export import export_files, export_text
    from ai_how.kserve.objects import endpoint_objects, notes

    if bool(endpoint) == bool(config or model_path):
        raise SpecError(
            "what is to be exported?",
            evidence="either an endpoint that a cluster has, or a deploy file (or --model-path)",
            next_step="ai-how deploy export ENDPOINT, or: ai-how deploy export --config deploy.yaml",
        )
    site = _site(site_path)
    if endpoint:
        setting, revisions = _of_cluster(endpoint, cluster, site_path)
    else:
        from ai_how.endpoints.deploy_file import load_deploy_file

        wanted, warnings = load_deploy_file(
            config, model_path=model_path, hardware=hardware, name=name, adapters=adapters
        )
        for warning in warnings:
            note(f"Warning: {warning}")
        setting, revisions = _of_file(wanted, site, cluster, site_path)
    objects = endpoint_objects(revisions, setting=setting)
    if output_dir is None:
        click.echo(export_text(objects), nl=False)
    else:
        _write(output_dir, export_files(objects), force=force)
    for line in [line for revision in revisions for line in notes(revision)]:
        note(line)
    note(f"It needs Secret {setting.namespace}/{setting.api_keys_secret}, which the stack makes.")


def _site(site_path: Path | None) -> Site:
    from ai_how.site.load import find_site, load_site

    site = load_site(site_path or find_site(Path.cwd()))
    if site.provider == "local":
        raise SpecError(
            f"site {site.name} has no cluster to export for",
            evidence="provider: local",
            next_step="write provider: libvirt or inventory and a cluster of kind cloud (ai-how schema)",
        )
    return site


def _of_cluster(
    endpoint: str, cluster: str | None, site_path: Path | None
) -> tuple[ServingSetting, Sequence[KServeRevision]]:
    """An endpoint as the cluster keeps it."""
    from ai_how.kserve.revision import ENDPOINT, revisions_of
    from ai_how.kserve.routing import shares_of
    from ai_how.kserve.setting import serving_setting
    from ai_how.kubernetes_api.objects import Ref

    with running(cluster, site_path) as stack:
        setting = serving_setting(stack.site, stack.cluster, stack.setting.versions)
        kind = ("serving.kserve.io/v1alpha1", "ServingRuntime")
        runtimes = stack.api.list_objects(*kind, setting.namespace, labels=f"{ENDPOINT}={endpoint}").items
        ref = Ref(
            api_version="gateway.networking.k8s.io/v1", kind="HTTPRoute", namespace=setting.namespace, name=endpoint
        )
        revisions = revisions_of(runtimes, shares_of(stack.api.get(ref) or {}))
    if not revisions:
        raise NotFoundError(
            f"cluster {setting.cluster} has no endpoint {endpoint!r}", next_step="ai-how deploy list shows them"
        )
    return setting, revisions


def _of_file(
    wanted: DeployFile, site: Site, cluster: str | None, site_path: Path | None
) -> tuple[ServingSetting, Sequence[KServeRevision]]:
    """An endpoint as a deploy file wants it, put onto the GPUs that the site file plans."""
    from ai_how.endpoints.adapters import WantedAdapter, base_warnings, served_adapters
    from ai_how.kserve.names import check_name
    from ai_how.kserve.node_facts import nodes_of_site
    from ai_how.kserve.planning import plan_revision
    from ai_how.kserve.setting import serving_setting
    from ai_how.models.types import ModelFormat
    from ai_how.stack_access.running import cluster_with_stack

    name = check_name(wanted.model_name)
    chosen = cluster_with_stack(site, cluster)
    setting = serving_setting(site, chosen, _versions(site), nodes=nodes_of_site(site, chosen))
    bucket = site.planned_clusters[chosen].stack.object_store.bucket
    with ExitStack() as opened:
        sources = ModelSources(opened, bucket=bucket, cluster=chosen, site_path=site_path)
        model = sources.model(wanted.model_source, name)
        # a whole model needs no base, whatever a file says
        below = wanted.base_model if model.info.format is ModelFormat.PEFT_ADAPTER else None
        base = sources.model(below, Path(below).name) if below else None
        memory = sources.memory(wanted.model_source, below)
        beside = [
            WantedAdapter(tag=tag, version=sources.model(source, f"{name}-{tag}"), rank=sources.rank(source))
            for tag, source in wanted.adapters.items()
        ]
    for line in base_warnings(model, beside):
        note(line)
    planned = plan_revision(
        name,
        model,
        memory=memory,
        hardware=wanted.hardware,
        autoscaling=wanted.autoscaling,
        setting=setting,
        base=base,
        adapters=served_adapters(beside, version=model, base=base),
    )
    _say_place(planned)
    return setting, (planned.revision,)


def _versions(site: Site) -> dict[str, str]:
    from ai_how.releases.conflict import Conflict
    from ai_how.releases.site_pins import clash, solve_site

    found = solve_site(site)
    if isinstance(found, Conflict):
        raise SpecError(
            f"the versions of site {site.name} do not fit together",
            evidence=clash(found),
            next_step="ai-how versions check --site shows the ways out",
        )
    return dict(found.versions)


def _say_place(planned: Planned) -> None:
    from ai_how.kserve.placement import rows

    if planned.placing is None:
        note(f"The site file says nothing of GPUs: any {planned.revision.spec.hardware.accelerator} will do.")
        return
    for line in columns([("NODE", "GPU", "FREE", "FITS", ""), *rows(planned.placing)]):
        note(line)


def _write(folder: Path, files: dict[str, str], *, force: bool) -> None:
    from ai_how.cli.export_folder import write_folder

    removed = write_folder(folder, files, force=force)
    click.echo(f"{len(files)} files in {folder}")
    if removed:
        note(f"removed, from an earlier export: {', '.join(removed)}")
