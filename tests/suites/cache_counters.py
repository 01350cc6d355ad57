"""What every cache promises about counters."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.errors import ConflictError, LimitExceededError
from tests.suites.cache_opening import MINUTE, SOON, CacheOpening


class CounterSuite(CacheOpening):
    """Integers under keys."""

    async def test_a_counter_counts_up_and_down_from_nothing(self, cache):
        assert await cache.counters.value("k") == 0
        assert await cache.counters.increment("k", ttl=MINUTE) == 1
        assert await cache.counters.increment("k", 41, ttl=MINUTE) == 42
        assert await cache.counters.increment("k", -50, ttl=MINUTE) == -8
        assert await cache.counters.increment("k", 0, ttl=MINUTE) == -8
        assert await cache.counters.value("k") == -8

    async def test_a_counter_is_not_prolonged_by_counting(self, cache, clock):
        """M25"""
        await cache.counters.increment("k", 5, ttl=SOON)
        await cache.counters.increment("k", 5, ttl=SOON * 2)
        await self.pass_time(clock, SOON)
        assert await cache.counters.value("k") == 0
        assert await cache.counters.increment("k", ttl=MINUTE) == 1

    async def test_a_counter_is_kept_until_its_time(self, cache, clock):
        await cache.counters.increment("k", ttl=MINUTE)
        await cache.counters.increment("k", ttl=SOON)
        await self.pass_time(clock, SOON)
        assert await cache.counters.value("k") == 2

    async def test_a_counter_is_a_value_that_is_an_integer(self, cache):
        await cache.counters.increment("k", 7, ttl=MINUTE)
        assert await cache.get("k") == 7
        await cache.set("k", -3, ttl=MINUTE)
        assert await cache.counters.increment("k", ttl=MINUTE) == -2

    async def test_counting_at_once_loses_nothing(self, cache, other):
        await asyncio.gather(
            *[(cache if number % 2 else other).counters.increment("k", number, ttl=MINUTE) for number in range(100)]
        )
        assert await cache.counters.value("k") == sum(range(100))

    async def test_64_bits_are_exact(self, cache):
        assert await cache.counters.increment("k", 2**63 - 2, ttl=MINUTE) == 2**63 - 2
        assert await cache.counters.increment("k", 1, ttl=MINUTE) == 2**63 - 1
        assert await cache.counters.value("k") == 2**63 - 1
        assert await cache.counters.increment("low", -(2**63), ttl=MINUTE) == -(2**63)

    async def test_what_does_not_fit_is_refused_and_changes_nothing(self, cache):
        await cache.counters.increment("k", 2**63 - 1, ttl=MINUTE)
        for by in (1, 2**63, -(2**63) - 1, 10**30):
            with pytest.raises(LimitExceededError, match="k") as refused:
                await cache.counters.increment("k", by, ttl=MINUTE)
            assert refused.value.code == "cache_overflow"
        assert await cache.counters.value("k") == 2**63 - 1

    @pytest.mark.parametrize("value", ["7", 1.0, None, [], True, 2**63, {"a": 1}])
    async def test_what_is_no_integer_is_not_counted(self, cache, value):
        """M24, M29"""
        await cache.set("k", value, ttl=MINUTE)
        for attempt in (cache.counters.increment("k", ttl=MINUTE), cache.counters.value("k")):
            with pytest.raises(ConflictError, match="k") as refused:
                await attempt
            assert refused.value.code == "cache_type"
        assert await cache.get("k") == value

    async def test_a_list_is_not_counted(self, cache):
        await cache.lists.append("k", 1, ttl=MINUTE)
        for attempt in (cache.counters.increment("k", ttl=MINUTE), cache.counters.value("k")):
            with pytest.raises(ConflictError) as refused:
                await attempt
            assert refused.value.code == "cache_type"
