"""M29: whatever happens to the server or on the way to it, callers see our errors and nothing else, and not for ever."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest

from orchestrator.caches.valkey import open_valkey_cache
from orchestrator.errors import ConflictError, InvalidError, LimitExceededError, NotFoundError, UnavailableError
from tests.caches.operations import OPERATIONS, TTL
from tests.servers import free_port, running_redis
from tests.suites.cache_bus import take, until

pytestmark = pytest.mark.distributed

MOMENT = timedelta(milliseconds=500)


@pytest.fixture
def server():
    """A server of this test's own, to be killed and frozen."""
    with running_redis() as server:
        yield server


@asynccontextmanager
async def answering(answer: bytes):
    """The URL of something that gives `answer` to whatever it is sent, and hangs up when that is nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65536) and answer:
                writer.write(answer)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0"


async def refusals(cache) -> dict[str, object]:
    """What each operation raised, or answered."""

    async def told(operate) -> object:
        try:
            return await operate(cache)
        except (UnavailableError, NotFoundError) as error:
            return error.code

    return dict(zip(OPERATIONS, await asyncio.gather(*map(told, OPERATIONS.values())), strict=True))


ALL_AWAY = dict.fromkeys(OPERATIONS, "cache_unavailable")


async def test_nobody_listens_at_the_address():
    async with open_valkey_cache(f"redis://127.0.0.1:{free_port()}", required=False) as cache:
        assert await refusals(cache) == ALL_AWAY


async def test_the_server_is_killed_and_comes_back(server):
    async with open_valkey_cache(server.url) as cache:
        assert "cache_unavailable" not in (await refusals(cache)).values()
        server.stop(signal.SIGKILL)
        assert await refusals(cache) == ALL_AWAY
        server.start()
        await cache.check()
        assert await cache.get("value") is None
        assert "cache_unavailable" not in (await refusals(cache)).values()


async def test_the_server_does_not_answer(server):
    async with open_valkey_cache(server.url, command_timeout=MOMENT) as cache, cache.bus.subscribe("x"):
        server.stop(signal.SIGSTOP)
        try:
            assert await refusals(cache) == ALL_AWAY
        finally:
            server.stop(signal.SIGCONT)
        await back(cache)


async def back(cache) -> None:
    """Ask until the cache is there again."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await cache.check()
            except UnavailableError:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.0 400 Bad Request\r\n\r\n",
        b"$nonsense\r\n",
        b"*2\r\n$1\r\na\r\n",
        b"*1\r\n*1\r\n$-1\r\n",
        b"-LOADING in a while\r\n",
        b"-NOAUTH who are you\r\n",
        b"-NOPERM not you\r\n",
        b"-READONLY not here\r\n",
        b"-MOVED 1 127.0.0.1:1\r\n",
        b"-ERR unknown command\r\n",
        b"+" + b"x" * 200_000,
    ],
    ids=lambda answer: answer[:12].decode().strip() or "nothing",
)
async def test_what_answers_is_not_what_it_should_be(answer):
    async with answering(answer) as url, open_valkey_cache(url, required=False, command_timeout=MOMENT) as cache:
        assert await refusals(cache) == ALL_AWAY


async def test_an_answer_of_another_shape_is_no_answer():
    for answer in (b":1\r\n", b"$2\r\nhi\r\n", b"$-1\r\n", b"*0\r\n"):
        async with answering(answer) as url, open_valkey_cache(url, required=False, command_timeout=MOMENT) as cache:
            for operate in OPERATIONS.values():
                try:
                    await operate(cache)
                except (UnavailableError, ConflictError, NotFoundError):
                    pass
            with pytest.raises(UnavailableError):
                await cache.keys.page()


async def test_a_full_server_says_so(server):
    async with open_valkey_cache(server.url) as cache, open_valkey_cache(server.url, prefix="x", required=False) as raw:
        await cache.set("k", 1, ttl=TTL)
        await raw._server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(LimitExceededError) as refused:
            await cache.set("k", 2, ttl=TTL)
        assert refused.value.code == "cache_full"
        with pytest.raises(LimitExceededError):
            await cache.lists.append_trimmed("l", 1, max_length=1, counts_key="c", counts={"n": 1}, ttl=TTL)
        assert await cache.get("k") == 1


async def test_a_required_server_that_is_not_there_is_refused_at_once():
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1") as refused:
        async with open_valkey_cache(f"redis://user:hidden@127.0.0.1:{free_port()}/3"):
            pytest.fail("it was opened")
    assert refused.value.code == "cache_unavailable"
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (b"", "cannot be reached"),
        (b"-NOAUTH who\r\n", "password"),
        (b"-NOPERM you\r\n", "allow the account"),
        (b"-READONLY no\r\n", "replica"),
        (b"-LOADING now\r\n", "loading"),
        (b"HTTP/1.0 400\r\n", "is Valkey or Redis"),
    ],
)
async def test_the_message_says_what_is_wrong_and_where(answer, wrong):
    async with answering(answer) as url, open_valkey_cache(url, required=False) as cache:
        with pytest.raises(UnavailableError, match=wrong) as refused:
            await cache.check()
        assert url.removeprefix("redis://").removesuffix("/0") in str(refused.value)


async def test_a_wrong_password_is_refused_and_never_shown():
    with running_redis(password="right") as server:
        async with open_valkey_cache(server.url) as cache:
            await cache.set("k", 1, ttl=TTL)
        with pytest.raises(UnavailableError) as refused:
            async with open_valkey_cache(server.url.replace("right", "hidden")):
                pytest.fail("it was opened")
    assert "hidden" not in f"{refused.value!r} {refused.value.__cause__!r}"


@pytest.mark.parametrize(
    "url",
    ["", "http://:hidden@host", "redis://:hidden@host:port", "redis://:hidden@host?socket_timeout=x", "redis://h?no=1"],
)
async def test_a_url_that_is_not_understood_is_refused_and_never_shown(url):
    with pytest.raises(InvalidError) as refused:
        async with open_valkey_cache(url):
            pytest.fail("it was opened")
    assert "hidden" not in str(refused.value)


async def test_a_missing_library_is_named(monkeypatch):
    for name in [name for name in sys.modules if name == "valkey" or name.startswith("valkey.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "orchestrator.caches.valkey.cache", raising=False)
    monkeypatch.delitem(sys.modules, "orchestrator.caches.valkey.server", raising=False)
    monkeypatch.setitem(sys.modules, "valkey", None)
    with pytest.raises(InvalidError, match=r"cronium\[valkey\]"):
        async with open_valkey_cache("redis://127.0.0.1"):
            pytest.fail("it was opened")


async def test_the_servers_tls_is_verified_with_its_name():
    from orchestrator.caches.valkey.server import _make_pool

    options = _make_pool("valkeys://host", (1.0, 1.0)).connection_kwargs
    assert options["ssl_check_hostname"] is True
    assert (
        _make_pool("rediss://host?ssl_check_hostname=no", (1.0, 1.0)).connection_kwargs["ssl_check_hostname"] is False
    )


async def test_what_somebody_else_wrote_is_refused_or_passed_over(server):
    async with open_valkey_cache(server.url, prefix="p:") as cache:
        raw = cache._server
        await raw.command("SET", "p:key:k", b"\xff not JSON")
        await raw.command("SET", b"p:key:\xff", b"1")
        await raw.command("SET", "p:key:for ever", b"1")
        with pytest.raises(ConflictError) as refused:
            await cache.get("k")
        assert refused.value.code == "cache_type"
        assert set((await cache.keys.page(limit=1000)).keys) == {"k", "for ever"}
        assert await cache.keys.remaining("for ever") == timedelta.max
        async with cache.bus.subscribe("*") as subscription:
            await raw.command("PUBLISH", "p:bus:c", b"\xff not JSON")
            await raw.command("PUBLISH", b"p:bus:\xff", b"1")
            await cache.bus.publish("c", "good")
            assert [message.body for message in await take(subscription, 1)] == ["good"]


async def test_prefixes_keep_installations_apart(server):
    async with open_valkey_cache(server.url, prefix="one:") as one, open_valkey_cache(server.url, prefix="on*:") as two:
        await one.set("k", 1, ttl=TTL)
        await two.set("k", 2, ttl=TTL)
        assert await one.get("k") == 1
        assert (await two.keys.page()).keys == ("k",)
        assert await one.locks.acquire("n", ttl=TTL)
        assert await two.locks.acquire("n", ttl=TTL)
        async with two.bus.subscribe("*") as subscription:
            await one.bus.publish("c", 1)
            await two.bus.publish("c", 2)
            assert [message.body for message in await take(subscription, 1)] == [2]


async def test_subscribers_go_on_when_the_server_comes_back(server):
    """M26: the connection is made again by itself, and the first message after that says that there is a gap."""
    async with (
        open_valkey_cache(server.url) as cache,
        cache.bus.subscribe("c*", "d") as subscription,
        cache.bus.subscribe("c") as other,
    ):
        await cache.bus.publish("c", "before")
        assert [message.gap for message in await take(subscription, 1)] == [False]
        server.stop(signal.SIGKILL)
        with pytest.raises(UnavailableError):
            await cache.bus.publish("c", "lost")
        server.start()
        await cache.check()  # which waits until all subscribers are heard again
        await cache.bus.publish("c", "after")
        await cache.bus.publish("d", "more")
        assert [(message.body, message.gap) for message in await take(subscription, 2)] == [
            ("after", True),
            ("more", False),
        ]
        assert [(message.body, message.gap) for message in await take(other, 2)] == [("before", False), ("after", True)]


async def test_subscribers_go_on_without_being_asked_to(server):
    async with open_valkey_cache(server.url) as cache, cache.bus.subscribe("c") as subscription:
        server.stop(signal.SIGKILL)
        server.start()
        heard = 0
        async with asyncio.timeout(30):
            while not heard:
                with contextlib.suppress(UnavailableError):  # until its own connection is noticed to be broken
                    heard = await cache.bus.publish("c", "again")
                await asyncio.sleep(0.01)
        assert [(message.body, message.gap) for message in await take(subscription, 1)] == [("again", True)]


async def test_subscribers_go_on_when_the_server_was_frozen(server):
    async with (
        open_valkey_cache(server.url, command_timeout=MOMENT) as cache,
        open_valkey_cache(server.url, prefix="x") as raw,
        cache.bus.subscribe("c") as subscription,
    ):
        link = cache._link
        server.stop(signal.SIGSTOP)
        await until(lambda: link._failures > 0)
        server.stop(signal.SIGCONT)
        await back(cache)
        await cache.bus.publish("c", "again")
        await raw.check()
        assert [(message.body, message.gap) for message in await take(subscription, 1)] == [("again", True)]


async def test_the_connection_is_given_up_when_nobody_listens(server):
    async with open_valkey_cache(server.url, prefix="x") as raw, open_valkey_cache(server.url) as cache:
        async with cache.bus.subscribe("c"):
            assert await raw._server.command("PUBSUB", "NUMPAT") == 1
        link = cache._link
        await until(lambda: link._connection is None)
        assert await raw._server.command("PUBSUB", "NUMPAT") == 0


async def test_closing_the_cache_ends_its_subscriptions(server):
    async with open_valkey_cache(server.url) as cache:
        entered = cache.bus.subscribe("c")
        subscription = await entered.__aenter__()
    assert [message async for message in subscription] == []
    await entered.__aexit__(None, None, None)


async def test_more_calls_than_connections_take_turns(server):
    async with open_valkey_cache(server.url) as cache, open_valkey_cache(server.url, prefix="x") as raw:
        await asyncio.gather(*[cache.counters.increment("k", ttl=TTL) for _ in range(500)])
        assert await cache.counters.value("k") == 500
        clients = await raw._server.command("CLIENT", "LIST")
        assert clients.count(b"id=") <= 20


async def test_a_call_that_is_cancelled_leaves_no_answer_to_the_next(server):
    async with open_valkey_cache(server.url) as cache:
        for key in range(10):
            await cache.set(f"{key}", key, ttl=TTL)
        for delay in range(100):
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(cache.get("9"))
                for _ in range(delay % 20):
                    await asyncio.sleep(0)
                reading.cancel()
            key = delay % 9
            assert await cache.get(f"{key}") == key


async def test_all_subscribers_share_a_connection(server):
    async with AsyncExitStack() as stack:
        cache = await stack.enter_async_context(open_valkey_cache(server.url))
        subscriptions = [await stack.enter_async_context(cache.bus.subscribe(f"c{n % 10}")) for n in range(50)]
        assert (await cache._server.command("CLIENT", "LIST")).count(b"id=") == 2
        for number in range(10):
            await cache.bus.publish(f"c{number}", number)
        for number, subscription in enumerate(subscriptions):
            assert [message.body for message in await take(subscription, 1)] == [number % 10]


async def test_what_a_slow_subscriber_loses_is_told(server):
    lost: list[int] = []
    async with (
        open_valkey_cache(server.url, on_drop=lost.append) as cache,
        cache.bus.subscribe("c", buffer=2) as subscription,
    ):
        for number in range(5):
            await cache.bus.publish("c", number)
        await until(lambda: sum(lost) == 3)
        assert subscription.dropped == 3
