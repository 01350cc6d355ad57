"""What every cache promises: one test and more for each promise in orchestrator/contracts/cache.py."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.cache import KeyValue
from tests.fakes import FakeClock

MINUTE = timedelta(minutes=1)


class CacheSuite:
    """Subclass it, say how to open a cache, and every promise is tested."""

    def open_cache(self, tmp_path: Path, clock: FakeClock) -> AbstractAsyncContextManager[KeyValue]:
        raise NotImplementedError

    async def pass_time(self, clock: FakeClock, length: timedelta) -> None:
        """Let `length` pass on the cache's clock."""
        clock.advance(length)

    @pytest.fixture
    def clock(self):
        return FakeClock()

    @pytest.fixture
    async def cache(self, tmp_path, clock):
        async with self.open_cache(tmp_path, clock) as cache:
            yield cache

    @pytest.mark.parametrize(
        "value", [0, "", False, [], {}, -1.5, "nul\0 é \U0001f600", {"z": [1, {"a": None}], "a": True}, 2**53]
    )
    async def test_a_value_comes_back_equal(self, cache, value):
        await cache.set("k", value, ttl=MINUTE)
        assert await cache.get("k") == value
        assert type(await cache.get("k")) is type(value)

    async def test_what_was_never_set_is_none(self, cache):
        assert await cache.get("k") is None

    async def test_keys_are_kept_apart(self, cache):
        keys = ["k", "K", "k ", "k:1", "k*", "\0", "", "é"]
        for number, key in enumerate(keys):
            await cache.set(key, number, ttl=MINUTE)
        assert [await cache.get(key) for key in keys] == list(range(len(keys)))

    async def test_a_value_is_forgotten_after_its_time(self, cache, clock):
        await cache.set("short", 1, ttl=timedelta(milliseconds=50))
        await cache.set("long", 2, ttl=MINUTE)
        await self.pass_time(clock, timedelta(milliseconds=50))
        assert await cache.get("short") is None
        assert await cache.get("long") == 2

    async def test_a_value_is_kept_until_its_time(self, cache, clock):
        await cache.set("k", 1, ttl=timedelta(seconds=10))
        await self.pass_time(clock, timedelta(milliseconds=50))
        assert await cache.get("k") == 1

    async def test_setting_again_replaces_the_value_and_counts_its_time_anew(self, cache, clock):
        await cache.set("k", 1, ttl=timedelta(milliseconds=50))
        await cache.set("k", 2, ttl=MINUTE)
        await self.pass_time(clock, timedelta(milliseconds=50))
        assert await cache.get("k") == 2
        await cache.set("k", 3, ttl=timedelta(milliseconds=50))
        await self.pass_time(clock, timedelta(milliseconds=50))
        assert await cache.get("k") is None

    async def test_reading_does_not_prolong(self, cache, clock):
        await cache.set("k", 1, ttl=timedelta(milliseconds=50))
        await cache.get("k")
        await self.pass_time(clock, timedelta(milliseconds=50))
        assert await cache.get("k") is None

    async def test_a_value_kept_for_no_time_is_forgotten_with_the_one_before(self, cache):
        await cache.set("k", 1, ttl=MINUTE)
        await cache.set("k", 2, ttl=timedelta())
        assert await cache.get("k") is None

    async def test_a_deleted_value_is_forgotten(self, cache):
        await cache.set("k", 1, ttl=MINUTE)
        await cache.delete("k")
        await cache.delete("k")
        assert await cache.get("k") is None

    async def test_what_the_caller_changes_later_does_not_change_what_is_kept(self, cache):
        value = {"a": [1]}
        await cache.set("k", value, ttl=MINUTE)
        value["a"].append(2)
        got = await cache.get("k")
        got["a"].append(3)
        assert await cache.get("k") == {"a": [1]}
