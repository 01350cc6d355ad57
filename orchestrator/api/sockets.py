"""Following a job by WebSocket."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from aiohttp import WSCloseCode, WSMsgType, web

from orchestrator.api.access import offered_subprotocols
from orchestrator.api.context import CONTEXT, ApiContext
from orchestrator.api.jobs import job_id_of
from orchestrator.api.payloads import integer
from orchestrator.api.problems import REQUEST_ID
from orchestrator.api.watching import send_all
from orchestrator.errors import InvalidError
from orchestrator.model.jobs import JobId

MAX_CLIENT_MESSAGE_BYTES = 4096
CLOSE_SECONDS = 5.0
WAITED_SECONDS = 0.1  # a message that took longer had to wait for the client to take the one before
OVER = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)

log = logging.getLogger(__name__)


async def follow_job(request: web.Request) -> web.StreamResponse:
    """
    `lines` and `status` messages, exactly one `end`, then close 1000; a draining server closes 1012 without `end`.

    What is wrong with the request is answered as a problem before the upgrade. Messages of the client are ignored.
    """
    context = request.app[CONTEXT]
    after = integer(request, "after", 0)
    job_id = job_id_of(request)
    async with context.store.read() as repos:
        await repos.jobs.get(job_id)
    socket = web.WebSocketResponse(
        protocols=offered_subprotocols(request),
        autoping=False,  # pongs are how we know that the client lives
        compress=False,
        max_msg_size=MAX_CLIENT_MESSAGE_BYTES,
        timeout=CLOSE_SECONDS,
    )
    if not socket.can_prepare(request):
        raise InvalidError("This is a WebSocket; connect with one.", code="upgrade_required")
    await socket.prepare(request)
    link = _Link(context=context, request=request, socket=socket, seen=context.clock.monotonic())
    await _close(link, await _exchange(link, job_id, after))
    return socket


@dataclass(slots=True, kw_only=True)
class _Link:
    """One open socket; `seen` is when the client last gave a sign of life."""

    context: ApiContext
    request: web.Request
    socket: web.WebSocketResponse
    seen: float

    def saw(self) -> None:
        self.seen = self.context.clock.monotonic()

    def abort(self) -> None:
        if self.request.transport is not None:
            self.request.transport.abort()


async def _exchange(link: _Link, job_id: JobId, after: int) -> int | None:
    """Send and listen until one side has had enough; return the code to close with, None when the client has gone."""
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(_send(link, job_id, after))
        others = {tasks.create_task(_listen(link)), tasks.create_task(_keep_alive(link))}
        await asyncio.wait({sending, *others}, return_when=asyncio.FIRST_COMPLETED)
        code = sending.result() if sending.done() else None
        for task in (sending, *others):
            task.cancel()
    return code


async def _send(link: _Link, job_id: JobId, after: int) -> int | None:
    async def send(message: bytes) -> None:
        before = link.context.clock.monotonic()
        await link.socket.send_frame(message, WSMsgType.TEXT)
        if link.context.clock.monotonic() - before > WAITED_SECONDS:
            link.saw()

    try:
        ended = await send_all(link.context, job_id, after, send)
    except ConnectionError:
        return None
    except Exception:
        log.exception("following a job failed", extra={"request_id": link.request[REQUEST_ID], "job_id": job_id})
        return WSCloseCode.INTERNAL_ERROR
    return WSCloseCode.OK if ended else WSCloseCode.SERVICE_RESTART


async def _listen(link: _Link) -> None:
    """Read what the client sends until it closes: its closing and its pongs are what we are interested in."""
    try:
        while (message := await link.socket.receive()).type not in OVER:
            link.saw()
            if message.type is WSMsgType.PING:
                await link.socket.pong(message.data)
    except ConnectionError:
        return


async def _keep_alive(link: _Link) -> None:
    """Ping, and hang up on a client that neither answers nor takes what it is sent."""
    pulse = link.context.pulse
    while link.context.clock.monotonic() - link.seen < pulse.silence_seconds:
        await asyncio.sleep(pulse.every_seconds)
        try:
            async with asyncio.timeout(pulse.every_seconds):
                await link.socket.ping()
        except TimeoutError:
            continue  # the client is behind; `seen` says whether it still takes anything
        except ConnectionError:
            return
    link.abort()


async def _close(link: _Link, code: int | None) -> None:
    if code is None or link.socket.closed:
        return
    try:
        async with asyncio.timeout(2 * CLOSE_SECONDS):
            await link.socket.close(code=code)
    except (TimeoutError, ConnectionError):
        link.abort()
