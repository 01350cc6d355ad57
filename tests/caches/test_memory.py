"""The cache in memory keeps what every cache promises, and its size."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from orchestrator.caches.memory import MemoryCache
from orchestrator.errors import InvalidError
from tests.fakes import FakeClock
from tests.suites.cache_opening import MINUTE
from tests.suites.cache_suite import CacheSuite


class TestMemoryCache(CacheSuite):
    @asynccontextmanager
    async def open_cache(self, tmp_path, clock):
        yield MemoryCache(clock)


async def test_what_was_used_longest_ago_makes_room():
    cache = MemoryCache(FakeClock(), max_items=3)
    for key in "abc":
        await cache.set(key, key, ttl=MINUTE)
    await cache.get("a")
    await cache.set("d", "d", ttl=MINUTE)
    assert [await cache.get(key) for key in "abcd"] == ["a", None, "c", "d"]


async def test_what_has_expired_makes_room_first():
    clock = FakeClock()
    cache = MemoryCache(clock, max_items=2)
    await cache.set("lasting", 1, ttl=MINUTE)
    await cache.set("brief", 2, ttl=timedelta(seconds=1))
    clock.advance(timedelta(seconds=2))
    await cache.set("new", 3, ttl=MINUTE)
    assert await cache.get("lasting") == 1


async def test_what_is_not_json_is_refused():
    with pytest.raises(InvalidError):
        await MemoryCache(FakeClock()).set("k", object(), ttl=MINUTE)
