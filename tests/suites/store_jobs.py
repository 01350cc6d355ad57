"""Storing and finding jobs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from orchestrator.contracts.store import JobFilter
from orchestrator.errors import ConflictError, InvalidError, NotFoundError
from orchestrator.model.backlog import Lane, Waiting
from orchestrator.model.jobs import (
    Job,
    JobId,
    JobStatus,
    LogTotals,
    Reason,
    RunId,
    Timings,
    TriggerKind,
)
from orchestrator.model.specs import (
    Backoff,
    Concurrency,
    ExecutorKind,
    JobSpec,
    Language,
    Limits,
    PullPolicy,
    RetryPolicy,
    Script,
    Volume,
    WhenFull,
    Workspace,
)
from tests.suites.store_making import ODD_JSON, ODD_TEXT, StoreOpening, claim_all, get, insert, make_job


class JobSuite(StoreOpening):
    """Storing and finding jobs."""

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
            setup_timeout=timedelta(microseconds=2),
            queue_timeout=timedelta(days=400),
            retry=RetryPolicy(
                attempts=7,
                backoff=Backoff.FIXED,
                delay=timedelta(microseconds=3),
                max_delay=timedelta(days=1),
                jitter=0.1,
                exit_codes=frozenset({1, 75}),
                reasons=frozenset({"timeout"}),
                on_lost=True,
            ),
            priority=-7,
            concurrency=Concurrency(limit=7, key=ODD_TEXT, when_full=WhenFull.SKIP),
            limits=Limits(memory_bytes=2**40, pids=1, cpus=0.1),
            packages=("requests>=2.31",),
            volumes=(Volume(source="/srv", target="/data"),),
            workspace=Workspace.VOLUME,
            warm=False,
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
            scheduled_at=clock.now() - timedelta(days=9000, microseconds=1),
            concurrency_key=ODD_TEXT,
            held=True,
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

    async def test_what_waits_and_what_runs_is_told_by_executor(self, store, clock):
        early, late = clock.now() - timedelta(hours=2), clock.now() - timedelta(hours=1)
        docker = ExecutorKind.DOCKER
        async with store.read() as repos:
            assert (await repos.jobs.waiting("main", at=clock.now()), await repos.jobs.running("main")) == ({}, {})
        # The first three are claimed, and one of them waits for another attempt.
        await insert(store, *(make_job(clock, priority=9) for _ in range(3)))
        again, *_ = await claim_all(store)
        async with store.begin() as repos:
            await repos.jobs.release(again, after=timedelta(hours=1))
        await insert(
            store,
            make_job(clock, created_at=late),
            make_job(clock, created_at=early),
            make_job(clock, executor=docker, created_at=late),
            make_job(clock, executor=docker, created_at=early, concurrency_key="key", held=True),
            make_job(clock, executor=ExecutorKind.SSH, concurrency_key="key", held=True),
            make_job(clock, queue="other"),
            make_job(clock, status=JobStatus.FAILED),
        )
        async with store.read() as repos:
            waiting, running = await repos.jobs.waiting("main", at=clock.now()), await repos.jobs.running("main")
        assert waiting == {
            ExecutorKind.PROCESS: Waiting(due=2, oldest_due_at=early, later=1),
            docker: Waiting(due=1, oldest_due_at=late, held=1),
            ExecutorKind.SSH: Waiting(held=1),
        }
        assert running == {ExecutorKind.PROCESS: 2}

    async def test_a_lane_tells_what_is_still_to_be_delivered(self, store, clock):
        now = clock.now()
        async with store.begin() as repos:
            for number in range(4):
                at = now + timedelta(minutes=number)
                await repos.outbox.add(f"k{number}", "advance_run", queue="main", payload={}, at=at)
            await repos.outbox.add("k", "advance_run", queue="other", payload={}, at=now)
        async with store.begin() as repos:
            first, second, *_ = await repos.outbox.due("main", at=now + timedelta(hours=1), limit=10)
            await repos.outbox.delivered(first.id, at=now)
            await repos.outbox.give_up(second.id, at=now, error="e")
        async with store.read() as repos:
            assert await repos.outbox.lane("main") == Lane(pending=2, first_due_at=now + timedelta(minutes=2))
            assert await repos.outbox.lane("nowhere") == Lane()
