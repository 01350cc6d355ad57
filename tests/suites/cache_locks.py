"""What every cache promises about locks."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.suites.cache_opening import MINUTE, SOON, CacheOpening


class LockSuite(CacheOpening):
    """One holder per name at a time."""

    async def test_a_lock_has_one_holder(self, cache, other):
        """M28"""
        lock = await cache.locks.acquire("n", ttl=MINUTE)
        assert lock is not None
        assert lock.name == "n"
        assert await other.locks.acquire("n", ttl=MINUTE) is None
        assert await cache.locks.holds(lock)
        assert await other.locks.acquire("another", ttl=MINUTE) is not None

    async def test_a_lock_that_was_let_go_can_be_taken(self, cache, other):
        lock = await cache.locks.acquire("n", ttl=MINUTE)
        assert await cache.locks.release(lock)
        assert not await cache.locks.release(lock)
        assert not await cache.locks.holds(lock)
        assert await other.locks.acquire("n", ttl=MINUTE) is not None

    async def test_an_old_holder_cannot_touch_the_lock_of_a_new_one(self, cache, other, clock):
        """M28: it learns that its own is lost."""
        old = await cache.locks.acquire("n", ttl=SOON)
        await self.pass_time(clock, SOON)
        assert not await cache.locks.holds(old)
        assert not await cache.locks.extend(old, ttl=MINUTE)
        new = await other.locks.acquire("n", ttl=MINUTE)
        assert new is not None
        assert not await cache.locks.release(old)
        assert not await cache.locks.extend(old, ttl=SOON)
        await self.pass_time(clock, SOON)
        assert await other.locks.holds(new)
        assert not await cache.locks.holds(old)
        assert await cache.locks.acquire("n", ttl=MINUTE) is None

    async def test_a_lock_that_is_extended_is_held_longer(self, cache, other, clock):
        lock = await cache.locks.acquire("n", ttl=timedelta(seconds=10))
        assert await cache.locks.extend(lock, ttl=MINUTE)
        await self.pass_time(clock, SOON)
        assert await other.locks.acquire("n", ttl=MINUTE) is None
        assert await cache.locks.extend(lock, ttl=SOON)
        await self.pass_time(clock, SOON)
        assert await other.locks.acquire("n", ttl=MINUTE) is not None

    async def test_of_many_that_ask_at_once_one_gets_the_lock(self, cache, other):
        asked = [(cache if number % 2 else other).locks.acquire("n", ttl=MINUTE) for number in range(50)]
        assert sum(lock is not None for lock in await asyncio.gather(*asked)) == 1

    async def test_waiting_ends_when_the_lock_is_let_go(self, cache, other):
        lock = await cache.locks.acquire("n", ttl=MINUTE)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(other.locks.wait("n", ttl=MINUTE, within=timedelta(seconds=30)))
            assert await cache.locks.acquire("n", ttl=MINUTE) is None
            assert await cache.locks.release(lock)
        assert await waiting is not None
        assert await other.locks.holds(await waiting)

    async def test_waiting_ends_without_the_lock_when_it_takes_too_long(self, cache, other):
        lock = await cache.locks.acquire("n", ttl=MINUTE)
        assert await other.locks.wait("n", ttl=MINUTE, within=timedelta(milliseconds=30)) is None
        assert await other.locks.wait("n", ttl=MINUTE, within=timedelta()) is None
        assert await cache.locks.holds(lock)

    async def test_waiting_for_what_is_free_takes_it(self, cache):
        assert await cache.locks.wait("n", ttl=MINUTE, within=timedelta()) is not None

    async def test_names_are_no_keys(self, cache):
        await cache.set("n", 1, ttl=MINUTE)
        lock = await cache.locks.acquire("n", ttl=MINUTE)
        assert lock is not None
        assert await cache.delete("n") == 1
        assert await cache.locks.holds(lock)
