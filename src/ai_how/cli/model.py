"""``ai-how model``: the registry from the command line."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ai_how.cli.confirm import confirm
from ai_how.cli.model_fit import fit
from ai_how.cli.next_step import say_next
from ai_how.cli.open_site import open_serving
from ai_how.cli.options import output_option, site_option, yes_option
from ai_how.cli.output import human_bytes, human_count, note, print_json, print_table

if TYPE_CHECKING:
    from ai_how.endpoints.serving_site import ServingSite
    from ai_how.models.library import PushReport, Served
    from ai_how.models.types import RegisteredVersion, Stores

_WIDTHS = (26, 18)
_MOST_NAMED = 8


@click.group()
def model() -> None:
    """Push, list, show, promote, delete and pull models; tell if one fits.

    REF is NAME (its champion, or else its latest version), NAME@ALIAS or
    NAME/VERSION.

    \b
    Example:
      ai-how model push output/my-model --name my-model --alias champion
      ai-how model list
    """


@model.command()
@click.argument("source")
@click.option("--name", "-n", required=True, help="Name to register it under.")
@click.option("--alias", "-a", "aliases", multiple=True, help="Alias of this version; may be given several times.")
@site_option
@output_option
def push(source: str, name: str, aliases: tuple[str, ...], site_path: Path | None, output: str) -> None:
    """Check a model, upload it and register it as a new version.

    SOURCE is a checkpoint folder as Oumi writes it (a full model or a PEFT
    adapter), a GGUF file, or hf://org/name[@revision]. Only what the store
    lacks is sent; a model that is registered already stays the same version.

    \b
    Example:
      ai-how model push output/my-model --name my-model --alias champion
      ai-how model push model.gguf --name small
    """
    report = _push(source, name=name, aliases=aliases, stores=open_serving(site_path).stores(), quiet=output == "json")
    if output == "json":
        print_json(
            _as_data(report.version)
            | {
                "registered": report.registered,
                "sent_bytes": report.sent_bytes,
                "skipped": report.skipped,
                "warnings": report.warnings,
            }
        )
        return
    _print_version(report.version)
    note("")
    say_next(_serving_command(report.version))


@model.command("list")
@click.option("--name", "-n", default=None, help="Only versions of this model.")
@site_option
@output_option
def list_models(site_path: Path | None, output: str, name: str | None = None) -> None:
    """List all registered versions, the newest of each model first.

    \b
    Example:
      ai-how model list
      ai-how model list --name my-model -o json
    """
    from ai_how.models import library

    found = library.list_models(open_serving(site_path).stores(), name)
    if output == "json":
        print_json([_as_data(version) for version in found])
        return
    rows = [
        (
            _shortened(f"{version.name}/{version.version}", _WIDTHS[0]),
            _shortened(", ".join(version.aliases) or "-", _WIDTHS[1]),
            version.info.format,
            human_count(version.info.parameters),
            human_bytes(version.size_bytes),
        )
        for version in found
    ]
    print_table(("MODEL", "ALIASES", "FORMAT", "PARAMS", "SIZE"), rows, empty="no model is registered")


@model.command()
@click.argument("ref")
@site_option
@output_option
def show(ref: str, site_path: Path | None, output: str) -> None:
    """Show everything about one version.

    \b
    Example:
      ai-how model show my-model@champion
    """
    version = _resolve(ref, site_path)[0]
    if output == "json":
        print_json(_as_data(version))
    else:
        _print_version(version)


@model.command()
@click.argument("ref")
@click.option("--alias", "-a", default="champion", show_default=True, help="Alias to point at this version.")
@site_option
@output_option
def promote(ref: str, alias: str, site_path: Path | None, output: str) -> None:
    """Point an alias at a version; endpoints keep what they serve until updated.

    \b
    Example:
      ai-how model promote my-model/3 --alias champion
      ai-how deploy update my-model
    """
    from ai_how.models import library

    serving = open_serving(site_path)
    version = library.promote(ref, serving.stores(), alias=alias)
    if output == "json":
        print_json(_as_data(version))
        return
    click.echo(f"{version.name}@{alias} is version {version.version}")
    for endpoint in _followers(serving, version, alias):
        say_next(f"ai-how deploy update {endpoint}")


@model.command()
@click.argument("ref")
@yes_option
@site_option
def delete(ref: str, yes: bool, site_path: Path | None) -> None:
    """Remove a version and its files; refused while an endpoint serves it.

    \b
    Example:
      ai-how model delete my-model/2
    """
    from ai_how.models import library

    version, stores = _resolve(ref, site_path)
    in_use = _served(site_path)
    what = f"{version.name}/{version.version} ({human_bytes(version.size_bytes)})"
    if not yes:
        aliases = f", which is {' and '.join(version.aliases)}" if version.aliases else ""
        otherwise = f"ai-how model delete {shlex.quote(ref)} --yes"
        confirm(f"Delete {what}{aliases}?", what="a deletion", otherwise=otherwise)
    removed = library.delete(version, stores, in_use=in_use)
    note(f"{what} is deleted" + ("" if removed else "; another version keeps its files"))


@model.command()
@click.argument("ref")
@click.argument("dest", type=click.Path(path_type=Path))
@site_option
@output_option
def pull(ref: str, dest: Path, site_path: Path | None, output: str) -> None:
    """Fetch a version's files, verified, into the new folder DEST.

    \b
    Example:
      ai-how model pull my-model@champion ./champion
    """
    from ai_how.cli.transfer import TransferProgress
    from ai_how.models import library

    version, stores = _resolve(ref, site_path)
    with TransferProgress(quiet=output == "json") as progress:
        library.pull(version, stores, dest, progress=progress)
    if output == "json":
        print_json(_as_data(version) | {"path": dest.absolute()})
    else:
        click.echo(f"{version.name}/{version.version} is in {dest}")


def _serving_command(version: RegisteredVersion) -> str:
    """How to serve a version: an adapter beside its base, which is a placeholder where it is not to be had."""
    from ai_how.cli.deploy_common import near_name
    from ai_how.models.types import ModelFormat

    ref = f"model://{version.name}/{version.version}"
    if version.info.format is not ModelFormat.PEFT_ADAPTER:
        return f"ai-how deploy up --model-path {ref} --name {near_name(version.name) or 'NAME'}"
    base = version.info.base_model or ""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", base) and not Path(base).exists():
        base = f"hf://{base}"
    elif not base or not Path(base).is_dir():
        base = ""
    name = near_name(base.rstrip("/").rpartition("/")[2]) or "NAME"
    tag = near_name(version.name)[:20].strip("-") or "TAG"
    where = shlex.quote(base) if base else "BASE"
    return f"ai-how deploy up --model-path {where} --name {name} --adapter {tag}={ref}"


def push_with_progress(
    source: str, *, name: str, aliases: Sequence[str], stores: Stores, quiet: bool
) -> RegisteredVersion:
    """Push a model with progress and notes on stderr; for commands of which a push is one step."""
    return _push(source, name=name, aliases=aliases, stores=stores, quiet=quiet).version


def foresee_with_progress(source: str, *, name: str, stores: Stores, quiet: bool) -> RegisteredVersion:
    """What a push would register, to check it before; nothing is sent."""
    from ai_how.cli.transfer import TransferProgress
    from ai_how.models import library

    with TransferProgress(quiet=quiet) as progress:
        return library.foresee(source, stores, name=name, progress=progress)


def _push(source: str, *, name: str, aliases: Sequence[str], stores: Stores, quiet: bool) -> PushReport:
    from ai_how.cli.transfer import TransferProgress
    from ai_how.models import library

    with TransferProgress(quiet=quiet) as progress:
        report = library.push(source, stores, name=name, aliases=aliases, progress=progress)
    if quiet:
        return report
    if report.skipped:
        more = len(report.skipped) - _MOST_NAMED
        note(f"left out: {', '.join(report.skipped[:_MOST_NAMED])}" + (f" and {more} more" if more > 0 else ""))
    for warning in report.warnings:
        note(f"Warning: {warning}")
    version = f"{report.version.name}/{report.version.version}"
    state = f"registered as {version}" if report.registered else f"registered already: {version}"
    note(f"{state}, {human_bytes(report.sent_bytes)} sent")
    return report


def _resolve(ref: str, site_path: Path | None) -> tuple[RegisteredVersion, Stores]:
    from ai_how.models import library

    stores = open_serving(site_path).stores()
    return library.resolve(ref, stores), stores


def _followers(serving: ServingSite, version: RegisteredVersion, alias: str) -> list[str]:
    """Endpoints that were deployed from an alias and serve another version than it means now."""
    from ai_how.errors import AiHowError

    # a name alone means the champion
    references = {f"{version.name}@{alias}", *([version.name] if alias == "champion" else [])}
    try:
        found = [status.spec for status in serving.endpoints.list_endpoints()]
    except AiHowError as error:
        note(f"which endpoints follow it is not known: {error.brief}")
        return []
    return [
        spec.name
        for spec in found
        if any(one.model_ref in references and one.model_version != version.version for one in spec.served)
    ]


def _served(site_path: Path | None) -> dict[str, list[Served]]:
    """What each endpoint serves; a gateway that does not answer is an error, since then nobody knows."""
    from ai_how.models.library import Served

    endpoints = open_serving(site_path).endpoints
    found: dict[str, list[Served]] = {}
    for status in endpoints.list_endpoints():
        revisions = endpoints.revisions(status.spec.name) if status.is_known else ()
        found[status.spec.name] = served = []
        newest = max((revision.number for revision in revisions), default=0)
        for revision in revisions:
            spec, beside = revision.spec, len(revisions) > 1 and revision.number == newest
            # the new one of a rollout goes with it; the old one serves until the end
            remedy = f"ai-how deploy {'rollback' if beside else 'delete'} {spec.name}"
            served.append(Served(uri=spec.model_uri, digest=spec.model_digest, remedy=remedy))
            for one in spec.adapters:
                without = f"take {one.tag} out of adapters in the deploy file: ai-how deploy update {spec.name} -c FILE"
                told = remedy if beside else without
                served.append(Served(uri=one.model_uri, digest=one.model_digest, remedy=told))
            if spec.adapter_base_uri and spec.adapter_base_digest:
                served.append(Served(uri=spec.adapter_base_uri, digest=spec.adapter_base_digest, remedy=remedy))
    return found


def _as_data(version: RegisteredVersion) -> dict[str, Any]:
    return dataclasses.asdict(version)


def _print_version(version: RegisteredVersion) -> None:
    info = version.info
    lines = (
        ("model", f"{version.name}/{version.version}"),
        ("aliases", ", ".join(version.aliases) or "none"),
        ("format", info.format),
        ("architecture", info.architecture),
        ("parameters", f"{human_count(info.parameters)} ({info.dtype})"),
        ("context", f"{info.context_tokens} tokens" if info.context_tokens else None),
        ("chat", "has a chat template" if info.chat_template else "no chat template: completions only"),
        ("base model", info.base_model),
        ("size", human_bytes(version.size_bytes)),
        ("digest", version.digest),
        ("files", version.uri),
        ("source", version.source),
        ("registered", version.created_at),
    )
    for label, text in lines:
        if text:
            click.echo(f"{label:<13} {text}")


def _shortened(text: str, width: int) -> str:
    """Cut a text in its middle: a name's end, with the version, tells as much as its beginning."""
    if len(text) <= width:
        return text
    head = (width - 3) // 2
    return f"{text[:head]}...{text[-(width - 3 - head) :]}"


model.add_command(fit)
