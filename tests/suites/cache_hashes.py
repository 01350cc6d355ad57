"""What every cache promises about hashes."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.errors import ConflictError, InvalidError, LimitExceededError
from tests.suites.cache_opening import MINUTE, SOON, CacheOpening

ODD_FIELDS = {"": None, "f": 0, "F": "", "é\0 *": [False, {"z": 1.5, "a": "\0\U0001f600"}], "\n": {}}


class HashSuite(CacheOpening):
    """Values under fields under keys."""

    async def test_fields_come_back_equal(self, cache):
        """M24"""
        assert await cache.hashes.set("k", ODD_FIELDS, ttl=MINUTE) == len(ODD_FIELDS)
        assert await cache.hashes.all("k") == ODD_FIELDS
        assert {field: await cache.hashes.get("k", field) for field in ODD_FIELDS} == ODD_FIELDS

    async def test_a_hash_that_is_not_there_is_empty(self, cache):
        assert await cache.hashes.all("k") == {}
        assert await cache.hashes.get("k", "f") is None
        assert await cache.hashes.delete("k", "f") == 0

    async def test_setting_fields_keeps_the_others_and_counts_the_new(self, cache):
        await cache.hashes.set("k", {"a": 1, "b": 2}, ttl=MINUTE)
        assert await cache.hashes.set("k", {"b": 3, "c": 4}, ttl=MINUTE) == 1
        assert await cache.hashes.all("k") == {"a": 1, "b": 3, "c": 4}

    async def test_setting_no_fields_makes_no_hash(self, cache):
        assert await cache.hashes.set("k", {}, ttl=MINUTE) == 0
        assert await cache.keys.remaining("k") is None

    async def test_fields_that_are_not_json_are_refused_all_together(self, cache):
        with pytest.raises(InvalidError):
            await cache.hashes.set("k", {"a": 1, "b": float("nan")}, ttl=MINUTE)
        with pytest.raises(InvalidError):
            await cache.hashes.set("k", {"a": 1, "\ud800": 1}, ttl=MINUTE)
        assert await cache.hashes.all("k") == {}

    async def test_deleting_fields_counts_them_and_the_last_takes_the_hash_with_it(self, cache):
        """M24"""
        await cache.hashes.set("k", {"a": 1, "b": 2, "c": 3}, ttl=MINUTE)
        assert await cache.hashes.delete("k", "a", "x", "a", "b") == 2
        assert await cache.hashes.delete("k") == 0
        assert await cache.hashes.all("k") == {"c": 3}
        assert await cache.hashes.delete("k", "c") == 1
        assert await cache.keys.remaining("k") is None

    async def test_a_hash_is_forgotten_after_its_time(self, cache, clock):
        """M25: by every way of reading it."""
        await cache.hashes.set("k", {"a": 1}, ttl=SOON)
        await self.pass_time(clock, SOON)
        assert await cache.hashes.all("k") == {}
        assert await cache.hashes.get("k", "a") is None
        assert await cache.hashes.delete("k", "a") == 0
        assert await cache.hashes.increment("k", "a", ttl=MINUTE) == 1

    async def test_each_write_to_a_hash_counts_its_time_anew(self, cache, clock):
        await cache.hashes.set("k", {"a": 1}, ttl=SOON)
        await cache.hashes.set("k", {"b": 1}, ttl=MINUTE)
        await cache.hashes.increment("n", "a", ttl=SOON)
        await cache.hashes.increment("n", "a", ttl=MINUTE)
        await self.pass_time(clock, SOON)
        assert "b" in await cache.hashes.all("k")
        assert await cache.hashes.get("n", "a") in (1, 2)

    async def test_a_shorter_time_counts_too(self, cache, clock):
        await cache.hashes.set("k", {"a": 1}, ttl=MINUTE)
        await cache.hashes.set("k", {"b": 1}, ttl=SOON)
        await self.pass_time(clock, SOON)
        assert await cache.hashes.all("k") == {}

    async def test_deleting_a_field_does_not_prolong(self, cache, clock):
        await cache.hashes.set("k", {"a": 1, "b": 2}, ttl=SOON)
        await cache.hashes.delete("k", "a")
        await self.pass_time(clock, SOON)
        assert await cache.hashes.all("k") == {}

    async def test_a_field_counts(self, cache, other):
        await asyncio.gather(
            *[(cache if by % 2 else other).hashes.increment("k", "f", by, ttl=MINUTE) for by in range(50)]
        )
        assert await cache.hashes.increment("k", "f", -sum(range(50)), ttl=MINUTE) == 0
        assert await cache.hashes.increment("k", "g", 2**63 - 1, ttl=MINUTE) == 2**63 - 1
        assert await cache.hashes.all("k") == {"f": 0, "g": 2**63 - 1}

    async def test_a_field_that_cannot_count_is_refused(self, cache):
        await cache.hashes.set("k", {"text": "1", "most": 2**63 - 1}, ttl=MINUTE)
        with pytest.raises(ConflictError) as wrong:
            await cache.hashes.increment("k", "text", ttl=MINUTE)
        assert wrong.value.code == "cache_type"
        with pytest.raises(LimitExceededError) as over:
            await cache.hashes.increment("k", "most", ttl=MINUTE)
        assert over.value.code == "cache_overflow"
        assert await cache.hashes.all("k") == {"text": "1", "most": 2**63 - 1}

    async def test_what_is_no_hash_is_refused_and_stays(self, cache):
        """M24, M29"""
        await cache.set("k", 1, ttl=MINUTE)
        for attempt in (
            cache.hashes.set("k", {"a": 1}, ttl=MINUTE),
            cache.hashes.get("k", "a"),
            cache.hashes.all("k"),
            cache.hashes.delete("k", "a"),
            cache.hashes.increment("k", "a", ttl=MINUTE),
        ):
            with pytest.raises(ConflictError, match="k") as refused:
                await attempt
            assert refused.value.code == "cache_type"
        assert await cache.get("k") == 1
