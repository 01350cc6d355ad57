"""`cronium jobs`: which jobs there are, and all about one of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import click

from orchestrator.cli.answers import find_job, job_path, read_job
from orchestrator.cli.cancel import cancel_jobs
from orchestrator.cli.client import open_client
from orchestrator.cli.job_table import JOB_COLUMNS, job_pairs, job_rows
from orchestrator.cli.render import pairs, print_json, table, wants_colour
from orchestrator.cli.stored import jobs_page

DEFAULT_LIMIT = 20
STATUSES = ("queued", "running", "succeeded", "failed", "timed_out", "cancelled", "skipped")

EXAMPLES = """
\b
Examples:
  cronium jobs
  cronium jobs --status failed --limit 50
  cronium jobs --event nightly
  cronium jobs list --all --json
  cronium jobs show last
"""
LIST_EXAMPLES = """
\b
Examples:
  cronium jobs list --status running
  cronium jobs list --all --json
"""
SHOW_EXAMPLES = """
\b
Examples:
  cronium jobs show last
  cronium jobs show job_01jd3x5r7m8k2n4p6q9s0t1v2w --json
"""
CANCEL_EXAMPLES = """
\b
Examples:
  cronium jobs cancel last
  cronium jobs cancel job_01jd3x5r7m8k2n4p6q9s0t1v2w job_01jd3x5sb2f4h6k8m0p2r4t6v8
"""
RETRY_EXAMPLES = """
\b
Examples:
  cronium jobs --dead
  cronium jobs retry last
"""

CommandT = TypeVar("CommandT", bound=Callable[..., object])


def list_options(command: CommandT) -> CommandT:
    """The options of `cronium jobs` and `cronium jobs list`, which are the same."""
    for option in reversed(
        (
            click.option("--status", type=click.Choice(STATUSES), help="Only jobs of this status."),
            click.option("--event", metavar="NAME", help="Only jobs of this event (its name or id)."),
            click.option("--dead", is_flag=True, help="Only jobs that failed for good and were not retried by hand."),
            click.option(
                "--limit", type=click.IntRange(1), metavar="N", help=f"At most N jobs (default {DEFAULT_LIMIT})."
            ),
            click.option("--all", "everything", is_flag=True, help="All jobs there are."),
            click.option("--json", "as_json", is_flag=True, help="Print a JSON object with `items` and `next_cursor`."),
        )
    ):
        command = option(command)
    return command


@click.group(name="jobs", epilog=EXAMPLES, invoke_without_command=True)
@list_options
@click.pass_context
def jobs(
    context: click.Context,
    status: str | None,
    event: str | None,
    dead: bool,
    limit: int | None,
    everything: bool,
    as_json: bool,
) -> None:
    """List jobs, newest first; show, cancel or retry one.

    JOB is an id, or `last` for the newest job.
    """
    if context.invoked_subcommand is None:
        _list(status=status, event=event, dead=dead, limit=limit, everything=everything, as_json=as_json)
    elif status or event or dead or limit or everything or as_json:
        raise click.UsageError(f"Options of the list go with it; put those of {context.invoked_subcommand} behind it.")


@jobs.command(name="list", epilog=LIST_EXAMPLES)
@list_options
def list_(
    status: str | None, event: str | None, dead: bool, limit: int | None, everything: bool, as_json: bool
) -> None:
    """List jobs, newest first."""
    _list(status=status, event=event, dead=dead, limit=limit, everything=everything, as_json=as_json)


@jobs.command(name="show", epilog=SHOW_EXAMPLES)
@click.argument("job", metavar="JOB|last")
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON.")
def show(job: str, as_json: bool) -> None:
    """Show all about a job."""
    found = find_job(open_client(), job)
    if as_json:
        print_json(dict(found.document))
    else:
        click.echo(pairs(job_pairs(found)), nl=False)


@jobs.command(name="cancel", epilog=CANCEL_EXAMPLES)
@click.argument("job", metavar="JOB|last...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print the jobs as a JSON array.")
def cancel(job: tuple[str, ...], as_json: bool) -> int:
    """End jobs: TERM, after a grace period KILL. The same as `cronium cancel`."""
    return cancel_jobs(job, as_json=as_json)


@jobs.command(name="retry", epilog=RETRY_EXAMPLES)
@click.argument("jobs_", metavar="JOB|last...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print the new jobs as a JSON array.")
def retry(jobs_: tuple[str, ...], as_json: bool) -> None:
    """Run jobs again that failed for good, each as a new job with the same specification and input."""
    client = open_client()
    again = [read_job(client.post(job_path(find_job(client, job).id, "retry"))) for job in jobs_]
    if as_json:
        print_json([dict(job.document) for job in again])
        return
    for job in again:
        click.echo(job.id)


def _list(
    *, status: str | None, event: str | None, dead: bool, limit: int | None, everything: bool, as_json: bool
) -> None:
    if everything and limit:
        raise click.UsageError("Only one of --all and --limit can say how many.")
    most = None if everything else limit or DEFAULT_LIMIT
    page = jobs_page(open_client(), status=status, dead=dead, event=event, limit=most)
    if as_json:
        print_json(dict(page))
        return
    sys.stdout.write(table(job_rows(page), JOB_COLUMNS, colour=wants_colour(sys.stdout)))
    if page.get("next_cursor") is not None:
        click.echo("There are more: --all, or --limit.", err=True)
