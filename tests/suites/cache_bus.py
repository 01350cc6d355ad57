"""What every cache promises about publishing and subscribing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from orchestrator.contracts.cache import Message, Subscription
from orchestrator.errors import InvalidError
from tests.suites.cache_opening import CacheOpening

PATIENCE = 30.0


async def take(subscription: Subscription, count: int) -> list[Message]:
    """The next `count` messages."""
    async with asyncio.timeout(PATIENCE):
        return [await anext(subscription) for _ in range(count)]


async def until(condition: Callable[[], bool]) -> None:
    """Look again and again until `condition` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


class BusSuite(CacheOpening):
    """Messages to whoever listens."""

    async def test_a_message_reaches_those_whose_pattern_matches(self, cache, other):
        """M26"""
        async with (
            cache.bus.subscribe("job:*") as jobs,
            other.bus.subscribe("job:1") as one,
            cache.bus.subscribe("job:[^1]", "run:?") as rest,
        ):
            for channel in ("job:1", "job:2", "run:é", "none", "job:", "end"):
                await cache.bus.publish(channel, {"to": channel})
            await other.bus.publish("job:1", "last")
            await cache.bus.publish("run:x", "last")
            assert [message.channel for message in await take(jobs, 4)] == ["job:1", "job:2", "job:", "job:1"]
            assert [message.body for message in await take(one, 2)] == [{"to": "job:1"}, "last"]
            assert [message.channel for message in await take(rest, 3)] == ["job:2", "run:é", "run:x"]

    @pytest.mark.parametrize("body", [None, 0, "", "nul\0 é \U0001f600", {"z": [1, {"a": None}]}, 2**53 + 1, -1.5])
    async def test_a_message_arrives_equal(self, cache, body):
        async with cache.bus.subscribe("*") as subscription:
            await cache.bus.publish("\0 c é", body)
            assert await take(subscription, 1) == [Message(channel="\0 c é", body=body)]

    async def test_a_message_that_is_not_json_is_refused(self, cache):
        for channel, body in (("c", float("nan")), ("c", object()), ("\ud800", 1)):
            with pytest.raises(InvalidError):
                await cache.bus.publish(channel, body)

    async def test_a_message_arrives_once_whatever_matches(self, cache):
        async with (
            cache.bus.subscribe("a*", "*b", "ab", "a?", "a[b]") as several,
            cache.bus.subscribe("*") as all_of_it,
        ):
            for number in range(3):
                await cache.bus.publish("ab", number)
            await cache.bus.publish("xb", "end")
            assert [message.body for message in await take(several, 4)] == [0, 1, 2, "end"]
            assert [message.body for message in await take(all_of_it, 4)] == [0, 1, 2, "end"]

    async def test_a_subscriber_hears_nothing_from_before(self, cache):
        await cache.bus.publish("c", "early")
        async with cache.bus.subscribe("c") as subscription:
            await cache.bus.publish("c", "late")
            assert [message.body for message in await take(subscription, 1)] == ["late"]

    async def test_what_one_publisher_sends_arrives_in_order(self, cache, other):
        """M26: also at several subscribers, while others publish."""

        async def publish(name: str) -> None:
            for number in range(100):
                await (cache if name < "c" else other).bus.publish("c", [name, number])

        async with cache.bus.subscribe("c") as one, other.bus.subscribe("c*") as two:
            await asyncio.gather(*[publish(name) for name in "abcd"])
            for subscription in (one, two):
                bodies = [message.body for message in await take(subscription, 400)]
                for name in "abcd":
                    assert [number for of, number in bodies if of == name] == list(range(100))

    async def test_a_stuck_subscriber_loses_the_oldest_and_knows_it(self, cache):
        """M26: 10,000 messages are published past it; those who listen lose nothing."""
        async with cache.bus.subscribe("c", buffer=10) as stuck, cache.bus.subscribe("c", buffer=10_000) as awake:
            for number in range(10_000):
                await cache.bus.publish("c", number)
            assert [message.body for message in await take(awake, 10_000)] == list(range(10_000))
            await until(lambda: stuck.dropped == 9_990)
            late = await take(stuck, 10)
            assert [message.body for message in late] == list(range(9_990, 10_000))
            assert [message.gap for message in late] == [True] + [False] * 9
            assert awake.dropped == 0
            await cache.bus.publish("c", "after")
            assert await take(stuck, 1) == [Message(channel="c", body="after")]

    async def test_what_is_published_to_nobody_says_so(self, cache):
        assert not await cache.bus.publish("c", 1)
        async with cache.bus.subscribe("c"):
            assert await cache.bus.publish("c", 1)

    async def test_unsubscribing_stops_delivery(self, cache):
        """M26"""
        async with cache.bus.subscribe("c") as outer:
            async with cache.bus.subscribe("c") as inner:
                await cache.bus.publish("c", 1)
                await take(inner, 1)
            await cache.bus.publish("c", 2)
            assert [message.body for message in await take(outer, 2)] == [1, 2]
            assert [message async for message in inner] == []

    async def test_closing_ends_iteration_and_can_be_done_again(self, cache):
        """M26"""
        async with cache.bus.subscribe("c") as subscription, cache.bus.subscribe("c") as witness:
            for number in range(3):
                await cache.bus.publish("c", number)
            await take(subscription, 1)
            await take(witness, 3)
            subscription.close()
            subscription.close()
            await cache.bus.publish("c", 3)
            await take(witness, 1)
            assert [message async for message in subscription] == []
        subscription.close()

    async def test_closing_wakes_who_waits(self, cache):
        async def listen(subscription: AsyncIterator[Message]) -> list[Message]:
            return [message async for message in subscription]

        async with cache.bus.subscribe("c") as subscription, asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(listen(subscription))
            await asyncio.sleep(0)
            subscription.close()
        assert listening.result() == []

    async def test_subscribing_again_hears_again(self, cache):
        for number in range(20):
            async with cache.bus.subscribe("c", f"{number}") as subscription:
                await cache.bus.publish("c", number)
                assert [message.body for message in await take(subscription, 1)] == [number]

    async def test_a_subscription_to_nothing_is_refused(self, cache):
        for patterns, buffer in (((), 10), (("c",), 0)):
            with pytest.raises(InvalidError):
                async with cache.bus.subscribe(*patterns, buffer=buffer):
                    pytest.fail("there was a subscription")

    async def test_an_error_in_the_block_comes_out_as_it_is(self, cache):
        with pytest.raises(LookupError, match="mine"):
            async with cache.bus.subscribe("c"):
                raise LookupError("mine")
