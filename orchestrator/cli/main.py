"""The `cronium` command: which commands there are, and how every one of them ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

import click

from orchestrator import __version__
from orchestrator.cli.descriptors import STDERR, STDOUT, silence
from orchestrator.cli.failures import EXIT_INTERRUPTED, EXIT_PIPE, EXIT_USAGE, report, say_failure
from orchestrator.errors import CroniumError

EXAMPLES = """
\b
Examples:
  cronium run backup.py
  cronium serve
  cronium submit backup.py
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A command: where it is (`module:attribute`, imported when it is called) and what it does, in a line."""

    at: str
    help: str


SECTIONS: Mapping[str, Mapping[str, Entry]] = {
    "Here and now": {
        "run": Entry(at="orchestrator.cli.run:run", help="Run a script or a workflow file here, with no server."),
        "validate": Entry(at="orchestrator.cli.validate:validate", help="Check a workflow or job file."),
        "doctor": Entry(at="orchestrator.cli.doctor:doctor", help="Say what is available on this machine, and why."),
    },
    "Server": {
        "serve": Entry(at="orchestrator.cli.serve:serve", help="Run the server."),
        "config": Entry(at="orchestrator.cli.config:config", help="Show the settings, and where each comes from."),
        "backup": Entry(at="orchestrator.cli.backup:backup", help="Copy the database to one file, while it is in use."),
        "restore": Entry(at="orchestrator.cli.restore:restore", help="Check a backup, or put it in place."),
        "migrate": Entry(at="orchestrator.cli.migrate:migrate", help="Bring the database up to date, or rehearse it."),
    },
    "Jobs of a server": {
        "submit": Entry(at="orchestrator.cli.submit:submit", help="Submit a script or a job file and follow it."),
        "jobs": Entry(at="orchestrator.cli.jobs:jobs", help="List jobs, newest first; show or cancel one."),
        "logs": Entry(at="orchestrator.cli.logs:logs", help="Print the output of a job."),
        "artifacts": Entry(at="orchestrator.cli.artifacts:artifacts", help="List and fetch the files that a job left."),
        "watch": Entry(at="orchestrator.cli.watch:watch", help="Follow a job to its end."),
        "why": Entry(at="orchestrator.cli.why:why", help="Tell what happened to a job, and what it waits for."),
        "cancel": Entry(at="orchestrator.cli.cancel:cancel", help="End jobs."),
    },
    "Events of a server": {
        "events": Entry(at="orchestrator.cli.events:events", help="List events; create, run, pause or show one."),
        "secrets": Entry(at="orchestrator.cli.secrets:secrets", help="Set, list and delete what scripts are to hide."),
        "variables": Entry(
            at="orchestrator.cli.variables:variables", help="List, read and change values that scripts share."
        ),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class LazyGroup(click.Group):
    """A group that imports a command when it is called, not to list it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.at.partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.at} is no command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise click.UsageError(f"There is no command {name!r}.{_near(name)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        size = max(len(name) for name in COMMANDS)
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{size}}", entry.help) for name, entry in entries.items()])


@click.group(
    name="cronium",
    cls=LazyGroup,
    epilog=EXAMPLES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message="cronium %(version)s")
@click.pass_context
def cronium(context: click.Context) -> None:
    """Cronium runs scripts, never loses one, and shows every line.

    The commands of a server find it by themselves where it runs under the same account, elsewhere by CRONIUM_URL and
    CRONIUM_TOKEN.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(args: Sequence[str]) -> int:
    """
    Run a command and return its exit code.

    0 done, 1 failed, 2 wrong use or invalid file, 3 no server, 130 interrupted, 141 nobody reads what we write; a
    command that follows a script has the script's.
    """
    try:
        code = _run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        silence(STDOUT, STDERR)
        return EXIT_PIPE
    return code


def _run(args: Sequence[str]) -> int:
    if "_CRONIUM_COMPLETE" in os.environ:
        cronium.main(list(args), prog_name="cronium")
    try:
        with cronium.make_context("cronium", list(args)) as context:
            result = cronium.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        return _report_usage(error)
    except CroniumError as error:
        return report(error)
    except BaseExceptionGroup as group:
        cause = _only_leaf(group)
        if not isinstance(cause, CroniumError):
            raise
        return report(cause)
    except (KeyboardInterrupt, click.Abort):
        # A second Ctrl-C must not break into the farewell with a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


def _only_leaf(error: BaseException) -> BaseException | None:
    """The one error inside groups of one: what a task group made of it on its way out."""
    while isinstance(error, BaseExceptionGroup):
        if len(error.exceptions) != 1:
            return None
        error = error.exceptions[0]
    return error


def _report_usage(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if isinstance(context, click.Context) else "cronium"
    message = error.format_message()
    say_failure(message[:1].upper() + message[1:], f"see `{command} --help`")
    return EXIT_USAGE


def _near(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    return f" Is it {near[0]!r}?" if near else ""
