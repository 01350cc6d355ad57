"""A job's output and journal: by pages, and followed as NDJSON."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import hdrs, web

from orchestrator.api.context import CONTEXT, ApiContext
from orchestrator.api.jobs import job_id_of
from orchestrator.api.payloads import answer, flag, integer
from orchestrator.api.problems import REQUEST_ID
from orchestrator.api.watching import send_all
from orchestrator.contracts.store import Repositories
from orchestrator.model.documents import entry_document, line_document
from orchestrator.model.jobs import JobId
from orchestrator.model.logs import Line

DEFAULT_LINES = 1000
MAX_LINES = 10_000
MAX_PAGE_CHARS = 8 * 1024 * 1024  # a page of the longest lines would not fit into memory
MAX_ENTRIES = 1000
GONE_POLL_SECONDS = 1.0

log = logging.getLogger(__name__)


async def show_lines(request: web.Request) -> web.StreamResponse:
    """
    Lines after `?after=`, at most `?limit=` of them and fewer when they are long; `?follow=1` streams them instead.

    `complete`: the job is final and nothing comes after `next_after`.
    """
    after = integer(request, "after", 0)
    limit = integer(request, "limit", DEFAULT_LINES, low=1, high=MAX_LINES)
    if flag(request, "follow") and request.method == hdrs.METH_GET:
        return await _follow(request, after)
    job_id = job_id_of(request)
    async with request.app[CONTEXT].store.read() as repos:
        job = await repos.jobs.get(job_id)  # before the lines: once it is final, no more are stored
        lines = await _read(repos, job_id, after, limit)
    last = lines[-1].seq if lines else after
    return answer(
        {
            "lines": [line_document(line) for line in lines],
            "next_after": last,
            "complete": job.status.is_final and last >= job.log.lines,
        }
    )


async def show_journal(request: web.Request) -> web.Response:
    """Entries after `?after=`; `complete`: the job is final and these were the last ones."""
    after = integer(request, "after", 0)
    limit = integer(request, "limit", MAX_ENTRIES, low=1, high=MAX_ENTRIES)
    job_id = job_id_of(request)
    async with request.app[CONTEXT].store.read() as repos:
        job = await repos.jobs.get(job_id)
        entries = await repos.journal.read(job_id, after=after, limit=limit)
    return answer(
        {
            "entries": [entry_document(entry) for entry in entries],
            "next_after": entries[-1].seq if entries else after,
            "complete": job.status.is_final and len(entries) < limit,
        }
    )


async def _read(repos: Repositories, job_id: JobId, after: int, limit: int) -> list[Line]:
    lines: list[Line] = []
    room = MAX_PAGE_CHARS
    while len(lines) < limit and room > 0:
        more = await repos.logs.read(job_id, after=after, limit=limit - len(lines))
        if not more:
            break
        lines.extend(more)
        room -= sum(len(line.text) for line in more)
        after = more[-1].seq
    return lines


async def _follow(request: web.Request, after: int) -> web.StreamResponse:
    """The messages of the WebSocket, one per line. Without a last `end` the stream was cut: ask again with `after`."""
    context = request.app[CONTEXT]
    job_id = job_id_of(request)
    async with context.store.read() as repos:
        await repos.jobs.get(job_id)
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/x-ndjson"})
    await response.prepare(request)
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(_send(context, request, response, job_id, after))
        leaving = tasks.create_task(_client_gone(request))
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        sending.cancel()
        leaving.cancel()
    return response


async def _send(
    context: ApiContext, request: web.Request, response: web.StreamResponse, job_id: JobId, after: int
) -> None:
    async def send(message: bytes) -> None:
        async with asyncio.timeout(context.pulse.silence_seconds):
            await response.write(message + b"\n")

    try:
        await send_all(context, job_id, after, send)
    except (ConnectionError, TimeoutError):
        cut(request)
    except Exception:
        log.exception("following a log failed", extra={"request_id": request[REQUEST_ID], "job_id": job_id})
        cut(request)  # so that it does not look like an end


async def _client_gone(request: web.Request) -> None:
    """Wait until the connection is closed: nothing else says so while a job is quiet."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - aiohttp has no such event
        await asyncio.sleep(GONE_POLL_SECONDS)


def cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
