"""``ai-how validate`` and ``schema``: whether a site file is right, and what it may say."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.options import output_option, site_option
from ai_how.cli.output import note, print_json

if TYPE_CHECKING:
    from ai_how.site.mistakes import Mistake
    from ai_how.site.spec import Site
    from ai_how.site.yaml_lines import Document


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
    from ai_how.site.load import find_site, read_file
    from ai_how.site.yaml_lines import shown_path

    path = site_path or find_site(Path.cwd())
    read = read_file(path)
    site, mistakes, clash = read.site, read.mistakes, False
    if site is not None and site.provider != "local":
        mistakes, clash = _with_those_of_clusters(mistakes, site, read.document, path)
    for warning in read.warnings:
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


def _with_those_of_clusters(
    mistakes: list[Mistake], site: Site, document: Document, path: Path
) -> tuple[list[Mistake], bool]:
    """What else is wrong in a file, beside what its text alone tells; and whether versions clash in it."""
    from ai_how.releases.site_pins import version_mistakes
    from ai_how.site.mistakes import in_order
    from ai_how.site.paths import path_mistakes

    clashes = list(version_mistakes(site, document))
    missing = path_mistakes(site, document, path.absolute().parent)
    return in_order([*mistakes, *clashes, *missing]), bool(clashes)


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
