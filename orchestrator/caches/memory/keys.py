"""`Keys` in memory."""

from __future__ import annotations

from datetime import timedelta
from heapq import nsmallest
from math import ceil

from orchestrator.caches.documents import at_least_one, milliseconds, span, text
from orchestrator.caches.errors import invalid_cursor
from orchestrator.caches.glob import Glob
from orchestrator.caches.memory.space import Space
from orchestrator.contracts.cache import DEFAULT_PAGE, Page


class MemoryKeys:
    """`Keys`: pages are in the order of the keys, and a cursor is `>` and the last key of its page."""

    def __init__(self, space: Space) -> None:
        self._space = space

    async def page(self, pattern: str = "*", *, cursor: str | None = None, limit: int = DEFAULT_PAGE) -> Page:
        glob = Glob(text(pattern))
        if cursor is not None and not cursor.startswith(">"):
            raise invalid_cursor(cursor)
        rest = (key for key in self._space.keys if cursor is None or key > cursor[1:])
        found = nsmallest(at_least_one(limit, "The limit of a page") + 1, (key for key in rest if glob.matches(key)))
        last = f">{found[limit - 1]}" if len(found) > limit else None
        return Page(keys=tuple(found[:limit]), next_cursor=last)

    async def remaining(self, key: str) -> timedelta | None:
        seconds = self._space.remaining(key)
        return span(ceil(seconds * 1000)) if seconds is not None else None

    async def expire(self, key: str, ttl: timedelta) -> bool:
        content = self._space.content(key)
        if content is None:
            return False
        self._space.put(key, content, lifetime=milliseconds(ttl))
        return True

    async def delete(self, *keys: str) -> int:
        return sum([self._space.remove(text(key)) for key in keys])
