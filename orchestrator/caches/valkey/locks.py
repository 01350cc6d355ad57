"""`Locks` on a server."""

from __future__ import annotations

import secrets
from datetime import timedelta

from orchestrator.caches.documents import lifetime
from orchestrator.caches.valkey.names import Names
from orchestrator.caches.valkey.replies import data, done, number
from orchestrator.caches.valkey.scripts import EXTEND, RELEASE
from orchestrator.caches.valkey.server import Server
from orchestrator.caches.waiting import wait_for_lock
from orchestrator.contracts.cache import Lock


class ValkeyLocks:
    """`Locks` of all that share the server: a key with the holder's token, which expires."""

    def __init__(self, server: Server, names: Names) -> None:
        self._server = server
        self._names = names

    async def acquire(self, name: str, *, ttl: timedelta) -> Lock | None:
        lock = Lock(name=name, token=secrets.token_hex(16))
        words = ("SET", self._names.lock(name), lock.token, "PX", lifetime(ttl), "NX")
        return lock if done(await self._server.command(*words, about=name)) else None

    async def wait(self, name: str, *, ttl: timedelta, within: timedelta) -> Lock | None:
        return await wait_for_lock(self, name, ttl=ttl, within=within)

    async def release(self, lock: Lock) -> bool:
        key = self._names.lock(lock.name)
        return number(await self._server.script(RELEASE, [key], [lock.token], about=lock.name)) == 1

    async def extend(self, lock: Lock, *, ttl: timedelta) -> bool:
        key = self._names.lock(lock.name)
        return number(await self._server.script(EXTEND, [key], [lock.token, lifetime(ttl)], about=lock.name)) == 1

    async def holds(self, lock: Lock) -> bool:
        kept = data(await self._server.command("GET", self._names.lock(lock.name), about=lock.name))
        return kept == lock.token.encode()
