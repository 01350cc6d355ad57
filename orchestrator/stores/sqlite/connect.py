"""SQLite connections: how they are opened, and how one statement runs. Blocking; called on worker threads."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import apsw

from orchestrator.contracts.clock import Clock
from orchestrator.errors import CroniumError, InvalidError
from orchestrator.stores.codec import micros
from orchestrator.stores.sql.connection import Dialect, Row, Value
from orchestrator.stores.sqlite.errors import store_unavailable, translate

BUSY_SECONDS = 5.0
DIALECT = Dialect(
    now="cronium_now()",
    for_update="",
    skip_locked="",
    append_to_journal="""INSERT INTO journal (subject, at, kind, by_whom, data, seq)
        SELECT $1, $2, $3, $4, $5, COALESCE(MAX(seq), 0) + 1 FROM journal WHERE subject = $1""",
)
_STATEMENTS_KEPT = 256
_PLACEHOLDER = re.compile(r"\$([0-9]+)")


def prepare_file(path: Path) -> None:
    """Make the database's directory and file where they are not there, for their owner alone."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its -wal and -shm files the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise store_unavailable(f"{path} cannot be used ({error.strerror}): check its disk and permissions.") from error


def open_connection(
    path: Path | None, clock: Clock, *, query_only: bool, busy_seconds: float = BUSY_SECONDS
) -> apsw.Connection:
    """
    Open the database with the settings that every connection needs; None is a new one in memory.

    A statement waits up to `busy_seconds` for what other processes write.
    """
    where = str(path or "memory")
    try:
        connection = apsw.Connection(str(path or ":memory:"), statementcachesize=_STATEMENTS_KEPT)
    except apsw.Error as error:
        raise translate(error, where) from error
    try:
        _configure(connection, query_only=query_only, busy_seconds=busy_seconds)
    except (apsw.Error, CroniumError) as error:
        connection.close()
        raise error if isinstance(error, CroniumError) else translate(error, where) from error

    def now(*_arguments: object) -> int:
        return micros(clock.now())

    connection.create_scalar_function("cronium_now", now, 0)
    return connection


def _configure(connection: apsw.Connection, *, query_only: bool, busy_seconds: float) -> None:
    connection.set_busy_timeout(int(busy_seconds * 1000))
    # Before WAL: entering it is one of the few steps that may find a lock without waiting for it.
    mode = _patiently(lambda: connection.pragma("journal_mode", "wal"), busy_seconds)
    if mode not in ("wal", "memory"):
        raise store_unavailable(
            f"{connection.filename} lies on a file system without shared memory (journal mode {mode}): "
            "put the data directory on a local disk."
        )
    connection.pragma("synchronous", "FULL")
    connection.pragma("foreign_keys", True)
    connection.pragma("temp_store", "MEMORY")
    connection.pragma("journal_size_limit", 64 * 1024 * 1024)
    connection.pragma("query_only", query_only)


def _patiently(step: Callable[[], object], seconds: float) -> object:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return step()
        except apsw.BusyError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)


def execute(connection: apsw.Connection, sql: str, args: Sequence[Value]) -> list[Row]:
    """Run one statement to its end. Raises errors of ours only."""
    _require_rising_placeholders(sql)
    try:
        return connection.execute(sql, tuple(args)).fetchall()
    except (apsw.Error, OverflowError, UnicodeError) as error:
        raise translate(error, connection.filename or "memory") from error


@lru_cache(maxsize=1024)
def _require_rising_placeholders(sql: str) -> None:
    """SQLite reads `$1` as a name and numbers names by their first appearance; Postgres reads the number."""
    names = list(dict.fromkeys(_PLACEHOLDER.findall(sql)))
    if names != [str(number) for number in range(1, len(names) + 1)]:
        raise InvalidError(f"A statement must mention $1, $2, ... in rising order, not {names}: {sql}")
