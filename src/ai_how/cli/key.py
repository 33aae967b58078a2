"""``ai-how key``: the API keys that clients of the gateway send."""

from __future__ import annotations

import re
from pathlib import Path

import click

from ai_how.cli.options import output_option, site_option
from ai_how.cli.output import note, print_json, print_table
from ai_how.errors import ConflictError, NotFoundError, SpecError


@click.group()
def key() -> None:
    """Create, list and revoke API keys of the gateway.

    A change counts at once; nothing has to be restarted.

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
    import secrets

    from ai_how.apply.files import write_json
    from ai_how.local.site_access import open_gateway

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", name):
        raise SpecError(f"{name!r} is no name for a key", next_step="use letters, digits, dots, dashes, @")
    access = open_gateway(site_path)
    keys = _read(access.api_keys_file)
    if name in keys:
        raise ConflictError(f"there is a key called {name}", next_step=f"ai-how key revoke {name}; or use another name")
    keys[name] = f"sk-{secrets.token_urlsafe(32)}"
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
    from ai_how.local.site_access import open_gateway

    keys = _read(open_gateway(site_path).api_keys_file)
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
    from ai_how.local.site_access import open_gateway

    access = open_gateway(site_path)
    keys = _read(access.api_keys_file)
    if name is not None and name not in keys:
        raise NotFoundError(f"there is no key called {name!r}", evidence=f"there are: {', '.join(sorted(keys))}")
    click.echo(keys[name] if name else access.api_key)


@key.command()
@click.argument("name")
@site_option
def revoke(name: str, site_path: Path | None) -> None:
    """Make the key called NAME invalid.

    \b
    Example:
      ai-how key revoke alice
    """
    from ai_how.apply.files import write_json
    from ai_how.local.site_access import open_gateway

    access = open_gateway(site_path)
    keys = _read(access.api_keys_file)
    if name not in keys:
        raise NotFoundError(f"there is no key called {name!r}", evidence=f"there are: {', '.join(sorted(keys))}")
    if len(keys) == 1:
        raise ConflictError("this is the only key", next_step="make another one first: ai-how key create NAME")
    del keys[name]
    write_json(access.api_keys_file, keys)
    note(f"key {name} is revoked")


def _read(path: Path) -> dict[str, str]:
    from ai_how.apply.files import read_json

    found = read_json(path)
    return dict(found) if isinstance(found, dict) else {}
