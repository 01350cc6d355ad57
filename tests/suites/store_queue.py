"""The queue that jobs form: claims, leases, fences and ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from orchestrator.errors import ConflictError, InvalidError, LeaseLostError, NotFoundError
from orchestrator.model.jobs import (
    JobId,
    JobStatus,
    Reason,
    Timings,
    process_name,
)
from orchestrator.model.logs import Cursor
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Script
from tests.suites.store_making import (
    EVERY_KIND,
    LEASE,
    ODD_TEXT,
    StoreOpening,
    claim_all,
    claim_one,
    get,
    insert,
    make_job,
    make_lines,
    make_run,
    outcome,
)


class QueueSuite(StoreOpening):
    """The queue that jobs form: claims, leases, fences and ends."""

    async def test_jobs_of_another_kin_are_adopted_only_when_they_are_strays(self, store, clock):
        """An installation knows of its own supervisors whether they live; of others it can only wait."""
        await insert(store, make_job(clock), make_job(clock))
        async with store.begin() as repos:
            [ours] = await repos.jobs.claim("a:1", "main", {ExecutorKind.PROCESS: 1}, lease=LEASE)
            [theirs] = await repos.jobs.claim("b:1", "main", {ExecutorKind.PROCESS: 1}, lease=LEASE)
        hour = timedelta(hours=1)

        async def adopted(owner: str, *, alone: bool, strays_after: timedelta | None = hour) -> list[JobId]:
            async with store.begin() as repos:
                claims = await repos.jobs.adopt(
                    owner, "main", lease=LEASE, alone=alone, kin=f"{owner[0]}:", strays_after=strays_after
                )
            return [claim.job.id for claim in claims]

        assert await adopted("a:2", alone=False) == []
        assert await adopted("a:2", alone=True) == [ours.job.id]
        clock.advance(LEASE + LEASE)
        assert await adopted("a:3", alone=False) == [ours.job.id]
        clock.advance(hour + LEASE)
        assert await adopted("c:1", alone=True, strays_after=None) == []
        assert set(await adopted("c:1", alone=False)) == {ours.job.id, theirs.job.id}

    async def test_a_released_job_waits_as_long_as_it_was_told(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            job = await repos.jobs.release(claim, after=timedelta(seconds=10))
        assert (job.status, job.attempt) == (JobStatus.QUEUED, 1)
        assert await claim_all(store) == []
        clock.advance(timedelta(seconds=9, milliseconds=999))
        assert await claim_all(store) == []
        clock.advance(timedelta(milliseconds=1))
        [again] = await claim_all(store)
        assert (again.job.id, again.job.attempt, again.fence > claim.fence) == (job.id, 2, True)
        async with store.begin() as repos:
            await repos.jobs.release(again)
        assert [claim.job.id for claim in await claim_all(store)] == [job.id]

    async def test_a_job_that_waits_holds_up_nobody_behind_it(self, store, clock):
        first = await claim_one(store, clock, priority=9)
        async with store.begin() as repos:
            await repos.jobs.release(first, after=timedelta(hours=1))
        second = await claim_one(store, clock)
        assert second.job.id != first.job.id

    async def test_jobs_that_waited_too_long_for_their_first_attempt_are_found(self, store, clock):
        spec = JobSpec(script=Script(language=Language.BASH, text="true"), queue_timeout=timedelta(seconds=10))
        waiting, claimed, cancelled = (make_job(clock, spec=spec) for _ in range(3))
        await insert(store, claimed)
        [claim] = await claim_all(store)
        await insert(store, waiting, cancelled, make_job(clock), make_job(clock, spec=spec, queue="other"))
        clock.advance(timedelta(seconds=10))
        async with store.begin() as repos:
            await repos.jobs.release(claim)
            await repos.jobs.finish_queued(cancelled.id, outcome(clock, JobStatus.CANCELLED))
        async with store.read() as repos:
            assert await repos.jobs.overdue("main") == [waiting.id]

    async def test_a_kin_is_a_beginning_and_no_pattern(self, store, clock):
        await insert(store, make_job(clock))
        async with store.begin() as repos:
            [claim] = await repos.jobs.claim("ab%_:1", "main", EVERY_KIND, lease=LEASE)
        for kin, found in (("a%", []), ("a_", []), ("b", []), ("ab%_:", [claim.job.id])):
            async with store.begin() as repos:
                claims = await repos.jobs.adopt("x", "main", lease=LEASE, alone=True, kin=kin)
            assert [claim.job.id for claim in claims] == found

    async def test_the_processes_of_running_jobs_are_known(self, store, clock):
        first, second = await claim_one(store, clock), await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.start_attempt(first, process="one", token_digest=b"1")
            await repos.jobs.start_attempt(second, process="two", token_digest=b"2")
        async with store.begin() as repos:
            assert await repos.jobs.processes() == {"one", "two"}
            await repos.jobs.finish(first, outcome(clock))
            assert await repos.jobs.processes() == {"two"}

    async def test_a_claimed_job_runs_with_a_new_fence_and_attempt(self, store, clock):
        job = make_job(clock)
        await insert(store, job)
        [claim] = await claim_all(store)
        assert claim.process is None
        assert (claim.job.status, claim.job.attempt) == (JobStatus.RUNNING, 1)
        assert claim.job.timings.queued_ms is not None
        assert await get(store, job.id) == claim.job
        assert await claim_all(store, "two") == []

    async def test_the_highest_priority_is_claimed_first_then_the_oldest(self, store, clock):
        jobs = []
        for priority in (0, 5, 0, 5, -1):
            jobs.append(make_job(clock, priority=priority, executor=list(ExecutorKind)[len(jobs) % 3]))
            clock.advance(timedelta(seconds=1))
        await insert(store, *reversed(jobs))
        claims = await claim_all(store)
        assert [claim.job.id for claim in claims] == [jobs[place].id for place in (1, 3, 0, 2, 4)]

    async def test_one_place_goes_to_the_highest_priority(self, store, clock):
        old = make_job(clock)
        clock.advance(timedelta(seconds=1))
        new, urgent = make_job(clock), make_job(clock, priority=1)
        await insert(store, old, new, urgent)
        order = []
        while claims := await claim_all(store, free={ExecutorKind.PROCESS: 1}):
            order += [claim.job.id for claim in claims]
        assert order == [urgent.id, old.id, new.id]

    async def test_no_more_are_claimed_than_each_kind_has_room_for(self, store, clock):
        await insert(store, *(make_job(clock, executor=kind) for kind in ExecutorKind for _ in range(5)))
        claims = await claim_all(store, free={ExecutorKind.PROCESS: 2, ExecutorKind.DOCKER: 0})
        assert Counter(claim.job.executor for claim in claims) == {ExecutorKind.PROCESS: 2}
        claims = await claim_all(store, free={ExecutorKind.PROCESS: 9, ExecutorKind.SSH: 1})
        assert Counter(claim.job.executor for claim in claims) == {ExecutorKind.PROCESS: 3, ExecutorKind.SSH: 1}

    async def test_jobs_of_other_queues_are_not_claimed(self, store, clock):
        await insert(store, make_job(clock, queue="other"))
        assert await claim_all(store) == []

    async def test_jobs_to_be_cancelled_are_claimed_like_others(self, store, clock):
        job = make_job(clock)
        await insert(store, job)
        async with store.begin() as repos:
            await repos.jobs.request_cancel(job.id, at=clock.now())
        [claim] = await claim_all(store)
        assert claim.job.cancel_requested_at == clock.now()

    async def test_concurrent_claimers_never_get_the_same_job(self, store, clock):
        jobs = [make_job(clock, priority=number % 3) for number in range(500)]
        await insert(store, *jobs)

        async def take(owner: str) -> list[JobId]:
            mine: list[JobId] = []
            while claims := await claim_all(store, owner, free={ExecutorKind.PROCESS: 7}):
                mine += [claim.job.id for claim in claims]
            return mine

        taken = await asyncio.gather(*(take(f"owner-{number}") for number in range(8)))
        everything = [job_id for mine in taken for job_id in mine]
        assert len(everything) == 500
        assert set(everything) == {job.id for job in jobs}

    async def test_a_lease_that_has_not_expired_is_not_adopted(self, store, clock):
        await claim_one(store, clock)
        async with store.begin() as repos:
            assert await repos.jobs.adopt("two", "main", lease=LEASE, alone=False) == []

    async def test_an_expired_lease_is_adopted_with_a_new_fence_and_the_same_attempt(self, store, clock):
        job = make_job(clock)
        await insert(store, job)
        [claim] = await claim_all(store, lease=timedelta(milliseconds=50))
        name = process_name(job.id, 1)
        async with store.begin() as repos:
            await repos.jobs.start_attempt(claim, process=name, token_digest=b"t")
        await self.pass_time(clock, timedelta(milliseconds=50))
        async with store.begin() as repos:
            assert await repos.jobs.adopt("two", "other", lease=LEASE, alone=False) == []
            [adopted] = await repos.jobs.adopt("two", "main", lease=LEASE, alone=False)
        assert adopted.fence > claim.fence
        assert (adopted.job.attempt, adopted.process) == (1, name)
        async with store.begin() as repos:
            assert await repos.jobs.adopt("three", "main", lease=LEASE, alone=False) == []
            with pytest.raises(LeaseLostError):
                await repos.jobs.finish(claim, outcome(clock))
        async with store.begin() as repos:
            assert (await repos.jobs.finish(adopted, outcome(clock))).status is JobStatus.SUCCEEDED

    async def test_alone_every_running_job_is_adopted(self, store, clock):
        claim = await claim_one(store, clock)
        await insert(store, make_job(clock))
        async with store.begin() as repos:
            [adopted] = await repos.jobs.adopt("two", "main", lease=LEASE, alone=True)
        assert adopted.job.id == claim.job.id
        assert adopted.process is None

    async def test_concurrent_adopters_never_get_the_same_job(self, store, clock):
        await insert(store, *(make_job(clock) for _ in range(50)))
        await claim_all(store, lease=timedelta(milliseconds=50))
        await self.pass_time(clock, timedelta(milliseconds=50))

        async def adopt(owner: str) -> list[JobId]:
            async with store.begin() as repos:
                claims = await repos.jobs.adopt(owner, "main", lease=LEASE, alone=False)
            return [claim.job.id for claim in claims]

        adopted = await asyncio.gather(*(adopt(f"owner-{number}") for number in range(8)))
        everything = [job_id for mine in adopted for job_id in mine]
        assert len(everything) == len(set(everything)) == 50

    async def test_renewing_prolongs_the_leases_of_their_owner(self, store, clock):
        job, other = make_job(clock), make_job(clock)
        await insert(store, job)
        await claim_all(store, "one", lease=timedelta(milliseconds=50))
        await insert(store, other)
        await claim_all(store, "two", lease=timedelta(milliseconds=50))
        async with store.begin() as repos:
            assert await repos.jobs.renew("one", lease=LEASE) == {job.id}
            assert await repos.jobs.renew("nobody", lease=LEASE) == frozenset()
        await self.pass_time(clock, timedelta(milliseconds=50))
        async with store.begin() as repos:
            [adopted] = await repos.jobs.adopt("three", "main", lease=LEASE, alone=False)
            assert adopted.job.id == other.id
            assert await repos.jobs.renew("two", lease=LEASE) == frozenset()

    async def test_only_the_named_jobs_are_renewed_where_some_are_named(self, store, clock):
        job, other = make_job(clock), make_job(clock)
        await insert(store, job)
        await insert(store, other)
        await claim_all(store, "one", lease=timedelta(milliseconds=50))
        async with store.begin() as repos:
            assert await repos.jobs.renew("one", lease=LEASE, jobs=frozenset()) == frozenset()
            assert await repos.jobs.renew("one", lease=LEASE, jobs=frozenset({job.id})) == {job.id}
        await self.pass_time(clock, timedelta(milliseconds=50))
        async with store.begin() as repos:
            [adopted] = await repos.jobs.adopt("two", "main", lease=LEASE, alone=False)
            assert adopted.job.id == other.id

    async def test_the_queues_with_work_are_known(self, store, clock):
        async with store.read() as repos:
            assert await repos.jobs.queues() == await repos.runs.queues() == frozenset()
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            assert await repos.jobs.queues() == {"main"}
            await repos.jobs.finish(claim, outcome(clock))
            assert await repos.jobs.queues() == frozenset()
            run = await repos.runs.insert(make_run(clock))
            assert await repos.runs.queues() == {run.queue}

    async def test_a_job_that_has_ended_is_not_held(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.finish(claim, outcome(clock))
            assert await repos.jobs.renew("one", lease=LEASE) == frozenset()
            assert await repos.jobs.adopt("two", "main", lease=LEASE, alone=True) == []

    async def test_starting_is_recorded(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            said = await repos.jobs.mark_started(claim, at=clock.now(), setup_ms=12)
        job = await get(store, claim.job.id)
        assert said == job
        assert (job.started_at, job.timings.setup_ms) == (clock.now(), 12)

    async def test_a_released_job_is_claimed_again_for_another_attempt(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.start_attempt(claim, process="p", token_digest=b"t")
            await repos.jobs.mark_started(claim, at=clock.now(), setup_ms=12)
            await repos.jobs.set_output(claim.job.id, 1, "of the first attempt")
            released = await repos.jobs.release(claim)
        assert released == await get(store, claim.job.id)
        assert (released.status, released.attempt, released.started_at) == (JobStatus.QUEUED, 1, None)
        assert not released.has_output
        async with store.begin() as repos:
            assert await repos.jobs.owner_of(b"t") is None
            with pytest.raises(LeaseLostError):
                await repos.jobs.release(claim)
        [again] = await claim_all(store, "two")
        assert (again.job.attempt, again.process) == (2, None)
        assert again.fence > claim.fence
        async with store.begin() as repos:
            assert await repos.jobs.renew("one", lease=LEASE) == frozenset()

    async def test_a_late_supervisor_is_refused_everywhere_and_changes_nothing(self, store, clock):
        late = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.adopt("two", "main", lease=LEASE, alone=True)
        before = await get(store, late.job.id)
        writes = [
            lambda repos: repos.jobs.start_attempt(late, process="p", token_digest=b"late"),
            lambda repos: repos.jobs.mark_started(late, at=clock.now(), setup_ms=1),
            lambda repos: repos.jobs.release(late),
            lambda repos: repos.jobs.finish(late, outcome(clock)),
            lambda repos: repos.logs.append(late, make_lines(clock, 1, ["late"]), Cursor()),
            lambda repos: repos.logs.append(late, [], Cursor(), omitted=1),
        ]
        for write in writes:
            with pytest.raises(LeaseLostError):
                async with store.begin() as repos:
                    await write(repos)
            async with store.begin() as repos:  # also where the caller catches the error inside its block
                with pytest.raises(LeaseLostError):
                    await write(repos)
        async with store.read() as repos:
            assert await repos.jobs.get(late.job.id) == before
            assert await repos.logs.read(late.job.id, after=0, limit=10) == []
            assert await repos.jobs.owner_of(b"late") is None

    async def test_a_claim_of_a_job_that_has_ended_is_refused(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            ended = await repos.jobs.finish(claim, outcome(clock, JobStatus.FAILED, reason=Reason.LOST))
        for status in (JobStatus.SUCCEEDED, JobStatus.CANCELLED):
            with pytest.raises(LeaseLostError):
                async with store.begin() as repos:
                    await repos.jobs.finish(claim, outcome(clock, status))
        assert await get(store, claim.job.id) == ended

    async def test_finishing_records_how_the_job_ended(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.start_attempt(claim, process="p", token_digest=b"t")
            await repos.jobs.mark_started(claim, at=clock.now(), setup_ms=12)
        clock.advance(timedelta(seconds=3))
        result = outcome(
            clock,
            JobStatus.FAILED,
            reason=Reason.EXIT_CODE,
            message=ODD_TEXT,
            exit_code=3,
            timings=Timings(queued_ms=7, execution_ms=3000, cleanup_ms=4),
        )
        async with store.begin() as repos:
            job = await repos.jobs.finish(claim, result)
            assert await repos.jobs.owner_of(b"t") is None
        assert job == await get(store, job.id)
        assert (job.status, job.reason, job.message, job.exit_code) == (
            JobStatus.FAILED,
            Reason.EXIT_CODE,
            ODD_TEXT,
            3,
        )
        assert job.finished_at == clock.now()
        assert job.timings == Timings(queued_ms=7, setup_ms=12, execution_ms=3000, cleanup_ms=4)

    async def test_a_job_does_not_end_in_a_state_that_is_not_final(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            with pytest.raises(InvalidError):
                await repos.jobs.finish(claim, outcome(clock, JobStatus.QUEUED))

    async def test_a_queued_job_can_be_ended_without_a_claim(self, store, clock):
        job = make_job(clock)
        await insert(store, job)
        async with store.begin() as repos:
            ended = await repos.jobs.finish_queued(job.id, outcome(clock, JobStatus.SKIPPED))
        assert (ended.status, ended.finished_at) == (JobStatus.SKIPPED, clock.now())
        assert await claim_all(store) == []

    async def test_a_job_that_is_not_queued_is_not_ended_without_a_claim(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            with pytest.raises(ConflictError, match="running"):
                await repos.jobs.finish_queued(claim.job.id, outcome(clock))
            with pytest.raises(NotFoundError):
                await repos.jobs.finish_queued(JobId("job_nowhere"), outcome(clock))
        assert await get(store, claim.job.id) == claim.job

    async def test_the_first_wish_to_cancel_is_kept(self, store, clock):
        claim = await claim_one(store, clock)
        first = clock.now()
        async with store.begin() as repos:
            assert await repos.jobs.cancel_requested("one") == frozenset()
            await repos.jobs.request_cancel(claim.job.id, at=first)
            clock.advance(timedelta(seconds=1))
            job = await repos.jobs.request_cancel(claim.job.id, at=clock.now())
            assert job.cancel_requested_at == first
            assert await repos.jobs.cancel_requested("one") == {job.id}
            assert await repos.jobs.cancel_requested("two") == frozenset()
            with pytest.raises(NotFoundError):
                await repos.jobs.request_cancel(JobId("job_nowhere"), at=first)

    async def test_cancelling_a_job_that_has_ended_does_nothing(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            ended = await repos.jobs.finish(claim, outcome(clock))
            assert await repos.jobs.request_cancel(ended.id, at=clock.now()) == ended
            assert await repos.jobs.cancel_requested("one") == frozenset()
