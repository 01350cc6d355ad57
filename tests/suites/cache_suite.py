"""What every cache promises: one test and more for each promise in orchestrator/contracts/cache.py."""

from __future__ import annotations

from tests.suites.cache_bus import BusSuite
from tests.suites.cache_counters import CounterSuite
from tests.suites.cache_hashes import HashSuite
from tests.suites.cache_keys import KeySuite
from tests.suites.cache_lists import ListSuite
from tests.suites.cache_locks import LockSuite
from tests.suites.cache_requests import RequestSuite
from tests.suites.cache_values import ValueSuite


class CacheSuite(ValueSuite, CounterSuite, HashSuite, ListSuite, KeySuite, LockSuite, BusSuite, RequestSuite):
    """All roles. Subclass it, say how to open a cache, and every promise is tested."""

    async def test_a_cache_that_works_says_so(self, cache):
        await cache.check()
        assert cache.driver in {"memory", "valkey"}
