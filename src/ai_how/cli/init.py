"""``ai-how init``: the first site file, for the machine that it is written on."""

from __future__ import annotations

import errno
import re
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.output import note
from ai_how.errors import AiHowError, ConflictError, SpecError
from ai_how.run.process import run, which

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ai_how.capacity.types import HostCapacity


@click.command()
@click.argument("file", default="ai-how.yaml", type=click.Path(allow_dash=True, path_type=Path))
@click.option("--name", help="Name of the site. Default: made from the folder's name.")
@click.option(
    "--provider",
    type=click.Choice(["local", "libvirt", "inventory"]),
    default="local",
    help="local: processes on this machine (default); libvirt: clusters of virtual machines; inventory: of servers.",
)
@click.option(
    "--host",
    "addresses",
    multiple=True,
    metavar="USER@ADDRESS",
    help="A server (inventory), repeated: the control plane first, then workers. Default: examples.",
)
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@click.option("--stdout", "to_stdout", is_flag=True, help="Print the file instead of writing it; so does FILE -.")
def init(
    file: Path, name: str | None, provider: str, addresses: tuple[str, ...], *, force: bool, to_stdout: bool
) -> None:
    """Write a commented ai-how.yaml for this machine, or for servers.

    \b
    Example:
      ai-how init
      ai-how init --name demo sites/demo.yaml
      ai-how init --provider libvirt
      ai-how init --provider inventory --host admin@10.0.0.1 --host admin@10.0.0.2
    """
    from ai_how.site.template import SCHEMA_FILE, valid_name

    to_stdout = to_stdout or str(file) == "-"
    folder = Path.cwd() if to_stdout else file.absolute().parent
    if name is not None and valid_name(name) != name:
        raise SpecError(
            f"{name!r} cannot be a site's name",
            evidence="it takes lower-case letters, digits and single dashes, beginning with a letter, 32 at most",
            next_step=f"ai-how init --name {valid_name(name)}",
        )
    if addresses:
        _check_addresses(addresses, provider)
    name, with_schema = name or valid_name(folder.resolve().name), (folder / SCHEMA_FILE).is_file()
    if provider == "inventory":
        text = _render_servers(name, addresses, with_schema=with_schema)
    else:
        text = _render(provider, name, with_schema=with_schema)
    if to_stdout:
        click.echo(text, nl=False)
        return
    _write(file, text, force=force)
    click.echo(f"{file} written")
    command = {"local": "ai-how up", "libvirt": "ai-how plan", "inventory": "ai-how hosts trust"}[provider]
    edit = f"write your servers' addresses, user and key_file into {file} (hosts, ssh), then: "
    site = "" if file == Path("ai-how.yaml") else f" --site {shlex.quote(str(file))}"
    note(f"Next: {edit if provider == 'inventory' and not addresses else ''}{command}{site}")


def _check_addresses(addresses: Sequence[str], provider: str) -> None:
    """Refuse servers that no site file could have.

    Raises:
        SpecError: with what is wrong.
    """
    from ai_how.site.server_rules import is_server

    if provider != "inventory":
        raise SpecError(
            f"--host is for servers, and the provider is {provider}", next_step="ai-how init --provider inventory"
        )
    wrong = next((each for each in addresses if not is_server(each)), None)
    if wrong is not None:
        raise SpecError(
            f"{wrong!r} is no address of a server",
            next_step="write user@host, such as admin@192.0.2.10; a port goes into the site file: ssh: {port: 2222}",
        )
    places = [each.rpartition("@")[2] for each in addresses]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise SpecError(f"{twice} is given twice", next_step="name each server once")
    if len(addresses) == 1:
        raise SpecError(
            "one server is no cluster: it needs a control plane and a worker", next_step="give --host twice or more"
        )


def _render_servers(name: str, addresses: Sequence[str], *, with_schema: bool) -> str:
    from ai_how.site.server_template import render_server_template

    usual = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
    key_file = next((each for each in usual if Path(each).expanduser().is_file()), usual[0])
    return render_server_template(name=name, key_file=key_file, addresses=addresses, with_schema=with_schema)


def _render(provider: str, name: str, *, with_schema: bool) -> str:
    from ai_how.site.template import render_template

    cores, memory_gib, gpus = _physical_cores(), _memory_gib(), _gpus()
    if provider == "local":
        return render_template(name=name, cpu_cores=cores, memory_gib=memory_gib, gpus=gpus, with_schema=with_schema)
    from ai_how.capacity.first_sizes import first_sizes
    from ai_how.site.cluster_template import render_cluster_template
    from ai_how.site.roles import DEFAULTS, Allocation, Role

    sizes: Mapping[Role, Allocation] | None = DEFAULTS
    capacity = _capacity()
    if capacity is not None:
        # cards that machines are to get need no driver here
        gpus = gpus or [gpu.name for gpu in capacity.gpus]
        sizes = first_sizes(capacity, gpus=len(gpus))
    if sizes is None:
        note("warning: not even the smallest cluster fits this machine; ai-how plan says what is missing")
    return render_cluster_template(
        name=name, cpu_cores=cores, memory_gib=memory_gib, gpus=gpus, sizes=sizes, with_schema=with_schema
    )


def _capacity() -> HostCapacity | None:
    """What this machine has for virtual machines; None where that cannot be told."""
    from ai_how.host.capacity import observe_capacity
    from ai_how.host.root import Root
    from ai_how.site.clusters import Host

    host = Host(name="this-machine")
    try:
        return observe_capacity(Root(), name=host.name, disk_path=host.storage_path)
    except AiHowError as error:
        note(f"warning: the sizes are the usual ones: {error.brief}")
        return None


def _write(file: Path, text: str, *, force: bool) -> None:
    from ai_how.apply.files import disk_full, write_atomic

    if file.is_dir():
        raise SpecError(f"{file} is a folder", next_step=f"ai-how init {shlex.quote(str(file / 'ai-how.yaml'))}")
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
