"""What runs often uses its index on Postgres, whatever its statistics say, and does not look at all there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from orchestrator.stores.migrate import read_migrations
from orchestrator.stores.postgres.connect import Address
from orchestrator.stores.postgres.schema import migrate
from orchestrator.stores.postgres.store import DIALECT, PACKAGE
from orchestrator.stores.sql.connection import Value
from orchestrator.telemetry.clock import SystemClock
from tests.suites.store_statements import HOT_CALLS, many_held_jobs, statement_of

pytestmark = pytest.mark.distributed
MANY = 100_000
SERIES = f"generate_series(1, {MANY}) AS s (n)"
OLD = f"""INSERT INTO jobs (id, status, queue, executor, trigger_kind, priority, created_at, attempt,
        log_lines, log_bytes, log_omitted)
    SELECT 'old_' || n, 'succeeded', 'main', 'process', 'api', 0, n, 1, 0, 0, 0 FROM {SERIES}"""


@pytest.fixture
async def connection(database):
    await migrate(Address.parse(database), read_migrations(PACKAGE), SystemClock())
    connection = await asyncpg.connect(database)
    for table in ("jobs", "events", "outbox"):  # the statistics are those that a test makes
        await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    yield connection
    await connection.close()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def literal(value: Value) -> str:
    return str(value) if isinstance(value, int) else f"'{value}'"


async def explain(connection, name: str, *, run: bool = False) -> dict[str, Any]:
    """The plan of a call as a prepared statement has it after a while: one for all values; `run` also counts pages."""
    sql, args = await statement_of(HOT_CALLS[name][0], DIALECT)
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE asked AS {sql}")
        values = ", ".join(literal(value) for value in args)
        options = "ANALYZE, BUFFERS, FORMAT JSON" if run else "FORMAT JSON"
        found = await connection.fetchval(f"EXPLAIN ({options}) EXECUTE asked ({values})")
        await connection.execute("DEALLOCATE asked")
    finally:
        await transaction.rollback()
    plan: dict[str, Any] = json.loads(found)[0]["Plan"]
    return plan


def indexes(plan: dict[str, Any]) -> set[str]:
    return {node["Index Name"] for node in nodes(plan) if "Index Name" in node}


@pytest.mark.parametrize("name", HOT_CALLS)
async def test_what_runs_often_can_use_its_index(connection, name):
    """Also in tables as small as these, where Postgres would rather read the whole table."""
    await connection.execute("SET enable_seqscan = off")
    plan = await explain(connection, name)
    assert indexes(plan) & set(HOT_CALLS[name][1].split("|")), plan


async def test_a_hundred_thousand_held_jobs_of_a_key_are_not_looked_at(connection):
    """Counted in pages; with statistics of a time when nothing was held, and with those of now."""
    await connection.execute(OLD)
    await connection.execute("VACUUM ANALYZE jobs")
    await connection.execute(many_held_jobs(SERIES))
    await connection.execute("UPDATE jobs SET held = 0 WHERE concurrency_key IS NOT NULL AND created_at % 20000 = 0")
    for statistics in ("old", "new"):
        for name, found in (("jobs.claim", 5), ("jobs.under_way", 5), ("jobs.next_held", 1)):
            plan = await explain(connection, name, run=True)
            assert plan["Actual Rows"] == found, name
            assert HOT_CALLS[name][1] in indexes(plan), (name, statistics, plan)
            assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 500, (name, statistics, plan)
        await connection.execute("VACUUM ANALYZE jobs")
