"""``ai-how init``, ``validate`` and ``schema``: the site file from its first line on."""

from __future__ import annotations

import errno
import re
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.options import output_option, site_option
from ai_how.cli.output import note, print_json
from ai_how.errors import AiHowError, ConflictError, SpecError
from ai_how.run.process import run, which

if TYPE_CHECKING:
    from ai_how.site.mistakes import Mistake
    from ai_how.site.spec import Site


@click.command()
@click.argument("file", default="ai-how.yaml", type=click.Path(allow_dash=True, path_type=Path))
@click.option("--name", help="Name of the site. Default: made from the folder's name.")
@click.option(
    "--provider",
    type=click.Choice(["local", "libvirt"]),
    default="local",
    help="local: processes on this machine (default); libvirt: clusters of virtual machines, to plan.",
)
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@click.option("--stdout", "to_stdout", is_flag=True, help="Print the file instead of writing it; so does FILE -.")
def init(file: Path, name: str | None, provider: str, *, force: bool, to_stdout: bool) -> None:
    """Write a commented ai-how.yaml for this machine.

    \b
    Example:
      ai-how init
      ai-how init --name demo sites/demo.yaml
      ai-how init --provider libvirt
    """
    from ai_how.site.cluster_template import render_cluster_template
    from ai_how.site.template import SCHEMA_FILE, render_template, valid_name

    to_stdout = to_stdout or str(file) == "-"
    folder = Path.cwd() if to_stdout else file.absolute().parent
    if name is not None and valid_name(name) != name:
        raise SpecError(
            f"{name!r} cannot be a site's name",
            evidence="it takes lower-case letters, digits and single dashes, beginning with a letter, 32 at most",
            next_step=f"ai-how init --name {valid_name(name)}",
        )
    render = render_template if provider == "local" else render_cluster_template
    text = render(
        name=name or valid_name(folder.resolve().name),
        cpu_cores=_physical_cores(),
        memory_gib=_memory_gib(),
        gpus=_gpus(),
        with_schema=(folder / SCHEMA_FILE).is_file(),
    )
    if to_stdout:
        click.echo(text, nl=False)
        return
    _write(file, text, force=force)
    click.echo(f"{file} written")
    found_by_itself = file == Path("ai-how.yaml")
    next_command = "up" if provider == "local" else "plan"
    note(f"Next: ai-how {next_command}{'' if found_by_itself else f' --site {shlex.quote(str(file))}'}")


def _write(file: Path, text: str, *, force: bool) -> None:
    from ai_how.apply.files import disk_full, write_atomic

    try:
        if force and file.exists():
            # the old file stays whole until the new one is
            write_atomic(file.resolve(), text, mode=stat.S_IMODE(file.stat().st_mode))
            return
        # "x" refuses a file that is there, even one that appeared just now
        with file.open("x", encoding="utf-8") as out:
            try:
                out.write(text)
                out.flush()
            except OSError as error:
                file.unlink()
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise disk_full(file) from error
                raise
    except FileExistsError as error:
        raise ConflictError(
            f"{file} is there already",
            next_step="ai-how validate to check it, or ai-how init --force to overwrite it",
        ) from error
    except OSError as error:
        raise SpecError(f"{file} cannot be written", evidence=error.strerror or str(error)) from error


def _physical_cores() -> int:
    import psutil

    return psutil.cpu_count(logical=False) or psutil.cpu_count() or 1


def _memory_gib() -> float:
    import psutil

    return float(psutil.virtual_memory().total / 2**30)


def _gpus() -> list[str]:
    """Names of this machine's NVIDIA GPUs as the driver lists them; none where there is no driver."""
    if which("nvidia-smi") is None:
        return []
    try:
        listed = run(["nvidia-smi", "-L"], timeout_s=20).stdout
    except AiHowError as error:
        note(f"GPUs not read: {error.brief}")
        return []
    return re.findall(r"^GPU \d+: (.+?)(?: \(UUID.*)?$", listed, re.MULTILINE)


@click.command()
@site_option
@output_option
def validate(site_path: Path | None, output: str) -> None:
    """Check the site file; report every mistake at once.

    Mistakes go to stdout as file:line:column: message; exit code 1 if there
    are any. Warnings, which hinder nothing, go to stderr.

    \b
    Example:
      ai-how validate
      ai-how validate --site site.yaml -o json
    """
    from ai_how.site.load import find_site, read_site_file
    from ai_how.site.yaml_lines import shown_path

    path = site_path or find_site(Path.cwd())
    site, mistakes, warnings = read_site_file(path)
    clash = False
    if site is not None and site.provider != "local":
        mistakes, clash = _mistakes_of_clusters(site, path)
    for warning in warnings:
        note(f"warning: {warning}")
    if output == "json":
        print_json(mistakes)
    elif site is not None and not mistakes:
        click.echo(f"{shown_path(path)}: ok")
        for word, meaning in _summary(site):
            click.echo(f"  {word:<12}  {meaning}")
    for mistake in mistakes if output == "text" else []:
        click.echo(str(mistake))
    if clash:
        note(f"Next: ai-how versions check --site {shlex.quote(str(path))}")
    if mistakes:
        note("1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes")
        raise SystemExit(1)


def _mistakes_of_clusters(site: Site, path: Path) -> tuple[list[Mistake], bool]:
    """What a file that reads well is wrong in all the same; and whether versions clash in it."""
    from ai_how.releases.site_pins import version_mistakes
    from ai_how.site.mistakes import in_order
    from ai_how.site.paths import path_mistakes
    from ai_how.site.yaml_lines import parse, read_text, shown_path

    text, _ = read_text(path, where_from="")
    document = parse(text, shown_path(path))
    clashes = list(version_mistakes(site, document))
    missing = path_mistakes(site, document, path.absolute().parent)
    return in_order([*clashes, *missing]), bool(clashes)


def _summary(site: Site) -> list[tuple[str, str]]:
    """What a site file asks for, in a few words. An external database's address stays unsaid: it may name a user."""
    if site.provider != "local":
        return _cluster_summary(site)
    endpoint = site.object_store.endpoint_url if site.object_store.type == "external" else ""
    return [
        ("name", site.name),
        ("provider", f"{site.provider} (processes on this machine)"),
        ("gateway", f"{site.gateway.host}, port {site.gateway.port}"),
        ("object store", f"{site.object_store.type} {endpoint}".strip()),
        ("registry", f"MLflow on {site.registry.database.partition(':')[0]}"),
        ("engine", site.serving.engine),
    ]


def _cluster_summary(site: Site) -> list[tuple[str, str]]:
    from ai_how.site.server_rules import BY_SIZE_ONLY, is_to_be_built

    there = "servers that are there" if is_to_be_built(site) else BY_SIZE_ONLY
    words = {"libvirt": "virtual machines", "inventory": there}[site.provider]
    no_hosts = "none yet" if site.provider == "inventory" else "this machine"
    clusters = [
        f"{name} ({cluster.kind}, {sum(node.count for node in cluster.node_groups)} nodes)"
        for name, cluster in site.planned_clusters.items()
    ]
    return [
        ("name", site.name),
        ("provider", f"{site.provider} ({words})"),
        ("hosts", ", ".join(host.name for host in site.hosts) or no_hosts),
        ("clusters", f"{', '.join(clusters)}, {site.schedule.replace('-', ' ')}"),
        ("versions", " with ".join(filter(None, (f"release set {site.release}", ", ".join(site.pins))))),
    ]


@click.command()
def schema() -> None:
    """Print the site file's JSON Schema (2020-12), for editors.

    Editors with a YAML language server then complete and explain every key
    of a site file whose first line is
    # yaml-language-server: $schema=ai-how.schema.json

    \b
    Example:
      ai-how schema > ai-how.schema.json
    """
    from ai_how.site.reference import site_schema

    print_json(site_schema())
