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
    from collections.abc import Mapping

    from ai_how.capacity.types import HostCapacity


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
    from ai_how.site.template import SCHEMA_FILE, valid_name

    to_stdout = to_stdout or str(file) == "-"
    folder = Path.cwd() if to_stdout else file.absolute().parent
    if name is not None and valid_name(name) != name:
        raise SpecError(
            f"{name!r} cannot be a site's name",
            evidence="it takes lower-case letters, digits and single dashes, beginning with a letter, 32 at most",
            next_step=f"ai-how init --name {valid_name(name)}",
        )
    text = _render(provider, name or valid_name(folder.resolve().name), with_schema=(folder / SCHEMA_FILE).is_file())
    if to_stdout:
        click.echo(text, nl=False)
        return
    _write(file, text, force=force)
    click.echo(f"{file} written")
    found_by_itself = file == Path("ai-how.yaml")
    next_command = "up" if provider == "local" else "plan"
    note(f"Next: ai-how {next_command}{'' if found_by_itself else f' --site {shlex.quote(str(file))}'}")


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
