"""Transactions: whole or not at all, seen by others after the commit and not before."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.contracts.store import IdempotencyKey, JobFilter, Repositories
from orchestrator.errors import ConflictError, CroniumError, NotFoundError
from orchestrator.model.journal import EntryKind
from orchestrator.model.logs import Cursor
from orchestrator.model.secrets import Grant
from orchestrator.model.tokens import Scope, Token
from orchestrator.model.workflows import RunStatus
from tests.suites.store_making import (
    EVERY_KIND,
    LEASE,
    BoomError,
    StoreOpening,
    claim_one,
    get,
    insert,
    make_artifact,
    make_event,
    make_instance,
    make_job,
    make_lines,
    make_run,
    outcome,
    row_counts,
    sealed,
)


class TransactionSuite(StoreOpening):
    """Transactions: whole or not at all, seen by others after the commit and not before."""

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

    async def test_a_failed_block_leaves_no_row_in_any_table(self, store, clock):
        """M16: whatever was written and whatever went wrong; also changes of rows that were there are undone."""
        claim, there = await claim_one(store, clock), make_run(clock)
        async with store.begin() as repos:
            await repos.runs.insert(there)
            await repos.variables.set("global", "there", 1, at=clock.now())

        async def write_everywhere(repos: Repositories) -> None:
            now = clock.now()
            token = Token(id="tok_1", name="x", scope=Scope.RUN, digest=b"d", created_at=now)
            await repos.jobs.insert(make_job(clock))
            await repos.runs.insert(make_run(clock))
            await repos.tokens.insert(token)
            await repos.journal.append(claim.job.id, EntryKind.QUEUED, at=now, by="me")
            await repos.outbox.add("k", "advance_run", queue="main", payload={}, at=now)
            event = make_event(clock)
            await repos.events.insert(event)
            await repos.events.fire(event.id, now, claim.job.id)
            await repos.instances.register(make_instance(clock))
            await repos.jobs.occupy("key")
            await repos.variables.set("global", "there", 2, at=now)
            await repos.variables.lock("elsewhere", "not there")
            await repos.variables.keep_answer(claim.job.id, 1, "k", b"d", {"version": 1})
            await repos.artifacts.replace(claim.job.id, [make_artifact(clock, claim.job.id)])
            await repos.secrets.occupy_key("k1")
            secret = await repos.secrets.write("global", "S", description=None, at=now)
            await repos.secrets.keep(sealed("S", secret.version))
            grant = Grant(variable="S", scope="global", name="S", version=secret.version)
            await repos.secrets.grant(claim.job.id, claim.job.attempt, [grant])
            key = IdempotencyKey(scope="s", key="k", digest=b"d")
            await repos.idempotency.remember(key, "job_1", at=now, keep=LEASE)
            await repos.logs.append(claim, make_lines(clock, 1, ["a"]), Cursor())
            await repos.runs.finish(there.id, RunStatus.FAILED, at=now, output=None, error=None)
            await repos.jobs.finish(claim, outcome(clock))

        before = await row_counts(store)
        for error in (BoomError(), ConflictError("x"), asyncio.CancelledError(), SystemExit(1)):
            with pytest.raises(type(error)):
                async with store.begin() as repos:
                    await write_everywhere(repos)
                    raise error
            assert await row_counts(store) == before
        with pytest.raises(ConflictError):
            async with store.begin() as repos:
                await write_everywhere(repos)
                await repos.runs.insert(there)
        assert await row_counts(store) == before
        async with store.begin() as repos:
            assert await repos.jobs.get(claim.job.id) == claim.job
            assert await repos.runs.get(there.id) == there
            assert (await repos.variables.get("global", "there")).version == 1
            await write_everywhere(repos)
        after = await row_counts(store)
        assert {table for table in before if after[table] == before[table]} == {"variables"}  # its row was changed

    async def test_a_block_in_a_block_is_refused_and_the_outer_one_goes_on(self, store, clock):
        """M16: never nested; waiting for itself it would wait for ever."""
        outer, inner = make_job(clock), make_job(clock)
        async with asyncio.timeout(20):
            async with store.begin() as repos:
                await repos.jobs.insert(outer)
                with pytest.raises(ConflictError):
                    async with store.begin() as nested:
                        await nested.jobs.insert(inner)
                assert await repos.jobs.get(outer.id) == outer
            assert await get(store, outer.id) == outer
            with pytest.raises(NotFoundError):
                await get(store, inner.id)
            await insert(store, inner)  # one after the other is fine
        assert await get(store, inner.id) == inner

    async def test_a_block_of_another_task_does_not_see_what_was_never_committed(self, store, clock):
        """M16: it waits, or it runs beside; it sees nothing in either case."""
        job, started = make_job(clock), asyncio.Event()

        async def look() -> bool:
            started.set()
            async with store.begin() as repos:
                page = await repos.jobs.page(JobFilter(), after=None, limit=10)
                return job.id in {found.id for found in page.items}

        async with asyncio.timeout(30):
            with pytest.raises(BoomError):
                async with store.begin() as repos:
                    await repos.jobs.insert(job)
                    looking = asyncio.ensure_future(look())
                    await started.wait()
                    await repos.jobs.get(job.id)
                    raise BoomError
            assert not await looking

    async def test_a_refused_statement_undoes_what_its_block_wrote_before(self, store, clock):
        """M16: the constraint's error is one of ours."""
        job = make_job(clock)
        await insert(store, job)
        with pytest.raises(ConflictError):
            async with store.begin() as repos:
                await repos.journal.append(job.id, EntryKind.QUEUED, at=clock.now(), by="me")
                await repos.jobs.insert(job)
        async with store.read() as repos:
            assert await repos.journal.read(job.id) == []

    async def test_a_block_that_swallows_a_refusal_changes_nothing_all_the_same(self, store, clock):
        """M16: the database has undone the statement, or everything; the block cannot know what is left of it."""
        there, new, late = make_job(clock), make_job(clock), make_job(clock)
        await insert(store, there)
        with pytest.raises(ConflictError):
            async with store.begin() as repos:
                await repos.jobs.insert(new)
                with pytest.raises(ConflictError):
                    await repos.jobs.insert(there)
                with pytest.raises(ConflictError):
                    await repos.jobs.insert(late)
        for job in (new, late):
            with pytest.raises(NotFoundError):
                await get(store, job.id)
        await insert(store, new)
