"""Migrations of a SQLite database."""

from __future__ import annotations

import asyncio
from contextlib import closing

import apsw
import pytest

from orchestrator.stores.migrate import read_migrations
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.stores.sqlite.connect import open_connection
from orchestrator.stores.sqlite.schema import migrate
from orchestrator.stores.sqlite.store import PACKAGE
from tests.fakes import FakeClock
from tests.suites.store_first_light import FirstLightSuite

PROGRAM = """
from pathlib import Path
from orchestrator.stores.sqlite import open_sqlite_store
from tests.fakes import FakeClock
async def main():
    async with open_sqlite_store(Path({path!r}), clock=FakeClock(), exclusive=False) as store:
        await store.check()
"""


class TestSqliteMigrations(FirstLightSuite):
    package = PACKAGE

    @pytest.fixture
    def where(self, tmp_path):
        return tmp_path / "cronium.db"

    async def migrate(self, where, migrations):
        def apply() -> None:
            with closing(open_connection(where, FakeClock(), query_only=False)) as connection:
                migrate(connection, migrations, FakeClock())

        await asyncio.to_thread(apply)

    async def query(self, where, sql):
        with closing(apsw.Connection(str(where))) as connection:
            return connection.execute(sql).fetchall()

    def open_store(self, where):
        return open_sqlite_store(where, clock=FakeClock(), exclusive=True)

    def program(self, where):
        return PROGRAM.format(path=str(where))


def test_migrating_takes_the_lock_of_the_file_and_no_other(tmp_path):
    """M18: SQLite has no advisory locks; the write lock of a transaction is taken before anything is looked at."""
    statements: list[str] = []
    with closing(open_connection(tmp_path / "cronium.db", FakeClock(), query_only=False)) as connection:
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: statements.append(event["sql"]))
        migrate(connection, read_migrations(PACKAGE), FakeClock())
        migrate(connection, read_migrations(PACKAGE), FakeClock())
        connection.trace_v2(0, None)
    assert statements[0] == "BEGIN IMMEDIATE"
    assert statements.count("BEGIN IMMEDIATE") == statements.count("COMMIT") == len(read_migrations(PACKAGE)) + 1
    assert [sql for sql in statements if "advisory" in sql.lower() or "locking_mode" in sql.lower()] == []
    assert [path.name for path in tmp_path.iterdir()] == ["cronium.db"]
