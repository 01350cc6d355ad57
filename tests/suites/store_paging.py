"""Order and pages: stable, without gaps and repeats, however close in time things are (M21)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import product

import pytest

from orchestrator.contracts.store import JobFilter, Store
from orchestrator.errors import InvalidError
from orchestrator.model.jobs import Job, JobId, JobStatus, RunId
from orchestrator.model.specs import ExecutorKind
from tests.fakes import FakeClock
from tests.suites.store_making import LEASE, StoreOpening, insert, make_job, make_run

MICROSECOND = timedelta(microseconds=1)
STEP = 7_919  # a prime: all places from 0 to 999 in an order of its own


async def paged(store: Store, which: JobFilter, *, limit: int) -> list[Job]:
    """All pages, one after the other."""
    found: list[Job] = []
    after = None
    while True:
        async with store.read() as repos:
            page = await repos.jobs.page(which, after=after, limit=limit)
        assert len(page.items) == limit or page.next_cursor is None
        found += page.items
        after = page.next_cursor
        if after is None:
            return found


async def insert_until(done: asyncio.Event, store: Store, clock: FakeClock) -> int:
    """Insert jobs until told to stop; how many."""
    number = 0
    while not done.is_set():
        await insert(store, make_job(clock), make_job(clock, queue="other"))
        number += 2
    return number


class PagingSuite(StoreOpening):
    """Order and pages: stable, without gaps and repeats, however close in time things are (M21)."""

    async def test_a_thousand_jobs_of_one_second_are_paged_once_each_while_others_are_inserted(self, store, clock):
        """M21: half of them of the very same microsecond; three sizes of pages give one order."""
        jobs = [
            make_job(clock, created_at=clock.now() + MICROSECOND * (0 if number % 2 else number * STEP % 1_000_000))
            for number in range(1000)
        ]
        await asyncio.gather(*(insert(store, *jobs[first : first + 50]) for first in range(0, 1000, 50)))
        wanted, done = {job.id: job for job in jobs}, asyncio.Event()
        async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
            inserting = [tasks.create_task(insert_until(done, store, clock)) for _ in range(3)]
            orders = []
            for limit in (7, 100, 1000):
                found = [job for job in await paged(store, JobFilter(), limit=limit) if job.id in wanted]
                assert {job.id: job for job in found} == wanted
                orders.append([job.id for job in found])
            done.set()
        assert orders[0] == orders[1] == orders[2]
        assert [len(order) for order in orders] == [1000, 1000, 1000]
        inserted = sum(task.result() for task in inserting)
        assert inserted > 0
        assert len(await paged(store, JobFilter(), limit=500)) == 1000 + inserted

    async def test_jobs_of_one_moment_are_listed_newest_first(self, store, clock):
        """M21: what was inserted later comes first, also within a block."""
        jobs = [make_job(clock) for _ in range(30)]
        await insert(store, *jobs[:20])
        for job in jobs[20:]:
            await insert(store, job)
        assert [job.id for job in await paged(store, JobFilter(), limit=4)] == [job.id for job in reversed(jobs)]

    async def test_every_filter_gives_what_it_says_in_the_order_of_the_whole_list(self, store, clock):
        """M21: all combinations of status, queue and run, in pages of 3."""
        statuses, queues, runs = list(JobStatus), ["main", "other", "na\0me"], [RunId("run_1"), RunId("run_2")]
        jobs = [
            make_job(clock, status=status, queue=queue, run_id=run_id, step=run_id and f"{status}-{queue}-{turn}")
            for turn, status, queue, run_id in product(range(2), statuses, queues, [None, *runs])
        ]
        await insert(store, *jobs)
        for status, queue, run_id in product([None, *statuses], [None, *queues, "nowhere"], [None, *runs]):
            wanted = [
                job
                for job in reversed(jobs)
                if (status is None or job.status is status)
                and (queue is None or job.queue == queue)
                and (run_id is None or job.run_id == run_id)
            ]
            assert await paged(store, JobFilter(status=status, queue=queue, run_id=run_id), limit=3) == wanted

    async def test_a_page_of_a_narrowed_list_goes_on_after_its_cursor_when_jobs_leave_the_list(self, store, clock):
        jobs = [make_job(clock) for _ in range(9)]
        await insert(store, *jobs)
        async with store.begin() as repos:
            first = await repos.jobs.page(JobFilter(status=JobStatus.QUEUED), after=None, limit=3)
            await repos.jobs.claim("one", "main", {ExecutorKind.PROCESS: 2}, lease=LEASE)
            rest = await repos.jobs.page(JobFilter(status=JobStatus.QUEUED), after=first.next_cursor, limit=9)
        assert [job.id for job in (*first.items, *rest.items)] == [job.id for job in reversed(jobs[2:])]

    async def test_bad_cursors_and_limits_are_refused(self, store, clock):
        """M21: with every filter, and whatever is in the store."""
        await insert(store, make_job(clock))
        cursors = ["", " ", "0", "n", "N1", "n+1", "n1.0", "n1\n", "\0", "\ud800", "n" + "9" * 40, "bjE=", "job_1"]
        for which, cursor in product([JobFilter(), JobFilter(status=JobStatus.QUEUED, queue="main")], cursors):
            async with store.read() as repos:
                with pytest.raises(InvalidError) as refused:
                    await repos.jobs.page(which, after=cursor, limit=10)
            assert refused.value.code == "cursor_invalid"
        async with store.read() as repos:
            for limit in (0, -1):
                with pytest.raises(InvalidError):
                    await repos.jobs.page(JobFilter(), after=None, limit=limit)

    async def test_jobs_are_claimed_in_the_order_of_their_microseconds_then_of_insertion(self, store, clock):
        """M21, M43: a second holds a million places in the queue."""
        places = [place * STEP % 1000 for place in range(1000)]
        jobs = [make_job(clock, created_at=clock.now() + MICROSECOND * (place // 2)) for place in places]
        await insert(store, *jobs)
        order: list[JobId] = []
        async with store.begin() as repos:
            while claims := await repos.jobs.claim("one", "main", {ExecutorKind.PROCESS: 90}, lease=LEASE):
                order += [claim.job.id for claim in claims]
        wanted = sorted(jobs, key=lambda job: job.created_at)  # stable: of two alike the one inserted first
        assert order == [job.id for job in wanted]

    async def test_jobs_and_runs_of_one_moment_keep_the_order_of_insertion(self, store, clock):
        """M21: where a list has no pages."""
        jobs = [make_job(clock, run_id=RunId("run_1"), step=str(number * STEP % 100)) for number in range(100)]
        runs = [make_run(clock) for _ in range(50)]
        async with store.begin() as repos:
            for job in jobs:
                await repos.jobs.insert(job)
            for run in reversed(runs):
                await repos.runs.insert(run)
            assert await repos.jobs.of_run(RunId("run_1")) == jobs
            assert await repos.runs.unfinished("main") == [run.id for run in reversed(runs)]

    async def test_what_is_due_comes_by_its_microsecond_then_in_the_order_it_was_added(self, store, clock):
        """M21: for the outbox."""
        async with store.begin() as repos:
            for number in range(100):
                due_at = clock.now() + MICROSECOND * (number * STEP % 100 // 2)
                await repos.outbox.add(str(number), "advance_run", queue="main", payload={}, at=due_at)
            at = clock.now() + MICROSECOND * 50
            keys = [item.key for item in await repos.outbox.due("main", at=at, limit=1000)]
            some = [item.key for item in await repos.outbox.due("main", at=clock.now() + MICROSECOND * 9, limit=1000)]
        assert keys == [str(number) for number in sorted(range(100), key=lambda number: number * STEP % 100 // 2)]
        assert some == keys[:20]
