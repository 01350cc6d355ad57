"""How blocks share commits, and what happens when a commit, a thread or a waiter fails."""

from __future__ import annotations

import asyncio

import apsw
import pytest

from orchestrator.errors import ConflictError, UnavailableError
from orchestrator.model.journal import EntryKind
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.stores.sqlite.connect import open_connection
from orchestrator.stores.sqlite.transaction import Transaction
from orchestrator.stores.sqlite.worker import open_worker
from orchestrator.stores.sqlite.writer import Writer
from tests.fakes import FakeClock

ADD = "INSERT INTO notes (text) VALUES ($1)"


class Watched:
    """A writer on a file, whose commits are counted and can be made to fail."""

    def __init__(self, path, worker) -> None:
        self.path = path
        self.connection = open_connection(path, FakeClock(), query_only=False)
        self.connection.execute("CREATE TABLE notes (text TEXT) STRICT")
        self.transaction = Transaction(self.connection)
        self.commits = 0
        self.refuse = False
        self.connection.set_commit_hook(self._commit)
        self.worker = worker

    def writer(self, max_blocks=256):
        return Writer(self.transaction, self.worker, max_blocks=max_blocks)

    def notes(self):
        connection = apsw.Connection(str(self.path))
        notes = [row[0] for row in connection.execute("SELECT text FROM notes ORDER BY rowid").fetchall()]
        connection.close()
        return notes

    def _commit(self):
        self.commits += 1
        return self.refuse


@pytest.fixture
async def watched(tmp_path):
    opened = []

    def close():
        for each in opened:
            each.transaction.close()

    async with open_worker("test", threads=1, close=close) as worker:
        opened.append(Watched(tmp_path / "notes.db", worker))
        yield opened[0]


async def add(writer, text):
    async with writer.block() as block:
        await block.change(ADD, text)


async def test_blocks_that_wait_for_each_other_share_commits(watched):
    writer = watched.writer()
    await asyncio.gather(*(add(writer, str(number)) for number in range(100)))
    assert watched.commits < 20
    assert watched.notes() == [str(number) for number in range(100)]


async def test_a_batch_has_a_limit(watched):
    writer = watched.writer(max_blocks=1)
    await asyncio.gather(*(add(writer, str(number)) for number in range(10)))
    assert watched.commits == 10


async def test_a_block_is_left_only_after_its_commit(watched):
    writer, seen = watched.writer(), []

    async def add_and_look(text):
        await add(writer, text)
        seen.append(text in watched.notes())

    await asyncio.gather(*(add_and_look(str(number)) for number in range(30)))
    assert seen == [True] * 30


async def test_when_a_commit_fails_every_block_of_the_batch_fails_and_the_next_one_works(watched):
    writer = watched.writer()
    watched.refuse = True

    async def add_and_fail():
        async with writer.block() as block:
            await block.change(ADD, "f")
            raise ValueError

    work = [add(writer, str(number)) for number in range(20)]
    results = await asyncio.gather(*work[:10], add_and_fail(), *work[10:], return_exceptions=True)
    assert not any(result is None for result in results)
    assert watched.notes() == []
    watched.refuse = False
    await add(writer, "after")
    assert watched.notes() == ["after"]


async def test_a_block_without_statements_commits_nothing(watched):
    async with watched.writer().block():
        pass
    assert watched.commits == 0


async def test_a_waiter_that_is_cancelled_when_its_turn_comes_commits_what_others_left(watched):
    """The holder counts on the waiter to commit; the waiter is cancelled in the very moment it gets the turn."""
    writer, tasks = watched.writer(), {}

    async def hold():
        async with writer.block() as block:
            await block.change(ADD, "held")
            tasks["waiter"] = asyncio.ensure_future(add(writer, "waiter"))
            while not writer._waiting:
                await asyncio.sleep(0)
            writer._pass_turn = pass_turn_and_cancel

    def pass_turn_and_cancel():
        del writer._pass_turn
        writer._pass_turn()
        tasks["waiter"].cancel()

    async with asyncio.timeout(20):
        await hold()
        with pytest.raises(asyncio.CancelledError):
            await tasks["waiter"]
        await add(writer, "after")
    assert watched.notes() == ["held", "after"]


async def test_the_only_waiter_cancelled_while_it_waits_leaves_no_transaction_open(watched):
    writer = watched.writer()

    async def hold():
        async with writer.block() as block:
            await block.change(ADD, "held")
            waiter = asyncio.ensure_future(add(writer, "waiter"))
            while not writer._waiting:
                await asyncio.sleep(0)
            waiter.cancel()  # it has not run again when this block ends

    async with asyncio.timeout(20):
        await hold()
    assert watched.notes() == ["held"]
    assert not watched.connection.in_transaction


async def test_a_block_cancelled_while_its_statement_runs_is_rolled_back_after_the_statement(watched):
    writer = watched.writer()
    long = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT MAX(i) FROM n"

    async def work():
        async with writer.block() as block:
            await block.change(ADD, "cancelled")
            running.set()
            await block.rows(long)

    running = asyncio.Event()
    async with asyncio.timeout(30):
        task = asyncio.ensure_future(work())
        await running.wait()
        await asyncio.sleep(0)
        task.cancel()
        task.cancel()
        await add(writer, "other")
        with pytest.raises(asyncio.CancelledError):
            await task
    assert watched.notes() == ["other"]


async def test_a_nested_block_is_refused_instead_of_waiting_for_itself(watched):
    writer = watched.writer()
    async with writer.block() as block:
        await block.change(ADD, "outer")
        with pytest.raises(ConflictError, match="nested"):
            await add(writer, "inner")
    assert watched.notes() == ["outer"]


async def test_a_block_that_has_ended_takes_no_more_statements(watched):
    async with watched.writer().block() as block:
        await block.change(ADD, "a")
    with pytest.raises(ConflictError, match="ended"):
        await block.change(ADD, "b")


async def test_a_turn_that_does_not_come_is_an_error(watched, monkeypatch):
    monkeypatch.setattr("orchestrator.stores.sqlite.writer.TURN_SECONDS", 0.05)
    writer = watched.writer()
    waiter = None
    async with writer.block() as block:
        await block.change(ADD, "held")
        waiter = asyncio.ensure_future(add(writer, "waiter"))
        await asyncio.wait({waiter}, timeout=20)
    with pytest.raises(UnavailableError) as refused:
        await waiter
    assert refused.value.code == "store_busy"
    assert watched.notes() == ["held"]


async def test_another_process_that_writes_too_long_is_an_error_and_later_all_is_well(tmp_path):
    path, clock = tmp_path / "cronium.db", FakeClock()
    async with open_sqlite_store(path, clock=clock, exclusive=False, busy_seconds=0.05) as store:
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError) as refused:
            await store.check()
        assert refused.value.code == "store_busy"
        other.execute("ROLLBACK")
        other.close()
        await store.check()


async def test_a_block_that_swallows_the_loss_of_its_transaction_fails_all_the_same(tmp_path):
    path, clock = tmp_path / "cronium.db", FakeClock()
    async with open_sqlite_store(path, clock=clock, exclusive=False, busy_seconds=0.05) as store:
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError):
            async with store.begin() as repos:
                with pytest.raises(UnavailableError):
                    await repos.jobs.count()
                other.execute("ROLLBACK")
                other.close()
        await store.check()


async def test_a_statement_that_finds_no_space_ends_the_transaction_for_good(watched):
    writer = watched.writer()
    await add(writer, "before")
    pages = watched.connection.pragma("page_count")
    watched.connection.pragma("max_page_count", pages)
    with pytest.raises(UnavailableError, match="space"):
        async with writer.block() as block:
            await block.change(ADD, "small")
            with pytest.raises(UnavailableError, match="space"):
                await block.change(ADD, "x" * 100_000)
    watched.connection.pragma("max_page_count", pages + 1000)
    await add(writer, "after")
    assert watched.notes() == ["before", "after"]


async def test_work_on_a_closed_store_is_an_error(tmp_path):
    async with open_sqlite_store(tmp_path / "cronium.db", clock=FakeClock(), exclusive=True) as store:
        pass
    with pytest.raises(UnavailableError):
        await store.check()
    async with store.read() as repos:
        with pytest.raises(UnavailableError):
            await repos.jobs.count()


async def test_a_block_that_is_open_when_the_store_closes_fails(tmp_path):
    clock, opened, closed = FakeClock(), asyncio.Event(), asyncio.Event()

    async def work(store):
        async with store.begin() as repos:
            await repos.journal.append("s", EntryKind.QUEUED, at=clock.now(), by="me")
            opened.set()
            await closed.wait()

    async with asyncio.timeout(20):
        async with open_sqlite_store(tmp_path / "cronium.db", clock=clock, exclusive=True) as store:
            task = asyncio.ensure_future(work(store))
            await opened.wait()
        closed.set()
        with pytest.raises(UnavailableError):
            await task
