"""Migrations of a Postgres database."""

from __future__ import annotations

import asyncpg
import pytest

from orchestrator.stores.postgres.connect import Address
from orchestrator.stores.postgres.schema import migrate
from orchestrator.stores.postgres.store import PACKAGE
from tests.suites.migration_suite import MigrationSuite

pytestmark = pytest.mark.distributed
PROGRAM = """
from datetime import timedelta
from orchestrator.stores.postgres import open_postgres_store
async def main():
    async with open_postgres_store({url!r}, patience=timedelta(seconds=30)) as store:
        await store.check()
"""


class TestPostgresMigrations(MigrationSuite):
    package = PACKAGE

    @pytest.fixture
    def where(self, database):
        return database

    async def migrate(self, where, migrations):
        await migrate(Address.parse(where), migrations)

    async def query(self, where, sql):
        connection = await asyncpg.connect(where)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    def program(self, where):
        return PROGRAM.format(url=where)
