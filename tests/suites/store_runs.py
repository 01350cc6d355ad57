"""Runs and the outbox."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.errors import ConflictError, NotFoundError
from orchestrator.model.jobs import (
    RunId,
)
from orchestrator.model.workflows import RunStatus
from tests.suites.store_making import ODD_JSON, ODD_TEXT, StoreOpening, make_run


class RunSuite(StoreOpening):
    """Runs and the outbox."""

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
