"""Migrations of a Postgres database."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest

from orchestrator.stores.migrate import Migration, read_migrations
from orchestrator.stores.postgres import open_postgres_store
from orchestrator.stores.postgres.connect import Address
from orchestrator.stores.postgres.schema import migrate, rehearse
from orchestrator.stores.postgres.store import PACKAGE
from orchestrator.telemetry.clock import SystemClock
from tests.suites.store_first_light import FirstLightSuite

pytestmark = pytest.mark.distributed
PATIENCE = timedelta(seconds=5)
PROGRAM = """
from datetime import timedelta
from orchestrator.stores.postgres import open_postgres_store
from orchestrator.telemetry.clock import SystemClock
async def main():
    async with open_postgres_store({url!r}, clock=SystemClock(), patience=timedelta(seconds=30)) as store:
        await store.check()
"""


class TestPostgresMigrations(FirstLightSuite):
    package = PACKAGE

    @pytest.fixture
    def where(self, database):
        return database

    async def migrate(self, where, migrations):
        await migrate(Address.parse(where), migrations, SystemClock())

    async def query(self, where, sql):
        connection = await asyncpg.connect(where)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    def open_store(self, where):
        return open_postgres_store(where, clock=SystemClock(), patience=PATIENCE)

    def program(self, where):
        return PROGRAM.format(url=where)


def later(number, sql):
    return Migration(number=number, name=f"later_{number}", sql=sql)


async def rows_of(url, table):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(f"SELECT count(*) FROM {table}")
    finally:
        await connection.close()


async def test_a_rehearsal_says_what_would_happen_and_changes_nothing(database):
    migrations = read_migrations(PACKAGE)
    await migrate(Address.parse(database), migrations, SystemClock())
    one, two = (len(migrations) + step for step in (1, 2))
    more = [later(one, "CREATE TABLE extra (a BIGINT NOT NULL)"), later(two, "INSERT INTO extra VALUES (1), (2)")]
    for _ in range(2):
        done = await rehearse(Address.parse(database), [*migrations, *more], SystemClock())
        assert [step.number for step in done.steps] == [one, two]
        assert (done.failure, done.copy_bytes) == (None, None)
        assert "extra" not in done.before
        assert done.after["extra"] == 2
        assert done.after["migrations"] == done.before["migrations"] + 2
    with pytest.raises(asyncpg.UndefinedTableError):
        await rows_of(database, "extra")


async def test_a_migration_with_a_fault_is_named_by_a_rehearsal_and_nothing_is_changed(database):
    migrations = read_migrations(PACKAGE)
    await migrate(Address.parse(database), migrations, SystemClock())
    one, two = (len(migrations) + step for step in (1, 2))
    more = [later(one, "CREATE TABLE extra (a BIGINT NOT NULL)"), later(two, "INSERT INTO nowhere VALUES (1)")]
    done = await rehearse(Address.parse(database), [*migrations, *more], SystemClock())
    assert [step.number for step in done.steps] == [one]
    assert done.failure == f'Migration {two:04} (later_{two}) failed: relation "nowhere" does not exist.'
    assert await rows_of(database, "migrations") == len(migrations)


async def test_a_rehearsal_on_an_empty_database_leaves_it_empty(database):
    done = await rehearse(Address.parse(database), read_migrations(PACKAGE), SystemClock())
    assert [step.number for step in done.steps] == [migration.number for migration in read_migrations(PACKAGE)]
    with pytest.raises(asyncpg.UndefinedTableError):
        await rows_of(database, "migrations")
