"""``ai-how vm snapshot | rollback | resize | delete``: what changes a machine or its disks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.apply import carry_out, print_plan
from ai_how.cli.confirm import confirm
from ai_how.cli.next_step import say_next
from ai_how.cli.nodes import node_argument
from ai_how.cli.open_site import open_machines
from ai_how.cli.options import output_option, site_option, yes_option
from ai_how.cli.output import note, print_json, print_table
from ai_how.errors import SpecError

if TYPE_CHECKING:
    from ai_how.machines.provider import LibvirtProvider
    from ai_how.machines.snapshots import Snapshot
    from ai_how.machines.standing import Standing


@click.command()
@node_argument
@site_option
@output_option
@click.option("--name", metavar="NAME", help="Name of the new snapshot. Default: the time, such as 20260131-174500.")
@click.option("--list", "list_only", is_flag=True, help="List the machine's snapshots instead.")
@click.option("--delete", "to_delete", metavar="NAME", help="Delete that snapshot instead.")
def snapshot(
    node: str, site_path: Path | None, output: str, name: str | None, to_delete: str | None, *, list_only: bool
) -> None:
    """Keep a machine as it is now.

    The snapshot lies in the machine's own disk; `ai-how vm rollback` goes back.
    A running machine that boots by BIOS is kept with its memory, and pauses for
    that. One that boots by UEFI or has a GPU must be off; its disks are kept.

    \b
    Example:
      ai-how vm snapshot cloud-cpu-worker-1 --name before-upgrade
      ai-how vm snapshot cloud-cpu-worker-1 --list
    """
    from ai_how.apply.lock import locked
    from ai_how.machines.snapshots import delete_snapshot, list_snapshots, take_snapshot

    if sum((name is not None, list_only, to_delete is not None)) > 1:
        raise SpecError("--name, --list and --delete exclude each other", next_step="ai-how vm snapshot --help")
    provider = open_machines(site_path)
    machine = provider.find(node)
    if list_only:
        _print_snapshots(list_snapshots(machine), output)
        return
    with locked(provider.folder.lock):
        if to_delete is not None:
            delete_snapshot(machine, to_delete)
            _record(provider, node, "delete-snapshot", to_delete)
            click.echo(f"{node}: snapshot {to_delete} is deleted")
            return
        taken = take_snapshot(machine, time.strftime("%Y%m%d-%H%M%S", time.gmtime()) if name is None else name)
        _record(provider, node, "snapshot", taken.name)
    if output == "json":
        print_json(taken)
    else:
        kept = "with its memory" if taken.with_memory else "its disks, as it was off"
        click.echo(f"{node}: snapshot {taken.name} is taken ({kept})")
        say_next(f"ai-how vm rollback {node}    (to go back to it)")


def _print_snapshots(found: list[Snapshot], output: str) -> None:
    if output == "json":
        print_json(found)
        return
    rows = [
        (one.name, time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(one.taken_at_s)), "yes" if one.with_memory else "no")
        for one in found
    ]
    print_table(("SNAPSHOT", "TAKEN (UTC)", "MEMORY"), rows, empty="no snapshots")


@click.command()
@node_argument
@site_option
@yes_option
@click.option("--name", metavar="NAME", help="Snapshot to go back to. Default: the newest.")
def rollback(node: str, site_path: Path | None, name: str | None, *, yes: bool) -> None:
    """Put a machine back to a snapshot.

    What it did since then is lost. From a snapshot with memory it goes on at once, and its clock is set right.
    From one without, it is off afterwards.

    \b
    Example:
      ai-how vm rollback cloud-cpu-worker-1 --name before-upgrade
    """
    from ai_how.apply.lock import locked
    from ai_how.machines.snapshots import find_snapshot, roll_back

    provider = open_machines(site_path)
    machine = provider.find(node)
    wanted = find_snapshot(machine, name)
    if not yes:
        note(f"What {node} did since snapshot {wanted.name} will be lost.")
        confirm("Go back?", what="rollback", otherwise=f"ai-how vm rollback {node} --name {wanted.name} --yes")
    with locked(provider.folder.lock):
        roll_back(machine, wanted.name)
        _record(provider, node, "rollback", wanted.name)
        said = _clock(provider, machine) if wanted.with_memory else "it is off"
    click.echo(f"{node} is back at snapshot {wanted.name}: {said}")
    if not wanted.with_memory:
        say_next(f"ai-how vm start {node}")


def _clock(provider: LibvirtProvider, machine: Standing) -> str:
    from ai_how.machines.clock import set_clock

    trouble = set_clock(machine, provider.target_of(machine))
    return (
        f"it runs, but its clock could not be set ({trouble}): restart it"
        if trouble
        else "it runs, and its clock is set"
    )


@click.command()
@node_argument
@site_option
@yes_option
@click.option("--vcpus", type=click.IntRange(1), help="Virtual processors. Restarts the machine.")
@click.option("--memory-gib", type=click.IntRange(1), help="Memory, GiB. Restarts the machine.")
@click.option("--disk-gib", type=click.IntRange(1), help="Disk, GiB. It only grows, while the machine runs.")
def resize(
    node: str, site_path: Path | None, vcpus: int | None, memory_gib: int | None, disk_gib: int | None, *, yes: bool
) -> None:
    """Give a machine other processors, memory or disk.

    The site file is the truth: the node's entry in it is changed, then the plan
    is shown and carried out, as `ai-how up` does.

    \b
    Example:
      ai-how vm resize cloud-cpu-worker-1 --disk-gib 200
    """
    from ai_how.apply.files import write_atomic
    from ai_how.apply.lock import locked
    from ai_how.machines.resize import resized

    asked = {"vcpus": vcpus, "memory_gib": memory_gib, "disk_gib": disk_gib}
    changes = {key: value for key, value in asked.items() if value is not None}
    if not changes:
        raise SpecError(
            "say what to change", next_step="ai-how vm resize NODE --disk-gib 200    (or --vcpus, --memory-gib)"
        )
    provider = open_machines(site_path)
    change = resized(provider, node, changes)
    if not change.lines:
        click.echo(f"{node} is written so already: nothing to do (ai-how up makes it so)")
        return
    for line in change.lines:
        click.echo(f"{provider.site_file.name}: {line}")
    click.echo()
    with locked(provider.folder.lock):
        wanted = change.provider.plan()
        print_plan(wanted)
        if change.restarts:
            note(f"{node} is restarted for that.")
        if not yes:
            confirm(
                "Write this and do it?", what="resize", otherwise=f"ai-how vm resize {node} {_options(changes)} --yes"
            )
        file = provider.site_file.resolve()
        write_atomic(file, change.text, mode=file.stat().st_mode & 0o777)
        failed = [outcome for outcome in carry_out(change.provider, wanted, quiet=False) if outcome.result != "done"]
    error = next((outcome.error for outcome in failed if outcome.error), None)
    if error:
        raise error
    click.echo(f"{node} is resized")


@click.command()
@node_argument
@site_option
@yes_option
def delete(node: str, site_path: Path | None, *, yes: bool) -> None:
    """Remove a machine with its disks and snapshots.

    `ai-how up` makes it anew. To be rid of it for good, take it out of the site file and run `ai-how up`.

    \b
    Example:
      ai-how vm delete cloud-cpu-worker-2 --yes
    """
    from ai_how.apply.lock import locked
    from ai_how.machines.removal import owned_volumes, remove_node

    provider = open_machines(site_path)
    machine = provider.find(node)
    if not yes:
        note(f"This removes machine {node} ({machine.found.state}) and: {', '.join(owned_volumes(machine))}.")
        confirm("Remove it?", what="delete", otherwise=f"ai-how vm delete {node} --yes")
    with locked(provider.folder.lock):
        removed = remove_node(provider, machine)
        _record(provider, node, "delete", ", ".join(removed))
    with_what = f", with {', '.join(removed)}" if removed else ""
    click.echo(f"{node} is removed{with_what}")
    say_next("ai-how up    (makes it anew)")


def _options(changes: Mapping[str, int]) -> str:
    return " ".join(f"--{key.replace('_', '-')} {value}" for key, value in changes.items())


def _record(provider: LibvirtProvider, node: str, verb: str, detail: str) -> None:
    from ai_how.apply.events import EventLog

    EventLog(provider.folder.events).append(f"machine/{node}", verb, "done", detail=detail)
