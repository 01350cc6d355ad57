"""`Bus` on a server, and in memory while the server is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from orchestrator.caches.background import in_background
from orchestrator.caches.backing import Backing
from orchestrator.caches.degrading.switch import Switch
from orchestrator.caches.documents import pack
from orchestrator.caches.mailbox import Mailbox
from orchestrator.caches.memory.bus import MemoryBus
from orchestrator.contracts.cache import DEFAULT_BUFFER, Bus, Cache
from orchestrator.errors import UnavailableError
from orchestrator.model.json import Json


class DegradingBus:
    """`Bus`: who subscribes listens on both sides all the time, so that no change of sides loses a subscriber."""

    def __init__(self, switch: Switch, side: Callable[[Backing], Bus], memory: MemoryBus) -> None:
        self._switch = switch
        self._side = side
        self._memory = memory

    async def publish(self, channel: str, body: Json) -> bool:
        async def send(cache: Cache) -> bool:
            primary = cache is self._switch.primary
            return await (self._side(self._switch.primary) if primary else self._memory).publish(channel, body)

        return await self._switch.call(send)

    @asynccontextmanager
    async def subscribe(self, *patterns: str, buffer: int = DEFAULT_BUFFER) -> AsyncIterator[Mailbox]:
        async with self._memory.subscribe(*patterns, buffer=buffer) as mailbox:
            tried = asyncio.Event()
            async with in_background(self._feed(patterns, buffer, mailbox, tried)):
                await tried.wait()
                yield mailbox

    async def _feed(self, patterns: tuple[str, ...], buffer: int, mailbox: Mailbox, tried: asyncio.Event) -> None:
        """Bring to `mailbox` what the primary delivers; `tried` says that it listens there, or cannot now."""
        while True:
            if self._switch.degraded:
                tried.set()
            await self._switch.here.wait()
            try:
                async with self._side(self._switch.primary).subscribe(*patterns, buffer=buffer) as remote:
                    tried.set()
                    dropped = 0
                    async for message in remote:
                        mailbox.dropped += remote.dropped - dropped
                        dropped = remote.dropped
                        mailbox.put(message.channel, pack(message.body), gap=message.gap)
            except UnavailableError as error:
                mailbox.interrupt()
                self._switch.leave(error)
            else:
                return  # the primary was closed
