"""Opening the cache on the server of the tests, each test under a prefix of its own."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager

import pytest

from orchestrator.caches.valkey import open_valkey_cache
from orchestrator.contracts.cache import Cache
from tests.suites.cache_opening import CacheOpening

PATIENCE = 30.0


async def pass_on(cache: Cache, length) -> None:
    """Let `length` pass on the clock of the server behind `cache`: until what is kept for so long is gone."""
    name = secrets.token_hex(8)
    assert await cache.locks.acquire(name, ttl=length) is not None
    async with asyncio.timeout(PATIENCE):
        while (lock := await cache.locks.acquire(name, ttl=length)) is None:
            await asyncio.sleep(0.005)
    await cache.locks.release(lock)


class OnServer(CacheOpening):
    """The hooks of the suites for a real server."""

    @pytest.fixture(autouse=True)
    def server(self, redis):
        self.redis = redis
        self.prefix = f"test [*] {secrets.token_hex(6)}:"
        return redis

    @asynccontextmanager
    async def open_cache(self, tmp_path, clock):
        async with open_valkey_cache(self.redis.url, prefix=self.prefix) as cache:
            yield cache

    async def pass_time(self, clock, length):
        async with open_valkey_cache(self.redis.url, prefix=f"time {secrets.token_hex(6)}:") as timer:
            await pass_on(timer, length)

    @pytest.fixture
    async def other(self, cache, tmp_path, clock):
        async with self.open_cache(tmp_path, clock) as other:
            yield other
