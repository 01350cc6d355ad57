"""Copies of a SQLite database, made while others write to it, and stamped. Blocking."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import apsw

from orchestrator import __version__
from orchestrator.errors import ConflictError, DeniedError, NotFoundError
from orchestrator.model.upkeep import Progress
from orchestrator.stores.codec import micros
from orchestrator.stores.sqlite.errors import translate
from orchestrator.stores.sqlite.seal import SEAL_BYTES, digest_without

STAMP_TABLE = "cronium_backup"
BUSY_MS = 5000
_STEP_PAGES = 1024
_STAMP = f"""
    CREATE TABLE {STAMP_TABLE} (made_at INTEGER NOT NULL, version TEXT NOT NULL, seal BLOB NOT NULL) STRICT"""


def copy_online(database: Path, target: Path, progress: Progress) -> None:
    """
    Copy a database that others may write to meanwhile into the empty file `target`, as it is at this moment.

    The copy is one file in rollback mode: nothing that belongs to it lies beside it. `progress` is told pages.
    """
    with open_file(database) as source, open_file(target) as copy:
        try:
            source.pragma("query_only", True)
            copy.pragma("synchronous", "OFF")  # whoever keeps the copy syncs it once, when it is complete
            # With the snapshot held, what others commit is not seen. Without, each commit would start the copy again.
            source.execute("BEGIN")
            source.execute("SELECT 1 FROM sqlite_schema").fetchall()
            with copy.backup("main", source, "main") as backup:
                while not backup.done:
                    backup.step(_STEP_PAGES)
                    progress(backup.page_count - backup.remaining, backup.page_count)
            copy.pragma("journal_mode", "delete")
        except apsw.Error as error:
            damaged = isinstance(error, (apsw.CorruptError, apsw.NotADBError))
            raise translate(error, str(database) if damaged else f"the copy of {database}") from error


def stamp(copy: Path, at: datetime) -> None:
    """Write into a copy that it is a backup, of when, by whom, and a seal: the digest of all its other bytes."""
    blank = secrets.token_bytes(SEAL_BYTES)
    with open_file(copy) as connection:
        try:
            connection.pragma("synchronous", "OFF")
            connection.execute(f"BEGIN; DROP TABLE IF EXISTS {STAMP_TABLE}; {_STAMP}")
            connection.execute(f"INSERT INTO {STAMP_TABLE} VALUES (?, ?, ?)", (micros(at), __version__, blank))
            connection.execute("COMMIT")
        except apsw.Error as error:
            raise translate(error, str(copy)) from error
    digest, place = digest_without(copy, blank)
    descriptor = os.open(copy, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, digest, place)
    finally:
        os.close(descriptor)


def unstamp(database: Path) -> None:
    """
    Make a database one file again, and no backup: what it changes from now on would break the seal.

    Raises `ConflictError` (`store_in_use`) while another process has it open.
    """
    with open_file(database) as connection:
        try:
            connection.pragma("journal_mode", "delete")
            connection.execute(f"DROP TABLE IF EXISTS {STAMP_TABLE}")
        except (apsw.BusyError, apsw.LockedError) as error:
            raise ConflictError(
                f"{database} is in use by another process: stop that one first.", code="store_in_use"
            ) from error
        except apsw.Error as error:
            raise translate(error, str(database)) from error


def require_database(database: Path) -> None:
    """Raises `NotFoundError`: asking SQLite for a file that is not there would make one."""
    if not database.is_file():
        raise NotFoundError(
            f"There is no database {database}: name the server's data directory with --data-dir. "
            "A server makes its database at its first start."
        )


def require_own_directory(database: Path) -> None:
    """Raises `DeniedError`: what another account, even root, leaves there the server's account could not open."""
    if database.parent.exists() and database.parent.stat().st_uid != os.geteuid():
        raise DeniedError(f"{database.parent} belongs to another account: run this command as that one.")


@contextmanager
def open_file(path: Path) -> Iterator[apsw.Connection]:
    """A connection to a file that exists, with no setting changed."""
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error as error:
        raise translate(error, str(path)) from error
    with closing(connection):
        connection.set_busy_timeout(BUSY_MS)
        yield connection
