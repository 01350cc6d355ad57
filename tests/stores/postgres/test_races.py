"""Two who change one job at the same moment: both come through, the job ends once, and its journal says so once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

import asyncpg
import pytest

from orchestrator.contracts.store import Outcome, Store
from orchestrator.jobs.admit import Admitter
from orchestrator.jobs.cancel import Canceller
from orchestrator.jobs.feed import Feed
from orchestrator.jobs.finish import announce_follow_up
from orchestrator.jobs.submit import Submitter
from orchestrator.model.jobs import Claim, Job, JobId, JobStatus
from orchestrator.model.journal import EntryKind
from orchestrator.model.specs import Concurrency, ExecutorKind, WhenFull
from orchestrator.stores.postgres import open_postgres_store
from tests.fakes import NEW_YEAR
from tests.jobs.scripted import LEASE, Changes, Counter, a_spec, a_submission

pytestmark = pytest.mark.distributed
PATIENCE = timedelta(seconds=20)  # also for locks: longer than it takes until all wait
PATIENCE_SECONDS = 30.0
WAITING = """SELECT COUNT(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event_type = 'Lock'"""


class Stepping:
    """A clock of which no two looks are the same: who did something is known by when."""

    def __init__(self) -> None:
        self._looks = count(1)

    def now(self) -> datetime:
        return NEW_YEAR + next(self._looks) * timedelta(milliseconds=1)

    def monotonic(self) -> float:
        return float(next(self._looks))


@dataclass(frozen=True, slots=True)
class Scene:
    """A store on a Postgres, and what happens to jobs there. The connections go past the store."""

    store: Store
    watcher: asyncpg.Connection  # never in a transaction: in one it would see the same waiters again and again
    locker: asyncpg.Connection
    clock: Stepping = field(default_factory=Stepping)
    observer: Counter = field(default_factory=lambda: Counter(Changes()))
    displaced: list[Job] = field(default_factory=list)
    numbers: count[int] = field(default_factory=lambda: count(1))

    async def submit(self, **changes: object) -> Job:
        submitter = Submitter(
            store=self.store,
            clock=self.clock,
            observer=self.observer,
            new_id=lambda prefix: f"{prefix}_{next(self.numbers)}",
            wake=lambda: None,
            ended=self.displaced.append,
            default_executor=ExecutorKind.PROCESS,
            executors=frozenset({ExecutorKind.PROCESS}),
            queue="q",
        )
        return await submitter.submit(a_submission(a_spec(**changes)))

    async def claim(self) -> list[Claim]:
        async with self.store.begin() as repos:
            return await repos.jobs.claim("me", "q", {ExecutorKind.PROCESS: 9}, lease=LEASE)

    async def cancel(self, job_id: JobId) -> Job:
        canceller = Canceller(
            store=self.store,
            clock=self.clock,
            observer=self.observer,
            feed=Feed(self.store),
            poke=lambda _: None,
            wake=lambda: None,
        )
        return await canceller.cancel(job_id, by="me")

    async def journal(self, job_id: JobId) -> list[EntryKind]:
        async with self.store.read() as repos:
            return [entry.kind for entry in await repos.journal.read(job_id)]

    async def waiting(self, number: int) -> None:
        """Wait until so many connections wait for a lock. Only Postgres knows, so it is asked."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.watcher.fetchval(WAITING) < number:
                await asyncio.sleep(0.01)

    async def finish_beside(self, claim: Claim, other: Callable[[], Awaitable[Job]]) -> Job:
        """
        End the job in a transaction, and do the `other` thing while that is open: it waits for the job's row before
        the journal entry of the end is written. Returns what became of the other.
        """
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks, self.store.begin() as repos:
            outcome = Outcome(status=JobStatus.SUCCEEDED, finished_at=self.clock.now())
            job = await repos.jobs.finish(claim, outcome)
            doing = tasks.create_task(_awaited(other))
            await self.waiting(1)
            await announce_follow_up(repos, job, at=self.clock.now(), by="me")
        return doing.result()


async def _awaited(other: Callable[[], Awaitable[Job]]) -> Job:
    return await other()


@pytest.fixture
async def scene(database: str):
    async with (
        connected(database) as watcher,
        connected(database) as locker,
        open_postgres_store(database, clock=Stepping(), patience=PATIENCE) as store,
    ):
        yield Scene(store, watcher, locker)


@asynccontextmanager
async def connected(database: str):
    connection = await asyncpg.connect(database)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def row_locked(scene: Scene, job_id: JobId):
    """Nobody changes the job while the block is open."""
    async with scene.locker.transaction():
        await scene.locker.execute("SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE", job_id)
        yield


def replacing() -> dict[str, Concurrency]:
    return {"concurrency": Concurrency(limit=1, key="db", when_full=WhenFull.REPLACE)}


async def test_what_replaces_a_job_that_is_just_ending_finds_it_ended_and_takes_its_place(scene: Scene):
    """Neither waits for the other for ever: who ends a job and who wants its end lock its row first, then its journal."""
    old = await scene.submit(**replacing())
    (claim,) = await scene.claim()

    new = await scene.finish_beside(claim, lambda: scene.submit(**replacing()))

    assert await scene.journal(old.id) == [EntryKind.QUEUED, EntryKind.FINISHED]
    assert scene.displaced == []
    await Admitter(store=scene.store, clock=scene.clock, wake=lambda: None).admit(old.concurrency_key or "")
    assert [claim.job.id for claim in await scene.claim()] == [new.id]


async def test_a_cancel_that_comes_while_the_job_is_ending_changes_nothing(scene: Scene):
    job = await scene.submit()
    (claim,) = await scene.claim()

    found = await scene.finish_beside(claim, lambda: scene.cancel(job.id))

    assert (found.status, found.cancel_requested_at) == (JobStatus.SUCCEEDED, None)
    assert await scene.journal(job.id) == [EntryKind.QUEUED, EntryKind.FINISHED]
    assert scene.observer.finished == []  # who ended it counts it


@pytest.mark.parametrize("claimed", [False, True])
async def test_of_four_who_cancel_a_job_at_once_one_is_written_down(scene: Scene, claimed: bool):
    """All have read it before the first can write."""
    job = await scene.submit()
    if claimed:
        await scene.claim()
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks, row_locked(scene, job.id):
        cancelling = [tasks.create_task(scene.cancel(job.id)) for _ in range(4)]
        await scene.waiting(4)

    status = JobStatus.RUNNING if claimed else JobStatus.CANCELLED
    assert {task.result().status for task in cancelling} == {status}
    ends = [] if claimed else [EntryKind.FINISHED]
    assert await scene.journal(job.id) == [EntryKind.QUEUED, EntryKind.CANCEL_REQUESTED, *ends]
    assert len(scene.observer.finished) == len(ends)


async def test_a_job_that_is_cancelled_and_replaced_at_once_is_told_once_to_end(scene: Scene):
    """Both have read it before the first can write."""
    old = await scene.submit(**replacing())
    await scene.claim()
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks, row_locked(scene, old.id):
        tasks.create_task(scene.cancel(old.id))
        submitting = tasks.create_task(scene.submit(**replacing()))
        await scene.waiting(2)

    assert submitting.result().held
    assert (await scene.journal(old.id)).count(EntryKind.CANCEL_REQUESTED) == 1
