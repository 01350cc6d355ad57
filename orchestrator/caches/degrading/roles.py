"""The roles of a cache, each call answered by whichever of the two caches is in charge."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from orchestrator.caches.degrading.switch import Switch
from orchestrator.caches.errors import invalid_cursor
from orchestrator.caches.waiting import wait_for_lock
from orchestrator.contracts.cache import DEFAULT_PAGE, Cache, Lock, Page, Tail
from orchestrator.model.json import Json


class DegradingCounters:
    """`Counters`."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    async def increment(self, key: str, by: int = 1, *, ttl: timedelta) -> int:
        return await self._switch.call(lambda cache: cache.counters.increment(key, by, ttl=ttl))

    async def value(self, key: str) -> int:
        return await self._switch.call(lambda cache: cache.counters.value(key))


class DegradingHashes:
    """`Hashes`."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    async def set(self, key: str, fields: Mapping[str, Json], *, ttl: timedelta) -> int:
        return await self._switch.call(lambda cache: cache.hashes.set(key, fields, ttl=ttl))

    async def get(self, key: str, field: str) -> Json:
        return await self._switch.call(lambda cache: cache.hashes.get(key, field))

    async def all(self, key: str) -> dict[str, Json]:
        return await self._switch.call(lambda cache: cache.hashes.all(key))

    async def delete(self, key: str, *fields: str) -> int:
        return await self._switch.call(lambda cache: cache.hashes.delete(key, *fields))

    async def increment(self, key: str, field: str, by: int = 1, *, ttl: timedelta) -> int:
        return await self._switch.call(lambda cache: cache.hashes.increment(key, field, by, ttl=ttl))


class DegradingLists:
    """`Lists`."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    async def append(self, key: str, *values: Json, ttl: timedelta) -> int:
        return await self._switch.call(lambda cache: cache.lists.append(key, *values, ttl=ttl))

    async def prepend(self, key: str, *values: Json, ttl: timedelta) -> int:
        return await self._switch.call(lambda cache: cache.lists.prepend(key, *values, ttl=ttl))

    async def range(self, key: str, start: int = 0, stop: int = -1) -> list[Json]:
        return await self._switch.call(lambda cache: cache.lists.range(key, start, stop))

    async def length(self, key: str) -> int:
        return await self._switch.call(lambda cache: cache.lists.length(key))

    async def trim(self, key: str, start: int, stop: int) -> None:
        await self._switch.call(lambda cache: cache.lists.trim(key, start, stop))

    async def pop_first(self, key: str) -> Json:
        return await self._switch.call(lambda cache: cache.lists.pop_first(key))

    async def pop_last(self, key: str) -> Json:
        return await self._switch.call(lambda cache: cache.lists.pop_last(key))

    async def append_trimmed(
        self, key: str, value: Json, *, max_length: int, counts_key: str, counts: Mapping[str, int], ttl: timedelta
    ) -> int:
        return await self._switch.call(
            lambda cache: cache.lists.append_trimmed(
                key, value, max_length=max_length, counts_key=counts_key, counts=counts, ttl=ttl
            )
        )

    async def read_trimmed(self, key: str, counts_key: str) -> Tail:
        return await self._switch.call(lambda cache: cache.lists.read_trimmed(key, counts_key))


class DegradingKeys:
    """`Keys`. A cursor says whose it is; after a change of caches iteration begins anew."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    async def page(self, pattern: str = "*", *, cursor: str | None = None, limit: int = DEFAULT_PAGE) -> Page:
        owner, separator, own = (cursor or "").partition("/")
        if cursor is not None and not (separator and owner in {"primary", "memory"}):
            raise invalid_cursor(cursor)

        async def read(cache: Cache) -> Page:
            asked = "memory" if cache is self._switch.fallback else "primary"
            page = await cache.keys.page(pattern, cursor=own if owner == asked else None, limit=limit)
            following = f"{asked}/{page.next_cursor}" if page.next_cursor is not None else None
            return Page(keys=page.keys, next_cursor=following)

        return await self._switch.call(read)

    async def remaining(self, key: str) -> timedelta | None:
        return await self._switch.call(lambda cache: cache.keys.remaining(key))

    async def expire(self, key: str, ttl: timedelta) -> bool:
        return await self._switch.call(lambda cache: cache.keys.expire(key, ttl))

    async def delete(self, *keys: str) -> int:
        return await self._switch.call(lambda cache: cache.keys.delete(*keys))


class DegradingLocks:
    """`Locks`."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    async def acquire(self, name: str, *, ttl: timedelta) -> Lock | None:
        return await self._switch.call(lambda cache: cache.locks.acquire(name, ttl=ttl))

    async def wait(self, name: str, *, ttl: timedelta, within: timedelta) -> Lock | None:
        return await wait_for_lock(self, name, ttl=ttl, within=within)

    async def release(self, lock: Lock) -> bool:
        return await self._switch.call(lambda cache: cache.locks.release(lock))

    async def extend(self, lock: Lock, *, ttl: timedelta) -> bool:
        return await self._switch.call(lambda cache: cache.locks.extend(lock, ttl=ttl))

    async def holds(self, lock: Lock) -> bool:
        return await self._switch.call(lambda cache: cache.locks.holds(lock))
