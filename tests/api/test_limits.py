"""Request limits: who makes too many is told when to come back, and nobody else notices."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from orchestrator.api.limits import RequestLimits, address_of
from orchestrator.caches.memory import MemoryCache
from orchestrator.caches.valkey import open_valkey_cache
from orchestrator.contracts.observer import SilentObserver
from tests.api.door import open_door
from tests.fakes import FakeClock

MINUTE = timedelta(minutes=1)


class Counted(SilentObserver):
    """Remembers which budgets were exceeded."""

    def __init__(self) -> None:
        self.limited: list[str] = []

    def request_limited(self, budget: str) -> None:
        self.limited.append(budget)


@asynccontextmanager
async def limited_door(path, cache, *, requests=3, failed_logins=2, window=MINUTE):
    observer = Counted()
    limits = RequestLimits(
        cache=cache, observer=observer, requests=requests, failed_logins=failed_logins, window=window
    )
    async with open_door(path, limits=limits) as door:
        yield door, observer


async def statuses(door, times, path="/api/v3/jobs", **more):
    return [(await door.get(path, **more)).status for _ in range(times)]


async def test_one_more_than_the_budget_is_refused_until_the_window_is_over(tmp_path):
    """M32: the last of limit + 1 calls is 429 and says how long to wait; after that time it is 200."""
    clock = FakeClock()
    async with limited_door(tmp_path, MemoryCache(clock)) as (door, observer):
        assert await statuses(door, 3) == [200, 200, 200]
        clock.advance(timedelta(seconds=20))
        refused = await door.get("/api/v3/jobs")
        assert refused.status == 429
        assert refused.headers["Retry-After"] == "40"
        assert refused.body["code"] == "rate_limited"
        assert refused.body["detail"] == "More than 3 requests in 60 s; try again in 40 s."
        assert observer.limited == ["requests"]
        clock.advance(timedelta(seconds=40))
        assert await statuses(door, 3) == [200, 200, 200]


async def test_each_token_has_a_budget_of_its_own(tmp_path):
    async with limited_door(tmp_path, MemoryCache(FakeClock())) as (door, _):
        assert await statuses(door, 4, who="admin") == [200, 200, 200, 429]
        assert await statuses(door, 3, who="read") == [200, 200, 200]


async def test_routes_without_a_token_are_counted_by_address(tmp_path):
    async with limited_door(tmp_path, MemoryCache(FakeClock())) as (door, _):
        assert await statuses(door, 4, "/healthz", who=None) == [200, 200, 200, 429]
        assert await statuses(door, 1, who="admin") == [200]


async def test_guesses_are_counted_by_address_and_do_not_shut_out_the_others_there(tmp_path):
    async with limited_door(tmp_path, MemoryCache(FakeClock())) as (door, observer):
        assert await statuses(door, 4, who="wrong") == [401, 401, 429, 429]
        assert observer.limited == ["failed_logins"] * 2
        assert await statuses(door, 1, who="admin") == [200]


async def test_a_refused_request_changes_nothing(tmp_path):
    async with limited_door(tmp_path, MemoryCache(FakeClock()), requests=1) as (door, _):
        await door.get("/api/v3/jobs")
        refused = await door.ask("POST", "/api/v3/jobs", json={"bash": "true"})
        assert refused.status == 429
        async with door.store.read() as repos:
            assert await repos.jobs.count() == {}


async def test_two_doors_with_memories_of_their_own_do_not_share_a_budget(tmp_path):
    """M32: in memory the limiter is best effort, one budget for each process."""
    async with (
        limited_door(tmp_path / "one", MemoryCache(FakeClock())) as (one, _),
        limited_door(tmp_path / "two", MemoryCache(FakeClock())) as (two, _),
    ):
        assert await statuses(one, 3) == [200, 200, 200]
        assert await statuses(two, 3) == [200, 200, 200]


@pytest.mark.distributed
async def test_two_doors_on_one_server_share_a_budget(tmp_path, redis):
    """M32"""
    prefix = f"{tmp_path.name}:"
    async with (
        open_valkey_cache(redis.url, prefix=prefix) as first,
        open_valkey_cache(redis.url, prefix=prefix) as second,
        limited_door(tmp_path / "one", first) as (one, _),
        limited_door(tmp_path / "two", second) as (two, _),
    ):
        results = await asyncio.gather(statuses(one, 2), statuses(two, 2))
        assert sorted(status for part in results for status in part) == [200, 200, 200, 429]


@pytest.mark.distributed
async def test_a_budget_on_a_server_is_there_again_after_its_window(tmp_path, redis):
    """M32"""
    async with (
        open_valkey_cache(redis.url, prefix=f"{tmp_path.name}:") as cache,
        limited_door(tmp_path, cache, requests=1, window=timedelta(milliseconds=300)) as (door, _),
    ):
        assert await statuses(door, 2) == [200, 429]
        async with asyncio.timeout(20):
            while (await door.get("/api/v3/jobs")).status == 429:
                await asyncio.sleep(0.02)


class Asking:
    """As much of a request as shows where it came from."""

    def __init__(self, remote: str | None) -> None:
        self.remote = remote


@pytest.mark.parametrize(
    ("remote", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        (None, "local"),
        ("", "local"),
    ],
)
def test_what_counts_as_one_address(remote, counted):
    assert address_of(Asking(remote)) == counted
