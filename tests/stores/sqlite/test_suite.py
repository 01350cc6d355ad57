"""SQLite keeps what every store promises, in a file and in memory."""

from __future__ import annotations

import pytest

from orchestrator.errors import NotFoundError
from orchestrator.stores.sqlite import open_sqlite_store
from tests.suites.store_suite import StoreSuite, get, insert, make_job


class TestSqliteFile(StoreSuite):
    def open_store(self, tmp_path, clock):
        return open_sqlite_store(tmp_path / "data" / "cronium.db", clock=clock, exclusive=True)


class TestSqliteMemory(StoreSuite):
    def open_store(self, tmp_path, clock):
        return open_sqlite_store(None, clock=clock, exclusive=True)

    async def test_what_was_committed_is_there_when_the_store_is_opened_again(self, tmp_path, clock):
        """Not so in memory, which forgets."""
        job = make_job(clock)
        async with self.open_store(tmp_path, clock) as store:
            await insert(store, job)
        async with self.open_store(tmp_path, clock) as store:
            with pytest.raises(NotFoundError):
                await get(store, job.id)
