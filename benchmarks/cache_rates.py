"""
Calls per second of both caches and of the request limiter on each, beside the bare client of the same server.

`python -m benchmarks.cache_rates`
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from valkey.asyncio import BlockingConnectionPool, Valkey

from benchmarks.figures import WINDOW_SECONDS, medians, rate, row
from orchestrator.api.limits import RequestLimits
from orchestrator.caches.memory import MemoryCache
from orchestrator.caches.valkey import open_valkey_cache
from orchestrator.contracts.cache import Cache
from orchestrator.contracts.observer import SilentObserver
from orchestrator.telemetry.clock import SystemClock
from tests.servers import running_redis

MINUTE = timedelta(minutes=1)
PLENTY = 10**12
SECONDS = WINDOW_SECONDS / 2  # calls so short need no longer windows
VALUE = {"name": "admin", "scope": "admin"}
DOCUMENT = b'{"name":"admin","scope":"admin"}'


def verbs(cache: Cache) -> dict[str, Callable[[int], Awaitable[int]]]:
    """What is measured of a cache: each call does one thing, each caller on a key of its own."""
    limits = RequestLimits(cache=cache, observer=SilentObserver(), requests=PLENTY, failed_logins=PLENTY)

    async def get(caller: int) -> int:
        await cache.get(f"key{caller}")
        return 1

    async def set_(caller: int) -> int:
        await cache.set(f"key{caller}", VALUE, ttl=MINUTE)
        return 1

    async def limit(caller: int) -> int:
        await limits.spend_request(f"token{caller}")
        return 1

    return {"set": set_, "get": get, "request limiter": limit}


def bare_verbs(client: Valkey) -> dict[str, Callable[[int], Awaitable[int]]]:
    """The floor: the commands that these come down to, one trip each."""

    async def get(caller: int) -> int:
        await client.get(f"bare{caller}")
        return 1

    async def set_(caller: int) -> int:
        await client.set(f"bare{caller}", DOCUMENT, px=60_000)
        return 1

    async def limit(caller: int) -> int:
        await client.incr(f"bare:limit{caller}")
        return 1

    return {"set": set_, "get": get, "request limiter": limit}


async def bench_memory() -> None:
    for what, verb in verbs(MemoryCache(SystemClock())).items():
        one, many = await medians(
            lambda verb=verb: rate(verb, callers=1, seconds=SECONDS),
            lambda verb=verb: rate(verb, callers=16, seconds=SECONDS),
        )
        row(f"memory cache: {what}", f"{one:,.0f}/s", f"16 at once {many:,.0f}/s")


async def bench_valkey(url: str) -> None:
    pool = BlockingConnectionPool.from_url(url, max_connections=16)
    async with open_valkey_cache(url) as cache:
        bare = bare_verbs(Valkey(connection_pool=pool))
        for what, verb in verbs(cache).items():
            for callers in (1, 16):
                ours, floor = await medians(
                    lambda verb=verb, callers=callers: rate(verb, callers=callers, seconds=SECONDS),
                    lambda what=what, callers=callers: rate(bare[what], callers=callers, seconds=SECONDS),
                )
                beside = f"bare client {floor:,.0f}/s: {ours / floor:.2f}x"
                row(f"Valkey cache: {what}, {callers} at once", f"{ours:,.0f}/s", beside)
    await pool.disconnect()


def main() -> None:
    asyncio.run(bench_memory())
    with running_redis() as server:
        asyncio.run(bench_valkey(server.url))


if __name__ == "__main__":
    main()
