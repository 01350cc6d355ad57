"""How the suites of caches are given a cache, and how time passes for it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.cache import Cache
from tests.fakes import FakeClock

MINUTE = timedelta(minutes=1)
SOON = timedelta(milliseconds=50)


class CacheOpening:
    """Subclass it with the suites, say how to open a cache, and every promise is tested."""

    def open_cache(self, tmp_path: Path, clock: FakeClock) -> AbstractAsyncContextManager[Cache]:
        raise NotImplementedError

    async def pass_time(self, clock: FakeClock, length: timedelta) -> None:
        """Let `length` pass on the cache's clock."""
        clock.advance(length)

    @pytest.fixture
    def clock(self):
        return FakeClock()

    @pytest.fixture
    async def cache(self, tmp_path, clock):
        async with self.open_cache(tmp_path, clock) as cache:
            yield cache

    @pytest.fixture
    def other(self, cache):
        """The same cache as another client of it sees it, where there can be another."""
        return cache
