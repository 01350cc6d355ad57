"""Watching one job to its end: what `cronium watch` and `cronium submit` do."""

from __future__ import annotations

from orchestrator.cli.answers import JobView
from orchestrator.cli.client import open_client
from orchestrator.cli.follow import Message, follow
from orchestrator.cli.output import STDOUT, LineWriter, say, summary, write_all
from orchestrator.cli.render import json_text


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
