"""Whether the server lives, whether it can work, and its metrics."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from orchestrator.api.context import CONTEXT, Readiness
from orchestrator.api.payloads import answer
from orchestrator.errors import UnavailableError

READINESS_SECONDS = 5.0
COUNT_SECONDS = 5.0
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
    try:
        async with asyncio.timeout(COUNT_SECONDS), context.store.read() as repos:
            counts = await repos.jobs.count()
    except (UnavailableError, TimeoutError) as error:
        log.warning("metrics without the number of jobs", extra={"error": str(error)})
        counts = None
    return web.Response(body=context.metrics_text(counts), headers={"Content-Type": PROMETHEUS_TEXT})
