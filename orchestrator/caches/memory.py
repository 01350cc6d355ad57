"""The cache in this process's memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import orjson
from cachetools import TLRUCache

from orchestrator.contracts.clock import Clock
from orchestrator.errors import InvalidError
from orchestrator.model.json import Json

DEFAULT_MAX_ITEMS = 10_000


@dataclass(frozen=True, slots=True)
class _Kept:
    document: bytes
    ttl_seconds: float


class MemoryCache:
    """`KeyValue` for one process. When `max_items` are kept, the one that was used longest ago makes room."""

    def __init__(self, clock: Clock, *, max_items: int = DEFAULT_MAX_ITEMS) -> None:
        self._kept: TLRUCache[str, _Kept] = TLRUCache(
            max_items, ttu=lambda _key, kept, now: now + kept.ttl_seconds, timer=clock.monotonic
        )

    async def get(self, key: str) -> Json:
        kept = self._kept.get(key)
        if kept is None:
            return None
        value: Json = orjson.loads(kept.document)
        return value

    async def set(self, key: str, value: Json, *, ttl: timedelta) -> None:
        # Kept as a document, as a cache elsewhere would: what the caller does to the value later does not change it.
        try:
            document = orjson.dumps(value)
        except TypeError as error:
            raise InvalidError(f"The value of {key!r} cannot be cached, because it is not JSON: {error}.") from error
        self._kept.pop(key, None)  # what is kept for no time must not leave the old value either
        self._kept[key] = _Kept(document, ttl.total_seconds())

    async def delete(self, key: str) -> None:
        self._kept.pop(key, None)
