"""`cronium events`: which events there are, all about one, and when it fires."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import click

from orchestrator.cli.client import open_client
from orchestrator.cli.event_changes import activate, archive, create, pause, run
from orchestrator.cli.event_table import (
    EVENT_COLUMNS,
    FIRE_COLUMNS,
    EventView,
    event_pairs,
    event_path,
    event_rows,
    find_event,
    fire_rows,
    script_of,
)
from orchestrator.cli.output import say
from orchestrator.cli.render import escape, pairs, print_json, table, wants_colour
from orchestrator.cli.stored import events_page

DEFAULT_LIMIT = 50
DEFAULT_FIRES = 5
MAX_FIRES = 100
STATUSES = ("active", "paused", "archived")

EXAMPLES = """
\b
Examples:
  cronium events
  cronium events create nightly.yaml
  cronium events create backup.sh --name backup --cron '30 2 * * *'
  cronium events run nightly
  cronium events next nightly
"""
LIST_EXAMPLES = """
\b
Examples:
  cronium events list --status paused
  cronium events list --all --json
"""
SHOW_EXAMPLES = """
\b
Examples:
  cronium events show nightly
  cronium events show nightly --json
"""
NEXT_EXAMPLES = """
\b
Examples:
  cronium events next nightly
  cronium events next nightly -n 20 --json
"""

CommandT = TypeVar("CommandT", bound=Callable[..., object])


def list_options(command: CommandT) -> CommandT:
    """The options of `cronium events` and `cronium events list`, which are the same."""
    for option in reversed(
        (
            click.option("--status", type=click.Choice(STATUSES), help="Only events of this status."),
            click.option(
                "--limit", type=click.IntRange(1), metavar="N", help=f"At most N events (default {DEFAULT_LIMIT})."
            ),
            click.option("--all", "everything", is_flag=True, help="All events there are, archived ones too."),
            click.option("--json", "as_json", is_flag=True, help="Print a JSON object with `items` and `next_cursor`."),
        )
    ):
        command = option(command)
    return command


@click.group(name="events", epilog=EXAMPLES, invoke_without_command=True)
@list_options
@click.pass_context
def events(context: click.Context, status: str | None, limit: int | None, everything: bool, as_json: bool) -> None:
    """List events, newest first; create, run, pause or show one.

    An event is a saved definition of what to run, where, when and with what policy. NAME is the event's name or id.
    """
    if context.invoked_subcommand is None:
        _list(status=status, limit=limit, everything=everything, as_json=as_json)
    elif status or limit or everything or as_json:
        raise click.UsageError(f"Options of the list go with it; put those of {context.invoked_subcommand} behind it.")


@events.command(name="list", epilog=LIST_EXAMPLES)
@list_options
def list_(status: str | None, limit: int | None, everything: bool, as_json: bool) -> None:
    """List events, newest first; archived ones only where asked for."""
    _list(status=status, limit=limit, everything=everything, as_json=as_json)


@events.command(name="show", epilog=SHOW_EXAMPLES)
@click.argument("name", metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="Print the event as JSON.")
def show(name: str, as_json: bool) -> None:
    """Show all about an event, with its script. Values of its environment are not shown."""
    event = find_event(open_client(), name)
    if as_json:
        print_json(dict(event.document))
        return
    click.echo(pairs(event_pairs(event)), nl=False)
    if script := script_of(event):
        click.echo("\n" + "\n".join(f"  {escape(line)}".rstrip() for line in script.expandtabs().splitlines()))


@events.command(name="next", epilog=NEXT_EXAMPLES)
@click.argument("name", metavar="NAME")
@click.option(
    "-n", "count", type=click.IntRange(1, MAX_FIRES), default=DEFAULT_FIRES, metavar="N", show_default=True,
    help=f"How many times (at most {MAX_FIRES}).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with `event_id`, `status` and `times`.")
def next_(name: str, count: int, as_json: bool) -> None:
    """Show the times an event's schedule fires at next. Schedules are in UTC."""
    client = open_client()
    answer = client.get(event_path(name, "next"), {"count": count})
    if as_json:
        print_json(answer)
        return
    rows = fire_rows(answer.get("times"), datetime.fromtimestamp(time.time(), UTC))
    if not rows:
        say(_never(find_event(client, name)))
        return
    if answer.get("status") == "paused":
        say(f"{escape(name)} is paused: these are the times it would fire at if it were activated now")
    sys.stdout.write(table(rows, FIRE_COLUMNS))


def _never(event: EventView) -> str:
    name = escape(event.name)
    if event.status == "archived":
        return f"{name} is archived and fires no more; create it again if it shall"
    if event.schedule is None:
        return f"{name} has no schedule: it runs when it is told to, by `cronium events run`"
    return f"{name} has made all of its {event.max_executions} executions and fires no more; archive it and create it again"


def _list(*, status: str | None, limit: int | None, everything: bool, as_json: bool) -> None:
    if everything and limit:
        raise click.UsageError("Only one of --all and --limit can say how many.")
    page = events_page(
        open_client(), status=status, archived=everything, limit=None if everything else limit or DEFAULT_LIMIT
    )
    if as_json:
        print_json({"items": [dict(item) for item in page.items], "next_cursor": page.next_cursor})
        return
    sys.stdout.write(table(event_rows(page.items), EVENT_COLUMNS, colour=wants_colour(sys.stdout)))
    if not page.items and status is None:
        say("there are no events yet; `cronium events create FILE` makes one")
    if page.next_cursor is not None:
        click.echo("There are more: --all, or --limit.", err=True)


for command in (create, run, pause, activate, archive):
    events.add_command(command)
