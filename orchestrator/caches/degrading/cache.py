"""`Cache` on a server, and in memory while the server is away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

from orchestrator.caches.background import in_background
from orchestrator.caches.backing import Backing
from orchestrator.caches.degrading.bus import DegradingBus
from orchestrator.caches.degrading.roles import (
    DegradingCounters,
    DegradingHashes,
    DegradingKeys,
    DegradingLists,
    DegradingLocks,
)
from orchestrator.caches.degrading.switch import OnChange, Switch
from orchestrator.caches.memory import MemoryCache
from orchestrator.caches.requests import BusRequests
from orchestrator.contracts.clock import Clock
from orchestrator.errors import UnavailableError
from orchestrator.model.json import Json


class DegradingCache:
    """
    `Cache` that is there even when its server is not. While it is `degraded`:

    - what was kept on the server is not seen, and what is kept is gone once the server is back;
    - locks hold within this process only. One that was taken on the other side of a change is lost: `release` and
      `extend` say False. Somebody elsewhere may hold one of the same name, so whoever must be alone in the whole
      installation asks the store;
    - subscribers hear what is published in this process, and after the return what comes from the server, with a `gap`
      in between. A message published at the very moment of a change may arrive twice.
    """

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self.counters = DegradingCounters(switch)
        self.hashes = DegradingHashes(switch)
        self.lists = DegradingLists(switch)
        self.keys = DegradingKeys(switch)
        self.locks = DegradingLocks(switch)
        self.bus = DegradingBus(switch, lambda backing: backing.bus, switch.fallback.bus)
        self.request_bus = DegradingBus(switch, lambda backing: backing.request_bus, switch.fallback.request_bus)
        self.requests = BusRequests(self.request_bus)

    @property
    def driver(self) -> str:
        """What it is while it is not degraded."""
        return self._switch.primary.driver

    @property
    def degraded(self) -> bool:
        """Whether memory answers now."""
        return self._switch.degraded

    async def get(self, key: str) -> Json:
        return await self._switch.call(lambda cache: cache.get(key))

    async def get_many(self, keys: Sequence[str]) -> list[Json]:
        return await self._switch.call(lambda cache: cache.get_many(keys))

    async def set(self, key: str, value: Json, *, ttl: timedelta) -> None:
        await self._switch.call(lambda cache: cache.set(key, value, ttl=ttl))

    async def set_if_absent(self, key: str, value: Json, *, ttl: timedelta) -> bool:
        return await self._switch.call(lambda cache: cache.set_if_absent(key, value, ttl=ttl))

    async def delete(self, *keys: str) -> int:
        return await self._switch.call(lambda cache: cache.delete(*keys))

    async def check(self) -> None:
        """Never fails, since memory is there; readiness looks at `degraded`."""
        await self._switch.call(lambda cache: cache.check())


@asynccontextmanager
async def open_degrading_cache(
    primary_open: Callable[[], AbstractAsyncContextManager[Backing]],
    fallback: MemoryCache,
    *,
    clock: Clock,
    on_change: OnChange,
) -> AsyncIterator[DegradingCache]:
    """
    The cache that `primary_open` opens, and `fallback`, which nobody else uses, while it is away.

    `primary_open` must open without its server (`required=False`). It is asked once before the block begins; if it is
    not there, the cache begins degraded. While away it is asked for after 0.1 s, then ever less often, at most 5 s
    apart. Each change is logged once and told to `on_change`, which is not told when all is well from the beginning.
    """
    async with primary_open() as primary:
        switch = Switch(primary, fallback, clock, on_change)
        try:
            await primary.check()
        except UnavailableError as error:
            switch.leave(error)
        async with in_background(switch.run()):
            yield DegradingCache(switch)
