"""The composition root of `cronium backup`, `restore` and `migrate`: which adapter looks after which database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TypeVar, assert_never

from orchestrator.api.tokens import digest_of
from orchestrator.config import PostgresDatabase, SecretUrl, ServerSettings, SqliteDatabase
from orchestrator.contracts.clock import Clock
from orchestrator.errors import InvalidError
from orchestrator.model.upkeep import Backup, Contents, Migrated, Progress, Rehearsal, Restored
from orchestrator.stores.migrate import Migration, read_migrations
from orchestrator.stores.postgres import schema as postgres_schema
from orchestrator.stores.postgres.connect import Address
from orchestrator.stores.sqlite import backup as sqlite_backup
from orchestrator.stores.sqlite import rehearse as sqlite_rehearse
from orchestrator.stores.sqlite.check import inspect
from orchestrator.telemetry.clock import SystemClock

ResultT = TypeVar("ResultT")
ADMIN_TOKEN = "admin.token"  # noqa: S105 - the name of a file


def back_up(settings: ServerSettings, file: Path, *, replace: bool, progress: Progress) -> Backup:
    """Write a checked backup of the database of these settings to `file`."""
    match settings.database:
        case SqliteDatabase() as database:
            return sqlite_backup.back_up(
                _file_of(database),
                file,
                migrations=_sqlite_migrations(),
                replace=replace,
                clock=SystemClock(),
                progress=progress,
            )
        case PostgresDatabase():
            raise _refuse_postgres("backed up", "`pg_dump --format=custom --file=FILE`")
        case never:
            assert_never(never)


def verify(settings: ServerSettings, file: Path) -> Contents:
    """Check a backup. Nothing is changed."""
    match settings.database:
        case SqliteDatabase():
            return inspect(file, _sqlite_migrations())
        case PostgresDatabase():
            raise _refuse_postgres("checked", "`pg_restore --list FILE`")
        case never:
            assert_never(never)


def restore(settings: ServerSettings, file: Path, *, replace: bool, progress: Progress) -> Restored:
    """Put a backup in place of the database of these settings."""
    match settings.database:
        case SqliteDatabase() as database:
            return sqlite_backup.restore(
                file,
                _file_of(database),
                migrations=_sqlite_migrations(),
                replace=replace,
                admin=_admin_digest(settings.data_dir),
                clock=SystemClock(),
                progress=progress,
            )
        case PostgresDatabase():
            raise _refuse_postgres("restored", "`pg_restore --exit-on-error --dbname=NEW_DATABASE FILE`")
        case never:
            assert_never(never)


def rehearse(settings: ServerSettings, *, progress: Progress) -> Rehearsal:
    """Apply to a copy what the database of these settings still needs."""
    match settings.database:
        case SqliteDatabase() as database:
            return sqlite_rehearse.rehearse(
                _file_of(database), migrations=_sqlite_migrations(), clock=SystemClock(), progress=progress
            )
        case PostgresDatabase(url=url):
            return _run_on_postgres(postgres_schema.rehearse, url)
        case never:
            assert_never(never)


def migrate(settings: ServerSettings, *, progress: Progress) -> Migrated:
    """Apply to the database of these settings what it still needs."""
    match settings.database:
        case SqliteDatabase() as database:
            return sqlite_rehearse.migrate_file(
                _file_of(database), migrations=_sqlite_migrations(), clock=SystemClock(), progress=progress
            )
        case PostgresDatabase(url=url):
            return Migrated(steps=_run_on_postgres(postgres_schema.migrate, url), backup=None)
        case never:
            assert_never(never)


def _run_on_postgres(
    work: Callable[[Address, Sequence[Migration], Clock], Coroutine[None, None, ResultT]], url: SecretUrl
) -> ResultT:
    migrations = read_migrations("orchestrator.stores.postgres")
    return asyncio.run(work(Address.parse(url.reveal()), migrations, SystemClock()))


def _file_of(database: SqliteDatabase) -> Path:
    if database.path is None:
        raise InvalidError("The database is in memory and ends with its server: there is nothing to look after.")
    return database.path


def _refuse_postgres(done: str, tool: str) -> InvalidError:
    return InvalidError(
        f"A Postgres database is {done} with its own tools: {tool}. Its password belongs into a file that PGPASSFILE "
        "names, never on a command line; see docs/backup.md.",
        code="not_supported",
    )


def _sqlite_migrations() -> Sequence[Migration]:
    return read_migrations("orchestrator.stores.sqlite")


def _admin_digest(data_dir: Path) -> bytes | None:
    """The digest of the token in the data directory, which commands of this account use; None where there is none."""
    try:
        return digest_of((data_dir / ADMIN_TOKEN).read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return None
