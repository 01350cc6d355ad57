"""Delivering the outbox: at least once, for as long as it takes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.store import OutboxItem
from orchestrator.errors import UnavailableError
from orchestrator.jobs.follow import Follower, Outside
from orchestrator.stores.sqlite import open_sqlite_store
from tests.fakes import FakeClock
from tests.jobs.scripted import Changes, FlakyStore


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock):
    async with open_sqlite_store(tmp_path / "test.db", clock=clock, exclusive=True) as store:
        yield store


async def add(store, clock: FakeClock, key: str, kind: str) -> None:
    async with store.begin() as repos:
        await repos.outbox.add(key, kind, queue="q", payload={"key": key}, at=clock.now())


async def delivering(follower: Follower, until: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(follower.run())
        async with asyncio.timeout(20):
            await until.wait()
        task.cancel()


async def test_an_item_is_tried_again_until_it_succeeds_however_often_that_is(store, clock: FakeClock):
    tries, done = 0, asyncio.Event()

    async def handle(payload: object) -> None:
        nonlocal tries
        tries += 1
        asyncio.get_running_loop().call_soon(clock.advance, timedelta(hours=1))  # once the next try is set
        if tries <= 60:
            raise UnavailableError("not yet")
        done.set()

    await add(store, clock, "one", "kind")
    quick = timedelta(milliseconds=1)
    await delivering(Follower(store=store, clock=clock, handlers={"kind": handle}, queue="q", poll_every=quick), done)

    assert tries == 61


async def test_one_that_fails_does_not_keep_the_others(store, clock: FakeClock):
    done = asyncio.Event()

    async def fail(payload: object) -> None:
        raise UnavailableError("never")

    async def succeed(payload: object) -> None:
        done.set()

    await add(store, clock, "bad", "bad")
    await add(store, clock, "good", "good")
    handlers = {"bad": fail, "good": succeed}
    await delivering(Follower(store=store, clock=clock, handlers=handlers, queue="q"), done)

    assert done.is_set()


@pytest.mark.parametrize("heard", [True, False])
async def test_a_store_that_goes_away_while_others_are_told_does_not_end_the_follower(
    store, clock: FakeClock, heard: bool
):
    """Several are told at once, and none can be noted; each is told again when its lease is over."""
    flaky, outside = FlakyStore(store, Changes()), Outside()
    told: list[str] = []

    async def tell(item: OutboxItem) -> None:
        flaky.is_away = len(told) < 3
        told.append(item.key)
        flaky.changes.happened()
        if not heard:
            raise UnavailableError("The receiver answered 500.")

    for key in ("one", "two", "three"):
        await add(store, clock, key, "kind")
    quick = timedelta(milliseconds=1)
    follower = Follower(store=flaky, clock=clock, handlers={"kind": tell}, queue="q", outside=outside, poll_every=quick)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(follower.run())
        await flaky.changes.until(lambda: flaky.refused > 4)  # the three, and more than one look at what is due
        clock.advance(outside.lease)
        flaky.is_away = False
        await flaky.changes.until(lambda: len(told) == 6)
        task.cancel()

    assert sorted(told[:3]) == sorted(told[3:]) == ["one", "three", "two"]
