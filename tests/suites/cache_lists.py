"""What every cache promises about lists."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta

import pytest

from orchestrator.contracts.cache import Tail
from orchestrator.errors import ConflictError, InvalidError, LimitExceededError
from tests.suites.cache_opening import MINUTE, SOON, CacheOpening

TRIMMED = {"max_length": 3, "counts_key": "c", "counts": {"lines": 1}, "ttl": MINUTE}


class ListSuite(CacheOpening):
    """Values in order under keys."""

    async def test_values_are_added_at_both_ends(self, cache):
        """M24"""
        assert await cache.lists.append("k", 3, [4], ttl=MINUTE) == 2
        assert await cache.lists.prepend("k", "2", None, ttl=MINUTE) == 4
        assert await cache.lists.append("k", {"five": 5}, ttl=MINUTE) == 5
        assert await cache.lists.range("k") == [None, "2", 3, [4], {"five": 5}]
        assert await cache.lists.length("k") == 5

    async def test_a_list_that_is_not_there_is_empty(self, cache):
        assert await cache.lists.range("k") == []
        assert await cache.lists.length("k") == 0
        assert await cache.lists.pop_first("k") is None
        assert await cache.lists.pop_last("k") is None
        await cache.lists.trim("k", 0, 10)
        assert await cache.lists.append("k", ttl=MINUTE) == 0
        assert await cache.keys.remaining("k") is None

    @pytest.mark.parametrize(
        ("start", "stop", "values"),
        [
            (0, -1, [0, 1, 2, 3, 4]),
            (1, 3, [1, 2, 3]),
            (-2, -1, [3, 4]),
            (-100, 1, [0, 1]),
            (3, 100, [3, 4]),
            (2, 2, [2]),
            (-1, -1, [4]),
            (3, 1, []),
            (5, 9, []),
            (0, -6, []),
            (-(10**30), 10**30, [0, 1, 2, 3, 4]),
        ],
    )
    async def test_ranges_and_trims_include_both_ends_and_count_backwards(self, cache, start, stop, values):
        """M24"""
        await cache.lists.append("k", 0, 1, 2, 3, 4, ttl=MINUTE)
        assert await cache.lists.range("k", start, stop) == values
        await cache.lists.trim("k", start, stop)
        assert await cache.lists.range("k") == values
        assert (await cache.keys.remaining("k") is None) is (not values)

    async def test_any_range_is_what_a_slice_would_be(self, cache):
        """M24"""
        for length in range(4):
            await cache.lists.append(f"k{length}", *range(length), ttl=MINUTE)
            for start, stop in itertools.product(range(-5, 6), repeat=2):
                first = max(start + length, 0) if start < 0 else start
                end = max(stop + length + 1, 0) if stop < 0 else stop + 1
                assert await cache.lists.range(f"k{length}", start, stop) == list(range(length))[first:end]

    async def test_values_are_taken_out_at_both_ends_and_the_last_takes_the_list_with_it(self, cache):
        await cache.lists.append("k", 1, 2, 3, ttl=MINUTE)
        assert await cache.lists.pop_first("k") == 1
        assert await cache.lists.pop_last("k") == 3
        assert await cache.lists.pop_last("k") == 2
        assert await cache.keys.remaining("k") is None

    async def test_a_list_is_forgotten_after_its_time(self, cache, clock):
        """M25: by every way of reading it."""
        await cache.lists.append("k", 1, ttl=SOON)
        await self.pass_time(clock, SOON)
        assert await cache.lists.range("k") == []
        assert await cache.lists.length("k") == 0
        assert await cache.lists.pop_first("k") is None
        assert await cache.lists.read_trimmed("k", "c") == Tail(values=[], counts={})
        assert await cache.lists.append("k", 2, ttl=MINUTE) == 1

    async def test_each_addition_counts_the_time_anew_and_taking_out_does_not(self, cache, clock):
        await cache.lists.append("added", 1, ttl=SOON)
        await cache.lists.prepend("added", 2, ttl=MINUTE)
        await cache.lists.append("taken", 1, 2, 3, ttl=SOON)
        await cache.lists.pop_first("taken")
        await cache.lists.trim("taken", 0, 0)
        await self.pass_time(clock, SOON)
        assert (await cache.lists.range("added"))[0] == 2
        assert await cache.lists.length("taken") == 0

    async def test_many_values_are_added_at_once(self, cache):
        assert await cache.lists.append("k", *range(9_000), ttl=MINUTE) == 9_000
        assert await cache.lists.range("k", -2) == [8_998, 8_999]

    async def test_what_is_no_list_is_refused_and_stays(self, cache):
        """M24, M29"""
        await cache.hashes.set("k", {"a": 1}, ttl=SOON * 100)
        for attempt in (
            cache.lists.append("k", 1, ttl=MINUTE),
            cache.lists.append("k", ttl=MINUTE),
            cache.lists.prepend("k", 1, ttl=MINUTE),
            cache.lists.range("k"),
            cache.lists.length("k"),
            cache.lists.trim("k", 0, 1),
            cache.lists.pop_first("k"),
            cache.lists.pop_last("k"),
            cache.lists.append_trimmed("k", 1, **TRIMMED),
            cache.lists.read_trimmed("k", "c"),
        ):
            with pytest.raises(ConflictError, match="k") as refused:
                await attempt
            assert refused.value.code == "cache_type"
        assert await cache.hashes.all("k") == {"a": 1}
        assert await cache.keys.remaining("k") <= SOON * 100
        assert await cache.keys.remaining("c") is None

    async def test_values_that_are_not_json_are_refused_all_together(self, cache):
        for attempt in (
            cache.lists.append("k", 1, object(), ttl=MINUTE),
            cache.lists.prepend("k", 1, float("nan"), ttl=MINUTE),
            cache.lists.append_trimmed("k", object(), **TRIMMED),
        ):
            with pytest.raises(InvalidError):
                await attempt
        assert await cache.lists.length("k") == 0
        assert await cache.keys.remaining("c") is None

    async def test_only_the_newest_are_kept_and_all_are_counted(self, cache):
        lengths = [
            await cache.lists.append_trimmed(
                "k", number, max_length=3, counts_key="c", counts={"lines": 1, "bytes": number}, ttl=MINUTE
            )
            for number in range(5)
        ]
        assert lengths == [1, 2, 3, 3, 3]
        tail = await cache.lists.read_trimmed("k", "c")
        assert tail == Tail(values=[2, 3, 4], counts={"lines": 5, "bytes": 10})

    async def test_appending_at_once_keeps_the_newest_and_counts_all(self, cache, other):
        """M31: 50 at once, at most 100 kept; nobody sees a list without its counts."""
        seen: list[Tail] = []

        async def append(number: int) -> None:
            client = cache if number % 2 else other
            for step in range(4):
                await client.lists.append_trimmed(
                    "k", [number, step], max_length=100, counts_key="c", counts={"n": 1, "by": number}, ttl=MINUTE
                )
                seen.append(await client.lists.read_trimmed("k", "c"))

        await asyncio.gather(*[append(number) for number in range(50)])
        tail = await cache.lists.read_trimmed("k", "c")
        assert len(tail.values) == 100
        assert tail.counts == {"n": 200, "by": 4 * sum(range(50))}
        assert all(len(part.values) == min(part.counts["n"], 100) for part in seen)
        assert [step for number, step in tail.values if number == tail.values[-1][0]] == sorted(
            step for number, step in tail.values if number == tail.values[-1][0]
        )

    async def test_list_and_counts_are_kept_for_the_same_time_after_each_addition(self, cache, clock):
        """M31: the time is set on both."""
        await cache.lists.append_trimmed("k", 1, max_length=3, counts_key="c", counts={"n": 1}, ttl=MINUTE)
        assert timedelta() < await cache.keys.remaining("k") <= MINUTE
        assert timedelta() < await cache.keys.remaining("c") <= MINUTE
        await cache.lists.append_trimmed("k", 1, max_length=3, counts_key="c", counts={"n": 1}, ttl=SOON)
        await self.pass_time(clock, SOON)
        assert await cache.lists.read_trimmed("k", "c") == Tail(values=[], counts={})
        assert await cache.keys.remaining("c") is None

    @pytest.mark.parametrize(
        ("kept", "counts"),
        [
            ({"a": 1, "b": "text"}, {"a": 1, "b": 1}),
            ({"a": 1, "b": 1.5}, {"a": 1, "b": 1}),
            ({"a": 1, "b": 2**53 - 1}, {"a": 1, "b": 1}),
            ({"a": 1, "b": 2**63 - 1}, {"a": 1, "b": 1}),
            ({"a": 1}, {"a": 1, "b": 2**53}),
            ({"a": 1}, {"a": 1, "b": -(2**70)}),
        ],
    )
    async def test_an_addition_whose_counts_are_refused_adds_nothing(self, cache, kept, counts):
        """M31: there is no half of it."""
        await cache.lists.append("k", "before", ttl=MINUTE)
        await cache.hashes.set("c", kept, ttl=MINUTE)
        with pytest.raises((ConflictError, LimitExceededError)) as refused:
            await cache.lists.append_trimmed("k", 1, max_length=3, counts_key="c", counts=counts, ttl=SOON)
        assert refused.value.code in {"cache_type", "cache_overflow"}
        assert await cache.lists.range("k") == ["before"]
        assert await cache.hashes.all("c") == kept
        assert await cache.keys.remaining("k") > SOON

    async def test_an_addition_whose_counts_are_no_hash_adds_nothing(self, cache):
        await cache.set("c", 1, ttl=MINUTE)
        with pytest.raises(ConflictError):
            await cache.lists.append_trimmed("k", 1, max_length=3, counts_key="c", counts={}, ttl=MINUTE)
        assert await cache.lists.length("k") == 0

    async def test_a_list_must_have_room_and_a_place_of_its_own(self, cache):
        with pytest.raises(InvalidError):
            await cache.lists.append_trimmed("k", 1, max_length=0, counts_key="c", counts={}, ttl=MINUTE)
        with pytest.raises(InvalidError):
            await cache.lists.append_trimmed("k", 1, max_length=1, counts_key="k", counts={}, ttl=MINUTE)
        assert await cache.lists.append_trimmed("k", 1, max_length=2**63, counts_key="c", counts={}, ttl=MINUTE) == 1
