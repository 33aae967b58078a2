"""``ai-how key``: the API keys that clients of the gateway send."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.confirm import confirm
from ai_how.cli.options import output_option, site_option, yes_option
from ai_how.cli.output import note, print_json, print_table
from ai_how.errors import ConflictError, NotFoundError, SpecError, clipped

if TYPE_CHECKING:
    from ai_how.kubernetes.with_kubernetes import WithKubernetes


@click.group()
def key() -> None:
    """Create, list, renew and revoke API keys of the gateway.

    A change counts at once; nothing has to be restarted. Endpoints on a cluster
    share one key, which is made there: it can be shown, listed and renewed, and
    they are restarted for a new one.

    \b
    Example:
      ai-how key create alice
    """


@key.command()
@click.argument("name")
@site_option
def create(name: str, site_path: Path | None) -> None:
    """Make a key called NAME and print it.

    \b
    Example:
      export OPENAI_API_KEY=$(ai-how key create alice)
    """
    from ai_how.apply.files import write_json
    from ai_how.local.secrets import new_api_key
    from ai_how.local.site_access import open_gateway

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", name):
        raise SpecError(
            f"{clipped(name, 40)!r} is no name for a key", next_step="use letters, digits, dots, dashes, @: 64 at most"
        )
    _refuse_on_cluster(site_path)
    access = open_gateway(site_path)
    keys = _read(access.api_keys_file)
    if name in keys:
        raise ConflictError(f"there is a key called {name}", next_step=f"ai-how key renew {name}; or use another name")
    keys[name] = new_api_key()
    write_json(access.api_keys_file, keys)
    click.echo(keys[name])


@key.command("list")
@site_option
@output_option
def list_keys(site_path: Path | None, output: str) -> None:
    """List the keys by name and their last four characters.

    \b
    Example:
      ai-how key list
    """
    keys, _ = _keys(site_path)
    rows = [(name, f"...{value[-4:]}") for name, value in sorted(keys.items())]
    if output == "json":
        print_json([{"name": name, "key": text} for name, text in rows])
    else:
        print_table(("NAME", "KEY"), rows)


@key.command()
@click.argument("name", required=False)
@site_option
def show(name: str | None, site_path: Path | None) -> None:
    """Print the key called NAME; without a name the default one.

    \b
    Example:
      curl -H "Authorization: Bearer $(ai-how key show)" ...
    """
    keys, default = _keys(site_path)
    if name is not None:
        _known(name, keys)
    click.echo(keys[name] if name else default)


@key.command()
@site_option
def authority(site_path: Path | None) -> None:
    """Print the certificate of who signs the gateway of a cluster, for clients.

    \b
    Example:
      ai-how key authority > ca.crt
    """
    cluster = _cluster(site_path)
    if cluster is None:
        raise SpecError(
            "the gateway of this site needs no certificate",
            evidence="it speaks plain HTTP on this machine; put a proxy with TLS before it for others",
            next_step="ai-how status",
        )
    from ai_how.stack_access.door import read_authority
    from ai_how.stack_access.running import open_running_stack

    with open_running_stack(cluster) as stack:
        pem = read_authority(stack)
        issuer = stack.setting.stack.access.issuer
    if not pem:
        raise NotFoundError(
            "the gateway's certificate names nobody who signed it",
            evidence=f"clusters.{stack.cluster}.stack.access.issuer: {issuer}",
            next_step="use it as it is: clients trust public authorities already",
        )
    click.echo(pem.strip())


@key.command()
@click.argument("name")
@site_option
@yes_option
def revoke(name: str, site_path: Path | None, *, yes: bool) -> None:
    """Make the key called NAME invalid; it cannot be brought back.

    \b
    Example:
      ai-how key revoke alice
    """
    from ai_how.apply.files import write_json
    from ai_how.local.site_access import open_gateway

    _refuse_on_cluster(site_path)
    access = open_gateway(site_path)
    keys = _revocable(name, access.api_keys_file)
    if not yes:
        confirm(f"End the key {name}?", what="revoking a key", otherwise=f"ai-how key revoke {name} --yes")
        # others may have changed them while this one was asked
        keys = _revocable(name, access.api_keys_file)
    del keys[name]
    write_json(access.api_keys_file, keys)
    note(f"key {name} is revoked")


@key.command()
@click.argument("name")
@site_option
@yes_option
def renew(name: str, site_path: Path | None, *, yes: bool) -> None:
    """Give the key called NAME a new value and print it; the old one is invalid.

    Endpoints on a cluster are restarted, one after the other: vLLM reads the
    key when it starts. Their clients wait or fail meanwhile.

    \b
    Example:
      ai-how key renew default
    """
    from ai_how.apply.files import write_json
    from ai_how.local.secrets import new_api_key
    from ai_how.local.site_access import open_gateway

    cluster = _cluster(site_path)
    if cluster is not None:
        click.echo(_renew_on_cluster(cluster, name, yes=yes))
        return
    access = open_gateway(site_path)
    keys = _read(access.api_keys_file)
    _known(name, keys)
    if not yes:
        confirm(f"End the present key {name}?", what="a new key", otherwise=f"ai-how key renew {name} --yes")
        # others may have changed them while this one was asked
        keys = _read(access.api_keys_file)
        _known(name, keys)
    keys[name] = new_api_key()
    write_json(access.api_keys_file, keys)
    click.echo(keys[name])


def _renew_on_cluster(cluster: WithKubernetes, name: str, *, yes: bool) -> str:
    from ai_how.apply.events import EventLog
    from ai_how.apply.lock import locked
    from ai_how.stack_access.keys import read_api_keys, renew_api_key, restarts_of_renewal
    from ai_how.stack_access.running import open_running_stack

    folder = cluster.kubernetes.folder
    with open_running_stack(cluster) as stack:
        _known(name, read_api_keys(stack))
        planned = restarts_of_renewal(stack)
        note("\n".join(f"{one.owner} is restarted" for one in planned) or "no endpoint runs: nothing is restarted")
        if not yes:
            confirm(f"End the present key {name}?", what="a new key", otherwise=f"ai-how key renew {name} --yes")
        with locked(folder.lock):
            EventLog(folder.events).append("site", "renew-key", "started", detail=name)
            renew_api_key(stack, say=lambda text: note(f"  {text}"))
            EventLog(folder.events).append("site", "renew-key", "done", detail=name)
        return str(read_api_keys(stack)[name])


def _revocable(name: str, file: Path) -> dict[str, str]:
    """All keys, of which this one may go.

    Raises:
        NotFoundError: there is no such key.
        ConflictError: it is the only one.
    """
    keys = _read(file)
    _known(name, keys)
    if len(keys) == 1:
        raise ConflictError("this is the only key", next_step="make another one first: ai-how key create NAME")
    return keys


def _known(name: str, keys: Mapping[str, str]) -> None:
    """
    Raises:
        NotFoundError: there is no such key.
    """
    if name not in keys:
        raise NotFoundError(
            f"there is no key called {name!r}",
            evidence=f"there are: {', '.join(sorted(keys))}",
            next_step="ai-how key list",
        )


def _keys(site_path: Path | None) -> tuple[Mapping[str, str], str]:
    """All keys by name, and the default one; those of a cluster are read there."""
    cluster = _cluster(site_path)
    if cluster is None:
        from ai_how.local.site_access import open_gateway

        access = open_gateway(site_path)
        return _read(access.api_keys_file), access.api_key
    from ai_how.stack.components.kserve import API_KEY
    from ai_how.stack_access.keys import read_api_keys
    from ai_how.stack_access.running import open_running_stack

    with open_running_stack(cluster) as stack:
        keys = read_api_keys(stack)
    return keys, keys[API_KEY]


def _refuse_on_cluster(site_path: Path | None) -> None:
    """
    Raises:
        ConflictError: the site's endpoints are on a cluster.
    """
    cluster = _cluster(site_path)
    if cluster is not None:
        from ai_how.stack_access.keys import one_key

        raise one_key(cluster.kubernetes.site.name)


def _cluster(site_path: Path | None) -> WithKubernetes | None:
    """The site where it has clusters with a stack; None where the embedded gateway serves."""
    from ai_how.cli.open_site import open_site
    from ai_how.kubernetes.with_kubernetes import WithKubernetes

    provider = open_site(site_path)
    return provider if isinstance(provider, WithKubernetes) else None


def _read(path: Path) -> dict[str, str]:
    from ai_how.apply.files import read_json

    found = read_json(path)
    return dict(found) if isinstance(found, dict) else {}
