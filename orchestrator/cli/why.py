"""`cronium why`: what happened to a job, what it waits for, and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import click

from orchestrator.cli.answers import Document, JobView, find_job, find_job_id, job_path
from orchestrator.cli.client import Client, open_client
from orchestrator.cli.render import escape, local_time, print_json
from orchestrator.cli.stored import jobs_page
from orchestrator.jobs.why import Sentence, tell
from orchestrator.jobs.why_now import Others
from orchestrator.model.documents import time_text
from orchestrator.model.json import Json

TIME_WIDTH = 19  # of a time as `local_time` writes it
ENTRIES_PER_PAGE = 1000
MANY = 1000  # jobs that are looked at to say behind how many one waits

EXAMPLES = """
\b
Examples:
  cronium why last
  cronium why job_01jd3x5r7m8k2n4p6q9s0t1v2w --json
"""


@click.command(name="why", epilog=EXAMPLES)
@click.argument("job", metavar="JOB|last")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with `job`, `status` and `sentences`.")
def why(job: str, as_json: bool) -> None:
    """Tell in sentences what happened to a job and why.

    Who wanted it, what it waits for, which server took it and when, how and why it ended, and what to do then. The
    exit code is 0 however the job ended.
    """
    client = open_client()
    job_id = find_job_id(client, job)
    entries = list(_entries(client, job_id))
    found = find_job(client, job_id)  # after its journal, so that it is never told to go on behind its end
    now = datetime.fromtimestamp(time.time(), UTC)
    sentences = tell(found.document, entries, now=now, others=_others(client, found))
    if as_json:
        told: list[Json] = [_document(sentence) for sentence in sentences]
        print_json({"job": found.id, "status": found.status, "sentences": told})
        return
    name = f" ({escape(found.name)})" if found.name else ""
    click.echo(f"{escape(found.id)}{name}: {escape(found.status)}\n")
    for sentence in sentences:
        click.echo(_line(sentence))


def _others(client: Client, job: JobView) -> Others | None:
    """Who waits and runs beside a job that waits."""
    if job.status != "queued":
        return None
    queued = jobs_page(client, status="queued", limit=MANY)
    running = jobs_page(client, status="running", limit=MANY)
    whole = queued.get("next_cursor") is None and running.get("next_cursor") is None
    return Others(queued=_items(queued), running=_items(running), whole=whole)


def _items(page: Document) -> list[Document]:
    items = page.get("items")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _entries(client: Client, job_id: str) -> Iterator[Document]:
    """The journal, page by page."""
    after = 0
    while True:
        page = client.get(job_path(job_id, "journal"), {"after": after, "limit": ENTRIES_PER_PAGE})
        entries = page.get("entries")
        fresh = [entry for entry in entries if _seq(entry) > after] if isinstance(entries, list) else []
        yield from (entry for entry in fresh if isinstance(entry, dict))
        if not fresh or page.get("complete") is True:
            return
        after = _seq(fresh[-1])


def _seq(entry: Json) -> int:
    seq = entry.get("seq") if isinstance(entry, dict) else None
    return seq if isinstance(seq, int) else 0


def _line(sentence: Sentence) -> str:
    when = local_time(sentence.at) if sentence.at else sentence.kind
    return f"{escape(when):<{TIME_WIDTH}}  {escape(sentence.text)}"


def _document(sentence: Sentence) -> Json:
    at = time_text(sentence.at) if sentence.at else None
    return {"at": at, "kind": sentence.kind, "text": sentence.text}
