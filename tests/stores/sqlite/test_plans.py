"""What runs often uses its index on SQLite, and does not look at all there is."""

from __future__ import annotations

from contextlib import closing

import apsw
import pytest

from orchestrator.stores.migrate import read_migrations
from orchestrator.stores.sqlite.connect import DIALECT, execute, open_connection
from orchestrator.stores.sqlite.schema import migrate
from orchestrator.stores.sqlite.store import PACKAGE
from tests.fakes import FakeClock
from tests.suites.store_statements import HOT_CALLS, SORTING, many_held_jobs, statement_of

MANY = 100_000
SERIES = f"(WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {MANY}) SELECT n FROM s)"


@pytest.fixture
def connection():
    with closing(open_connection(None, FakeClock(), query_only=False)) as connection:
        migrate(connection, read_migrations(PACKAGE), FakeClock())
        yield connection


@pytest.mark.parametrize("name", HOT_CALLS)
async def test_what_runs_often_uses_its_index(connection, name):
    call, index = HOT_CALLS[name]
    sql, args = await statement_of(call, DIALECT)
    steps = [str(row[3]) for row in execute(connection, f"EXPLAIN QUERY PLAN {sql}", args)]
    assert any(f"INDEX {one} " in step for step in steps for one in index.split("|")), steps
    small = ("due", "taken", "instances")  # tables of a statement's own, and one with a row for each server
    assert not any(step.startswith("SCAN") and step.split()[1] not in small for step in steps), steps
    assert name in SORTING or not any("TEMP B-TREE" in step for step in steps), steps


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("name", ["jobs.claim", "jobs.under_way", "jobs.next_held"])
async def test_a_hundred_thousand_held_jobs_of_a_key_are_not_looked_at(connection, name, analyzed):
    """Counted in the steps of SQLite's machine: far fewer than there are jobs."""
    connection.execute(many_held_jobs(SERIES))
    if analyzed:
        connection.execute("ANALYZE")
    connection.execute("UPDATE jobs SET held = 0 WHERE number % 20000 = 0")
    sql, args = await statement_of(HOT_CALLS[name][0], DIALECT)
    connection.execute("INSERT INTO job_documents SELECT id, '{}' FROM jobs WHERE number % 20000 < 10")
    steps = []
    connection.trace_v2(
        apsw.SQLITE_TRACE_PROFILE, lambda event: steps.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])
    )
    found = execute(connection, sql, args)
    connection.trace_v2(0, None)
    assert len(found) == (1 if name == "jobs.next_held" else 5)
    assert 0 < sum(steps) < MANY / 20
