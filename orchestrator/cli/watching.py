"""Watching one job to its end: what `cronium watch`, `cronium submit` and `cronium events run` do."""

from __future__ import annotations

import click

from orchestrator.cli.answers import JobView, exit_code
from orchestrator.cli.client import open_client
from orchestrator.cli.follow import Message, follow
from orchestrator.cli.output import STDERR, STDOUT, LineWriter, say, summary, write_all
from orchestrator.cli.render import json_text, print_json


def see_through(job: JobView, *, detach: bool, as_json: bool) -> int:
    """Follow a job that was just submitted to its end, and return our exit code: the script's. Detached, name it only."""
    if detach:
        print_json(dict(job.document)) if as_json else click.echo(job.id)
        return 0
    say(f"{job.id} submitted")
    ended = watch_job(job.id, LineWriter(stdout=STDERR if as_json else STDOUT), known=job.status)
    if as_json:
        print_json(dict(ended.document))
    return exit_code(ended)


def watch_job(
    job_id: str, writer: LineWriter, *, after: int = 0, known: str | None = None, as_json: bool = False
) -> JobView:
    """
    Show a job's messages until its end, and return it as it ended. Interrupted, it says that the job goes on.

    `known` is the state that people were told already.
    """
    try:
        return _show(job_id, writer, after=after, shown=known, as_json=as_json)
    except KeyboardInterrupt:
        say(f"{job_id} goes on; `cronium watch {job_id}` shows it, `cronium cancel {job_id}` ends it")
        raise


def _show(job_id: str, writer: LineWriter, *, after: int, shown: str | None, as_json: bool) -> JobView:
    for message in follow(open_client, job_id, after=after):
        if as_json:
            write_all(STDOUT, json_text(dict(message.document), indent=None) + "\n")
        else:
            writer.write(message.lines)
            shown = _show_state(message, shown)
        if message.kind == "end" and message.job is not None:
            return message.job
    raise AssertionError("following a job ends with its end")


def _show_state(message: Message, shown: str | None) -> str | None:
    """Say the state when it is another one than was `shown`; a connection made anew tells it again."""
    job = message.job
    if job is None:
        return shown
    if job.is_final:
        say(summary(job))
    elif job.status != shown:
        say(f"{job.id} {job.status}")
    return job.status
