"""A cache that degrades keeps what every cache promises, with its server and without, and comes back by itself."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from orchestrator.caches.degrading import open_degrading_cache
from orchestrator.caches.memory import MemoryCache
from orchestrator.caches.valkey import open_valkey_cache
from orchestrator.errors import ConflictError, InvalidError, LimitExceededError, NotFoundError, UnavailableError
from orchestrator.telemetry.clock import SystemClock
from tests.caches.operations import OPERATIONS, TTL
from tests.caches.valkey_opening import OnServer
from tests.servers import free_port, running_redis
from tests.suites.cache_bus import take, until
from tests.suites.cache_keys import all_keys
from tests.suites.cache_opening import CacheOpening
from tests.suites.cache_requests import LONG, double
from tests.suites.cache_suite import CacheSuite

pytestmark = pytest.mark.distributed

MOMENT = timedelta(milliseconds=500)


@asynccontextmanager
async def open_over(url: str, *, clock=None, changes: list[bool] | None = None, **options):
    """A cache on the server at `url`, with memory to fall back to; `changes` are noted."""
    clock = clock or SystemClock()
    told = changes if changes is not None else []
    async with open_degrading_cache(
        lambda: open_valkey_cache(url, required=False, **options),
        MemoryCache(clock),
        clock=clock,
        on_change=told.append,
    ) as cache:
        yield cache


class TestWithItsServer(OnServer, CacheSuite):
    @asynccontextmanager
    async def open_cache(self, tmp_path, clock):
        async with open_over(self.redis.url, prefix=self.prefix) as cache:
            assert not cache.degraded
            yield cache
            assert not cache.degraded


class TestWithoutItsServer(CacheSuite, CacheOpening):
    @asynccontextmanager
    async def open_cache(self, tmp_path, clock):
        async with open_over(f"redis://127.0.0.1:{free_port()}", clock=clock) as cache:
            assert cache.degraded
            yield cache
            assert cache.degraded


@pytest.fixture
def server():
    """A server of this test's own, to be killed and frozen."""
    with running_redis() as server:
        yield server


async def test_every_operation_is_answered_while_the_server_is_away(server):
    changes: list[bool] = []
    async with open_over(server.url, changes=changes) as cache:
        server.stop(signal.SIGKILL)
        for operate in OPERATIONS.values():
            try:
                await operate(cache)
            except NotFoundError as error:
                assert error.code == "request_no_handler"
        assert cache.degraded
        assert changes == [True]
        assert cache.driver == "valkey"


@pytest.mark.parametrize("name", OPERATIONS)
async def test_the_call_that_finds_the_server_gone_is_answered_itself(server, name):
    async with open_over(server.url) as cache:
        server.stop(signal.SIGKILL)
        if name == "requests.call":
            with pytest.raises(NotFoundError):
                await OPERATIONS[name](cache)
        else:
            await OPERATIONS[name](cache)
        assert cache.degraded


async def test_it_comes_back_by_itself_and_says_so_once(server, caplog):
    changes: list[bool] = []
    with caplog.at_level(logging.WARNING, "orchestrator.caches.degrading"):
        async with open_over(server.url, changes=changes) as cache:
            await cache.set("k", "server", ttl=TTL)
            server.stop(signal.SIGKILL)
            assert await asyncio.gather(*[cache.get("k") for _ in range(20)]) == [None] * 20
            await cache.set("k", "memory", ttl=TTL)
            assert await cache.get("k") == "memory"
            assert (cache.degraded, changes) == (True, [True])
            server.start()
            await until(lambda: not cache.degraded)
            assert await cache.get("k") is None
            await cache.set("k", "again", ttl=TTL)
    assert changes == [True, False]
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "the cache is away",
        "the cache is back",
    ]


async def test_what_memory_held_is_not_seen_the_next_time(server):
    async with open_over(server.url) as cache:
        for number in range(2):
            server.stop(signal.SIGKILL)
            assert await cache.get("k") is None
            await cache.set("k", number, ttl=TTL)
            lock = await cache.locks.acquire("n", ttl=TTL)
            assert lock is not None
            server.start()
            await until(lambda: not cache.degraded)


async def test_a_cache_that_was_not_there_at_start_is_used_when_it_comes(server):
    server.stop(signal.SIGKILL)
    changes: list[bool] = []
    async with open_over(server.url, changes=changes) as cache:
        assert cache.degraded
        await cache.check()
        server.start()
        await until(lambda: not cache.degraded)
        await cache.set("k", 1, ttl=TTL)
        async with open_valkey_cache(server.url) as direct:
            assert await direct.get("k") == 1
    assert changes == [True, False]


async def test_a_server_that_hangs_is_left_and_returned_to(server):
    async with open_over(server.url, command_timeout=MOMENT) as cache:
        server.stop(signal.SIGSTOP)
        try:
            await cache.set("k", 1, ttl=TTL)
            assert cache.degraded
        finally:
            server.stop(signal.SIGCONT)
        await until(lambda: not cache.degraded)
        assert await cache.get("k") in (None, 1)


async def test_a_lock_does_not_outlive_a_change(server):
    """M28: it is lost on both ways, and says so."""
    async with open_over(server.url) as cache:
        before = await cache.locks.acquire("n", ttl=TTL)
        server.stop(signal.SIGKILL)
        assert not await cache.locks.extend(before, ttl=TTL)
        during = await cache.locks.acquire("n", ttl=TTL)
        assert during is not None
        assert not await cache.locks.release(before)
        assert await cache.locks.holds(during)
        server.start()
        await until(lambda: not cache.degraded)
        assert not await cache.locks.holds(during)
        assert not await cache.locks.release(during)
        assert await cache.locks.acquire("n", ttl=TTL) is not None


async def test_no_change_loses_a_subscriber(server):
    """M26: who subscribed before, during and after hears on, from this process and then from all."""
    async with open_over(server.url) as cache, cache.bus.subscribe("c") as before:
        await cache.bus.publish("c", "server")
        assert [message.body for message in await take(before, 1)] == ["server"]
        server.stop(signal.SIGKILL)
        await cache.bus.publish("c", "memory")
        assert cache.degraded
        async with cache.bus.subscribe("c") as during:
            await cache.bus.publish("c", "here")
            assert [message.body for message in await take(before, 2)] == ["memory", "here"]
            assert [message.body for message in await take(during, 1)] == ["here"]
            server.start()
            await until(lambda: not cache.degraded)
            await until_heard(cache, server)
            async with open_valkey_cache(server.url) as elsewhere:
                await elsewhere.bus.publish("c", "elsewhere")
            assert await last(before) == ("elsewhere", True)
            assert (await last(during))[0] == "elsewhere"


async def until_heard(cache, server) -> None:
    """Until subscriptions of before have reached the server that is back."""
    async with asyncio.timeout(30), open_valkey_cache(server.url, prefix="x") as raw:
        while await raw._server.command("PUBSUB", "NUMPAT") != 1:
            await asyncio.sleep(0.01)


async def last(subscription) -> tuple[object, bool]:
    """The first message from elsewhere."""
    while True:
        [message] = await take(subscription, 1)
        if message.body == "elsewhere":
            return message.body, message.gap


async def test_drops_on_the_way_from_the_server_are_counted(server):
    async with open_over(server.url) as cache, cache.bus.subscribe("c", buffer=5) as stuck:
        for number in range(100):
            await cache.bus.publish("c", number)
        await until(lambda: stuck.dropped == 95)
        assert [(message.body, message.gap) for message in await take(stuck, 2)] == [(95, True), (96, False)]


async def test_a_handler_serves_on_through_changes(server):
    """M27"""
    async with open_over(server.url) as cache, cache.requests.serve("double", double):
        assert await cache.requests.call("double", 1, within=LONG) == 2
        server.stop(signal.SIGKILL)
        assert await cache.requests.call("double", 2, within=LONG) == 4
        assert cache.degraded
        server.start()
        await until(lambda: not cache.degraded)
        assert await cache.requests.call("double", 3, within=LONG) == 6


async def test_iteration_begins_anew_on_the_other_side(server):
    """M30"""
    async with open_over(server.url) as cache:
        for number in range(500):
            await cache.set(f"server {number}", 1, ttl=TTL)
        page = await cache.keys.page(limit=10)
        assert page.next_cursor is not None
        with pytest.raises(InvalidError):
            await cache.keys.page(cursor="primary/x")
        server.stop(signal.SIGKILL)
        for number in range(50):
            await cache.set(f"memory {number}", 1, ttl=TTL)
        found: set[str] = set()
        while page.next_cursor is not None:
            page = await cache.keys.page(cursor=page.next_cursor, limit=10)
            found |= set(page.keys)
        assert found == await all_keys(cache.keys) == {f"memory {number}" for number in range(50)}


async def test_what_is_no_absence_is_no_reason_to_leave(server):
    async with open_over(server.url) as cache:
        await cache.lists.append("k", 1, ttl=TTL)
        with pytest.raises(ConflictError):
            await cache.get("k")
        with pytest.raises(LimitExceededError):
            await cache.counters.increment("n", 2**70, ttl=TTL)
        with pytest.raises(NotFoundError):
            await cache.requests.call("r", 1, within=LONG)
        async with cache.requests.serve("slow", lambda _body: asyncio.sleep(60)):
            with pytest.raises(UnavailableError):
                await cache.requests.call("slow", 1, within=timedelta(seconds=1))
        assert not cache.degraded


async def test_a_server_that_only_reads_is_not_returned_to(server):
    with running_redis() as master:
        async with open_over(server.url) as cache, open_valkey_cache(server.url, prefix="x") as raw:
            await cache.set("k", 1, ttl=TTL)
            await raw._server.command("REPLICAOF", "127.0.0.1", str(master.port))
            await cache.set("k", 2, ttl=TTL)
            assert cache.degraded
            with pytest.raises(UnavailableError):
                await raw.check()
            assert await cache.get("k") == 2
            await raw._server.command("REPLICAOF", "NO", "ONE")
            await until(lambda: not cache.degraded)


async def test_an_error_of_the_block_comes_out_as_it_is(server):
    with pytest.raises(LookupError, match="mine"):
        async with open_over(server.url):
            raise LookupError("mine")
