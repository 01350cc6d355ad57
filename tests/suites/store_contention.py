"""Many at once: each job has one supervisor and one end, and nobody waits for ever or sees an error not promised."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise

from orchestrator.contracts.store import Store
from orchestrator.errors import ConflictError, LeaseLostError, UnavailableError
from orchestrator.model.jobs import Claim, JobId, JobStatus
from orchestrator.model.journal import EntryKind
from orchestrator.model.logs import Cursor
from orchestrator.model.specs import ExecutorKind
from tests.suites.store_making import (
    LEASE,
    StoreOpening,
    claim_all,
    get,
    insert,
    make_job,
    make_lines,
    make_run,
    outcome,
)


async def take(store: Store, owner: str, done: asyncio.Event | None = None) -> list[list[Claim]]:
    """Claim until nothing is left, and nothing more will come."""
    batches = []
    while True:
        last = done is None or done.is_set()
        claims = await claim_all(store, owner, free={ExecutorKind.PROCESS: 5, ExecutorKind.DOCKER: 3})
        if claims:
            batches.append(claims)
        elif last:
            return batches
        await asyncio.sleep(0)


def order_of(claim: Claim) -> tuple[int, object]:
    return -claim.job.priority, claim.job.created_at


class ContentionSuite(StoreOpening):
    """Many at once: each job has one supervisor and one end, and nobody sees an error that was not promised."""

    async def test_many_claimers_get_each_of_500_jobs_once_and_by_priority(self, store, clock):
        """M14, M43: within what one call returns the order is right, and fences and attempts start at 1."""
        jobs = []
        for number in range(500):
            kind = ExecutorKind.DOCKER if number % 5 == 0 else ExecutorKind.PROCESS
            jobs.append(make_job(clock, priority=number * 7 % 10, executor=kind))
            clock.advance(timedelta(microseconds=number % 3))
        await insert(store, *jobs)
        async with asyncio.timeout(100):
            taken = await asyncio.gather(*(take(store, f"owner-{number}") for number in range(12)))
        batches = [batch for mine in taken for batch in mine]
        claims = [claim for batch in batches for claim in batch]
        assert sorted(claim.job.id for claim in claims) == sorted(job.id for job in jobs)
        assert {(claim.job.attempt, claim.job.status) for claim in claims} == {(1, JobStatus.RUNNING)}
        for batch in batches:
            assert all(order_of(one) <= order_of(other) for one, other in pairwise(batch))
            assert sum(claim.job.executor is ExecutorKind.DOCKER for claim in batch) <= 3
        async with store.begin() as repos:
            for number, mine in enumerate(taken):
                held = {claim.job.id for batch in mine for claim in batch}
                assert await repos.jobs.renew(f"owner-{number}", lease=LEASE) == held

    async def test_jobs_that_are_inserted_while_others_claim_are_each_claimed_once(self, store, clock):
        """M43: ten submitters, five claimers, one queue."""
        jobs, done = [make_job(clock, priority=number % 4) for number in range(300)], asyncio.Event()

        async def submit(mine):
            for job in mine:
                await insert(store, job)

        async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
            claiming = [tasks.create_task(take(store, f"owner-{number}", done)) for number in range(5)]
            await asyncio.gather(*(submit(jobs[first::10]) for first in range(10)))
            done.set()
        claimed = [claim.job.id for task in claiming for batch in task.result() for claim in batch]
        assert sorted(claimed) == sorted(job.id for job in jobs)

    async def test_a_claim_that_is_finished_by_many_at_once_ends_once(self, store, clock):
        """M43: one of them succeeds, the others lose the lease, and the journal has one entry."""
        await insert(store, *(make_job(clock) for _ in range(20)))
        claims = await claim_all(store)

        async def finish(claim: Claim, status: JobStatus) -> JobStatus:
            async with store.begin() as repos:
                job = await repos.jobs.finish(claim, outcome(clock, status))
                await repos.journal.append(job.id, EntryKind.FINISHED, at=clock.now(), by=status)
                return job.status

        final = [status for status in JobStatus if status.is_final]
        async with asyncio.timeout(60):
            results = await asyncio.gather(
                *(finish(claim, status) for status in final for claim in claims), return_exceptions=True
            )
        assert sum(isinstance(result, JobStatus) for result in results) == 20
        assert all(isinstance(result, JobStatus | LeaseLostError) for result in results), results
        async with store.read() as repos:
            for claim in claims:
                [entry] = await repos.journal.read(claim.job.id)
                assert entry.by == (await repos.jobs.get(claim.job.id)).status

    async def test_a_queued_job_that_is_claimed_and_ended_at_once_has_one_fate(self, store, clock):
        """M43: either it was claimed or it was ended, never both."""
        jobs = [make_job(clock) for _ in range(100)]
        await insert(store, *jobs)

        async def end(job_id: JobId) -> JobId | None:
            try:
                async with store.begin() as repos:
                    return (await repos.jobs.finish_queued(job_id, outcome(clock, JobStatus.CANCELLED))).id
            except ConflictError:
                return None

        async with asyncio.timeout(60):
            *ended, batches = await asyncio.gather(*(end(job.id) for job in jobs), take(store, "one"))
        claimed = [claim.job.id for batch in batches for claim in batch]
        assert sorted([*filter(None, ended), *claimed]) == sorted(job.id for job in jobs)

    async def test_supervisors_adopters_and_cancellers_at_once_see_promised_errors_only(self, store, clock):
        """M14, M29: all verbs on the same jobs at once, and no deadlock; each job ends at most once."""
        await insert(store, *(make_job(clock) for _ in range(40)))
        claims = await claim_all(store, lease=timedelta(milliseconds=50))
        await self.pass_time(clock, timedelta(milliseconds=50))
        ended: list[JobId] = []

        async def supervise(claim: Claim) -> None:
            async with store.begin() as repos:
                await repos.jobs.start_attempt(claim, process="p", token_digest=claim.job.id.encode())
                await repos.journal.append(claim.job.id, EntryKind.STARTED, at=clock.now(), by="one")
            async with store.begin() as repos:
                await repos.logs.append(claim, make_lines(clock, 1, ["a"]), Cursor())
            await end(claim)

        async def end(claim: Claim) -> None:
            async with store.begin() as repos:
                await repos.jobs.finish(claim, outcome(clock))
                await repos.journal.append(claim.job.id, EntryKind.FINISHED, at=clock.now(), by="one")
            ended.append(claim.job.id)

        async def cancel(claim: Claim) -> None:
            async with store.begin() as repos:
                await repos.jobs.request_cancel(claim.job.id, at=clock.now())
                await repos.journal.append(claim.job.id, EntryKind.CANCEL_REQUESTED, at=clock.now(), by="one")

        async def renew() -> None:
            async with store.begin() as repos:
                await repos.jobs.renew("one", lease=LEASE)
                await repos.jobs.cancel_requested("one")

        async def adopt(owner: str) -> None:
            async with store.begin() as repos:
                adopted = await repos.jobs.adopt(owner, "main", lease=LEASE, alone=owner == "last")
            for claim in adopted:
                await end(claim)

        work = [verb(claim) for claim in claims for verb in (supervise, cancel)]
        work += [other() for _ in range(20) for other in (renew, lambda: adopt("two"))]
        async with asyncio.timeout(100):
            results = await asyncio.gather(*work, adopt("last"), return_exceptions=True)
        assert all(result is None or isinstance(result, LeaseLostError) for result in results), results
        assert len(ended) == len(set(ended))
        async with store.read() as repos:
            for claim in claims:
                entries = await repos.journal.read(claim.job.id)
                assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
                finished = sum(entry.kind is EntryKind.FINISHED for entry in entries)
                assert finished == (await repos.jobs.get(claim.job.id)).status.is_final == (claim.job.id in ended)

    async def test_blocks_that_take_the_same_things_in_other_orders_do_not_wait_for_each_other_for_ever(
        self, store, clock
    ):
        """M16: one of them may be refused as unavailable, to be tried again; what it wrote before is gone."""

        async def write(number: int) -> None:
            async with store.begin() as repos:
                for key in ("a", "b")[:: 1 if number % 2 else -1]:
                    await repos.variables.set("global", key, number, at=clock.now())
                    await asyncio.sleep(0)

        async with asyncio.timeout(100):
            results = await asyncio.gather(*(write(number) for number in range(6)), return_exceptions=True)
        assert all(result is None or isinstance(result, UnavailableError) for result in results), results
        kept = sum(result is None for result in results)
        assert kept > 0
        async with store.read() as repos:
            versions = [(await repos.variables.get("global", key)).version for key in ("a", "b")]
        assert versions == [kept, kept]

    async def test_concurrent_changes_of_a_run_are_whole(self, store, clock):
        """M22: many steps of a run end at once; the run is finished by one of them, with all that the others said."""
        run = make_run(clock)
        jobs = [make_job(clock, run_id=run.id, step=str(number)) for number in range(30)]
        await insert(store, *jobs)
        async with store.begin() as repos:
            await repos.runs.insert(run)
        claims = await claim_all(store)

        async def end(claim: Claim) -> bool:
            async with store.begin() as repos:
                await repos.runs.get(run.id)
                await repos.jobs.finish(claim, outcome(clock))
                left = [job for job in await repos.jobs.of_run(run.id) if not job.status.is_final]
                if not left:
                    await repos.runs.finish(run.id, run.status.SUCCEEDED, at=clock.now(), output={}, error=None)
                return not left

        async with asyncio.timeout(60):
            assert sum(await asyncio.gather(*(end(claim) for claim in claims))) == 1
        assert {(await get(store, job.id)).status for job in jobs} == {JobStatus.SUCCEEDED}
