"""The steps of ``deploy up`` as a person sees them: register, create, wait, ask, say where it is."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.next_step import say_next
from ai_how.cli.output import note, print_json

if TYPE_CHECKING:
    from ai_how.endpoints.ask import Answer
    from ai_how.endpoints.client import EndpointClient
    from ai_how.endpoints.deploy import Applied
    from ai_how.endpoints.deploy_file import DeployFile
    from ai_how.endpoints.types import Autoscaling, EndpointStatus, Hardware
    from ai_how.models.types import RegisteredVersion


def open_client(site_path: Path | None) -> EndpointClient:
    """The admin API of the site's gateway."""
    from ai_how.endpoints.client import EndpointClient
    from ai_how.local.site_access import open_gateway

    access = open_gateway(site_path)
    return EndpointClient(admin_url=access.admin_url, admin_key=access.admin_key)


def deploy_up(wanted: DeployFile, *, site_path: Path | None, wait: bool, output: str) -> None:
    """Register the model and serve it; with ``wait``, ask the test prompts and say how to call it."""
    from ai_how.cli.deploy_common import check_name
    from ai_how.local.site_access import open_gateway, open_stores
    from ai_how.models.library import resolve

    quiet = output == "json"
    name = check_name(wanted.model_name)
    source = wanted.model_source
    began = time.monotonic()
    if source.startswith("model://"):
        version = resolve(source.removeprefix("model://"), open_stores(site_path))
    else:
        version = push_model(source, name, site_path=site_path, quiet=quiet)
    uploaded_s = time.monotonic() - began
    served = serve_version(
        version,
        name=name,
        hardware=wanted.hardware,
        autoscaling=wanted.autoscaling,
        base_model=wanted.base_model,
        site_path=site_path,
        wait=wait,
        quiet=quiet,
        source=source,
        reference=source if source.startswith("model://") else "",
    )
    answers = []
    for prompt in wanted.test_prompts if wait else ():
        answer = ask_endpoint(served.status, prompt, max_tokens=60, site_path=site_path)
        answers.append({"prompt": prompt, **vars(answer)})
        if not quiet:
            click.echo(f"\n> {prompt}\n{answer.text}")
    ready_s = time.monotonic() - began - uploaded_s
    access = open_gateway(site_path)
    if quiet:
        print_json({"endpoint": served.status, "changed": served.changed, "answers": answers})
        return
    click.echo()
    click.echo(f"endpoint {name} is {served.status.state}" + (f", ready and asked in {ready_s:.1f} s" if wait else ""))
    click.echo(f"URL: {access.url}/v1   model: {name}")
    click.echo("\n" + curl_line(access.url, name, chat=version.info.chat_template, site_path=site_path))
    note("")
    say_next(f'ai-how deploy test {name} --prompt "..."    or: ai-how bench run {name}')


def push_model(source: str, name: str, *, site_path: Path | None, quiet: bool) -> RegisteredVersion:
    """Check, upload and register a model, with progress."""
    from ai_how.cli.model import push_with_progress
    from ai_how.local.site_access import open_stores

    return push_with_progress(source, name=name, aliases=(), stores=open_stores(site_path), quiet=quiet)


def serve_version(
    version: RegisteredVersion,
    *,
    name: str,
    hardware: Hardware,
    autoscaling: Autoscaling,
    base_model: str | None,
    site_path: Path | None,
    wait: bool,
    quiet: bool,
    source: str = "",
    reference: str = "",
) -> Applied:
    """Create or change the endpoint; with ``wait``, until a replica is ready.

    ``source`` is where the model was pushed from, to look at what memory it needs; ``reference`` is how the
    version was named, to see later whether that means another one.
    """
    from dataclasses import replace

    from ai_how.cli.deploy_common import say_state
    from ai_how.endpoints.deploy import apply_spec, make_spec, wait_for_state
    from ai_how.endpoints.engines.host import observe_engine_host
    from ai_how.endpoints.memory import memory_warning
    from ai_how.endpoints.rollout.journal import may_move
    from ai_how.endpoints.types import EndpointState
    from ai_how.local.site_access import open_gateway, open_stores
    from ai_how.models.library import resolve

    site = open_gateway(site_path).site
    host = observe_engine_host()
    spec = make_spec(
        name,
        version,
        hardware=hardware,
        autoscaling=autoscaling,
        serving=site.serving,
        host=host,
        base=resolve(base_model, open_stores(site_path)) if base_model else None,
    )
    spec = replace(spec, model_ref=may_move(reference))
    for line in memory_warning(Path(source), spec, serving=site.serving, host=host) if Path(source).is_dir() else ():
        note(line)
    client = open_client(site_path)

    applied = apply_spec(client, spec)
    if not quiet:
        verb = "serving" if applied.changed else "already serving"
        note(f"{verb} {version.name}/{version.version} with {spec.engine} on {spec.hardware.accelerator}")
    if not wait:
        return applied
    client.want_replicas(name, 1)
    timeout_s = site.serving.start_timeout_s + 60
    on_state = _say_nothing if quiet else say_state
    status = wait_for_state(client, name, EndpointState.RUNNING, timeout_s=timeout_s, on_state=on_state)
    return replace(applied, status=status)


def ask_endpoint(status: EndpointStatus, prompt: str, *, max_tokens: int, site_path: Path | None) -> Answer:
    """Ask through the public API: as chat where the model has a chat template, else as text to continue."""
    from ai_how.endpoints.ask import ask
    from ai_how.endpoints.door import Door
    from ai_how.local.site_access import open_gateway, open_stores
    from ai_how.models.library import resolve

    access = open_gateway(site_path)
    spec = status.spec
    info = resolve(f"{spec.model_name}/{spec.model_version}", open_stores(site_path)).info
    door = Door(url=access.url, api_key=access.api_key)
    return ask(door, model=spec.name, prompt=prompt, chat=info.chat_template, max_tokens=max_tokens)


def curl_line(url: str, model: str, *, chat: bool, site_path: Path | None) -> str:
    """A command that can be pasted; it asks ai-how for the key, so that no key is shown."""
    path, body = (
        ("chat/completions", f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}')
        if chat
        else ("completions", f'{{"model": "{model}", "prompt": "Once upon a time", "max_tokens": 50}}')
    )
    # a new quotation begins within $(...)
    site = f" --site {shlex.quote(str(site_path))}" if site_path else ""
    return (
        f"curl {shlex.quote(f'{url}/v1/{path}')} \\\n"
        f'  -H "Authorization: Bearer $(ai-how key show{site})" \\\n'
        f"  -H 'Content-Type: application/json' \\\n"
        f"  -d '{body}'"
    )


def _say_nothing(_status: EndpointStatus) -> None:
    """For callers whose output is read by a program."""
