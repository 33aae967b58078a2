"""The steps of ``deploy up`` as a person sees them: register, create, wait, ask, say where it is."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from ai_how.cli.deploy_adapters import REGISTERED, check_fit, check_is_path, find_adapters
from ai_how.cli.next_step import say_next
from ai_how.cli.open_site import open_serving
from ai_how.cli.output import note, print_json

if TYPE_CHECKING:
    from ai_how.endpoints.adapters import WantedAdapter
    from ai_how.endpoints.ask import Answer
    from ai_how.endpoints.deploy import Applied
    from ai_how.endpoints.deploy_file import DeployFile
    from ai_how.endpoints.door import Door
    from ai_how.endpoints.serving_site import ServingSite
    from ai_how.endpoints.types import Autoscaling, EndpointStatus, Hardware
    from ai_how.models.types import RegisteredVersion, Stores

_HTTPS = 443


def deploy_up(wanted: DeployFile, *, site_path: Path | None, wait: bool, output: str) -> None:
    """Register the model and serve it; with ``wait``, ask the test prompts and say how to call it."""
    from ai_how.cli.deploy_common import check_name
    from ai_how.models.library import resolve

    quiet = output == "json"
    name = check_name(wanted.model_name)
    source = wanted.model_source
    serving = open_serving(site_path, provider=wanted.provider)
    began = time.monotonic()
    if not all(one.startswith(REGISTERED) for one in (source, *wanted.adapters.values())):
        _check_before_push(wanted, serving, quiet=quiet)
    if source.startswith(REGISTERED):
        version = resolve(source.removeprefix(REGISTERED), serving.stores())
    else:
        version = push_model(source, name, stores=serving.stores(), quiet=quiet)
    adapters = find_adapters(wanted.adapters, name=name, stores=serving.stores(), push=True, quiet=quiet)
    uploaded_s = time.monotonic() - began
    served = serve_version(
        serving,
        version,
        name=name,
        hardware=wanted.hardware,
        autoscaling=wanted.autoscaling,
        base_model=wanted.base_model,
        wait=wait,
        quiet=quiet,
        source=source,
        reference=source if source.startswith(REGISTERED) else "",
        adapters=adapters,
    )
    answers = []
    names = served.status.spec.served_names
    for prompt in wanted.test_prompts if wait else ():
        for model in names:
            answer = ask_endpoint(serving, served.status, prompt, max_tokens=60, model=model)
            answers.append({"model": model, "prompt": prompt, **vars(answer)})
            if not quiet:
                click.echo(f"\n{f'{model} ' if len(names) > 1 else ''}> {prompt}\n{answer.text}")
    ready_s = time.monotonic() - began - uploaded_s
    if quiet:
        print_json({"endpoint": served.status, "changed": served.changed, "answers": answers})
        return
    door = serving.door(name)
    click.echo()
    click.echo(f"endpoint {name} is {served.status.state}" + (f", ready and asked in {ready_s:.1f} s" if wait else ""))
    click.echo(f"URL: {door.url}/v1   model: {', '.join(names)}")
    click.echo("\n" + curl_line(door, name, chat=version.info.chat_template, site_path=site_path))
    note("")
    say_next(f'ai-how deploy test {name} --prompt "..."    or: ai-how bench run {name}')


def _check_before_push(wanted: DeployFile, serving: ServingSite, *, quiet: bool) -> None:
    """Refuse what could not be served before anything is sent."""
    from ai_how.bench.rollout.moves import under_way
    from ai_how.cli.model import foresee_with_progress
    from ai_how.endpoints.deploy import serves_alike
    from ai_how.models.library import resolve

    name, stores, endpoints = wanted.model_name, serving.stores(), serving.endpoints
    source = wanted.model_source
    if source.startswith(REGISTERED):
        version = resolve(source.removeprefix(REGISTERED), stores)
    else:
        check_is_path(source, stores)
        version = foresee_with_progress(source, name=name, stores=stores, quiet=quiet)
    base = _base(version, wanted.base_model, stores)
    adapters = find_adapters(wanted.adapters, name=name, stores=stores, push=False, quiet=quiet)
    spec = serving.make_spec(
        name, version, hardware=wanted.hardware, autoscaling=wanted.autoscaling, base=base, adapters=adapters
    )
    check_fit(adapters, stores, name=name, version=version, base=base)
    present = next((status for status in endpoints.list_endpoints() if status.spec.name == name), None)
    there = present.spec if present and present.is_known else None
    if there and not serves_alike(spec, there) and len(endpoints.revisions(name)) > 1:
        raise under_way(name, endpoints.journal(name).rollout)


def _base(version: RegisteredVersion, base_model: str | None, stores: Stores) -> RegisteredVersion | None:
    """The base that is named for an adapter; a whole model needs none, whatever a file says."""
    from ai_how.models.library import resolve
    from ai_how.models.types import ModelFormat

    if not base_model or version.info.format is not ModelFormat.PEFT_ADAPTER:
        return None
    return resolve(base_model, stores)


def push_model(source: str, name: str, *, stores: Stores, quiet: bool) -> RegisteredVersion:
    """Check, upload and register a model, with progress."""
    from ai_how.cli.model import push_with_progress

    return push_with_progress(source, name=name, aliases=(), stores=stores, quiet=quiet)


def serve_version(
    serving: ServingSite,
    version: RegisteredVersion,
    *,
    name: str,
    hardware: Hardware,
    autoscaling: Autoscaling,
    base_model: str | None,
    wait: bool,
    quiet: bool,
    source: str = "",
    reference: str = "",
    adapters: Sequence[WantedAdapter] = (),
) -> Applied:
    """Create or change the endpoint; with ``wait``, until a replica is ready.

    ``source`` is where the model was pushed from, to look at what memory it needs; ``reference`` is how the
    version was named, to see later whether that means another one. ``adapters`` share its base.
    """
    from dataclasses import replace

    from ai_how.cli.deploy_common import say_state
    from ai_how.endpoints.adapters import base_warnings, removal_note
    from ai_how.endpoints.deploy import apply_spec, wait_for_state
    from ai_how.endpoints.rollout.journal import may_move
    from ai_how.endpoints.types import EndpointState, served_text

    base = _base(version, base_model, serving.stores())
    spec = serving.make_spec(name, version, hardware=hardware, autoscaling=autoscaling, base=base, adapters=adapters)
    check_fit(adapters, serving.stores(), name=name, version=version, base=base)
    spec = replace(spec, model_ref=may_move(reference))
    from_folder = Path(source) if Path(source).is_dir() else None
    present = next((one.spec for one in serving.endpoints.list_endpoints() if one.spec.name == name), None)
    notes = (*removal_note(spec, present), *base_warnings(version, adapters), *serving.warnings(from_folder, spec))
    for line in notes:
        note(line)
    applied = apply_spec(serving.endpoints, spec)
    if not quiet:
        verb = "serving" if applied.changed else "already serving"
        note(f"{verb} {served_text(spec)} with {spec.engine} on {spec.hardware.accelerator}")
    if not wait:
        return applied
    serving.endpoints.want_replicas(name, 1)
    on_state = _say_nothing if quiet else say_state
    status = wait_for_state(
        serving.endpoints, name, EndpointState.RUNNING, timeout_s=serving.start_timeout_s, on_state=on_state
    )
    return replace(applied, status=status)


def ask_endpoint(
    serving: ServingSite, status: EndpointStatus, prompt: str, *, max_tokens: int, model: str = ""
) -> Answer:
    """Ask through the public API: as chat where the model has a chat template, else as text to continue.

    Args:
        model: One of the spec's ``served_names``; the endpoint's own where it is empty.
    """
    from ai_how.endpoints.ask import ask

    spec = status.spec
    chat = serving.info(spec).chat_template
    return ask(serving.door(spec.name), model=model or spec.name, prompt=prompt, chat=chat, max_tokens=max_tokens)


def curl_line(door: Door, model: str, *, chat: bool, site_path: Path | None) -> str:
    """A command that can be pasted; it asks ai-how for the key, so that no key is shown."""
    path, body = (
        ("chat/completions", f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}')
        if chat
        else ("completions", f'{{"model": "{model}", "prompt": "Once upon a time", "max_tokens": 50}}')
    )
    # a new quotation begins within $(...)
    site = f" --site {shlex.quote(str(site_path))}" if site_path else ""
    before = f"# the way there, in another terminal: {shlex.join(door.forward)}\n" if door.forward else ""
    return (
        f"{before}curl {_way(door, site)}{shlex.quote(f'{door.url}/v1/{path}')} \\\n"
        f'  -H "Authorization: Bearer $(ai-how key show{site})" \\\n'
        f"  -H 'Content-Type: application/json' \\\n"
        f"  -d '{body}'"
    )


def _way(door: Door, site: str) -> str:
    """What curl must be told where neither the host name nor the certificate's authority is known to this machine."""
    words = ""
    if door.forward:
        words += f"--connect-to ::127.0.0.1:{urlsplit(door.url).port or _HTTPS} "
    elif door.connect_to:
        words += f"--connect-to {shlex.quote(f'::{door.connect_to}')} "
    if door.authority_pem:
        words += f"--cacert <(ai-how key authority{site}) "
    return words


def _say_nothing(_status: EndpointStatus) -> None:
    """For callers whose output is read by a program."""
