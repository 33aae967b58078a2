"""What ``deploy update`` does: find the version, say what would be done, roll it out, report."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from ai_how.cli.confirm import confirm
from ai_how.cli.deploy_common import known_endpoint
from ai_how.cli.interrupt import say_if_heard, show_if_seen, stop_on_signals
from ai_how.cli.next_step import say_next
from ai_how.cli.open_site import open_serving
from ai_how.cli.output import note, print_json
from ai_how.errors import AiHowError, NotFoundError, SpecError

if TYPE_CHECKING:
    from ai_how.bench.rollout.report import Report
    from ai_how.bench.rollout.run import Settings
    from ai_how.endpoints.adapters import WantedAdapter
    from ai_how.endpoints.deploy_file import DeployFile
    from ai_how.endpoints.interface import Revision
    from ai_how.endpoints.rollout.journal import Options, Rollout
    from ai_how.endpoints.serving_site import ServingSite
    from ai_how.endpoints.types import EndpointSpec
    from ai_how.models.types import RegisteredVersion

EXIT_CODES = {"promoted": 0, "rolled back": 3, "held": 4, "interrupted": 130}
REQUEST_TIMEOUT_S = 60
"""A request of the measurement that takes longer has failed: a rollout must not wait for an engine that hangs."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What to roll out, and how far to go."""

    name: str
    model: str | None
    config: Path | None
    resume: bool
    dry_run: bool
    yes: bool


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How each step is measured and judged; ``typed`` names what was given on the command line."""

    steps: str
    options: Options
    typed: frozenset[str]

    def after(self, rollout: Rollout | None) -> Measuring:
        """As the rollout under way was begun, but for what was typed now."""
        if rollout is None:
            return self
        named = {item.name: item.name.removesuffix("_s") for item in fields(self.options)}
        anew = {name: getattr(self.options, name) for name, option in named.items() if option in self.typed}
        return replace(self, options=replace(rollout.options, **anew))


def run_update(asked: Asked, measuring: Measuring, *, site_path: Path | None, provider: str | None, output: str) -> int:
    """Roll out and report; the exit code."""
    from ai_how.bench.rollout.moves import remove_outlived
    from ai_how.endpoints.deploy import serves_alike
    from ai_how.models.types import NOT_REGISTERED

    site = open_serving(site_path, provider=provider)
    if asked.resume and (asked.model or asked.config):
        raise SpecError(
            "--resume goes on with the version that is under way", next_step="leave --model or --config out"
        )
    if asked.resume and asked.dry_run:
        raise SpecError("--dry-run says what a new rollout would do", next_step="leave --resume out")
    current = known_endpoint(site.endpoints, asked.name).spec
    if asked.resume and (left := remove_outlived(site.endpoints, asked.name)) is not None:
        _show_removed(asked.name, left, output=output)
        return 0
    if asked.resume:
        measuring = measuring.after(_to_resume(site, asked))
    settings = _settings(site, measuring)
    # nothing is sent before all is checked and confirmed
    spec = None if asked.resume else _wanted(site, asked, current)
    if spec is not None:
        # of two versions under way, the one with most requests is not yet what the endpoint serves
        _check_free(site, asked.name)
        if serves_alike(spec, current):
            return _nothing_to_do(site, spec, current, asked=asked, output=output)
        if asked.dry_run:
            _show_plan(spec, current, settings, output=output)
            return 0
        if not asked.yes:
            question = f"Roll out {_version(spec)} to {asked.name}, which serves {_version(current)}?"
            confirm(question, what="a rollout", otherwise=f"ai-how deploy update {asked.name} ... --yes")
        if NOT_REGISTERED in (one.model_version for one in spec.served):
            spec = _wanted(site, asked, current, push=True)
    report = _roll_out(site, asked.name, spec, current, settings=settings, quiet=output == "json")
    show_if_seen(lambda: _show(report, site, output=output))
    return EXIT_CODES[report.result]


def _show_removed(name: str, left: Revision, *, output: str) -> None:
    from ai_how.bench.rollout.moves import label

    if output == "json":
        print_json({"endpoint": name, "removed": left})
    else:
        click.echo(f"the rollout of {name} had ended; {label(left)}, which was left of it, is removed")


def _to_resume(site: ServingSite, asked: Asked) -> Rollout | None:
    """What was written down of the rollout to go on with, once that is confirmed."""
    from ai_how.bench.rollout.moves import to_go_on_with

    old, new, rollout = to_go_on_with(site.endpoints, asked.name)
    now = datetime.now(UTC)
    question = f"Go on with rolling out {_version(new.spec)} to {asked.name}, which serves {_version(old.spec)}?"
    if rollout is not None and rollout.is_driven(now):
        heard = f"A command that drives this rollout was heard of {rollout.silent_s(now):.0f} s ago"
        note(f"{heard}; this one takes over from it." if asked.yes else f"{heard}.")
        question = f"Take it over? {question}"
    if asked.yes:
        return rollout
    confirm(question, what="going on with a rollout", otherwise=f"ai-how deploy update {asked.name} --resume --yes")
    return rollout


def _settings(site: ServingSite, measuring: Measuring) -> Settings:
    from ai_how.bench.rollout.judgement import Limits
    from ai_how.bench.rollout.measure import Load
    from ai_how.bench.rollout.run import Settings
    from ai_how.endpoints.rollout.checks import load_checks
    from ai_how.endpoints.rollout.steps import parse_steps

    targets, options = site.site.targets, measuring.options
    return Settings(
        steps=parse_steps(measuring.steps),
        load=Load(duration_s=options.duration_s, concurrency=options.concurrency),
        limits=Limits(
            latency_p95_ms=targets.latency_p95_ms,
            error_percent=targets.error_percent,
            slower_percent=options.slower_percent,
            strict=options.strict,
        ),
        checks=load_checks(Path(options.prompts)) if options.prompts else (),
        on_unmeasured=cast('Literal["", "hold", "promote", "rollback"]', options.on_unmeasured),
        start_timeout_s=site.start_timeout_s,
        steps_anew="steps" in measuring.typed,
        options=options,
    )


def _wanted(site: ServingSite, asked: Asked, current: EndpointSpec, *, push: bool = False) -> EndpointSpec:
    """The spec to roll out; without ``push``, of a model that is not registered what it would be."""
    from ai_how.cli.deploy_adapters import check_fit
    from ai_how.endpoints.deploy_file import load_deploy_file

    if current.stopped:
        raise SpecError(f"endpoint {asked.name} is stopped", next_step=f"ai-how deploy start {asked.name} --wait")
    file = None
    if asked.config is not None:
        file, warnings = load_deploy_file(asked.config, model_path=asked.model, endpoint=asked.name)
        for warning in () if push else warnings:
            note(f"Warning: {warning}")
    version, reference = _find(site, file.model_source if file else asked.model, current, push=push)
    base, adapters = _base(site, version, current, file), _adapters(site, asked, current, file, push=push)
    spec = site.make_spec(
        asked.name,
        version,
        hardware=file.hardware if file else current.hardware,
        autoscaling=file.autoscaling if file else current.autoscaling,
        base=base,
        adapters=adapters,
    )
    check_fit(adapters, site.stores(), name=asked.name, version=version, base=base)
    return replace(spec, model_ref=reference)


def _adapters(
    site: ServingSite, asked: Asked, current: EndpointSpec, file: DeployFile | None, *, push: bool
) -> tuple[WantedAdapter, ...]:
    """Those of the deploy file; without one those that are served now, at their aliases where no model is named."""
    from ai_how.cli.deploy_adapters import find_adapters, present_adapters

    if file is None:
        return present_adapters(current, site.stores(), follow=asked.model is None)
    return find_adapters(file.adapters, name=asked.name, stores=site.stores(), push=push, quiet=False)


def _find(site: ServingSite, source: str | None, current: EndpointSpec, *, push: bool) -> tuple[RegisteredVersion, str]:
    """The version that is meant, and how to find it again where that may come to mean another one."""
    from ai_how.endpoints.rollout.journal import may_move
    from ai_how.models.library import resolve

    follows = [one.model_ref for one in current.served if one.model_ref]
    if source is None and follows and not current.model_ref:
        source = f"model://{current.model_name}/{current.model_version}"
    if source is None and not follows:
        raise SpecError(
            f"which version of {current.model_name} should {current.name} serve?",
            evidence="it was not deployed from an alias, so that there is none to follow",
            next_step=f"ai-how deploy update {current.name} --model model://{current.model_name}@champion",
        )
    source = source or current.model_ref
    if not source.startswith("model://") and (source.startswith("hf://") or Path(source).expanduser().exists()):
        from ai_how.cli.model import foresee_with_progress, push_with_progress

        name, stores = current.model_name, site.stores()
        if push:
            return push_with_progress(source, name=name, aliases=(), stores=stores, quiet=False), ""
        return foresee_with_progress(source, name=name, stores=stores, quiet=False), ""
    return resolve(source.removeprefix("model://"), site.stores()), may_move(source)


def _base(
    site: ServingSite, version: RegisteredVersion, current: EndpointSpec, file: DeployFile | None
) -> RegisteredVersion | None:
    """The base model of an adapter: as the file says, else the one that is served now."""
    from ai_how.models.library import list_models, resolve
    from ai_how.models.types import ModelFormat

    if version.info.format is not ModelFormat.PEFT_ADAPTER:
        return None
    if file is not None and file.base_model:
        return resolve(file.base_model, site.stores())
    found = [one for one in list_models(site.stores()) if one.uri == current.adapter_base_uri]
    if not found:
        raise NotFoundError(
            f"the base model of {version.name} is not known",
            evidence=f"{current.name} serves no adapter whose base is registered",
            next_step="name it in a deploy file: base_model: NAME, then --config FILE",
        )
    return found[0]


def _check_free(site: ServingSite, name: str) -> None:
    from ai_how.bench.rollout.moves import under_way
    from ai_how.endpoints.rollout.journal import outlived

    revisions, journal = site.endpoints.revisions(name), site.endpoints.journal(name)
    if len(revisions) > 1 and outlived(revisions, journal) is None:
        raise under_way(name, journal.rollout)


def _nothing_to_do(site: ServingSite, spec: EndpointSpec, current: EndpointSpec, *, asked: Asked, output: str) -> int:
    named = replace(current, model_ref=spec.model_ref, adapters=spec.adapters)
    if named != current and not asked.dry_run:
        # nothing is started anew for this
        site.endpoints.put(named)
    if output == "json":
        print_json({"endpoint": asked.name, "result": "unchanged", "model": _version(current)})
    else:
        click.echo(f"{asked.name} serves {_version(current)} already")
    return 0


def _show_plan(spec: EndpointSpec, current: EndpointSpec, settings: Settings, *, output: str) -> None:
    limits = settings.limits
    if output == "json":
        print_json(
            {
                "endpoint": spec.name,
                "result": "dry run",
                "old": _version(current),
                "new": _version(spec),
                "autoscaling": spec.autoscaling,
                "steps": settings.steps,
                "limits": limits,
                "load": settings.load,
                "checks": len(settings.checks),
            }
        )
        return
    steps = ", ".join(f"{step} %" for step in settings.steps)
    click.echo(f"endpoint   {spec.name}")
    click.echo(f"model      {_version(current)} -> {_version(spec)}")
    click.echo(f"engine     {spec.engine} on {spec.hardware.count}x {spec.hardware.accelerator}, both at once")
    was, will = current.autoscaling, spec.autoscaling
    changed = f"{was.min_replicas}..{was.max_replicas} -> " if was != will else ""
    click.echo(f"replicas   {changed}{will.min_replicas}..{will.max_replicas}")
    click.echo(f"steps      {steps} of the requests, each measured for {settings.load.duration_s:g} s or more")
    click.echo(f"targets    latency P95 < {limits.latency_p95_ms:g} ms, errors <= {limits.error_percent:g} %,")
    click.echo(f"           P95 at most {limits.slower_percent:g} % above the old revision's, noise considered")
    click.echo(f"checks     {len(settings.checks) or 'none'}")


def _roll_out(
    site: ServingSite, name: str, spec: EndpointSpec | None, current: EndpointSpec, *, settings: Settings, quiet: bool
) -> Report:
    import asyncio

    from ai_how.bench.load import Client
    from ai_how.bench.rollout.run import Run, resume, roll_out
    from ai_how.bench.workload import Workload

    workload = Workload(chat=site.info(spec or current).chat_template, seed=int(time.time()) % 1_000_000)
    client = Client.through(site.door(name), model=name, workload=workload, timeout_s=REQUEST_TIMEOUT_S)

    async def go() -> Report:
        stop = stop_on_signals("rolling back")

        def say(text: str) -> None:
            # who does not hear how far it is cannot end it either
            if not quiet and not say_if_heard(f"  {text}"):
                stop.set()

        run = Run(
            endpoints=site.endpoints,
            name=name,
            client=client,
            settings=settings,
            say=say,
            stop=stop,
        )
        return await (resume(run) if spec is None else roll_out(run, spec))

    return asyncio.run(go())


def _show(report: Report, site: ServingSite, *, output: str) -> None:
    from ai_how.bench.rollout.report import render_text, to_json

    file = site.reports_dir / f"{report.endpoint}-rollout-{time.strftime('%Y%m%d-%H%M%S')}.json"
    trouble = _keep(report, file)
    if output == "json":
        print_json(to_json(report))
    else:
        click.echo(render_text(report))
    if trouble:
        note(f"\nWarning: the report could not be kept: {trouble}")
    elif output != "json":
        note(f"\nkept: {file} and .html")
    if report.result == "held" and output != "json":
        name = report.endpoint
        # the same again for as long would be as unclear
        longer = f"{min(4 * report.load.duration_s, 3600):g}"
        say_next(f"ai-how deploy update {name} --resume --duration {longer}    or: ai-how deploy rollback {name}")


def _keep(report: Report, file: Path) -> str:
    """Write the report; what went wrong, empty where nothing did: what was done to the endpoint counts more."""
    from ai_how.apply.files import write_atomic, write_json
    from ai_how.bench.rollout.report import to_json
    from ai_how.bench.rollout.report_html import render_html

    try:
        write_json(file, to_json(report))
        write_atomic(file.with_suffix(".html"), render_html(report))
    except AiHowError as error:
        return error.brief
    except OSError as error:
        return f"{error.strerror}: {error.filename or file}"
    return ""


def _version(spec: EndpointSpec) -> str:
    from ai_how.endpoints.types import served_text

    return served_text(spec)
