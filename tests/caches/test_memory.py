"""The cache in memory keeps what every cache promises, and its size."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from orchestrator.caches.memory import MemoryCache
from orchestrator.errors import LimitExceededError
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


async def test_fields_and_elements_count_as_items():
    cache = MemoryCache(FakeClock(), max_items=5)
    await cache.set("a", 1, ttl=MINUTE)
    await cache.hashes.set("hash", {"f": 1, "g": 2}, ttl=MINUTE)
    await cache.lists.append("list", 1, 2, ttl=MINUTE)
    await cache.lists.append("list", 3, ttl=MINUTE)
    assert await cache.get_many(["a"]) == [None]
    assert await cache.hashes.all("hash") == {"f": 1, "g": 2}
    await cache.hashes.increment("hash", "n", ttl=MINUTE)
    assert await cache.lists.length("list") == 0


async def test_what_is_larger_than_the_whole_cache_is_refused_and_changes_nothing():
    cache = MemoryCache(FakeClock(), max_items=3)
    await cache.lists.append("k", 1, 2, ttl=MINUTE)
    await cache.set("a", 1, ttl=MINUTE)
    attempts = (
        cache.lists.append("k", 3, 4, ttl=MINUTE),
        cache.lists.prepend("k", 3, 4, ttl=MINUTE),
        cache.lists.append_trimmed("k", 3, max_length=9, counts_key="c", counts={"n": 1}, ttl=MINUTE),
        cache.hashes.set("h", dict.fromkeys("abcd"), ttl=MINUTE),
    )
    for attempt in attempts:
        with pytest.raises(LimitExceededError) as refused:
            await attempt
        assert refused.value.code == "cache_full"
    assert await cache.lists.range("k") == [1, 2]
    assert await cache.get("a") == 1


async def test_list_and_counts_are_never_dropped_for_each_other():
    """M31"""
    cache = MemoryCache(FakeClock(), max_items=7)
    for number in range(20):
        await cache.set(f"{number}", 1, ttl=MINUTE)
        await cache.lists.append_trimmed("k", number, max_length=4, counts_key="c", counts={"n": 1, "m": 2}, ttl=MINUTE)
        tail = await cache.lists.read_trimmed("k", "c")
        assert len(tail.values) == min(number + 1, 4)
        assert tail.counts == {"n": number + 1, "m": 2 * number + 2}


async def test_locks_are_never_dropped_and_not_without_end():
    clock = FakeClock()
    cache = MemoryCache(clock, max_items=2)
    first = await cache.locks.acquire("a", ttl=MINUTE)
    await cache.locks.acquire("b", ttl=timedelta(seconds=1))
    for number in range(10):
        await cache.set(f"{number}", 1, ttl=MINUTE)
    with pytest.raises(LimitExceededError):
        await cache.locks.acquire("c", ttl=MINUTE)
    clock.advance(timedelta(seconds=1))
    assert await cache.locks.acquire("c", ttl=MINUTE) is not None
    assert await cache.locks.holds(first)


async def test_a_key_that_expires_between_two_looks_at_the_clock_is_missing():
    """The clock moves on with every look, as the real one does."""
    clock = RestlessClock()
    cache = MemoryCache(clock)
    for _ in range(20):
        await cache.set("k", 1, ttl=timedelta(milliseconds=8))
        while await cache.get("k") is not None:
            assert await cache.keys.expire("k", timedelta(milliseconds=3)) in {True, False}
        assert await cache.delete("k") == 0


async def test_what_a_slow_subscriber_loses_is_told():
    lost: list[int] = []
    cache = MemoryCache(FakeClock(), on_drop=lost.append)
    async with cache.bus.subscribe("c", buffer=2) as subscription:
        for number in range(5):
            await cache.bus.publish("c", number)
        assert subscription.dropped == sum(lost) == 3


class RestlessClock(FakeClock):
    """A clock that moves a millisecond whenever it is looked at."""

    def monotonic(self) -> float:
        self.advance(timedelta(milliseconds=1))
        return super().monotonic()
