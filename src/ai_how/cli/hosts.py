"""``ai-how hosts``: the servers of an inventory, and whose host keys are trusted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.confirm import confirm
from ai_how.cli.next_step import say_next
from ai_how.cli.open_site import open_inventory
from ai_how.cli.options import output_option, site_option, yes_option
from ai_how.cli.output import note, print_json, print_table, wrap
from ai_how.errors import AiHowError, ConflictError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ai_how.servers.trust import KeyState


def complete_host(ctx: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Names of hosts for the shell."""
    from ai_how.site.load import find_site, load_site

    try:
        site = load_site(ctx.params.get("site_path") or find_site(Path.cwd()))
    except (AiHowError, OSError):
        # a shell that asks for names wants no message
        return []
    return sorted(host.name for host in site.hosts if host.name.startswith(typed))


@click.group()
def hosts() -> None:
    """List the servers of an inventory; trust their host keys.

    A server is only spoken with when it shows the key that was trusted, or the
    one that the site file names (hosts[].host_key).

    \b
    Example:
      ai-how hosts list
      ai-how hosts trust
    """


@hosts.command(name="list")
@site_option
@output_option
def list_(site_path: Path | None, output: str) -> None:
    """List the servers: address, what they are, whose key is trusted.

    Asks each for the host key that it shows now; logs in nowhere. Exit code 1
    when one does not answer or shows another key than its own.

    \b
    Example:
      ai-how hosts list
      ai-how hosts list -o json
    """
    from ai_how.servers.trust import key_states

    provider = open_inventory(site_path)
    states = key_states(provider.servers, provider.known)
    if output == "json":
        print_json({"site": provider.site.name, "hosts": [_plain(state) for state in states]})
    else:
        _print_states(states)
    sys.exit(1 if any(each.state in ("no answer", "CHANGED") for each in states) else 0)


def _print_states(states: Sequence[KeyState]) -> None:
    print_table(
        ("HOST", "ADDRESS", "CLUSTER", "ROLE", "KEY"),
        [
            (each.server.name, each.server.reached.text, each.server.wish.cluster, each.server.wish.role, each.state)
            for each in states
        ],
    )
    for each in states:
        if each.trouble:
            click.echo()
            for line in wrap(f"{each.server.name}: {each.trouble}", hanging="  "):
                click.echo(line)
    for step in _next_steps(states):
        say_next(step)


@hosts.command()
@click.argument("names", nargs=-1, metavar="[HOST]...", shell_complete=complete_host)
@site_option
@yes_option
@click.option("--replace", is_flag=True, help="Also where another key was trusted before: only after a new install.")
def trust(names: tuple[str, ...], site_path: Path | None, yes: bool, replace: bool) -> None:
    """Show the host keys of HOSTs and trust them; default: all that are new.

    Compare each fingerprint with what the server itself says, on its console:
    ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub

    \b
    Example:
      ai-how hosts trust
      ai-how hosts trust worker-3 --replace
    """
    from ai_how.apply.site_folder import make_site_folder
    from ai_how.servers.trust import key_states

    provider = open_inventory(site_path)
    known = {server.name: server for server in provider.servers}
    wrong = [name for name in names if name not in known]
    if wrong:
        raise NotFoundError(f"there is no server {wrong[0]!r}", evidence="there are: " + ", ".join(known))
    if replace and not names:
        raise NotFoundError("--replace wants the names of the servers", next_step="ai-how hosts trust HOST --replace")
    states = key_states([known[name] for name in names or known], provider.known)
    _tell_trouble(states)
    changed = [each for each in states if each.state == "CHANGED"]
    against = [each for each in changed if not each.may_be_trusted]
    if against:
        raise ConflictError(
            f"{', '.join(each.server.name for each in against)} shows another host key than the site file names",
            evidence="\n".join(f"{each.server.name}: {each.trouble}" for each in against),
            next_step="find out why; only if it was installed anew: correct its host_key in the site file",
        )
    if changed and not replace:
        raise ConflictError(
            f"{', '.join(each.server.name for each in changed)} shows another host key than the one that is trusted",
            evidence="\n".join(f"{each.server.name}: {each.trouble}" for each in changed),
            next_step="only if it was installed anew: "
            f"ai-how hosts trust {' '.join(each.server.name for each in changed)} --replace",
        )
    new = [each for each in states if each.shown and each.state in ("not trusted", "CHANGED")]
    if new:
        print_table(
            ("HOST", "ADDRESS", "FINGERPRINT"),
            [(each.server.name, each.server.reached.text, each.fingerprint) for each in new],
        )
        if not yes:
            confirm("Are these their keys?", what="trust", otherwise="ai-how hosts trust --yes")
        make_site_folder(provider.folder, provider.site.name)
        provider.known.keep({each.server.reached.known_as: each.shown for each in new if each.shown})
    trusted = f"{len(new)} trusted" if new else "nothing new to trust"
    click.echo(f"{trusted}; kept in {provider.known.path}" if new else trusted)
    if any(each.state == "no answer" for each in states):
        raise ConflictError("not every server answers", next_step="ai-how hosts list")


def _next_steps(states: Sequence[KeyState]) -> Iterator[str]:
    """What to do about keys; one that the site file names otherwise is not trusted by a command."""
    changed = [each.server.name for each in states if each.state == "CHANGED" and each.may_be_trusted]
    if changed:
        yield f"ai-how hosts trust {' '.join(changed)} --replace    (only if installed anew)"
    if any(each.state == "CHANGED" and not each.may_be_trusted for each in states):
        yield "find out why the key changed; only after a new install: correct its host_key in the site file"
    if any(each.state == "not trusted" for each in states):
        yield "ai-how hosts trust"


def _tell_trouble(states: Sequence[KeyState]) -> None:
    for each in states:
        if each.trouble and each.state != "CHANGED":
            note(f"{each.server.name}: {each.trouble}")


def _plain(state: KeyState) -> dict[str, object]:
    server = state.server
    return {
        "name": server.name,
        "address": server.reached.text,
        "jump": server.reached.jump,
        "cluster": server.wish.cluster,
        "role": server.wish.role,
        "key": state.state,
        "fingerprint": state.fingerprint,
        "trouble": state.trouble,
    }
