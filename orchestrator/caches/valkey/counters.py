"""`Counters` on a server."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.caches.documents import addend, integer, lifetime
from orchestrator.caches.valkey.names import Names
from orchestrator.caches.valkey.replies import data
from orchestrator.caches.valkey.scripts import INCREMENT
from orchestrator.caches.valkey.server import Server


class ValkeyCounters:
    """`Counters`: strings that the server counts with."""

    def __init__(self, server: Server, names: Names) -> None:
        self._server = server
        self._names = names

    async def increment(self, key: str, by: int = 1, *, ttl: timedelta) -> int:
        arguments = [addend(by, key), lifetime(ttl)]
        total = await self._server.script(INCREMENT, [self._names.key(key)], [*arguments], about=key)
        return integer(data(total) or b"0", key)

    async def value(self, key: str) -> int:
        return integer(data(await self._server.command("GET", self._names.key(key), about=key)) or b"0", key)
