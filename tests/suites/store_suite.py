"""What every store promises: one test and more for each promise in orchestrator/contracts/store.py."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from pathlib import Path

import pytest

from orchestrator.contracts.store import JobFilter, Outcome, Store
from orchestrator.errors import ConflictError, CroniumError, InvalidError, LeaseLostError, NotFoundError
from orchestrator.model.jobs import (
    Claim,
    Job,
    JobId,
    JobStatus,
    LogTotals,
    Reason,
    RunId,
    Timings,
    TriggerKind,
    process_name,
)
from orchestrator.model.journal import Entry, EntryKind
from orchestrator.model.logs import MAX_LINE_BYTES, Cursor, Line, Position, Stream
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Limits, PullPolicy, Script
from orchestrator.model.tokens import Scope, Token
from orchestrator.model.workflows import Run, RunStatus
from tests.fakes import FakeClock

LEASE = timedelta(seconds=15)
ODD_TEXT = "tab\tnul\0back\\slash\\0 \\\0 é 日本 \U0001f600 '\" $1 \x7f\u2028"
ODD_JSON = {"z": [1, 1.0, -0.5, 2**63, -(2**63)], "a": {"\0": None, "": [True, False, []]}, "ü": ODD_TEXT, "e": {}}
EVERY_KIND = dict.fromkeys(ExecutorKind, 1_000_000)
_numbers = count(1)


class BoomError(Exception):
    """What a body raises on purpose."""


def make_job(clock: FakeClock, **changes) -> Job:
    job = Job(
        id=JobId(f"job_{next(_numbers):08d}"),
        status=JobStatus.QUEUED,
        spec=JobSpec(script=Script(language=Language.BASH, text="true")),
        executor=ExecutorKind.PROCESS,
        queue="main",
        trigger=TriggerKind.API,
        priority=0,
        created_at=clock.now(),
    )
    return replace(job, **changes)


def make_run(clock: FakeClock, **changes) -> Run:
    run = Run(
        id=RunId(f"run_{next(_numbers):08d}"),
        workflow_name="nightly",
        status=RunStatus.QUEUED,
        document={"name": "nightly"},
        input={},
        queue="main",
        created_at=clock.now(),
    )
    return replace(run, **changes)


def make_lines(clock: FakeClock, first: int, texts: list[str], *, attempt: int = 1) -> list[Line]:
    return [
        Line(seq=seq, at=clock.now(), stream=Stream.STDOUT, text=text, attempt=attempt)
        for seq, text in enumerate(texts, start=first)
    ]


def outcome(clock: FakeClock, status: JobStatus = JobStatus.SUCCEEDED, **changes) -> Outcome:
    return Outcome(status=status, finished_at=clock.now(), **changes)


async def insert(store: Store, *jobs: Job) -> None:
    async with store.begin() as repos:
        for job in jobs:
            await repos.jobs.insert(job)


async def claim_all(store: Store, owner: str = "one", **changes) -> list[Claim]:
    async with store.begin() as repos:
        return await repos.jobs.claim(owner, "main", **({"free": EVERY_KIND, "lease": LEASE} | changes))


async def claim_one(store: Store, clock: FakeClock, owner: str = "one", **changes) -> Claim:
    """A new job, claimed."""
    job = make_job(clock, **changes)
    await insert(store, job)
    claims = await claim_all(store, owner)
    return next(claim for claim in claims if claim.job.id == job.id)


async def get(store: Store, job_id: JobId) -> Job:
    async with store.read() as repos:
        return await repos.jobs.get(job_id)


class StoreSuite:
    """Subclass it, say how to open a store, and every promise is tested."""

    def open_store(self, tmp_path: Path, clock: FakeClock) -> AbstractAsyncContextManager[Store]:
        raise NotImplementedError

    async def pass_time(self, clock: FakeClock, length: timedelta) -> None:
        """Let leases of `length` run out on the database's clock."""
        clock.advance(length)

    @pytest.fixture
    def clock(self):
        return FakeClock(datetime(2026, 3, 29, 1, 59, 59, 123457, tzinfo=UTC))

    @pytest.fixture
    async def store(self, tmp_path, clock):
        async with self.open_store(tmp_path, clock) as store:
            yield store

    # Transactions

    async def test_the_driver_has_a_name(self, store):
        assert store.driver in ("sqlite", "postgres")

    async def test_a_store_that_works_says_so(self, store):
        await store.check()

    async def test_what_was_committed_is_there_when_the_store_is_opened_again(self, tmp_path, clock):
        job = make_job(clock)
        async with self.open_store(tmp_path, clock) as store:
            await insert(store, job)
        async with self.open_store(tmp_path, clock) as store:
            assert await get(store, job.id) == job

    async def test_a_failed_block_changes_nothing_and_its_error_goes_on(self, store, clock):
        job = make_job(clock)
        with pytest.raises(BoomError):
            async with store.begin() as repos:
                await repos.jobs.insert(job)
                await repos.journal.append(job.id, EntryKind.QUEUED, at=clock.now(), by="me")
                raise BoomError
        async with store.read() as repos:
            assert await repos.journal.read(job.id) == []
            with pytest.raises(NotFoundError):
                await repos.jobs.get(job.id)

    async def test_a_failed_block_leaves_the_others_alone(self, store, clock):
        jobs = [make_job(clock) for _ in range(60)]

        async def work(number, job):
            async with store.begin() as repos:
                await repos.jobs.insert(job)
                await repos.journal.append("shared", EntryKind.QUEUED, at=clock.now(), by=str(number))
                if number % 3 == 0:
                    raise BoomError

        results = await asyncio.gather(*(work(*pair) for pair in enumerate(jobs)), return_exceptions=True)
        assert [isinstance(result, BoomError) for result in results] == [number % 3 == 0 for number in range(60)]
        async with store.read() as repos:
            stored = {job.id for job in (await repos.jobs.page(JobFilter(), after=None, limit=1000)).items}
            entries = await repos.journal.read("shared")
        assert stored == {job.id for number, job in enumerate(jobs) if number % 3}
        assert [entry.seq for entry in entries] == list(range(1, 41))

    async def test_a_cancelled_block_changes_nothing_and_does_not_hold_up_others(self, store, clock):
        job, entered = make_job(clock), asyncio.Event()

        async def work():
            async with store.begin() as repos:
                await repos.jobs.insert(job)
                entered.set()
                await asyncio.Event().wait()

        async with asyncio.timeout(20):
            task = asyncio.ensure_future(work())
            await entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await insert(store, make_job(clock))
        with pytest.raises(NotFoundError):
            await get(store, job.id)

    async def test_a_block_cancelled_while_it_waits_changes_nothing_and_does_not_hold_up_others(self, store, clock):
        holding, done = asyncio.Event(), asyncio.Event()
        held, waiting, after = make_job(clock), make_job(clock), make_job(clock)

        async def hold():
            async with store.begin() as repos:
                await repos.jobs.insert(held)
                holding.set()
                await done.wait()

        async def wait():
            async with store.begin() as repos:
                await done.wait()
                await repos.jobs.insert(waiting)
                await asyncio.Event().wait()

        async with asyncio.timeout(20):
            holder = asyncio.ensure_future(hold())
            await holding.wait()
            waiter = asyncio.ensure_future(wait())
            await asyncio.sleep(0)
            waiter.cancel()
            done.set()
            await holder
            with pytest.raises(asyncio.CancelledError):
                await waiter
            await insert(store, after)
        assert await get(store, held.id) == held
        assert await get(store, after.id) == after
        with pytest.raises(NotFoundError):
            await get(store, waiting.id)

    async def test_blocks_cancelled_at_any_moment_happen_whole_or_not_at_all(self, store, clock):
        """Each block writes two rows; tasks are cancelled after any number of turns of the loop."""
        jobs = [make_job(clock) for _ in range(120)]

        async def work(job):
            async with store.begin() as repos:
                await repos.jobs.insert(job)
                await repos.journal.append(job.id, EntryKind.QUEUED, at=clock.now(), by="me")

        async with asyncio.timeout(60):
            tasks = []
            for number, job in enumerate(jobs):
                tasks.append(asyncio.ensure_future(work(job)))
                for _ in range(number % 5):
                    await asyncio.sleep(0)
                if number % 2:
                    tasks[number - number % 7].cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await insert(store, make_job(clock))
        async with store.read() as repos:
            stored = {job.id for job in (await repos.jobs.page(JobFilter(), after=None, limit=1000)).items}
            for job, result in zip(jobs, results, strict=True):
                assert (job.id in stored) == bool(await repos.journal.read(job.id))
                assert result is None or isinstance(result, asyncio.CancelledError)
                assert job.id in stored or result is not None

    async def test_a_block_sees_what_it_wrote(self, store, clock):
        job = make_job(clock)
        async with store.begin() as repos:
            await repos.jobs.insert(job)
            assert await repos.jobs.get(job.id) == job

    async def test_nobody_sees_a_change_before_it_is_committed(self, store, clock):
        job = make_job(clock)
        async with asyncio.timeout(30):
            reading = asyncio.Event()

            async def look() -> bool:
                reading.set()
                try:
                    await get(store, job.id)
                except NotFoundError:
                    return False
                return True

            with pytest.raises(BoomError):
                async with store.begin() as repos:
                    await repos.jobs.insert(job)
                    looking = asyncio.ensure_future(look())
                    await reading.wait()
                    await repos.jobs.get(job.id)
                    raise BoomError
            assert not await looking

    async def test_a_change_is_seen_as_soon_as_its_block_is_left(self, store, clock):
        for _ in range(20):
            job = make_job(clock)
            await insert(store, job)
            assert await get(store, job.id) == job

    async def test_writing_through_reading_repositories_is_refused(self, store, clock):
        job = make_job(clock)
        async with store.read() as repos:
            with pytest.raises(CroniumError):
                await repos.jobs.insert(job)
            with pytest.raises(CroniumError):
                await repos.jobs.claim("one", "main", EVERY_KIND, lease=LEASE)
            with pytest.raises(CroniumError):
                await repos.journal.append("s", EntryKind.QUEUED, at=clock.now(), by="me")
        with pytest.raises(NotFoundError):
            await get(store, job.id)

    # Jobs

    async def test_every_field_of_a_job_comes_back(self, store, clock):
        spec = JobSpec(
            script=Script(language=Language.NODE, text=ODD_TEXT, file="a.mjs", module=True),
            name=ODD_TEXT,
            executor=ExecutorKind.SSH,
            image="debian:12",
            pull=PullPolicy.NEVER,
            network="bridge",
            args=("", ODD_TEXT),
            workdir="/w",
            input=ODD_JSON,
            env={"B": ODD_TEXT, "A": ""},
            timeout=timedelta(days=3, microseconds=1),
            priority=-7,
            limits=Limits(memory_bytes=2**40, pids=1, cpus=0.1),
        )
        job = make_job(
            clock,
            spec=spec,
            status=JobStatus.FAILED,
            executor=ExecutorKind.DOCKER,
            queue=ODD_TEXT,
            trigger=TriggerKind.WORKFLOW,
            priority=2**40,
            reason=Reason.OUT_OF_MEMORY,
            message=ODD_TEXT,
            exit_code=137,
            attempt=3,
            started_at=clock.now() + timedelta(microseconds=1),
            finished_at=clock.now() + timedelta(days=9000),
            cancel_requested_at=datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            timings=Timings(queued_ms=0, setup_ms=1, execution_ms=2**40, cleanup_ms=3),
            input=[ODD_JSON],
            output=ODD_JSON,
            has_output=True,
            condition=False,
            progress={"percent": 0},
            event_id="evt_1",
            run_id=RunId("run_x"),
            step=ODD_TEXT,
            parent_id=JobId("job_parent"),
            log=LogTotals(lines=1, bytes=2, omitted_lines=3),
        )
        await insert(store, job)
        stored = await get(store, job.id)
        assert stored == job
        assert list(stored.spec.env) == ["B", "A"]
        assert isinstance(stored.output, dict)
        assert list(stored.output) == list(ODD_JSON)

    async def test_times_of_other_zones_come_back_as_the_same_moment_in_utc(self, store, clock):
        at = clock.now().astimezone(timezone(timedelta(hours=5, minutes=45)))
        job = make_job(clock, created_at=at)
        await insert(store, job)
        stored = (await get(store, job.id)).created_at
        assert stored == at
        assert stored.utcoffset() == timedelta()

    @pytest.mark.parametrize("value", [float("nan"), [float("inf")], 2**64, -(2**63) - 1, "\ud800", {"\udfff": 1}])
    async def test_a_value_that_would_not_come_back_equal_is_refused(self, store, clock, value):
        job = make_job(clock, input=value)
        with pytest.raises(InvalidError):
            await insert(store, job)
        with pytest.raises(NotFoundError):
            await get(store, job.id)

    async def test_text_that_is_not_unicode_is_refused(self, store, clock):
        with pytest.raises(InvalidError):
            await insert(store, make_job(clock, message="\ud800"))

    async def test_a_job_that_is_not_there_is_not_found(self, store):
        with pytest.raises(NotFoundError, match="job_nowhere"):
            await get(store, JobId("job_nowhere"))

    async def test_the_same_id_twice_is_refused(self, store, clock):
        job = make_job(clock)
        await insert(store, job)
        with pytest.raises(ConflictError):
            await insert(store, job)

    async def test_a_step_of_a_run_has_one_job_and_the_first_wins(self, store, clock):
        first = make_job(clock, run_id=RunId("run_1"), step="extract")
        await insert(store, first)
        async with store.begin() as repos:
            assert await repos.jobs.insert(make_job(clock, run_id=RunId("run_1"), step="extract", priority=9)) == first
            other = make_job(clock, run_id=RunId("run_2"), step="extract")
            assert await repos.jobs.insert(other) == other
        async with store.read() as repos:
            assert await repos.jobs.of_run(RunId("run_1")) == [first]

    async def test_concurrent_jobs_of_one_step_become_one(self, store, clock):
        async def submit() -> JobId:
            async with store.begin() as repos:
                return (await repos.jobs.insert(make_job(clock, run_id=RunId("run_1"), step="s"))).id

        assert len(set(await asyncio.gather(*(submit() for _ in range(20))))) == 1

    async def test_jobs_of_a_run_come_in_the_order_of_insertion(self, store, clock):
        jobs = [make_job(clock, run_id=RunId("run_1"), step=name) for name in ("z", "a", "m")]
        await insert(store, *reversed(jobs))
        async with store.read() as repos:
            assert await repos.jobs.of_run(RunId("run_1")) == jobs[::-1]
            assert await repos.jobs.of_run(RunId("run_2")) == []

    async def test_pages_have_no_gaps_and_no_repeats_while_jobs_are_inserted(self, store, clock):
        jobs = [make_job(clock) for _ in range(25)]
        await insert(store, *jobs)
        seen, after = [], None
        while True:
            async with store.read() as repos:
                page = await repos.jobs.page(JobFilter(), after=after, limit=4)
            seen += [job.id for job in page.items]
            await insert(store, make_job(clock))
            after = page.next_cursor
            if after is None:
                break
        assert seen == [job.id for job in reversed(jobs)]

    async def test_the_last_page_has_no_cursor_also_when_it_is_full(self, store, clock):
        await insert(store, *(make_job(clock) for _ in range(4)))
        async with store.read() as repos:
            first = await repos.jobs.page(JobFilter(), after=None, limit=2)
            last = await repos.jobs.page(JobFilter(), after=first.next_cursor, limit=2)
        assert first.next_cursor is not None
        assert (len(last.items), last.next_cursor) == (2, None)

    @pytest.mark.parametrize("cursor", ["", "n", "x1", "n-1", "n1 ", "n٣", "n" + "9" * 30, "'; --"])
    async def test_a_foreign_cursor_is_refused(self, store, cursor):
        async with store.read() as repos:
            with pytest.raises(InvalidError):
                await repos.jobs.page(JobFilter(), after=cursor, limit=10)

    async def test_a_list_can_be_narrowed(self, store, clock):
        plain = make_job(clock)
        other_queue = make_job(clock, queue="other", status=JobStatus.SKIPPED)
        of_run = make_job(clock, run_id=RunId("run_1"), step="s", status=JobStatus.SKIPPED)
        await insert(store, plain, other_queue, of_run)

        async def listed(which: JobFilter) -> list[Job]:
            async with store.read() as repos:
                return (await repos.jobs.page(which, after=None, limit=10)).items

        assert await listed(JobFilter(status=JobStatus.QUEUED)) == [plain]
        assert await listed(JobFilter(queue="other")) == [other_queue]
        assert await listed(JobFilter(run_id=RunId("run_1"))) == [of_run]
        assert await listed(JobFilter(status=JobStatus.SKIPPED)) == [of_run, other_queue]
        assert await listed(JobFilter(status=JobStatus.SKIPPED, queue="main", run_id=RunId("run_1"))) == [of_run]
        assert await listed(JobFilter(queue="nowhere")) == []

    async def test_jobs_are_counted_by_status(self, store, clock):
        async with store.read() as repos:
            assert dict(await repos.jobs.count()) == {}
        await insert(store, make_job(clock), make_job(clock), make_job(clock, status=JobStatus.SKIPPED))
        async with store.read() as repos:
            assert dict(await repos.jobs.count()) == {JobStatus.QUEUED: 2, JobStatus.SKIPPED: 1}

    # The queue

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
            await repos.jobs.mark_started(claim, at=clock.now(), setup_ms=12)
        job = await get(store, claim.job.id)
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

    # What a script says

    async def test_a_token_speaks_for_its_attempt_until_the_job_ends(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.start_attempt(claim, process="p", token_digest=b"\0token")
            owner = await repos.jobs.owner_of(b"\0token")
            assert owner is not None
            assert (owner.job.id, owner.attempt) == (claim.job.id, 1)
            assert await repos.jobs.owner_of(b"other") is None
            [adopted] = await repos.jobs.adopt("two", "main", lease=LEASE, alone=True)
            assert await repos.jobs.owner_of(b"\0token") is not None
            await repos.jobs.finish(adopted, outcome(clock))
            assert await repos.jobs.owner_of(b"\0token") is None

    async def test_two_attempts_never_share_a_token(self, store, clock):
        first, second = await claim_one(store, clock), await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.start_attempt(first, process="p1", token_digest=b"t")
        with pytest.raises(ConflictError):
            async with store.begin() as repos:
                await repos.jobs.start_attempt(second, process="p2", token_digest=b"t")

    async def test_what_the_script_says_is_kept(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.set_output(claim.job.id, 1, ODD_JSON)
            await repos.jobs.set_output(claim.job.id, 1, None)
            await repos.jobs.set_condition(claim.job.id, 1, condition=True)
            await repos.jobs.set_condition(claim.job.id, 1, condition=False)
            await repos.jobs.set_progress(claim.job.id, 1, ODD_JSON)
            job = await repos.jobs.finish(claim, outcome(clock))
        assert (job.output, job.has_output, job.condition, job.progress) == (None, True, False, ODD_JSON)

    async def test_what_an_attempt_says_after_its_end_is_refused(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.release(claim)
        [again] = await claim_all(store)

        async def refused(attempt: int) -> None:
            async with store.begin() as repos:
                with pytest.raises(LeaseLostError):
                    await repos.jobs.set_output(again.job.id, attempt, 1)
                with pytest.raises(LeaseLostError):
                    await repos.jobs.set_condition(again.job.id, attempt, condition=True)
                with pytest.raises(LeaseLostError):
                    await repos.jobs.set_progress(again.job.id, attempt, 1)

        await refused(1)
        await refused(3)
        async with store.begin() as repos:
            ended = await repos.jobs.finish(again, outcome(clock))
        await refused(2)
        assert await get(store, ended.id) == ended
        assert not ended.has_output

    # Logs

    async def test_lines_come_back_as_they_were(self, store, clock):
        claim = await claim_one(store, clock)
        lines = [
            Line(
                seq=seq,
                at=clock.now() + timedelta(microseconds=(seq * 7919) % 1000 - 500),  # times may go back
                stream=list(Stream)[seq % 3],
                text=["", ODD_TEXT, f"line {seq}", "\r", " "][seq % 5],
                attempt=1 + seq // 11_000,
                continued=seq % 4 == 0,
            )
            for seq in range(1, 20_001)
        ]
        cursor = Cursor(stdout=Position(bytes=2**40, newlines=3, tail=1), stderr=Position(bytes=4, newlines=1))
        async with store.begin() as repos:
            await repos.logs.append(claim, lines[:7], Cursor())
            await repos.logs.append(claim, lines[7:], cursor)
        async with store.read() as repos:
            assert await repos.logs.read(claim.job.id, after=0, limit=20_000) == lines
            assert await repos.logs.cursor(claim.job.id) == (20_000, cursor)
            for after, limit in [(0, 1), (0, 7), (6, 2), (4095, 4), (12_345, 5000), (19_999, 9), (20_000, 9), (-3, 2)]:
                wanted = lines[max(after, 0) : max(after, 0) + limit]
                assert await repos.logs.read(claim.job.id, after=after, limit=limit) == wanted
        totals = (await get(store, claim.job.id)).log
        assert totals == LogTotals(lines=20_000, bytes=sum(len(line.text.encode()) for line in lines))

    async def test_lines_of_a_mebibyte_come_back(self, store, clock):
        claim = await claim_one(store, clock)
        texts = ["x" * MAX_LINE_BYTES, "é" * (MAX_LINE_BYTES // 2), "\0" * 100_000, "short"]
        lines = make_lines(clock, 1, texts)
        async with store.begin() as repos:
            await repos.logs.append(claim, lines, Cursor())
        async with store.read() as repos:
            assert await repos.logs.read(claim.job.id, after=0, limit=10) == lines
            assert await repos.logs.read(claim.job.id, after=2, limit=1) == lines[2:3]

    async def test_a_lone_surrogate_in_a_line_does_not_lose_the_line(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.logs.append(claim, make_lines(clock, 1, ["a\ud800b", "c"]), Cursor())
            stored = await repos.logs.read(claim.job.id, after=0, limit=10)
        assert [line.text for line in stored] == ["a\N{REPLACEMENT CHARACTER}b", "c"]

    async def test_a_gap_in_the_numbers_is_refused(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.logs.append(claim, make_lines(clock, 1, ["a", "b"]), Cursor())
        lines = make_lines(clock, 3, ["c", "d", "e"])
        for wrong in (make_lines(clock, 2, ["b"]), make_lines(clock, 4, ["d"]), [lines[0], lines[2]], lines[::-1]):
            with pytest.raises(ConflictError):
                async with store.begin() as repos:
                    await repos.logs.append(claim, wrong, Cursor(stdout=Position(bytes=9)))
        async with store.read() as repos:
            assert await repos.logs.cursor(claim.job.id) == (2, Cursor())
            assert len(await repos.logs.read(claim.job.id, after=0, limit=10)) == 2

    async def test_omitted_lines_are_counted_also_without_lines(self, store, clock):
        claim = await claim_one(store, clock)
        cursor = Cursor(stderr=Position(bytes=5, newlines=0, tail=5))
        async with store.begin() as repos:
            await repos.logs.append(claim, [], cursor, omitted=3)
            await repos.logs.append(claim, make_lines(clock, 1, ["a"]), cursor, omitted=4)
            assert await repos.logs.cursor(claim.job.id) == (1, cursor)
            assert (await repos.jobs.get(claim.job.id)).log == LogTotals(lines=1, bytes=1, omitted_lines=7)

    async def test_another_attempt_goes_on_numbering_with_a_cursor_of_its_own(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.logs.append(claim, make_lines(clock, 1, ["a"]), Cursor(stdout=Position(bytes=2, newlines=1)))
            await repos.jobs.release(claim)
        [again] = await claim_all(store)
        async with store.begin() as repos:
            assert await repos.logs.cursor(again.job.id) == (1, Cursor())
            await repos.logs.append(again, make_lines(clock, 2, ["b"], attempt=2), Cursor())
            stored = await repos.logs.read(again.job.id, after=0, limit=10)
        assert [(line.seq, line.text, line.attempt) for line in stored] == [(1, "a", 1), (2, "b", 2)]

    async def test_an_adopter_goes_on_at_the_stored_cursor(self, store, clock):
        claim = await claim_one(store, clock)
        cursor = Cursor(stdout=Position(bytes=2, newlines=1))
        async with store.begin() as repos:
            await repos.logs.append(claim, make_lines(clock, 1, ["a"]), cursor)
            await repos.jobs.adopt("two", "main", lease=LEASE, alone=True)
            assert await repos.logs.cursor(claim.job.id) == (1, cursor)

    async def test_a_job_without_lines_reads_as_empty(self, store, clock):
        job = make_job(clock)
        await insert(store, job)
        async with store.read() as repos:
            assert await repos.logs.cursor(job.id) == (0, Cursor())
            assert await repos.logs.read(job.id, after=0, limit=10) == []
            assert await repos.logs.read(JobId("job_nowhere"), after=0, limit=10) == []

    # The journal

    async def test_entries_come_back_numbered_per_subject(self, store, clock):
        async with store.begin() as repos:
            first = await repos.journal.append("job_1", EntryKind.QUEUED, at=clock.now(), by=ODD_TEXT)
            second = await repos.journal.append("job_1", EntryKind.CLAIMED, at=clock.now(), by="x", data=ODD_JSON)
            other = await repos.journal.append("job_2", EntryKind.QUEUED, at=clock.now(), by="x")
        assert first == Entry(subject="job_1", seq=1, at=clock.now(), kind=EntryKind.QUEUED, by=ODD_TEXT)
        assert (second.seq, other.seq) == (2, 1)
        async with store.read() as repos:
            assert await repos.journal.read("job_1") == [first, second]
            assert await repos.journal.read("job_1", after=1) == [second]
            assert await repos.journal.read("job_1", limit=1) == [first]
            assert await repos.journal.read("job_2") == [other]
            assert await repos.journal.read("job_3") == []

    async def test_numbers_have_no_gaps_with_many_writers_and_failures(self, store, clock):
        async def write(number: int) -> None:
            async with store.begin() as repos:
                await repos.journal.append("job_1", EntryKind.QUEUED, at=clock.now(), by=str(number))
                if number % 5 == 0:
                    raise BoomError

        results = await asyncio.gather(*(write(number) for number in range(100)), return_exceptions=True)
        assert sum(isinstance(result, BoomError) for result in results) == 20
        async with store.read() as repos:
            entries = await repos.journal.read("job_1")
        assert [entry.seq for entry in entries] == list(range(1, 81))
        assert {int(entry.by) for entry in entries} == {number for number in range(100) if number % 5}

    # Variables

    async def test_variables_count_their_versions_by_scope_and_key(self, store, clock):
        async with store.begin() as repos:
            assert await repos.variables.get("global", "k") is None
            first = await repos.variables.set("global", "k", ODD_JSON, at=clock.now())
            clock.advance(timedelta(seconds=1))
            second = await repos.variables.set("global", "k", None, at=clock.now())
            other = await repos.variables.set(ODD_TEXT, ODD_TEXT, False, at=clock.now())
        assert (first.value, first.version, second.version, other.version) == (ODD_JSON, 1, 2, 1)
        async with store.read() as repos:
            assert await repos.variables.get("global", "k") == second
            assert await repos.variables.get(ODD_TEXT, ODD_TEXT) == other
            assert await repos.variables.get("k", "global") is None

    async def test_concurrent_writes_of_a_variable_each_get_a_version(self, store, clock):
        async def write(number: int) -> int:
            async with store.begin() as repos:
                return (await repos.variables.set("global", "k", number, at=clock.now())).version

        assert sorted(await asyncio.gather(*(write(number) for number in range(40)))) == list(range(1, 41))

    # Tokens

    async def test_tokens_are_found_by_digest_revoked_or_not(self, store, clock):
        token = Token(id="tok_1", name=ODD_TEXT, scope=Scope.RUN, digest=b"\0\xff", created_at=clock.now())
        revoked = Token(
            id="tok_2", name="x", scope=Scope.READ, digest=b"r", created_at=clock.now(), revoked_at=clock.now()
        )
        async with store.begin() as repos:
            await repos.tokens.insert(token)
            await repos.tokens.insert(revoked)
        async with store.read() as repos:
            assert await repos.tokens.by_digest(b"\0\xff") == token
            assert await repos.tokens.by_digest(b"r") == revoked
            assert await repos.tokens.by_digest(b"nothing") is None

    async def test_an_admin_token_counts_unless_it_was_revoked(self, store, clock):
        def token(name: str, scope: Scope, revoked_at: datetime | None = None) -> Token:
            return Token(
                id=name, name=name, scope=scope, digest=name.encode(), created_at=clock.now(), revoked_at=revoked_at
            )

        async with store.begin() as repos:
            await repos.tokens.insert(token("a", Scope.WRITE))
            await repos.tokens.insert(token("b", Scope.ADMIN, clock.now()))
            assert not await repos.tokens.has_admin()
            await repos.tokens.insert(token("c", Scope.ADMIN))
            assert await repos.tokens.has_admin()

    async def test_the_same_token_twice_is_refused(self, store, clock):
        token = Token(id="tok_1", name="x", scope=Scope.RUN, digest=b"d", created_at=clock.now())
        async with store.begin() as repos:
            await repos.tokens.insert(token)
        with pytest.raises(ConflictError):
            async with store.begin() as repos:
                await repos.tokens.insert(replace(token, id="tok_2"))

    # Runs

    async def test_every_field_of_a_run_comes_back(self, store, clock):
        run = make_run(
            clock,
            workflow_name=ODD_TEXT,
            status=RunStatus.WAITING,
            document=ODD_JSON,
            input=ODD_JSON,
            queue=ODD_TEXT,
            workflow_id="wfl_1",
            output={},
            error=ODD_TEXT,
            started_at=clock.now(),
            finished_at=clock.now(),
            cancel_requested_at=clock.now(),
        )
        plain = make_run(clock)
        async with store.begin() as repos:
            assert await repos.runs.insert(run) == run
            await repos.runs.insert(plain)
        async with store.read() as repos:
            assert await repos.runs.get(run.id) == run
            assert await repos.runs.get(plain.id) == plain
            with pytest.raises(NotFoundError, match="run_nowhere"):
                await repos.runs.get(RunId("run_nowhere"))

    async def test_a_run_keeps_when_it_was_first_running(self, store, clock):
        run = make_run(clock)
        async with store.begin() as repos:
            await repos.runs.insert(run)
            assert (await repos.runs.set_status(run.id, RunStatus.WAITING, at=clock.now())).started_at is None
            started = clock.now()
            await repos.runs.set_status(run.id, RunStatus.RUNNING, at=started)
            clock.advance(timedelta(seconds=1))
            await repos.runs.set_status(run.id, RunStatus.WAITING, at=clock.now())
            again = await repos.runs.set_status(run.id, RunStatus.RUNNING, at=clock.now())
        assert (again.status, again.started_at) == (RunStatus.RUNNING, started)

    async def test_a_run_ends_once(self, store, clock):
        run = make_run(clock)
        async with store.begin() as repos:
            await repos.runs.insert(run)
            ended = await repos.runs.finish(
                run.id, RunStatus.FAILED, at=clock.now(), output={"a": None}, error=ODD_TEXT
            )
            assert (ended.status, ended.finished_at) == (RunStatus.FAILED, clock.now())
            assert (ended.output, ended.error) == ({"a": None}, ODD_TEXT)
            with pytest.raises(ConflictError):
                await repos.runs.finish(run.id, RunStatus.SUCCEEDED, at=clock.now(), output=None, error=None)
            with pytest.raises(ConflictError):
                await repos.runs.set_status(run.id, RunStatus.RUNNING, at=clock.now())
            assert await repos.runs.request_cancel(run.id, at=clock.now()) == ended
            with pytest.raises(NotFoundError):
                await repos.runs.finish(RunId("run_nowhere"), RunStatus.FAILED, at=clock.now(), output=None, error=None)
        async with store.read() as repos:
            assert await repos.runs.get(run.id) == ended

    async def test_the_first_wish_to_cancel_a_run_is_kept(self, store, clock):
        run, first = make_run(clock), clock.now()
        async with store.begin() as repos:
            await repos.runs.insert(run)
            await repos.runs.request_cancel(run.id, at=first)
            clock.advance(timedelta(seconds=1))
            assert (await repos.runs.request_cancel(run.id, at=clock.now())).cancel_requested_at == first

    async def test_unfinished_runs_come_oldest_first(self, store, clock):
        runs = [make_run(clock, status=status) for status in RunStatus]
        async with store.begin() as repos:
            for run in runs:
                await repos.runs.insert(run)
            await repos.runs.insert(make_run(clock, queue="other"))
        async with store.read() as repos:
            assert await repos.runs.unfinished("main") == [run.id for run in runs if not run.status.is_final]

    async def test_a_run_that_was_read_in_a_block_is_not_changed_by_others_until_its_end(self, store, clock):
        """Each block reads the run, thinks, and writes what follows from it: no write is lost."""
        run = make_run(clock)
        async with store.begin() as repos:
            await repos.runs.insert(run)

        async def finish() -> bool:
            async with store.begin() as repos:
                if (await repos.runs.get(run.id)).status.is_final:
                    return False
                await asyncio.sleep(0)
                await repos.runs.finish(run.id, RunStatus.SUCCEEDED, at=clock.now(), output={}, error=None)
                return True

        assert sum(await asyncio.gather(*(finish() for _ in range(10)))) == 1

    # The outbox

    async def test_an_item_is_due_from_its_time_until_it_was_delivered(self, store, clock):
        now, later = clock.now(), clock.now() + timedelta(seconds=5)
        async with store.begin() as repos:
            await repos.outbox.add(ODD_TEXT, "advance_run", queue="main", payload=ODD_JSON, at=later)
            await repos.outbox.add("now", "advance_run", queue="main", payload={}, at=now)
            await repos.outbox.add("elsewhere", "advance_run", queue="other", payload={}, at=now)
        async with store.begin() as repos:
            [item] = await repos.outbox.due("main", at=now, limit=10)
            assert (item.key, item.kind, item.queue, item.payload, item.tries) == ("now", "advance_run", "main", {}, 0)
            first, second = await repos.outbox.due("main", at=later, limit=10)
            assert (first.key, second.key, second.payload) == ("now", ODD_TEXT, ODD_JSON)
            assert await repos.outbox.due("main", at=later, limit=1) == [first]
            await repos.outbox.delivered(first.id, at=now)
            assert await repos.outbox.due("main", at=later, limit=10) == [second]

    async def test_a_key_is_used_once_also_after_its_delivery(self, store, clock):
        async with store.begin() as repos:
            await repos.outbox.add("k", "a", queue="main", payload={"n": 1}, at=clock.now())
            await repos.outbox.add("k", "b", queue="other", payload={"n": 2}, at=clock.now())
            [item] = await repos.outbox.due("main", at=clock.now(), limit=10)
            assert item.payload == {"n": 1}
            await repos.outbox.delivered(item.id, at=clock.now())
            await repos.outbox.add("k", "a", queue="main", payload={}, at=clock.now())
            assert await repos.outbox.due("main", at=clock.now(), limit=10) == []

    async def test_concurrent_adds_of_a_key_leave_one_item(self, store, clock):
        async def add() -> None:
            async with store.begin() as repos:
                await repos.outbox.add("k", "a", queue="main", payload={}, at=clock.now())

        await asyncio.gather(*(add() for _ in range(20)))
        async with store.read() as repos:
            assert len(await repos.outbox.due("main", at=clock.now(), limit=100)) == 1

    async def test_a_failed_delivery_is_counted_and_due_again_later(self, store, clock):
        later = clock.now() + timedelta(seconds=5)
        async with store.begin() as repos:
            await repos.outbox.add("k", "a", queue="main", payload={}, at=clock.now())
            [item] = await repos.outbox.due("main", at=clock.now(), limit=10)
            await repos.outbox.retry(item.id, at=later, error=ODD_TEXT)
            assert await repos.outbox.due("main", at=clock.now(), limit=10) == []
            [again] = await repos.outbox.due("main", at=later, limit=10)
        assert again == replace(item, tries=1)
