"""The store was away: leases expired that nobody could renew, and their owners are alive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.store import Repositories
from orchestrator.jobs.dispatch import ROUNDS_TO_RETURN, Leases
from orchestrator.model.jobs import JobStatus
from tests.jobs.scripted import FlakyStore, Rig, open_rig, working

STRAYS = timedelta(seconds=30)
SELDOM = Leases(renew_every=timedelta(milliseconds=2), poll_every=timedelta(hours=1))


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


@dataclass(slots=True)
class Rounds:
    """The store of an orchestrator that does nothing but renew; counts its rounds."""

    store: FlakyStore
    begun: int = 0

    def read(self) -> AbstractAsyncContextManager[Repositories]:
        return self.store.read()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Repositories]:
        async with self.store.begin() as repos:
            self.begun += 1
            yield repos
        self.store.changes.happened()


async def test_who_comes_back_first_leaves_the_others_time_to_renew(rig: Rig):
    job = await rig.submit()
    async with working(rig.dispatcher("another")):
        (process,) = await rig.executor.started(1)
        await rig.changes.until(lambda: len(rig.observer.started) == 1)
    rounds = Rounds(rig.store)
    async with working(
        rig.dispatcher("first", alone=False, kin="first", strays_after=STRAYS, store=rounds, leases=SELDOM)
    ):
        await rig.changes.until(lambda: rounds.begun > 3)
        rig.store.is_away = True
        await rig.changes.until(lambda: rig.store.refused >= 2)
        rounds.begun = 0
        rig.clock.advance(timedelta(seconds=60))
        rig.store.is_away = False
        await rig.changes.until(lambda: process.name in rig.executor.attached)
        taken_after = rounds.begun
        process.end(0)
        job = await rig.ended(job.id)

    assert taken_after > ROUNDS_TO_RETURN
    assert job.status is JobStatus.SUCCEEDED  # whose owner did not come back


async def test_who_starts_when_the_store_returns_leaves_the_others_time_too(rig: Rig):
    job = await rig.submit()
    async with working(rig.dispatcher("another")):
        (process,) = await rig.executor.started(1)
        await rig.changes.until(lambda: len(rig.observer.started) == 1)
    rig.clock.advance(timedelta(seconds=60))
    rounds = Rounds(rig.store)
    async with working(
        rig.dispatcher("first", alone=True, kin="first", strays_after=STRAYS, store=rounds, leases=SELDOM)
    ):
        await rig.changes.until(lambda: process.name in rig.executor.attached)
        taken_after = rounds.begun
        process.end(0)
        job = await rig.ended(job.id)

    assert taken_after > ROUNDS_TO_RETURN
    assert job.status is JobStatus.SUCCEEDED


async def test_a_store_that_goes_away_before_the_sweep_is_waited_for(rig: Rig):
    """It read what is running, and is gone when it is asked what to keep."""
    dispatcher = rig.dispatcher()
    rig.store.is_away = True
    async with working(dispatcher):
        await rig.changes.until(lambda: rig.store.refused >= 1)
        rig.store.is_away = False
        await rig.changes.until(lambda: rig.executor.sweeping == 1)
    assert dispatcher.recovered.is_set()
