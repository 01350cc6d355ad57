"""Follow a job: its messages as they come, each line once, across cut connections and restarts of the server."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from orchestrator.cli.answers import Document, JobView, LineView, job_path, read_job, read_lines
from orchestrator.cli.client import Client
from orchestrator.errors import CroniumError, UnavailableError

PATIENCE_SECONDS = 60.0
FIRST_DELAY_SECONDS = 0.1
MAX_DELAY_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Something that was said of a job: lines, the state it is in, and at last the end."""

    kind: str
    document: Document
    lines: tuple[LineView, ...] = ()
    job: JobView | None = None


def follow(
    open_client: Callable[[], Client], job_id: str, *, after: int = 0, patience_seconds: float = PATIENCE_SECONDS
) -> Iterator[Message]:
    """
    Yield what is said of a job until its end, which comes last and once.

    A connection that is cut is opened again after the last line seen; the server is looked for anew, it may have
    started again elsewhere. Raises `UnavailableError` when it is away for longer than `patience_seconds`, at once
    when it never answered.
    """
    heard: float | None = None
    delay, away = FIRST_DELAY_SECONDS, False
    while True:
        try:
            for message in _messages(open_client(), job_id, after):
                heard, delay, away = time.monotonic(), FIRST_DELAY_SECONDS, False
                after = message.lines[-1].seq if message.lines else after
                yield message
                if message.kind == "end":
                    return
        except UnavailableError as error:
            if heard is None:
                raise
            if not away:
                print("cronium: the server is away, trying again", file=sys.stderr)
            away = True
            if time.monotonic() - heard > patience_seconds:
                raise _gone(error, job_id, after) from error
        time.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - so that watchers do not come back all at once
        delay = min(delay * 2, MAX_DELAY_SECONDS)


def _messages(client: Client, job_id: str, after: int) -> Iterator[Message]:
    """
    The messages of one connection; lines that were seen before are left out.

    A server tells the state of the job first. Raises `UnavailableError` when it says nothing at all.
    """
    silent = True
    with closing(client.stream(job_path(job_id, "logs"), {"after": after, "follow": 1})) as documents:
        for document in documents:
            silent = False
            message = _read(document, after)
            after = message.lines[-1].seq if message.lines else after
            yield message
    if silent:
        raise UnavailableError(f"The server at {client.address.url} says nothing.", code="server_unreachable")


def _read(document: Document, after: int) -> Message:
    kind, job = document.get("type"), document.get("job")
    if kind == "end" and not isinstance(job, dict):
        raise CroniumError("The last message holds no job: is the server of another version?", code="bad_answer")
    return Message(
        kind=str(kind),
        document=document,
        lines=tuple(line for line in read_lines(document) if line.seq > after) if kind == "lines" else (),
        job=read_job(job) if isinstance(job, dict) else None,
    )


def _gone(error: UnavailableError, job_id: str, after: int) -> UnavailableError:
    return UnavailableError(
        f"{error.message} The job does not depend on us: `cronium logs -f {job_id} --after {after}` goes on from here.",
        code="server_unreachable",
    )
