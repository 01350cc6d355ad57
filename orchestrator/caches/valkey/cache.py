"""`Cache` on a Valkey or Redis server."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from orchestrator.caches.background import in_background
from orchestrator.caches.documents import lifetime, milliseconds, pack
from orchestrator.caches.errors import unavailable
from orchestrator.caches.mailbox import OnDrop
from orchestrator.caches.requests import BusRequests
from orchestrator.caches.valkey.bus import ValkeyBus
from orchestrator.caches.valkey.counters import ValkeyCounters
from orchestrator.caches.valkey.hashes import ValkeyHashes
from orchestrator.caches.valkey.keys import ValkeyKeys
from orchestrator.caches.valkey.link import Link
from orchestrator.caches.valkey.lists import ValkeyLists
from orchestrator.caches.valkey.locks import ValkeyLocks
from orchestrator.caches.valkey.names import Names
from orchestrator.caches.valkey.replies import data, done, items, value
from orchestrator.caches.valkey.server import Server, open_server
from orchestrator.model.json import Json

CHECK_TTL_MS = 10_000


class ValkeyCache:
    """`Cache` on a server. Values are its strings, other kinds its own; time is counted by the server's clock."""

    driver = "valkey"
    degraded = False

    def __init__(self, server: Server, link: Link, names: Names, on_drop: OnDrop) -> None:
        self._server = server
        self._link = link
        self._names = names
        self.counters = ValkeyCounters(server, names)
        self.hashes = ValkeyHashes(server, names)
        self.lists = ValkeyLists(server, names)
        self.keys = ValkeyKeys(server, names)
        self.locks = ValkeyLocks(server, names)
        self.bus = ValkeyBus(server, link, names.channels, on_drop)
        self.request_bus = ValkeyBus(server, link, names.requests, on_drop)
        self.requests = BusRequests(self.request_bus)

    async def get(self, key: str) -> Json:
        return value(await self._server.command("GET", self._names.key(key), about=key), key)

    async def get_many(self, keys: Sequence[str]) -> list[Json]:
        if not keys:
            return []
        reply = await self._server.command("MGET", *[self._names.key(key) for key in keys])
        return [value(item, key) for key, item in zip(keys, items(reply, len(keys)), strict=True)]

    async def set(self, key: str, value: Json, *, ttl: timedelta) -> None:
        document, kept_for = pack(value), milliseconds(ttl)
        if kept_for <= 0:
            await self.delete(key)
        else:
            done(await self._server.command("SET", self._names.key(key), document, "PX", kept_for, about=key))

    async def set_if_absent(self, key: str, value: Json, *, ttl: timedelta) -> bool:
        words = ("SET", self._names.key(key), pack(value), "PX", lifetime(ttl), "NX")
        return done(await self._server.command(*words, about=key))

    async def delete(self, *keys: str) -> int:
        return await self.keys.delete(*keys)

    async def check(self) -> None:
        # A server that only answers PING may be a replica, or full: so something is written, and read back.
        key, mark = self._names.own("check"), secrets.token_hex(8)
        done(await self._server.command("SET", key, mark, "PX", CHECK_TTL_MS))
        if data(await self._server.command("GET", key)) is None:
            raise unavailable(f"The cache at {self._server.address} does not keep what it is given.")
        await self._link.check()


@asynccontextmanager
async def connect(url: str, *, prefix: str, limits: tuple[float, float], on_drop: OnDrop) -> AsyncIterator[ValkeyCache]:
    """The cache at `url`, not yet connected. `limits`: seconds for connecting and for a command."""
    async with open_server(url, limits=limits) as server:
        link = Link(server)
        async with in_background(link.run()):
            try:
                yield ValkeyCache(server, link, Names(prefix), on_drop)
            finally:
                link.close()
