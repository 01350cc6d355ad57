"""Postgres keeps what every store promises."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.stores.postgres import open_postgres_store
from orchestrator.telemetry.clock import SystemClock
from tests.stores.postgres.ticking import Ticking
from tests.suites.store_suite import StoreSuite

pytestmark = pytest.mark.distributed
PATIENCE = timedelta(seconds=5)


class TestPostgres(StoreSuite):
    @pytest.fixture(autouse=True)
    def _database(self, database):
        self.url = database

    def open_store(self, tmp_path, clock):
        return open_postgres_store(
            self.url, clock=SystemClock(), patience=PATIENCE, dialect=Ticking(clock), reading=Ticking(clock, reads=True)
        )
