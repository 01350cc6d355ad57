"""Bring a Postgres database's schema up to date."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from orchestrator.stores.migrate import Applied, Migration, plan
from orchestrator.stores.postgres.connect import Address, connect
from orchestrator.stores.postgres.errors import OURS_TO_HANDLE, translate

# Held for one migration at a time, in this database alone.
_LOCK = 0x63726F6E69756D
_RECORDS = """CREATE TABLE IF NOT EXISTS migrations (
    number BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at BIGINT NOT NULL
)"""


async def migrate(address: Address, migrations: Sequence[Migration]) -> list[Migration]:
    """
    Apply what is missing, each migration in a transaction of its own; return what was applied here.

    Of two callers at once, one applies it. Raises `ConflictError` where the database is newer or was changed.
    """
    connection = await connect(address)
    applied: list[Migration] = []
    try:
        while missing := await _apply_next(connection, migrations):
            applied.append(missing)
    except OURS_TO_HANDLE as error:
        raise translate(error, address.where) from error
    finally:
        connection.terminate()
    return applied


async def _apply_next(
    connection: asyncpg.Connection[asyncpg.Record], migrations: Sequence[Migration]
) -> Migration | None:
    """Apply the first missing migration; None when there is none. What is missing is known under the lock only."""
    async with connection.transaction():
        # However long the other one takes.
        await connection.execute("SET LOCAL lock_timeout = 0")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_RECORDS)
        missing = plan(migrations, await _applied(connection))
        if not missing:
            return None
        await connection.execute(missing[0].sql, timeout=None)
        await connection.execute(
            """INSERT INTO migrations (number, name, checksum, applied_at)
                VALUES ($1, $2, $3, CAST(EXTRACT(EPOCH FROM statement_timestamp()) * 1000000 AS BIGINT))""",
            missing[0].number,
            missing[0].name,
            missing[0].checksum,
        )
        return missing[0]


async def _applied(connection: asyncpg.Connection[asyncpg.Record]) -> list[Applied]:
    rows = await connection.fetch("SELECT number, name, checksum FROM migrations ORDER BY number")
    return [Applied(number=number, name=name, checksum=checksum) for number, name, checksum in rows]
