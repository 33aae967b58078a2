"""The root command: knows every command's name and one-line help, imports a command's module only when it runs."""

from __future__ import annotations

import errno
import importlib
import os
import shlex
import sys
from pathlib import Path
from typing import NoReturn

import click

from ai_how import __version__
from ai_how.cli.next_step import SITE_KEY, with_site
from ai_how.cli.output import colour, fail
from ai_how.cli.termination import EXIT_CODE, Termination
from ai_how.errors import AiHowError

# name -> (module:attribute, help). The help lines stand here so that `ai-how --help` imports no command.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("ai_how.cli.init:init", "Write a commented ai-how.yaml for this machine."),
    "validate": ("ai_how.cli.site:validate", "Check the site file; report every mistake at once."),
    "schema": ("ai_how.cli.site:schema", "Print the site file's JSON Schema, for editors."),
    "doctor": ("ai_how.cli.doctor:doctor", "Check this machine: good enough, and what to mend?"),
    "plan": (
        "ai_how.cli.lifecycle:plan",
        "Show what `up` would do; exit code 2 means there is work.",
    ),
    "up": ("ai_how.cli.lifecycle:up", "Make the site as its file says; safe to run again."),
    "status": ("ai_how.cli.lifecycle:status", "Show components, endpoints and what is wrong."),
    "model": ("ai_how.cli.model:model", "Push, list, show, promote, delete and pull models."),
    "deploy": (
        "ai_how.cli.deploy:deploy",
        "Serve a model; the commands and file of `oumi deploy`.",
    ),
    "bench": ("ai_how.cli.bench:bench", "Measure an endpoint against the site's targets."),
    "cost": ("ai_how.cli.cost:cost", "Compare own machines with a cloud: payback, cost of tokens."),
    "versions": ("ai_how.cli.versions:versions", "Show release sets; check whether versions fit together."),
    "image": ("ai_how.cli.image:image", "Build and list the disk images of virtual machines."),
    "bundle": ("ai_how.cli.bundle:bundle", "Keep all that is downloaded, for sites without internet."),
    "gpu": ("ai_how.cli.gpu:gpu", "Show the GPUs for virtual machines; give one back to its host."),
    "switch": ("ai_how.cli.switch:switch", "Give the turn to another cluster: stop, start, check."),
    "vm": ("ai_how.cli.vm:vm", "List, start, stop, enter, keep and resize virtual machines."),
    "hosts": ("ai_how.cli.hosts:hosts", "List existing servers over SSH; trust their host keys."),
    "topology": ("ai_how.cli.topology:topology", "Show hosts, machines, networks, GPUs and conflicts."),
    "kubeconfig": ("ai_how.cli.kubeconfig:kubeconfig", "Show, print or merge a cluster's kubeconfig; renew it."),
    "key": ("ai_how.cli.key:key", "Create, list and revoke API keys of the gateway."),
    "backup": ("ai_how.cli.backup:backup", "Keep what cannot be made again, and put it back."),
    "logs": ("ai_how.cli.lifecycle:logs", "Print a component's log."),
    "events": ("ai_how.cli.lifecycle:events", "Show what was done to this site, newest last."),
    "down": ("ai_how.cli.lifecycle:down", "Stop everything, keep all data."),
    "destroy": ("ai_how.cli.lifecycle:destroy", "Stop everything and remove the site's data."),
    "completion": ("ai_how.cli.completion:completion", "Print a shell completion script."),
}

EXAMPLE = """\b
Example:
  ai-how init
  ai-how up
  ai-how deploy up --model-path output/my-model --name my-model
  ai-how bench run my-model
"""


class LazyGroup(click.Group):
    """A group whose sub-commands are imported when they are called, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module_name, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module_name), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except AiHowError as error:
            if SITE_KEY in ctx.meta:
                error.next_step = with_site(error.next_step, ctx.meta[SITE_KEY])
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(
    cls=LazyGroup,
    epilog=EXAMPLE,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(__version__, prog_name="ai-how")
@click.pass_context
def root(ctx: click.Context) -> None:
    """Your own machines as the provider for models fine-tuned with Oumi.

    One YAML file says what you want: check the host, plan, build, serve, measure.
    """
    ctx.color = colour()


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line: errors of ours become three lines and an exit code, never a traceback."""
    with Termination() as termination:
        try:
            _run(argv)
        except SystemExit as ended:
            raise SystemExit(EXIT_CODE if termination.came else ended.code) from None


def _run(argv: list[str] | None) -> NoReturn:
    try:
        code = root.main(args=argv, prog_name="ai-how", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except (click.Abort, KeyboardInterrupt):
        # Ctrl-C, here or at a question, or SIGTERM
        fail(AiHowError("interrupted", next_step="run the same command again to go on"), exit_code=130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except AiHowError as error:
        fail(error)
    except BrokenPipeError:
        # the reader of our output (head, less) has gone: that is no failure of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        fail(_of_the_machine(error))


def _of_the_machine(error: OSError) -> AiHowError:
    """What the operating system refused, in our form: no traceback for a full disk or a missing permission."""
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        from ai_how.apply.files import free_places

        return AiHowError(
            f"the disk is full{where}",
            evidence="" if where else free_places(Path.cwd()),
            next_step="free some space, then run the same command again",
        )
    if isinstance(error, PermissionError):
        return AiHowError(f"permission denied{where}", next_step="see who owns it: ls -ld, then run this as that user")
    return AiHowError(
        f"{error.strerror or error}{where}",
        evidence=f"the operating system said {type(error).__name__}",
        next_step=f"look at it: ls -ld {shlex.quote(str(error.filename))}" if error.filename else "ai-how status",
    )
