"""`Counters` in memory."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.caches.documents import INT64, addend, integer, lifetime
from orchestrator.caches.memory.space import Space


class MemoryCounters:
    """`Counters`: values that are integers."""

    def __init__(self, space: Space) -> None:
        self._space = space

    async def increment(self, key: str, by: int = 1, *, ttl: timedelta) -> int:
        kept_for = lifetime(ttl)
        document = self._space.document(key)
        start = integer(document, key) if document is not None else 0
        total = addend(start + addend(by, key), key, INT64)
        if document is None:
            self._space.put(key, b"%d" % total, lifetime=kept_for)
        else:
            self._space.put_back(key, b"%d" % total)
        return total

    async def value(self, key: str) -> int:
        document = self._space.document(key)
        return integer(document, key) if document is not None else 0
