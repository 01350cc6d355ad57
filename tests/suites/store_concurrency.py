"""Concurrency keys: who is held, who is under way, and that no more are than may be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from orchestrator.contracts.store import Repositories, Store
from orchestrator.errors import NotFoundError
from orchestrator.model.jobs import Job, JobId, JobStatus
from orchestrator.model.specs import ExecutorKind
from tests.fakes import FakeClock
from tests.suites.store_making import (
    ODD_TEXT,
    BoomError,
    StoreOpening,
    claim_all,
    get,
    insert,
    make_job,
    outcome,
)

KEY = ODD_TEXT


def ids(jobs: Sequence[Job]) -> list[JobId]:
    return [job.id for job in jobs]


def make_held(clock: FakeClock, **changes) -> Job:
    return make_job(clock, **({"concurrency_key": KEY, "held": True} | changes))


async def admit_up_to(repos: Repositories, limit: int) -> list[JobId]:
    """As whoever admits does it: count those under way, and admit the next ones while there is a place."""
    await repos.jobs.occupy(KEY)
    under_way, admitted = len(await repos.jobs.under_way(KEY)), list[JobId]()
    await asyncio.sleep(0)
    while under_way + len(admitted) < limit and (job := await repos.jobs.next_held(KEY)):
        await repos.jobs.admit(job.id)
        admitted.append(job.id)
    return admitted


async def admit(store: Store, limit: int) -> list[JobId]:
    async with store.begin() as repos:
        return await admit_up_to(repos, limit)


class ConcurrencySuite(StoreOpening):
    """Concurrency keys: who is held, who is under way, and that no more are than may be."""

    async def test_held_jobs_are_not_claimed_before_they_are_admitted(self, store, clock):
        held, free = make_held(clock, priority=9), make_job(clock)
        await insert(store, held, free)
        assert ids([claim.job for claim in await claim_all(store)]) == [free.id]
        assert await get(store, held.id) == held
        async with store.begin() as repos:
            await repos.jobs.admit(held.id)
        [claim] = await claim_all(store)
        assert (claim.job.id, claim.job.held, claim.job.concurrency_key, claim.job.attempt) == (held.id, False, KEY, 1)

    async def test_many_held_jobs_take_no_place_from_those_behind_them(self, store, clock):
        await insert(store, *(make_held(clock, priority=9) for _ in range(20)))
        free = make_job(clock)
        await insert(store, free)
        assert ids([claim.job for claim in await claim_all(store, free={ExecutorKind.PROCESS: 1})]) == [free.id]

    async def test_admitting_does_nothing_to_jobs_that_are_not_held(self, store, clock):
        queued, held, ended = make_job(clock), make_held(clock), make_held(clock)
        await insert(store, make_job(clock))
        [claim] = await claim_all(store)
        await insert(store, queued, held, ended)
        async with store.begin() as repos:
            await repos.jobs.finish_queued(ended.id, outcome(clock, JobStatus.SKIPPED))
        before = [await get(store, job.id) for job in (claim.job, queued, held, ended)]
        async with store.begin() as repos:
            for job_id in (claim.job.id, queued.id, ended.id, JobId("job_nowhere"), JobId(ODD_TEXT)):
                await repos.jobs.admit(job_id)
        assert [await get(store, job.id) for job in (claim.job, queued, held, ended)] == before

    async def test_the_next_to_be_admitted_has_the_highest_priority_then_is_the_oldest(self, store, clock):
        """Those after it come in the same order, in which `held` gives them all."""
        jobs = []
        for number in range(12):
            jobs.append(make_held(clock, priority=number % 3, queue=f"q{number % 2}"))
            clock.advance(timedelta(microseconds=number % 2))
        await insert(store, *jobs[::-1], make_held(clock, concurrency_key="other", priority=9), make_job(clock))
        place = {job.id: number for number, job in enumerate(jobs[::-1])}
        wanted = ids(sorted(jobs, key=lambda job: (-job.priority, job.created_at, place[job.id])))
        order = []
        async with store.begin() as repos:
            assert ids(await repos.jobs.held(KEY)) == wanted
            while job := await repos.jobs.next_held(KEY):
                order.append(job.id)
                await repos.jobs.admit(job.id)
                assert ids(await repos.jobs.held(KEY)) == wanted[len(order) :]
            assert await repos.jobs.next_held("nothing") is None
            assert await repos.jobs.held("nothing") == []
        assert order == wanted

    async def test_under_way_are_those_that_were_admitted_and_have_not_ended(self, store, clock):
        """Oldest first; one that is given back for another attempt is still under way, for as long as it waits."""
        jobs = []
        for priority in (0, 5, 1):
            jobs.append(make_job(clock, concurrency_key=KEY, priority=priority))
            clock.advance(timedelta(seconds=1))
        await insert(store, *jobs[::-1], make_held(clock), make_job(clock), make_job(clock, concurrency_key="other"))
        async with store.read() as repos:
            assert ids(await repos.jobs.under_way(KEY)) == ids(jobs)
        first, second, third = (claim for claim in await claim_all(store) if claim.job.concurrency_key == KEY)
        async with store.begin() as repos:
            assert ids(await repos.jobs.under_way(KEY)) == ids(jobs)
            released = await repos.jobs.release(first, after=timedelta(hours=1))
            assert (released.held, released.concurrency_key) == (False, KEY)
            assert ids(await repos.jobs.under_way(KEY)) == ids(jobs)
            await repos.jobs.finish(second, outcome(clock, JobStatus.FAILED))
            assert ids(await repos.jobs.under_way(KEY)) == [jobs[0].id, jobs[1].id]
            await repos.jobs.finish_queued(released.id, outcome(clock, JobStatus.CANCELLED))
            await repos.jobs.finish(third, outcome(clock))
            assert await repos.jobs.under_way(KEY) == []

    async def test_a_held_job_that_ends_waits_for_nothing_any_more(self, store, clock):
        held, next_one = make_held(clock), make_held(clock)
        await insert(store, held, next_one)
        async with store.begin() as repos:
            ended = await repos.jobs.finish_queued(held.id, outcome(clock, JobStatus.CANCELLED))
            assert (ended.status, ended.held, ended.concurrency_key) == (JobStatus.CANCELLED, False, KEY)
            assert ids(await repos.jobs.held(KEY)) == [next_one.id]
            await repos.jobs.finish_queued(next_one.id, outcome(clock, JobStatus.SKIPPED))
            assert await repos.jobs.next_held(KEY) is None
            assert await repos.jobs.under_way(KEY) == []
        assert await claim_all(store) == []

    async def test_jobs_that_are_alike_but_for_their_key_do_not_meet(self, store, clock):
        keys = ["a", "A", "a\0", "a\\0", "a%", "a_", ""]
        jobs = [make_held(clock, concurrency_key=key) for key in keys]
        admitted = [make_job(clock, concurrency_key=key) for key in keys]
        await insert(store, *jobs, *admitted)
        async with store.begin() as repos:
            for key, job, other in zip(keys, jobs, admitted, strict=True):
                await repos.jobs.occupy(key)
                assert await repos.jobs.next_held(key) == job
                assert await repos.jobs.held(key) == [job]
                assert await repos.jobs.under_way(key) == [other]

    @pytest.mark.parametrize("limit", [1, 3])
    async def test_of_many_that_admit_at_once_no_more_are_under_way_than_the_limit(self, store, clock, limit):
        """Each occupies the key, counts and admits; while others claim and end what was admitted."""
        jobs = [make_held(clock) for _ in range(20)]
        await insert(store, *jobs)
        most, ended = 0, list[JobId]()

        async def work(owner: str) -> None:
            nonlocal most
            while len(ended) < len(jobs):
                await admit(store, limit)
                async with store.read() as repos:
                    most = max(most, len(await repos.jobs.under_way(KEY)))
                for claim in await claim_all(store, owner, free={ExecutorKind.PROCESS: 1}):
                    async with store.begin() as repos:
                        await repos.jobs.finish(claim, outcome(clock))
                        # As whoever ends a job does: its place goes to the next in the same transaction or later.
                        await admit_up_to(repos, limit)
                    ended.append(claim.job.id)

        async with asyncio.timeout(100):
            await asyncio.gather(*(work(f"owner-{number}") for number in range(20)))
        assert most == limit
        assert sorted(ended) == sorted(ids(jobs))

    async def test_of_many_that_submit_at_once_as_many_as_the_limit_are_admitted(self, store, clock):
        async def submit(job: Job) -> bool:
            async with store.begin() as repos:
                await repos.jobs.occupy(KEY)
                free = len(await repos.jobs.under_way(KEY)) < 5
                await asyncio.sleep(0)
                await repos.jobs.insert(job)
                if free:
                    await repos.jobs.admit(job.id)
                return free

        async with asyncio.timeout(60):
            admitted = await asyncio.gather(*(submit(make_held(clock)) for _ in range(20)))
        assert sum(admitted) == 5
        assert len(await claim_all(store)) == 5

    async def test_a_key_is_free_when_the_block_that_occupied_it_has_ended(self, store, clock):
        """Committed or not; and one block may occupy a key twice, and several keys."""
        with pytest.raises(BoomError):
            async with store.begin() as repos:
                await repos.jobs.occupy(KEY)
                raise BoomError
        with pytest.raises(NotFoundError):
            async with store.begin() as repos:
                for key in (KEY, "other", KEY):
                    await repos.jobs.occupy(key)
                await repos.jobs.get(JobId("job_nowhere"))
        held = make_held(clock)
        await insert(store, held)
        async with asyncio.timeout(30):
            for wanted in ([held.id], []):
                assert await admit(store, 1) == wanted
        [claim] = await claim_all(store)
        assert claim.job.id == held.id
