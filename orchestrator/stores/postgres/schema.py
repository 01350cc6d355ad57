"""Bring a Postgres database's schema up to date."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg

from orchestrator.contracts.clock import Clock
from orchestrator.model.upkeep import AppliedStep, Rehearsal
from orchestrator.stores.migrate import Applied, Migration, plan
from orchestrator.stores.postgres.connect import Address, connect
from orchestrator.stores.postgres.errors import OURS_TO_HANDLE, translate

Session: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
log = logging.getLogger(__name__)

# Held for one migration at a time, in this database alone.
_LOCK = 0x63726F6E69756D
_RECORDS = """CREATE TABLE IF NOT EXISTS migrations (
    number BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at BIGINT NOT NULL
)"""


async def migrate(address: Address, migrations: Sequence[Migration], clock: Clock) -> tuple[AppliedStep, ...]:
    """
    Apply what is missing, each migration in a transaction of its own; return what was applied here.

    Of two callers at once, one applies it. Raises `ConflictError` where the database is newer or was changed.
    """
    applied: list[AppliedStep] = []
    async with _connection(address) as connection:
        while True:
            async with connection.transaction():
                missing = await _missing(connection, migrations)
                if not missing:
                    return tuple(applied)
                applied.append(await _apply(connection, missing[0], clock))
            log.info("migrated", extra={"store_driver": "postgres", "migration": missing[0].name})


async def rehearse(address: Address, migrations: Sequence[Migration], clock: Clock) -> Rehearsal:
    """
    Apply what is missing in one transaction and roll it back: Postgres can undo changes of the schema.

    Nothing is copied; a server that works on the database waits meanwhile. A migration that fails is a result.
    """
    async with _connection(address) as connection:
        undone = connection.transaction()
        await undone.start()
        try:
            return await _try_all(connection, migrations, clock)
        finally:
            await undone.rollback()


async def _try_all(connection: Session, migrations: Sequence[Migration], clock: Clock) -> Rehearsal:
    missing = await _missing(connection, migrations)
    before = await _row_counts(connection)
    steps: list[AppliedStep] = []
    failure: str | None = None
    for migration in missing:
        try:
            steps.append(await _apply(connection, migration, clock))
        except asyncpg.PostgresError as error:
            failure = f"Migration {migration.number:04d} ({migration.name}) failed: {error}."
            break
    after = {} if failure else await _row_counts(connection)
    return Rehearsal(
        steps=tuple(steps), failure=failure, before=before, after=after, copy_bytes=None, copy_seconds=None
    )


@asynccontextmanager
async def _connection(address: Address) -> AsyncIterator[Session]:
    connection = await connect(address, command_seconds=None)
    try:
        yield connection
    except OURS_TO_HANDLE as error:
        raise translate(error, address.where) from error
    finally:
        connection.terminate()


async def _missing(connection: Session, migrations: Sequence[Migration]) -> list[Migration]:
    """What is to be applied. Nobody else applies anything before the transaction ends."""
    await connection.execute("SET LOCAL lock_timeout = 0")  # however long another one takes
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    await connection.execute(_RECORDS)
    return plan(migrations, await _applied(connection))


async def _apply(connection: Session, migration: Migration, clock: Clock) -> AppliedStep:
    began = clock.monotonic()
    await connection.execute(migration.sql)
    await connection.execute(
        """INSERT INTO migrations (number, name, checksum, applied_at)
            VALUES ($1, $2, $3, CAST(EXTRACT(EPOCH FROM statement_timestamp()) * 1000000 AS BIGINT))""",
        migration.number,
        migration.name,
        migration.checksum,
    )
    return AppliedStep(number=migration.number, name=migration.name, seconds=clock.monotonic() - began)


async def _row_counts(connection: Session) -> dict[str, int]:
    tables = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
    )
    return {name: await connection.fetchval(f'SELECT count(*) FROM "{name}"') for (name,) in tables}


async def _applied(connection: Session) -> list[Applied]:
    rows = await connection.fetch("SELECT number, name, checksum FROM migrations ORDER BY number")
    return [Applied(number=number, name=name, checksum=checksum) for number, name, checksum in rows]
