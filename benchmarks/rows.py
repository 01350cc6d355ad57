"""Jobs by the hundred thousand, written straight into a database: the same rows in SQLite and in Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import apsw
import asyncpg

from orchestrator.model.specs import JobSpec, Language, Script
from orchestrator.stores.documents import job_document
from orchestrator.stores.postgres import open_postgres_store
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.telemetry.clock import SystemClock
from tests.servers import Postgres

CLOCK = SystemClock()
QUEUE = "bench"
PATIENCE = timedelta(seconds=10)
AT_ONCE = 100_000
SPEC = JobSpec(script=Script(language=Language.BASH, text="echo hello"))
QUEUED = "'queued'"
FINAL = "CASE WHEN i % 10 = 0 THEN 'failed' WHEN i % 10000 = 1 THEN 'timed_out' ELSE 'succeeded' END"


def statements(count: int, status: str, *, first: int = 1) -> Iterator[str]:
    """SQL for `count` jobs with documents and the beginning of a journal, as submitting leaves them, twenty to a run."""
    document = job_document(SPEC, {"number": 1}).replace("'", "''")
    for begin in range(first, first + count, AT_ONCE):
        last = min(begin + AT_ONCE, first + count) - 1
        numbers = (
            f"WITH RECURSIVE n (i) AS (SELECT CAST({begin} AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
        )
        name = "'job_' || (100000000000 + i)"
        yield f"""INSERT INTO jobs (id, status, queue, executor, trigger_kind, priority, created_at, attempt,
                                    run_id, step, log_lines, log_bytes, log_omitted)
            {numbers} SELECT {name}, {status}, '{QUEUE}', 'process', 'api', 0, 1700000000000000 + i * 1000, 0,
                             'run_' || (100000000000 + i / 20), 'step_' || (i % 20), 0, 0, 0 FROM n"""
        yield f"INSERT INTO job_documents (job_id, document) {numbers} SELECT {name}, '{document}' FROM n"
        if status == QUEUED:
            yield f"""INSERT INTO journal (subject, seq, at, kind, by_whom, data)
                {numbers} SELECT {name}, 1, 1700000000000000, 'queued', 'bench', '{{}}' FROM n"""


async def fill_sqlite(path: Path, count: int, status: str, *, first: int = 1) -> None:
    """Nobody has the store open meanwhile."""
    async with open_sqlite_store(path, clock=CLOCK, exclusive=True):
        pass
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("synchronous", "OFF")
        connection.pragma("cache_size", -200_000)
        for statement in statements(count, status, first=first):
            connection.execute(statement)


async def fill_postgres(url: str, count: int, status: str, *, first: int = 1) -> None:
    """References are not looked up meanwhile; the statistics are those that autovacuum would have made."""
    async with open_postgres_store(url, clock=CLOCK, patience=PATIENCE):
        pass
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET session_replication_role = replica; SET synchronous_commit = off")
        for statement in statements(count, status, first=first):
            await connection.execute(statement, timeout=120)
        await connection.execute(
            "INSERT INTO journal_heads (subject, last_seq) SELECT subject, MAX(seq) FROM journal GROUP BY subject"
            " ON CONFLICT DO NOTHING",
            timeout=120,
        )
        await connection.execute("VACUUM ANALYZE jobs", timeout=120)
        await connection.execute("VACUUM ANALYZE job_documents", timeout=120)
    finally:
        await connection.close()


def new_database(server: Postgres) -> str:
    return server.url(server.create_database())
