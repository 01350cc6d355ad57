"""Bring a SQLite database's schema up to date. Blocking; called on a worker thread."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import apsw

from orchestrator.contracts.clock import Clock
from orchestrator.stores.codec import micros
from orchestrator.stores.migrate import Applied, Migration, plan
from orchestrator.stores.sqlite.errors import translate

log = logging.getLogger(__name__)

_RECORDS = """CREATE TABLE IF NOT EXISTS migrations (
    number INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT"""


def migrate(connection: apsw.Connection, migrations: Sequence[Migration], clock: Clock) -> None:
    """Apply what is missing, each migration in a transaction of its own. Of two callers at once, one applies it."""
    try:
        while _apply_next(connection, migrations, clock):
            pass
    except apsw.Error as error:
        raise translate(error, connection.filename or "memory") from error


def _apply_next(connection: apsw.Connection, migrations: Sequence[Migration], clock: Clock) -> bool:
    """Apply the first missing migration; False when there is none. What is missing is known under the lock only."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_RECORDS)
        missing = plan(migrations, _applied(connection))
        if missing:
            migration = missing[0]
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO migrations (number, name, checksum, applied_at) VALUES (?, ?, ?, ?)",
                (migration.number, migration.name, migration.checksum, micros(clock.now())),
            )
        connection.execute("COMMIT")
        if missing:
            log.info("migrated", extra={"store_driver": "sqlite", "migration": missing[0].name})
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return len(missing) > 1


def _applied(connection: apsw.Connection) -> list[Applied]:
    rows = connection.execute("SELECT number, name, checksum FROM migrations ORDER BY number").fetchall()
    return [Applied(number=int(str(number)), name=str(name), checksum=str(checksum)) for number, name, checksum in rows]
