"""Wake-ups between orchestrators that share a Postgres."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from orchestrator.contracts.store import EVERYTHING
from orchestrator.stores.postgres.bell import MAX_PAYLOAD_BYTES, open_bell
from orchestrator.stores.postgres.connect import Address
from tests.servers import running_postgres

pytestmark = pytest.mark.distributed


class Ear:
    """Remembers what it heard."""

    def __init__(self) -> None:
        self.heard = []
        self._something = asyncio.Event()

    def __call__(self, topic: str) -> None:
        self.heard.append(topic)
        self._something.set()

    async def until(self, condition):
        async with asyncio.timeout(30):
            while not condition(self.heard):
                self._something.clear()
                await self._something.wait()


@asynccontextmanager
async def two_bells(url):
    """Two bells that hear each other."""
    async with open_bell(Address.parse(url)) as one, open_bell(Address.parse(url)) as other:
        first, second = Ear(), Ear()
        with one.listen(first), other.listen(second):
            await _ring_until_heard(one, second)
            await _ring_until_heard(other, first)
            first.heard.clear()
            second.heard.clear()
            yield (one, first), (other, second)


async def _ring_until_heard(bell, ear):
    """A connection that is still being made hears nothing, and that is allowed."""
    async with asyncio.timeout(30):
        while "ready" not in ear.heard:
            bell.ring("ready")
            await asyncio.sleep(0.02)


async def test_the_others_hear_what_is_rung_and_who_rings_does_not(database):
    async with two_bells(database) as ((one, first), (_, second)):
        one.ring("jobs:main")
        await second.until(lambda heard: "jobs:main" in heard)
        assert "jobs:main" not in first.heard


async def test_what_is_rung_often_arrives_at_least_once_and_nothing_gets_lost_among_the_rest(database):
    async with two_bells(database) as ((one, _), (_, second)):
        topics = [f"job:{number:04d}:{'x' * 90}" for number in range(500)]
        for topic in topics * 3:
            one.ring(topic)
        await second.until(lambda heard: set(topics) <= set(heard))
        assert max(Counter(second.heard)[topic] for topic in topics) <= 3
        assert sum(len(topic) for topic in topics) > MAX_PAYLOAD_BYTES


async def test_who_stopped_listening_hears_nothing_more(database):
    async with two_bells(database) as ((one, _), (other, second)):
        late = Ear()
        with other.listen(late):
            pass
        one.ring("after")
        await second.until(lambda heard: "after" in heard)
        assert late.heard == []


async def test_after_a_lost_connection_everything_is_worth_a_look():
    with running_postgres() as server:
        async with two_bells(server.url()) as ((one, first), (_, second)):
            await asyncio.to_thread(server.stop)
            one.ring("meanwhile")
            await asyncio.to_thread(server.start)
            await second.until(lambda heard: "meanwhile" in heard)
            await first.until(lambda heard: EVERYTHING in heard)
            await second.until(lambda heard: EVERYTHING in heard)
            await _ring_until_heard(one, second)
            assert first.heard.count(EVERYTHING) == second.heard.count(EVERYTHING) == 1
