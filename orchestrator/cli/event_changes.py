"""What changes an event or makes a job of it: create, run, pause, activate, archive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from shlex import quote

import click

from orchestrator.cli.answers import read_job
from orchestrator.cli.client import open_client
from orchestrator.cli.event_table import EventView, event_path, read_event
from orchestrator.cli.inputs import parse_inputs
from orchestrator.cli.output import say
from orchestrator.cli.render import escape, local_time, print_json
from orchestrator.cli.spec_file import read_spec_file
from orchestrator.cli.watching import see_through
from orchestrator.errors import InvalidError
from orchestrator.model.json import Json

CREATE_EXAMPLES = """
\b
Examples:
  cronium events create nightly.yaml
  cronium events create backup.sh --name backup --cron '30 2 * * *'
  cronium events create poll.py --every 15m
  cronium events create - < nightly.yaml
"""
RUN_EXAMPLES = """
\b
Examples:
  cronium events run nightly
  cronium events run report --input day=monday --detach
"""
CHANGE_EXAMPLES = """
\b
Examples:
  cronium events {verb} nightly
  cronium events {verb} nightly report --json
"""


@click.command(name="create", epilog=CREATE_EXAMPLES)
@click.argument("file", metavar="FILE|-")
@click.option("--name", metavar="NAME", help="Name of the event (default: as the file says, else that of the file).")
@click.option("--cron", metavar="EXPRESSION", help="When it fires: minute, hour, day, month, weekday, in UTC.")
@click.option("--every", metavar="DURATION", help="How often it fires, from now on (90s, 15m, 6h).")
@click.option("--lang", type=click.Choice(["python", "node", "bash", "shell"]), help="FILE is a script in this.")
@click.option("--json", "as_json", is_flag=True, help="Print the event as JSON.")
def create(file: str, name: str | None, cron: str | None, every: str | None, lang: str | None, as_json: bool) -> None:
    """Create an event from an event file (YAML or JSON) or a script, and print its id.

    An event file is a job file with a `name` and, if it shall run by itself, a `schedule`. The event is active at once.
    What is wrong with the file is shown with its lines.
    """
    if cron is not None and every is not None:
        raise click.UsageError("Only one of --cron and --every can say when.")
    spec = read_spec_file(file, language=lang)
    schedule: Json = {"cron": cron} if cron is not None else {"every": every} if every is not None else None
    said: dict[str, Json] = {"name": name, "schedule": schedule}
    body = {**spec.document, **{key: value for key, value in said.items() if value is not None}}
    try:
        event = read_event(open_client().post("/events", body))
    except InvalidError as error:
        raise InvalidError(error.message, faults=spec.with_lines(error.faults), code=error.code) from error
    if as_json:
        print_json(dict(event.document))
        return
    click.echo(event.id)
    say(f"{_active(event)}; `cronium events run {_word(event)}` runs it now")


@click.command(name="run", epilog=RUN_EXAMPLES)
@click.argument("name", metavar="NAME")
@click.option("--input", "inputs", multiple=True, metavar="K=V|@FILE|JSON", help="Input instead of the event's own.")
@click.option(
    "--idempotency-key", "key", metavar="KEY", help="Running again with the same KEY gives the same job (for 24 h)."
)
@click.option("--detach", is_flag=True, help="Print the id of the job and leave.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the job as JSON: with --detach as it is now, else at its end."
)
def run(name: str, inputs: Sequence[str], key: str | None, detach: bool, as_json: bool) -> int:
    """Run an event now, a paused one too, and follow its job to its end.

    The exit code is the script's (124 after a timeout). Ctrl-C ends the following, not the job.
    """
    body: Json = {"input": parse_inputs(inputs)} if inputs else None
    job = read_job(open_client().post(event_path(name, "run"), body, idempotency_key=key))
    return see_through(job, detach=detach, as_json=as_json)


def _change(verb: str, summary: str, outcome: Callable[[EventView], str]) -> click.Command:
    """A command that brings events into another state; one that is in it already stays so."""

    @click.command(name=verb, help=summary, epilog=CHANGE_EXAMPLES.format(verb=verb))
    @click.argument("names", metavar="NAME...", nargs=-1, required=True)
    @click.option("--json", "as_json", is_flag=True, help="Print the events as a JSON array.")
    def command(names: tuple[str, ...], as_json: bool) -> None:
        client, changed = open_client(), []
        for name in names:
            changed.append(read_event(client.post(event_path(name, verb))))
            if not as_json:
                click.echo(outcome(changed[-1]))
        if as_json:
            print_json([dict(event.document) for event in changed])

    return command


def _active(event: EventView) -> str:
    name = escape(event.name)
    if event.next_fire_at is not None:
        return f"{name} is active and fires next at {local_time(event.next_fire_at)}"
    return f"{name} is active and has no schedule" if event.schedule is None else f"{name} is active"


def _paused(event: EventView) -> str:
    return f"{escape(event.name)} is paused: its schedule does not fire until `cronium events activate {_word(event)}`"


def _archived(event: EventView) -> str:
    return f"{escape(event.name)} is archived for good: it is run no more, its jobs stay, its name is free ({event.id})"


def _word(event: EventView) -> str:
    """The name as one types it in a shell."""
    return quote(escape(event.name))


pause = _change(
    "pause",
    "Keep the schedules of events from firing. Jobs that are under way go on; `cronium events run` still works.",
    _paused,
)
activate = _change(
    "activate", "Let the schedules of paused events fire again. Times that passed meanwhile are left out.", _active
)
archive = _change(
    "archive", "Put events away for good: they fire and run no more, and their names are free again.", _archived
)
