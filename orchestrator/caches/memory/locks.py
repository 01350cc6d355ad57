"""`Locks` in memory."""

from __future__ import annotations

import secrets
from datetime import timedelta

from orchestrator.caches.documents import lifetime, text
from orchestrator.caches.waiting import wait_for_lock
from orchestrator.contracts.cache import Lock
from orchestrator.contracts.clock import Clock
from orchestrator.errors import LimitExceededError


class MemoryLocks:
    """`Locks` of this process. They are kept apart from the keys, since a lock must not make room."""

    def __init__(self, clock: Clock, max_locks: int) -> None:
        self._clock = clock
        self._max_locks = max_locks
        self._held: dict[str, tuple[str, float]] = {}

    async def acquire(self, name: str, *, ttl: timedelta) -> Lock | None:
        seconds = lifetime(ttl) / 1000
        if self._holder(text(name)) is not None:
            return None
        self._make_room(name)
        lock = Lock(name=name, token=secrets.token_hex(16))
        self._held[name] = lock.token, self._clock.monotonic() + seconds
        return lock

    async def wait(self, name: str, *, ttl: timedelta, within: timedelta) -> Lock | None:
        return await wait_for_lock(self, name, ttl=ttl, within=within)

    async def release(self, lock: Lock) -> bool:
        held = await self.holds(lock)
        if held:
            del self._held[lock.name]
        return held

    async def extend(self, lock: Lock, *, ttl: timedelta) -> bool:
        seconds = lifetime(ttl) / 1000
        held = await self.holds(lock)
        if held:
            self._held[lock.name] = lock.token, self._clock.monotonic() + seconds
        return held

    async def holds(self, lock: Lock) -> bool:
        return self._holder(text(lock.name)) == lock.token

    def clear(self) -> None:
        self._held.clear()

    def _holder(self, name: str) -> str | None:
        token, until = self._held.get(name, (None, 0.0))
        return token if self._clock.monotonic() < until else None

    def _make_room(self, name: str) -> None:
        if len(self._held) >= self._max_locks:
            now = self._clock.monotonic()
            self._held = {other: held for other, held in self._held.items() if now < held[1]}
        if len(self._held) >= self._max_locks:
            raise LimitExceededError(
                f"The lock {name!r} cannot be taken: {self._max_locks} others are held already.", code="cache_full"
            )
