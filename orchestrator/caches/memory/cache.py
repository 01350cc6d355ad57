"""`Cache` in this process's memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from orchestrator.caches.documents import lifetime, milliseconds, pack, text, unpack
from orchestrator.caches.mailbox import OnDrop, ignore_drops
from orchestrator.caches.memory.bus import MemoryBus
from orchestrator.caches.memory.counters import MemoryCounters
from orchestrator.caches.memory.hashes import MemoryHashes
from orchestrator.caches.memory.keys import MemoryKeys
from orchestrator.caches.memory.lists import MemoryLists
from orchestrator.caches.memory.locks import MemoryLocks
from orchestrator.caches.memory.space import Space
from orchestrator.caches.requests import BusRequests
from orchestrator.contracts.clock import Clock
from orchestrator.model.json import Json

DEFAULT_MAX_ITEMS = 10_000


class MemoryCache:
    """
    `Cache` for one process: the memory is its own, so locks and messages reach no other.

    At most `max_items` values, fields and list elements are kept; the keys that were used longest ago make room. Locks
    are never dropped, and there may be as many again.
    """

    driver = "memory"
    degraded = False

    def __init__(self, clock: Clock, *, max_items: int = DEFAULT_MAX_ITEMS, on_drop: OnDrop = ignore_drops) -> None:
        self._space = Space(clock, max_items)
        self.counters = MemoryCounters(self._space)
        self.hashes = MemoryHashes(self._space)
        self.lists = MemoryLists(self._space)
        self.keys = MemoryKeys(self._space)
        self.locks = MemoryLocks(clock, max_items)
        self.bus = MemoryBus(on_drop)
        self.request_bus = MemoryBus(on_drop)
        self.requests = BusRequests(self.request_bus)

    async def get(self, key: str) -> Json:
        document = self._space.document(key)
        return unpack(document, key) if document is not None else None

    async def get_many(self, keys: Sequence[str]) -> list[Json]:
        contents = [(key, self._space.content(key)) for key in keys]
        return [unpack(content, key) if isinstance(content, bytes) else None for key, content in contents]

    async def set(self, key: str, value: Json, *, ttl: timedelta) -> None:
        # Kept as a document, as a cache elsewhere would: what the caller does to the value later does not change it.
        self._space.put(text(key), pack(value), lifetime=milliseconds(ttl))

    async def set_if_absent(self, key: str, value: Json, *, ttl: timedelta) -> bool:
        document, kept_for = pack(value), lifetime(ttl)
        if self._space.content(key) is not None:
            return False
        self._space.put(key, document, lifetime=kept_for)
        return True

    async def delete(self, *keys: str) -> int:
        return await self.keys.delete(*keys)

    async def check(self) -> None:
        """Memory is always there."""

    def clear(self) -> None:
        """Forget everything, locks too. Subscribers stay."""
        self._space.clear()
        self.locks.clear()
