"""What every cache promises about values: `KeyValue` in orchestrator/contracts/cache.py."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from orchestrator.errors import ConflictError, InvalidError
from tests.suites.cache_opening import MINUTE, SOON, CacheOpening


class ValueSuite(CacheOpening):
    """Values under keys."""

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

    @pytest.mark.parametrize(
        "value", [object(), {1: "a"}, float("nan"), [float("inf")], "\ud800", 2**64, {"a": {"b": (float("nan"),)}}]
    )
    async def test_what_would_not_come_back_equal_is_refused(self, cache, value):
        with pytest.raises(InvalidError):
            await cache.set("k", value, ttl=MINUTE)
        with pytest.raises(InvalidError):
            await cache.set_if_absent("k", value, ttl=MINUTE)
        assert await cache.keys.remaining("k") is None

    async def test_a_key_that_is_not_unicode_is_refused(self, cache):
        for attempt in (cache.get("\ud800"), cache.set("\ud800", 1, ttl=MINUTE), cache.delete("\ud800")):
            with pytest.raises(InvalidError):
                await attempt

    async def test_many_values_come_in_order_with_holes(self, cache, clock):
        """M24: what is missing, has expired or is of another kind is None, each in its place."""
        await cache.set("a", 1, ttl=MINUTE)
        await cache.set("brief", 2, ttl=SOON)
        await cache.set("c", [3], ttl=MINUTE)
        await cache.lists.append("list", 1, ttl=MINUTE)
        await self.pass_time(clock, SOON)
        assert await cache.get_many(["c", "brief", "never", "list", "a", "a"]) == [[3], None, None, None, 1, 1]
        assert await cache.get_many([]) == []

    async def test_deleting_counts_what_was_there(self, cache, clock):
        """M24: whatever kind it is, each key once, and what has expired not at all."""
        await cache.set("value", 1, ttl=MINUTE)
        await cache.set("brief", 1, ttl=SOON)
        await cache.hashes.set("hash", {"f": 1}, ttl=MINUTE)
        await cache.lists.append("list", 1, ttl=MINUTE)
        await self.pass_time(clock, SOON)
        assert await cache.delete("value", "hash", "list", "value", "brief", "never") == 3
        assert await cache.delete("value") == 0
        assert await cache.delete() == 0
        assert await cache.get("value") is None

    async def test_only_the_first_value_is_kept_while_it_lasts(self, cache, clock):
        assert await cache.set_if_absent("k", 1, ttl=SOON)
        assert not await cache.set_if_absent("k", 2, ttl=MINUTE)
        assert await cache.get("k") in (1, None)
        await self.pass_time(clock, SOON)
        assert await cache.set_if_absent("k", 3, ttl=MINUTE)
        assert await cache.get("k") == 3

    async def test_null_is_a_value_that_is_there(self, cache):
        await cache.set("k", None, ttl=MINUTE)
        assert not await cache.set_if_absent("k", 1, ttl=MINUTE)
        assert await cache.delete("k") == 1

    async def test_of_many_that_set_at_once_one_is_told_that_it_did(self, cache, other):
        attempts = [(cache if number % 2 else other).set_if_absent("k", number, ttl=MINUTE) for number in range(50)]
        told = await asyncio.gather(*attempts)
        assert sum(told) == 1
        assert await cache.get("k") == told.index(True)

    async def test_a_value_replaces_what_is_of_another_kind(self, cache):
        await cache.lists.append("k", 1, ttl=MINUTE)
        await cache.set("k", 2, ttl=MINUTE)
        assert await cache.get("k") == 2

    async def test_what_is_of_another_kind_is_no_value(self, cache):
        """M24, M29"""
        await cache.hashes.set("hash", {"f": 1}, ttl=MINUTE)
        await cache.lists.append("list", 1, ttl=MINUTE)
        for key in ("hash", "list"):
            with pytest.raises(ConflictError, match=key) as refused:
                await cache.get(key)
            assert refused.value.code == "cache_type"
            assert not await cache.set_if_absent(key, 1, ttl=MINUTE)

    @pytest.mark.parametrize("ttl", [timedelta(), timedelta(seconds=-1)])
    async def test_what_may_not_be_kept_for_any_time_is_refused(self, cache, ttl):
        for attempt in (
            cache.set_if_absent("k", 1, ttl=ttl),
            cache.counters.increment("k", ttl=ttl),
            cache.hashes.set("k", {"f": 1}, ttl=ttl),
            cache.hashes.increment("k", "f", ttl=ttl),
            cache.lists.append("k", 1, ttl=ttl),
            cache.lists.prepend("k", 1, ttl=ttl),
            cache.lists.append_trimmed("k", 1, max_length=1, counts_key="c", counts={}, ttl=ttl),
            cache.locks.acquire("k", ttl=ttl),
        ):
            with pytest.raises(InvalidError):
                await attempt

    async def test_a_part_of_a_millisecond_is_a_whole_one(self, cache):
        assert await cache.set_if_absent("k", 1, ttl=timedelta(microseconds=1))

    async def test_what_is_kept_for_ever_is_kept(self, cache):
        await cache.set("k", 1, ttl=timedelta.max)
        assert await cache.get("k") == 1
        assert await cache.keys.remaining("k") > timedelta(days=999_999)
