"""Every connection to a SQLite database has the settings that keep data safe (M15)."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, closing

import pytest

from orchestrator.errors import ConflictError, CroniumError
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.stores.sqlite.connect import execute, open_connection
from orchestrator.stores.sqlite.readers import READERS
from tests.fakes import FakeClock
from tests.suites.store_making import get, insert, make_job

PRAGMAS = {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2}
ORPHANS = [
    "INSERT INTO job_documents (job_id, document) VALUES ('job_nowhere', '{}')",
    "INSERT INTO log_chunks (job_id, first_seq, last_seq, attempt, data) VALUES ('job_nowhere', 1, 1, 1, x'00')",
]
SETTINGS = "SELECT j.journal_mode, f.foreign_keys, s.synchronous, b.timeout FROM pragma_journal_mode j, "
SETTINGS += "pragma_foreign_keys f, pragma_synchronous s, pragma_busy_timeout b"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cronium.db"


async def test_more_connections_than_the_pool_has_all_have_the_settings_and_refuse_orphans(path):
    """M15: opened at once from as many threads; an orphan fails on all of them."""
    async with open_sqlite_store(path, clock=FakeClock(), exclusive=True):

        def use(*, query_only: bool) -> dict[str, object]:
            with closing(open_connection(path, FakeClock(), query_only=query_only)) as connection:
                for orphan in ORPHANS:
                    with pytest.raises(CroniumError if query_only else ConflictError):
                        execute(connection, orphan, ())
                return {name: connection.pragma(name) for name in (*PRAGMAS, "busy_timeout", "query_only")}

        found = await asyncio.gather(
            *(asyncio.to_thread(use, query_only=number % 2 == 1) for number in range(4 * (READERS + 1)))
        )
    assert found == [PRAGMAS | {"busy_timeout": 5000, "query_only": number % 2} for number in range(4 * (READERS + 1))]


async def test_the_connections_that_a_store_works_with_have_the_settings(path):
    """M15: asked through the store itself, more often at once than it has connections."""
    async with open_sqlite_store(path, clock=FakeClock(), exclusive=True) as store:

        async def ask_reader() -> list[tuple]:
            async with store.read() as repos:
                return await repos.jobs.connection.rows(SETTINGS)

        async def ask_writer() -> list[tuple]:
            async with store.begin() as repos:
                return await repos.jobs.connection.rows(SETTINGS)

        found = await asyncio.gather(*(ask() for _ in range(20) for ask in (ask_reader, ask_writer)))
        assert found == [[("wal", 1, 2, 5000)]] * 40
        for orphan in ORPHANS:
            with pytest.raises(ConflictError):
                async with store.begin() as repos:
                    await repos.jobs.connection.change(orphan)


async def test_the_wait_for_other_processes_can_be_chosen(path):
    """M15: 5 s unless the caller says otherwise; it holds on the writing and the reading connections."""
    async with open_sqlite_store(path, clock=FakeClock(), exclusive=True, busy_seconds=1.25) as store:
        async with store.begin() as repos:
            written = await repos.jobs.connection.rows("SELECT timeout FROM pragma_busy_timeout")
        async with store.read() as repos:
            read = await repos.jobs.connection.rows("SELECT timeout FROM pragma_busy_timeout")
    assert written == read == [(1250,)]


async def test_what_belongs_to_a_job_goes_with_it_on_every_connection(path):
    """M20: deleting a job takes its document and its lines along, and nothing of other jobs."""
    clock = FakeClock()
    jobs = [make_job(clock) for _ in range(6)]
    async with open_sqlite_store(path, clock=clock, exclusive=True) as store:
        await insert(store, *jobs)
        with ExitStack() as opened:
            for job in jobs[:5]:
                connection = opened.enter_context(closing(open_connection(path, clock, query_only=False)))
                execute(connection, ORPHANS[1].replace("job_nowhere", job.id), ())
                execute(connection, "DELETE FROM jobs WHERE id = $1", (job.id,))
                for table in ("job_documents", "log_chunks"):
                    assert execute(connection, f"SELECT * FROM {table} WHERE job_id = $1", (job.id,)) == []
                assert execute(connection, "PRAGMA foreign_key_check", ()) == []
        assert await get(store, jobs[5].id) == jobs[5]
