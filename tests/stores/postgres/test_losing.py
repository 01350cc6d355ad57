"""Postgres goes away, under load and in the worst moment: nothing acknowledged is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from datetime import timedelta
from itertools import count

import asyncpg
import pytest

from orchestrator.errors import ConflictError, UnavailableError
from orchestrator.jobs.persist import persist
from orchestrator.model.journal import EntryKind
from orchestrator.stores.migrate import Migration
from orchestrator.stores.postgres import connect, open_postgres_store, transaction
from orchestrator.stores.postgres import store as store_module
from orchestrator.stores.postgres.connect import Address
from orchestrator.stores.postgres.schema import migrate
from orchestrator.telemetry.clock import SystemClock
from tests.fakes import FakeClock
from tests.servers import running_postgres
from tests.suites.store_suite import claim_all, get, insert, make_job, outcome

pytestmark = pytest.mark.distributed
PATIENCE = timedelta(seconds=5)
WRITERS = 6


@pytest.fixture
def server():
    """A cluster of this test's own, to be stopped."""
    with running_postgres() as server:
        yield server


async def eventually(look, what):
    async with asyncio.timeout(30):
        while True:
            with suppress(UnavailableError):
                if await look():
                    return
            await asyncio.sleep(0.02)
    raise AssertionError(what)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["restart", "crash"])
async def test_a_restart_under_load_loses_nothing_and_doubles_nothing(server, number):
    """Writers that try again until they are told that it is stored: each of their entries is there once, in order."""
    clock, stopping = FakeClock(), asyncio.Event()
    acknowledged = dict.fromkeys(range(WRITERS), 0)

    async def write(store, writer):
        for entry in count(1):
            if stopping.is_set():
                return

            async def append(entry=entry):
                async with store.begin() as repos:
                    await repos.journal.append(f"writer-{writer}", EntryKind.QUEUED, at=clock.now(), by=str(entry))
                    await repos.journal.append("shared", EntryKind.QUEUED, at=clock.now(), by=f"{writer}:{entry}")

            await persist(append)
            acknowledged[writer] = entry

    async with open_postgres_store(server.url(), clock=SystemClock(), patience=PATIENCE) as store:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for writer in range(WRITERS):
                tasks.create_task(write(store, writer))
            for _ in range(3):
                await _progress(acknowledged)
                await asyncio.to_thread(server.stop, number)
                with pytest.raises(UnavailableError):
                    await store.check()
                await asyncio.to_thread(server.start)
            await _progress(acknowledged)
            stopping.set()
        async with store.read() as repos:
            for writer, last in acknowledged.items():
                entries = await repos.journal.read(f"writer-{writer}", limit=1_000_000)
                assert [entry.by for entry in entries] == [str(entry) for entry in range(1, last + 1)]
            shared = await repos.journal.read("shared", limit=1_000_000)
        assert [entry.seq for entry in shared] == list(range(1, sum(acknowledged.values()) + 1))


async def _progress(acknowledged):
    """Wait until every writer has got on by 20 entries."""
    goal = {writer: done + 20 for writer, done in acknowledged.items()}

    async def reached():
        return all(acknowledged[writer] >= goal[writer] for writer in goal)

    await eventually(reached, "the writers to get on")


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not-committed"])
async def test_a_commit_whose_answer_was_lost_is_looked_up(database, committed):
    """The connection dies after COMMIT was sent, with or without its having happened."""
    clock = FakeClock()
    job = make_job(clock)
    async with open_postgres_store(database, clock=SystemClock(), patience=PATIENCE, pool_size=2) as store:
        block = store.begin()
        repos = await block.__aenter__()
        await repos.jobs.insert(job)
        real = repos.jobs.connection._connection

        class Losing:
            """The connection, whose COMMIT is never answered."""

            def __getattr__(self, name: str) -> object:
                return getattr(real, name)

            async def execute(self, sql):
                assert sql == "COMMIT"
                if committed:
                    await real.execute(sql)
                real.terminate()
                raise ConnectionResetError("the answer was lost")

        repos.jobs.connection._connection = Losing()
        if committed:
            await block.__aexit__(None, None, None)
            assert await get(store, job.id) == job
        else:
            with pytest.raises(UnavailableError):
                await block.__aexit__(None, None, None)
            await insert(store, job)  # as if it had never been tried


async def test_a_claim_survives_a_restart_and_is_finished_after_it(server):
    clock = FakeClock()
    async with open_postgres_store(server.url(), clock=SystemClock(), patience=PATIENCE) as store:
        await insert(store, make_job(clock))
        [claim] = await claim_all(store)
        await asyncio.to_thread(server.stop, signal.SIGQUIT)
        finishing = asyncio.ensure_future(persist(lambda: _finish(store, claim, clock)))
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(30):
            job = await finishing
        assert job.status.is_final
        assert (await get(store, job.id)).status is job.status


async def _finish(store, claim, clock):
    async with store.begin() as repos:
        return await repos.jobs.finish(claim, outcome(clock))


async def test_while_it_is_away_everything_says_so_at_once_and_neutrally(server):
    """M29: nothing of the driver comes out, and nobody waits for long."""
    clock = FakeClock()
    async with open_postgres_store(server.url(), clock=SystemClock(), patience=PATIENCE) as store:
        await insert(store, make_job(clock))
        await asyncio.to_thread(server.stop, signal.SIGQUIT)
        for work in (store.check(), insert(store, make_job(clock)), claim_all(store), get(store, "job_1")):
            with pytest.raises(UnavailableError) as refused:
                await work
            assert refused.value.code == "store_unavailable"
            assert f"127.0.0.1:{server.port}" in str(refused.value)


async def test_a_broken_connection_is_replaced(database, postgres):
    clock = FakeClock()
    async with open_postgres_store(database, clock=SystemClock(), patience=PATIENCE, pool_size=3) as store:
        for _ in range(3):
            postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cronium'")
            job = make_job(clock)
            await eventually(lambda job=job: _inserted(store, job), "the pool to mend")
            assert await get(store, job.id) == job


async def _inserted(store, job):
    await insert(store, job)
    return True


async def test_what_holds_a_row_too_long_is_given_up(database):
    """Another client sits on the row: after the lock timeout the block is refused, and works when tried again."""
    clock = FakeClock()
    async with open_postgres_store(database, clock=SystemClock(), patience=PATIENCE) as store:
        await insert(store, make_job(clock))
        [claim] = await claim_all(store)
        other = await asyncpg.connect(database)
        async with other.transaction():
            await other.execute("SELECT 1 FROM jobs FOR UPDATE")
            with pytest.raises(UnavailableError) as refused:
                async with store.begin() as repos:
                    await repos.jobs.connection.rows("SELECT set_config('lock_timeout', '50ms', true)")
                    await repos.jobs.finish(claim, outcome(clock))
        assert refused.value.code == "store_busy"
        assert (await _finish(store, claim, clock)).status.is_final
        await other.close()


async def test_a_server_that_freezes_is_an_error_of_ours_and_nothing_hangs(server, monkeypatch):
    """It neither answers nor hangs up: every call ends with its own limit, the way out of a block included."""
    monkeypatch.setattr(connect, "COMMAND_SECONDS", 0.3)
    monkeypatch.setattr(transaction, "UNDO_SECONDS", 0.2)
    monkeypatch.setattr(store_module, "RELEASE_SECONDS", 0.2)
    clock = FakeClock()
    async with open_postgres_store(server.url(), clock=SystemClock(), patience=PATIENCE, pool_size=2) as store:
        await insert(store, make_job(clock))
        server.stop(signal.SIGSTOP)
        try:
            for work in (store.check(), insert(store, make_job(clock)), get(store, "job_1")):
                with pytest.raises(UnavailableError):
                    async with asyncio.timeout(20):
                        await work
        finally:
            server.stop(signal.SIGCONT)
        job = make_job(clock)
        await eventually(lambda: _inserted(store, job), "the store to be back")
        assert await get(store, job.id) == job


async def test_blocks_cancelled_at_any_moment_leave_their_connections_in_order(database, caplog):
    clock = FakeClock()

    async def write(store):
        async with store.begin() as repos:
            await repos.journal.append("s", EntryKind.QUEUED, at=clock.now(), by="me")

    async with open_postgres_store(database, clock=SystemClock(), patience=PATIENCE, pool_size=2) as store:
        for turns in range(120):
            task = asyncio.ensure_future(write(store))
            for _ in range(turns % 40):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(*(insert(store, make_job(clock)) for _ in range(4)))
        assert store.markers._made <= 3
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_migration_may_take_longer_than_a_statement(database, monkeypatch):
    monkeypatch.setattr(connect, "COMMAND_SECONDS", 0.1)
    slow = Migration(number=1, name="slow", sql="SELECT pg_sleep(0.4); CREATE TABLE slow (a BIGINT)")
    both = await asyncio.gather(*(migrate(Address.parse(database), [slow], SystemClock()) for _ in range(2)))
    assert sorted(len(steps) for steps in both) == [0, 1]


async def test_an_error_of_the_caller_leaves_the_store_as_it_is(database):
    with pytest.raises(ConflictError, match="mine"):
        async with open_postgres_store(database, clock=SystemClock(), patience=PATIENCE):
            raise ConflictError("mine")
