"""Whether the server lives, whether it can work, and its metrics."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from orchestrator.api.context import CONTEXT, ApiContext, Readiness
from orchestrator.api.payloads import answer
from orchestrator.errors import UnavailableError
from orchestrator.jobs.finish import NOTIFY_LANE
from orchestrator.model.backlog import Backlog

READINESS_SECONDS = 5.0
STORE_SECONDS = 5.0  # less than the 10 s after which a scrape is given up
PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"

log = logging.getLogger(__name__)


async def healthz(request: web.Request) -> web.Response:
    """The process answers; nothing else is asked, so that a store that is away restarts nobody."""
    del request
    return answer({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """200 when jobs can be taken and run, else 503; both say what was found."""
    try:
        async with asyncio.timeout(READINESS_SECONDS):
            readiness = await request.app[CONTEXT].readiness()
    except TimeoutError:
        readiness = Readiness(ready=False, details={"timeout": f"no answer within {READINESS_SECONDS:.0f} s"})
    status = "ready" if readiness.ready else "unavailable"
    return answer({"status": status, "details": dict(readiness.details)}, status=200 if readiness.ready else 503)


async def metrics(request: web.Request) -> web.Response:
    """A scrape. It works without the store too: an outage is when metrics are needed."""
    context = request.app[CONTEXT]
    async with asyncio.TaskGroup() as tasks:
        backlog = tasks.create_task(_backlog(context))
        writable = tasks.create_task(_is_writable(context))
    text = await asyncio.to_thread(context.metrics_text, backlog.result(), writable.result())
    return web.Response(body=text, headers={"Content-Type": PROMETHEUS_TEXT})


async def _backlog(context: ApiContext) -> Backlog | None:
    """The backlog of the server's queue. What it costs grows with what waits, never with what has ended."""
    queue, now = context.submitter.queue, context.clock.now()
    try:
        async with asyncio.timeout(STORE_SECONDS), context.store.read() as repos:
            return Backlog(
                seen_at=now,
                waiting=await repos.jobs.waiting(queue, at=now),
                running=await repos.jobs.running(queue),
                lanes={
                    "inside": await repos.outbox.lane(queue),
                    "outside": await repos.outbox.lane(f"{NOTIFY_LANE}{queue}"),
                },
                next_fire_at=await repos.events.next_due(queue),
            )
    except (UnavailableError, TimeoutError) as error:
        log.warning("metrics without the backlog", extra={"error": str(error)})
        return None


async def _is_writable(context: ApiContext) -> bool:
    """Whether writing works: a database on a disk that is full, or became read-only, still answers."""
    try:
        async with asyncio.timeout(STORE_SECONDS):
            await context.store.check()
    except (UnavailableError, TimeoutError) as error:
        log.warning("the store cannot be written", extra={"error": str(error)})
        return False
    return True
