"""Whatever happens to jobs, and wherever an orchestrator dies, Postgres holds what the model says."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from orchestrator.stores.postgres import open_postgres_store
from orchestrator.telemetry.clock import SystemClock
from tests.fakes import FakeClock
from tests.stores.postgres.ticking import Ticking
from tests.suites.life_machine import LifeSuite

pytestmark = [pytest.mark.distributed, pytest.mark.torture]
PATIENCE = timedelta(seconds=5)
# A claim passes over what others keep, so it matters when the server has undone what a dead connection began.
BUSY = """SELECT COUNT(*) FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"""


class PostgresHome:
    """A database. Killed, an orchestrator leaves its connections as they are, without a goodbye."""

    def __init__(self, url: str, clock: FakeClock) -> None:
        self._url, self._clock = url, clock

    def open_store(self):
        return open_postgres_store(
            self._url,
            clock=SystemClock(),
            patience=PATIENCE,
            pool_size=3,
            dialect=Ticking(self._clock),
            reading=Ticking(self._clock, reads=True),
        )

    async def kill(self, store):
        store.pool.terminate()
        connection = await asyncpg.connect(self._url)
        try:
            while await connection.fetchval(BUSY):
                await asyncio.sleep(0.002)
        finally:
            await connection.close()


@pytest.mark.timeout(300)
class TestPostgresLife(LifeSuite):
    lives = 15

    @pytest.fixture(autouse=True)
    def _database(self, database):
        self.url = database

    def open_home(self, tmp_path, clock):
        return PostgresHome(self.url, clock)
