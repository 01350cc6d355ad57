"""Opening a SQLite store: files and their modes, settings, migrations, and what is refused."""

from __future__ import annotations

import asyncio
import os
import stat
from datetime import timedelta

import apsw
import pytest

from orchestrator.errors import ConflictError, InvalidError, UnavailableError
from orchestrator.model.specs import ExecutorKind
from orchestrator.stores.migrate import read_migrations
from orchestrator.stores.sql.connection import Row, Value
from orchestrator.stores.sql.jobs import SqlJobs
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.stores.sqlite.connect import DIALECT, execute, open_connection
from tests.fakes import FakeClock
from tests.suites.store_making import get, insert, make_job


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "cronium.db"


def open_(path, *, exclusive=True):
    return open_sqlite_store(path, clock=FakeClock(), exclusive=exclusive)


def change_file(path, sql):
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()


async def test_directory_and_files_are_for_their_owner_alone(path):
    async with open_(path) as store:
        await store.check()
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(("cronium.db", "cronium.db-wal", "cronium.db-shm", "cronium.db.lock"), 0o600)


async def test_the_first_opening_makes_and_migrates_the_database_and_the_second_uses_it(path):
    """M23: for its owner alone, however generous the account's umask is."""
    before = os.umask(0)
    try:
        clock = FakeClock()
        job = make_job(clock)
        async with open_(path) as store:
            await insert(store, job)
        for name, mode in (("", 0o700), ("cronium.db", 0o600)):
            assert stat.S_IMODE((path.parent / name).stat().st_mode) == mode
        inode = path.stat().st_ino
        async with open_(path) as store:
            assert await get(store, job.id) == job
        assert path.stat().st_ino == inode
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


async def test_every_connection_has_the_settings_that_keep_data_safe(path):
    async with open_(path):
        for query_only in (False, True):
            connection = open_connection(path, FakeClock(), query_only=query_only)
            names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "query_only")
            assert [connection.pragma(name) for name in names] == ["wal", 2, 1, 5000, int(query_only)]
            connection.close()


async def test_an_edited_migration_is_refused(path):
    async with open_(path):
        pass
    change_file(path, "UPDATE migrations SET checksum = 'other' WHERE number = 1")
    with pytest.raises(ConflictError, match=r"0001 \(first_light\) has changed") as refused:
        async with open_(path):
            pass
    assert refused.value.code == "migration_changed"


async def test_a_database_newer_than_the_code_is_refused_and_not_touched(path):
    async with open_(path):
        pass
    change_file(path, "INSERT INTO migrations VALUES (9999, 'from_the_future', 'x', 0)")
    with pytest.raises(ConflictError, match="newer Cronium") as refused:
        async with open_(path):
            pass
    assert refused.value.code == "database_newer"


async def test_of_openers_at_once_one_migrates(path):
    async def open_and_close():
        async with open_(path, exclusive=False) as store:
            await store.check()

    await asyncio.gather(*(open_and_close() for _ in range(6)))
    connection = apsw.Connection(str(path))
    recorded = connection.execute("SELECT number FROM migrations").fetchall()
    connection.close()
    assert recorded == [(migration.number,) for migration in read_migrations("orchestrator.stores.sqlite")]


async def test_a_failed_migration_leaves_nothing_behind(path, monkeypatch):
    good = read_migrations("orchestrator.stores.sqlite")
    async with open_(path):
        pass
    bad = type(good[0])(number=len(good) + 1, name="bad", sql="CREATE TABLE half (a); SELECT nonsense")
    monkeypatch.setattr("orchestrator.stores.sqlite.store.read_migrations", lambda _: [*good, bad])
    with pytest.raises(Exception, match="nonsense"):
        async with open_(path):
            pass
    monkeypatch.undo()
    async with open_(path) as store:
        await store.check()
    connection = apsw.Connection(str(path))
    assert connection.execute("SELECT name FROM sqlite_schema WHERE name = 'half'").fetchall() == []
    connection.close()


@pytest.mark.parametrize("content", [b"this is no database, whatever its name says" * 100, b"SQLite format 3\0" * 300])
async def test_a_file_that_is_no_database_is_refused_and_not_touched(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UnavailableError, match=r"cronium\.db") as refused:
        async with open_(path):
            pass
    assert refused.value.code == "store_unavailable"
    assert path.read_bytes() == content


async def test_a_path_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="file/cronium"):
        async with open_(tmp_path / "file" / "cronium.db"):
            pass


def test_placeholders_out_of_order_are_a_fault():
    connection = open_connection(None, FakeClock(), query_only=False)
    assert execute(connection, "SELECT $1, $2, $1", ("a", "b")) == [("a", "b", "a")]
    with pytest.raises(InvalidError, match="rising"):
        execute(connection, "SELECT $2, $1", ("a", "b"))
    connection.close()


HOT_QUERIES = {
    "UPDATE jobs SET lease_until = 1 WHERE owner = 'o' AND status = 'running'": "jobs_leased",
    "SELECT id FROM jobs WHERE token_digest = x'00' AND status = 'running'": "jobs_token",
    "SELECT status, COUNT(*) FROM jobs GROUP BY status": "jobs_status",
    "SELECT id FROM jobs WHERE status = 'failed' ORDER BY number DESC LIMIT 5": "jobs_status",
    "SELECT id FROM runs WHERE queue = 'q' AND status IN ('queued', 'running', 'waiting') ORDER BY number": (
        "runs_unfinished"
    ),
}


def steps_of(path, sql, args=()):
    connection = open_connection(path, FakeClock(), query_only=True)
    steps = [str(row[3]) for row in execute(connection, f"EXPLAIN QUERY PLAN {sql}", args)]
    connection.close()
    return steps


@pytest.mark.parametrize(("sql", "index"), HOT_QUERIES.items(), ids=HOT_QUERIES.values())
async def test_what_runs_often_uses_its_index_and_does_not_sort(path, sql, index):
    async with open_(path):
        steps = steps_of(path, sql)
    assert any(index in step for step in steps)
    assert not any("TEMP B-TREE" in step for step in steps)


async def test_claiming_looks_only_at_the_jobs_it_takes(path):
    statements = []

    class Noting:
        async def rows(self, sql: str, *args: Value) -> list[Row]:
            statements.append((sql, args))
            return []

    jobs = SqlJobs(Noting(), DIALECT)
    await jobs.claim("one", "main", {ExecutorKind.PROCESS: 5}, lease=timedelta(seconds=15))
    async with open_(path):
        steps = steps_of(path, *statements[0])
    assert "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)" in steps
    assert any("jobs_to_claim" in step for step in steps)
    assert not any("jobs_status" in step or "TEMP B-TREE" in step for step in steps)
