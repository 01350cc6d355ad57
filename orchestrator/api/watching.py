"""What watchers of a job are sent, whatever carries it: the feed's items as JSON messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import assert_never

from orchestrator.api.context import ApiContext
from orchestrator.api.payloads import encode
from orchestrator.jobs.feed import Changed, Ended, Item, Lines, Progressed
from orchestrator.model.documents import job_document, line_document
from orchestrator.model.jobs import JobId


async def send_all(context: ApiContext, job_id: JobId, after: int, send: Callable[[bytes], Awaitable[None]]) -> bool:
    """
    Send messages until the job has ended (true) or the server drains (false).

    The next item is asked for when `send` has returned: a slow watcher holds one message, and only its own.
    """
    async with _open_watch(context, job_id, after) as items:
        async for item in items:
            await send(_message(item))
            if isinstance(item, Ended):
                return True
    return False


@asynccontextmanager
async def _open_watch(context: ApiContext, job_id: JobId, after: int) -> AsyncIterator[AsyncIterator[Item]]:
    context.observer.watcher_opened()
    items = context.feed.watch(job_id, after=after)
    try:
        yield items
    finally:
        context.observer.watcher_closed()
        if isinstance(items, AsyncGenerator):
            await items.aclose()


def _message(item: Item) -> bytes:
    match item:
        case Lines():
            return encode({"type": "lines", "lines": [line_document(line) for line in item.lines]})
        case Changed():
            return encode({"type": "status", "job": job_document(item.job)})
        case Progressed():
            return encode({"type": "progress", "job_id": item.job.id, "progress": item.job.progress})
        case Ended():
            return encode({"type": "end", "job": job_document(item.job)})
        case _:
            assert_never(item)
