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
from tests.suites.store_making import LEASE, ODD_JSON, ODD_TEXT, BoomError, StoreOpening, make_run


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

    async def test_an_item_that_was_taken_is_due_again_when_its_lease_has_passed(self, store, clock):
        async with store.begin() as repos:
            await repos.outbox.add(ODD_TEXT, ODD_TEXT, queue=ODD_TEXT, payload=ODD_JSON, at=clock.now())
            await repos.outbox.add("elsewhere", "a", queue="other", payload={}, at=clock.now())
            [item] = await repos.outbox.due(ODD_TEXT, at=clock.now(), limit=10)
            early = clock.now() - timedelta(microseconds=1)
            assert await repos.outbox.take(ODD_TEXT, at=early, lease=LEASE, limit=10) == []
            assert await repos.outbox.take(ODD_TEXT, at=clock.now(), lease=LEASE, limit=10) == [item]
        clock.advance(LEASE - timedelta(microseconds=1))
        async with store.begin() as repos:
            assert await repos.outbox.due(ODD_TEXT, at=clock.now(), limit=10) == []
            assert await repos.outbox.take(ODD_TEXT, at=clock.now(), lease=LEASE, limit=10) == []
            clock.advance(timedelta(microseconds=1))
            assert await repos.outbox.take(ODD_TEXT, at=clock.now(), lease=LEASE, limit=10) == [item]
            [elsewhere] = await repos.outbox.take("other", at=clock.now(), lease=LEASE, limit=10)
        assert elsewhere.key == "elsewhere"

    async def test_what_is_taken_comes_by_its_microsecond_then_in_the_order_it_was_added(self, store, clock):
        """M21: as what is due, also when some of it was put off before."""
        async with store.begin() as repos:
            for number in range(20):
                due_at = clock.now() + timedelta(microseconds=number * 7 % 20 // 2)
                await repos.outbox.add(str(number), "a", queue="main", payload={}, at=due_at)
            [first, *_] = await repos.outbox.due("main", at=clock.now(), limit=1)
            await repos.outbox.retry(first.id, at=clock.now() + timedelta(microseconds=5), error="e")
            at = clock.now() + LEASE
            wanted = await repos.outbox.due("main", at=at, limit=100)
            taken = []
            for _ in range(4):
                batch = await repos.outbox.take("main", at=at, lease=LEASE, limit=6)
                assert batch == wanted[len(taken) :][:6]
                taken += batch
        assert taken == wanted
        assert len(taken) == 20

    async def test_many_that_take_at_once_never_get_the_same_item(self, store, clock):
        async with store.begin() as repos:
            for number in range(200):
                await repos.outbox.add(str(number), "a", queue="main", payload={}, at=clock.now())

        async def take() -> list[str]:
            mine: list[str] = []
            while True:
                async with store.begin() as repos:
                    items = await repos.outbox.take("main", at=clock.now(), lease=LEASE, limit=7)
                    await asyncio.sleep(0)
                if not items:
                    return mine
                mine += [item.key for item in items]

        async with asyncio.timeout(60):
            taken = [key for mine in await asyncio.gather(*(take() for _ in range(8))) for key in mine]
        # Whoever finds an item locked passes over it, so that a few may be left for the next look.
        taken += await take()
        assert sorted(taken) == sorted(map(str, range(200)))

    async def test_a_block_that_failed_has_taken_nothing(self, store, clock):
        async with store.begin() as repos:
            await repos.outbox.add("k", "a", queue="main", payload={}, at=clock.now())
        with pytest.raises(BoomError):
            async with store.begin() as repos:
                assert len(await repos.outbox.take("main", at=clock.now(), lease=LEASE, limit=10)) == 1
                raise BoomError
        async with store.begin() as repos:
            assert len(await repos.outbox.take("main", at=clock.now(), lease=LEASE, limit=10)) == 1

    async def test_what_was_delivered_or_given_up_is_never_due_again(self, store, clock):
        """Whatever a taker that was too slow says of it later; and its key stays taken."""
        async with store.begin() as repos:
            for key in ("delivered", "given up"):
                await repos.outbox.add(key, "a", queue="main", payload={}, at=clock.now())
            delivered, given_up = await repos.outbox.take("main", at=clock.now(), lease=LEASE, limit=10)
            await repos.outbox.delivered(delivered.id, at=clock.now())
            await repos.outbox.give_up(given_up.id, at=clock.now(), error=ODD_TEXT)
        for late in (
            lambda repos, item: repos.outbox.retry(item.id, at=clock.now(), error="e"),
            lambda repos, item: repos.outbox.give_up(item.id, at=clock.now(), error="e"),
            lambda repos, item: repos.outbox.delivered(item.id, at=clock.now()),
            lambda repos, item: repos.outbox.add(item.key, "a", queue="main", payload={}, at=clock.now()),
        ):
            for item in (delivered, given_up):
                async with store.begin() as repos:
                    await late(repos, item)
                    at = clock.now() + timedelta(days=1)
                    assert await repos.outbox.due("main", at=at, limit=10) == []
                    assert await repos.outbox.take("main", at=at, lease=LEASE, limit=10) == []

    async def test_a_taken_item_that_failed_is_due_from_the_time_it_was_put_off_to(self, store, clock):
        """Also before its lease would have passed."""
        later = clock.now() + timedelta(seconds=1)
        async with store.begin() as repos:
            await repos.outbox.add("k", "a", queue="main", payload={}, at=clock.now())
            [item] = await repos.outbox.take("main", at=clock.now(), lease=LEASE, limit=10)
            await repos.outbox.retry(item.id, at=later, error=ODD_TEXT)
            assert await repos.outbox.take("main", at=later - timedelta(microseconds=1), lease=LEASE, limit=10) == []
            assert await repos.outbox.take("main", at=later, lease=LEASE, limit=10) == [replace(item, tries=1)]
