"""A webhook receiver: a real HTTP server that remembers what it was sent and answers as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Message:
    """What arrived."""

    path: str
    headers: dict[str, str]
    document: Any


@dataclass(slots=True)
class Receiver:
    """`answers` gives the response to each message; without it 204."""

    url: str = ""
    messages: list[Message] = field(default_factory=list)
    answer: Callable[[], Awaitable[web.StreamResponse]] | None = None
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        message = Message(request.path_qs, headers, await request.json())
        async with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()
        return web.Response(status=204) if self.answer is None else await self.answer()

    async def silence(self) -> web.StreamResponse:
        """An answer that does not come."""
        await self.closed.wait()
        return web.Response(status=503)

    async def until(self, number: int) -> list[Message]:
        """Wait until so many messages have arrived."""
        async with asyncio.timeout(20), self._arrived:
            await self._arrived.wait_for(lambda: len(self.messages) >= number)
        return list(self.messages)


@asynccontextmanager
async def open_receiver() -> AsyncIterator[Receiver]:
    """A receiver on a free port of the loopback."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{rest:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        receiver.url = f"http://{host}:{port}"
        yield receiver
    finally:
        receiver.closed.set()
        await runner.cleanup()
