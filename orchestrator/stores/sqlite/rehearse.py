"""Apply the migrations that a SQLite database still needs: to a copy first, or to itself after a backup. Blocking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import apsw

from orchestrator.contracts.clock import Clock
from orchestrator.errors import ConflictError, CroniumError, UnavailableError
from orchestrator.model.upkeep import AppliedStep, Migrated, Progress, Rehearsal
from orchestrator.stores.migrate import Migration
from orchestrator.stores.sqlite.backup import back_up, name_beside
from orchestrator.stores.sqlite.check import count_rows, find_problem, missing_migrations
from orchestrator.stores.sqlite.connect import open_connection
from orchestrator.stores.sqlite.copies import copy_online, open_file, require_database, require_own_directory
from orchestrator.stores.sqlite.errors import translate
from orchestrator.stores.sqlite.lock import hold_lock
from orchestrator.stores.sqlite.partial import partial_beside
from orchestrator.stores.sqlite.schema import migrate


def rehearse(database: Path, *, migrations: Sequence[Migration], clock: Clock, progress: Progress) -> Rehearsal:
    """
    Apply what is missing to a copy of a database, which may be in use, check the copy and remove it.

    A migration that fails is a result. Raises `NotFoundError`, `UnavailableError` where the disk has no place for the
    copy, and as `plan` does.
    """
    if not _pending(database, migrations, clock):
        return Rehearsal(steps=(), failure=None, before={}, after={}, copy_bytes=0, copy_seconds=0.0)
    with partial_beside(database) as copy:
        began = clock.monotonic()
        copy_online(database, copy, progress)
        seconds, size = clock.monotonic() - began, copy.stat().st_size
        before, steps, failure = _apply_to_copy(copy, migrations, clock)
        after, problem = _look(copy)
        if failure is None and problem is not None:
            failure = f"The migrations leave a database that is not whole: {problem}."
    return Rehearsal(steps=steps, failure=failure, before=before, after=after, copy_bytes=size, copy_seconds=seconds)


def migrate_file(database: Path, *, migrations: Sequence[Migration], clock: Clock, progress: Progress) -> Migrated:
    """
    Apply what is missing to a database that no server uses, after a backup beside it.

    Raises `ConflictError`: `store_in_use` while a server runs, `migration_failed` with the name of the backup, and as
    `plan` does.
    """
    if not _pending(database, migrations, clock):
        return Migrated(steps=(), backup=None)
    require_own_directory(database)
    with hold_lock(database):
        kept = name_beside(database, "before-migration", clock)
        back_up(database, kept, migrations=migrations, replace=False, clock=clock, progress=progress)
        with closing(open_connection(database, clock, query_only=False)) as connection:
            steps, failure = _apply(connection, migrations, clock)
        if failure is not None:
            raise ConflictError(
                f"{failure} The database is as it was before this migration; {kept} is a backup from before all of them.",
                code="migration_failed",
            )
    return Migrated(steps=steps, backup=kept)


def _pending(database: Path, migrations: Sequence[Migration], clock: Clock) -> list[Migration]:
    require_database(database)
    with closing(open_connection(database, clock, query_only=True)) as connection:
        try:
            return missing_migrations(connection, migrations, database)
        except apsw.Error as error:
            raise translate(error, str(database)) from error


def _apply_to_copy(
    copy: Path, migrations: Sequence[Migration], clock: Clock
) -> tuple[Mapping[str, int], tuple[AppliedStep, ...], str | None]:
    with closing(open_connection(copy, clock, query_only=False)) as connection:
        try:
            return count_rows(connection), *_apply(connection, migrations, clock)
        except apsw.Error as error:
            raise translate(error, "the copy") from error


def _look(copy: Path) -> tuple[Mapping[str, int], str | None]:
    """The rows, and what is wrong, as the next server would see it: on a connection that remembers no older schema."""
    try:
        with open_file(copy) as connection:
            problem = find_problem(connection)
            return count_rows(connection), problem
    except (apsw.CorruptError, apsw.SQLError) as error:
        return {}, str(error)
    except apsw.Error as error:
        raise translate(error, "the copy") from error


def _apply(
    connection: apsw.Connection, migrations: Sequence[Migration], clock: Clock
) -> tuple[tuple[AppliedStep, ...], str | None]:
    """Apply one after the other up to the first that has a fault; what could be applied, and that fault."""
    steps: list[AppliedStep] = []
    for migration in missing_migrations(connection, migrations, Path(connection.filename)):
        began = clock.monotonic()
        try:
            migrate(connection, migrations[: migration.number], clock)
        except UnavailableError:
            raise
        except CroniumError as error:
            cause = error.__cause__ or error.message
            return tuple(steps), f"Migration {migration.number:04d} ({migration.name}) failed: {cause}."
        steps.append(AppliedStep(number=migration.number, name=migration.name, seconds=clock.monotonic() - began))
    return tuple(steps), None
