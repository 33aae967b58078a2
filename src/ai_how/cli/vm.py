"""``ai-how vm``: look at the site's machines, switch them, get into them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.nodes import node_argument, nodes_argument
from ai_how.cli.open_site import open_machines
from ai_how.cli.options import Number, output_option, site_option
from ai_how.cli.output import note, print_json, print_table
from ai_how.cli.vm_change import delete, resize, rollback, snapshot
from ai_how.errors import ConflictError

if TYPE_CHECKING:
    from ai_how.machines.inventory import MachineRow
    from ai_how.machines.provider import LibvirtProvider
    from ai_how.machines.standing import Standing

_FOLLOW_EVERY_S = 1.0


@click.group()
def vm() -> None:
    """List, start, stop, enter, keep, resize and delete the site's machines.

    Machines are named as nodes are: <cluster>-<role>-<number>.

    \b
    Example:
      ai-how vm list
      ai-how vm ssh cloud-control-plane-1
    """


for command in (snapshot, rollback, resize, delete):
    vm.add_command(command)


@vm.command(name="list")
@site_option
@output_option
def list_(site_path: Path | None, output: str) -> None:
    """List the machines: place, state, size, what is odd.

    DISK GiB: what the disks take on the host, of their size. AGENT: whether the
    guest agent answers. The JSON has cluster, host and snapshots too.

    \b
    Example:
      ai-how vm list
      ai-how vm list -o json | jq '.machines[] | select(.state == "running")'
    """
    from ai_how.machines.inventory import machine_rows

    provider = open_machines(site_path)
    rows = machine_rows(provider)
    if output == "json":
        print_json({"site": provider.site.name, "machines": rows})
        return
    several = len(provider.hosts) > 1
    print_table(_headers(several=several), [_cells(row, several=several) for row in rows])
    for row in rows:
        if row.note:
            click.echo(f"\n{row.node}: {row.note}")


def _headers(*, several: bool) -> tuple[str, ...]:
    host = ("HOST",) if several else ()
    return ("MACHINE", *host, "STATE", "ADDRESS", "CPU", "GiB", "DISK GiB", "GPU", "AGENT", "IMAGE")


def _cells(row: MachineRow, *, several: bool) -> tuple[object, ...]:
    used = "-" if row.disk_used_bytes is None else f"{row.disk_used_bytes / 2**30:.3g}"
    agent = {None: "-", True: "yes", False: "no"}[row.agent]
    return (
        row.node,
        *((row.host or "-",) if several else ()),
        row.state,
        row.address,
        row.vcpus,
        f"{row.memory_mib / 1024:g}",
        f"{used}/{row.disk_size_bytes / 2**30:.0f}",
        row.gpus,
        agent,
        row.image or "-",
    )


@vm.command()
@nodes_argument
@site_option
def start(nodes: tuple[str, ...], site_path: Path | None) -> None:
    """Start machines and wait until each is ready.

    Also those of clusters with `start: manual`. If one does not come up, the
    end of its serial log is shown.

    \b
    Example:
      ai-how vm start hpc-controller-1 hpc-compute-1
    """
    from ai_how.machines.power import start_machines

    provider = open_machines(site_path)
    _switch(provider, nodes, lambda: start_machines(provider, list(dict.fromkeys(nodes))), "start")


@vm.command()
@nodes_argument
@site_option
@click.option(
    "--timeout-s",
    default=120.0,
    show_default=True,
    type=Number(0),
    help="How long each may take to shut down, seconds, before it is ended hard.",
)
def stop(nodes: tuple[str, ...], site_path: Path | None, timeout_s: float) -> None:
    """Shut machines down.

    One that does not obey in time is ended hard; it says which it was.
    `ai-how up` starts them again, unless their cluster has `start: manual`.

    \b
    Example:
      ai-how vm stop cloud-cpu-worker-2
    """
    provider = open_machines(site_path)
    _switch(provider, nodes, lambda: _stop(provider, nodes, timeout_s), "stop")


@vm.command()
@nodes_argument
@site_option
@click.option(
    "--timeout-s",
    default=120.0,
    show_default=True,
    type=Number(0),
    help="How long each may take to shut down, seconds, before it is ended hard.",
)
def restart(nodes: tuple[str, ...], site_path: Path | None, timeout_s: float) -> None:
    """Shut machines down and start them again.

    Waits until each is ready.

    \b
    Example:
      ai-how vm restart cloud-cpu-worker-1
    """
    from ai_how.machines.power import start_machines

    provider = open_machines(site_path)
    _switch(provider, nodes, lambda: _stop(provider, nodes, timeout_s), "stop")
    again = open_machines(site_path)
    _switch(again, nodes, lambda: start_machines(again, list(dict.fromkeys(nodes))), "start")


@vm.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@site_option
@node_argument
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(site_path: Path | None, node: str, command: tuple[str, ...]) -> None:
    """Log in to a machine, or run a COMMAND on it.

    The command's exit code is passed on. With the site's own key, as a user that may use sudo; the machine's host key
    is the one that ai-how gave it. Goes through the host where that is another
    machine. Options for ai-how stand before NODE.

    \b
    Example:
      ai-how vm ssh cloud-control-plane-1
      ai-how vm ssh cloud-cpu-worker-1 -- sudo journalctl -n 20
    """
    from ai_how.run.process import replace_process

    provider = open_machines(site_path)
    machine = provider.find(node)
    if not machine.found.running:
        raise ConflictError(f"{node} is {machine.found.state}", next_step=f"ai-how vm start {node}")
    words = command[1:] if command[:1] == ("--",) else command
    # as ssh does it: the words are joined by blanks, so that pipes and variables are the machine's shell's
    replace_process([*provider.target_of(machine).argv(), *(["--", " ".join(words)] if words else [])])


@vm.command()
@site_option
@node_argument
@click.option("--log", "log_only", is_flag=True, help="Follow the serial log only, even where virsh is installed.")
def console(site_path: Path | None, node: str, *, log_only: bool) -> None:
    """Open a machine's serial console.

    Without virsh, its serial log is followed instead.

    \b
    Example:
      ai-how vm console cloud-control-plane-1
    """
    from ai_how.run.process import replace_process, which

    provider = open_machines(site_path)
    machine = provider.find(node)
    if not machine.found.running:
        raise ConflictError(f"{node} is {machine.found.state}: it has no console now", next_step=f"ai-how logs {node}")
    if which("virsh") and not log_only:
        note(f"Console of {node}. Leave with Ctrl-] (the machine goes on).")
        replace_process(["virsh", "-c", provider.hosts[machine.host].uri, "console", machine.name])
    note(f"Serial log of {node}, as it grows. Leave with Ctrl-C (the machine goes on).")
    _follow(provider, machine)


def _follow(provider: LibvirtProvider, machine: Standing) -> None:
    from ai_how.machines import storage
    from ai_how.machines.serial_log import without_codes

    pool, name = provider.pool_of(machine.host), f"{machine.node}.log"
    offset = max(0, storage.size_of(pool, name) - 4096)
    try:
        while True:
            data = storage.read_from(pool, name, offset)
            offset += len(data)
            if data:
                click.echo(without_codes(data), nl=False)
            else:
                time.sleep(_FOLLOW_EVERY_S)
    except KeyboardInterrupt:
        return


def _stop(provider: LibvirtProvider, nodes: tuple[str, ...], timeout_s: float) -> dict[str, str]:
    from ai_how.machines.power import stop_machines

    return stop_machines([provider.find(node) for node in dict.fromkeys(nodes)], note, timeout_s=timeout_s)


def _switch(provider: LibvirtProvider, nodes: tuple[str, ...], do: Callable[[], dict[str, str]], verb: str) -> None:
    """Do it under the site's lock; say how it ended for each machine, here and in the events."""
    from ai_how.apply.events import EventLog
    from ai_how.apply.lock import locked

    for node in nodes:
        provider.find(node)
    with locked(provider.folder.lock):
        said = do()
        events = EventLog(provider.folder.events)
        for node, how in said.items():
            events.append(f"machine/{node}", verb, "done", detail=how)
            click.echo(f"{node}: {how}")
