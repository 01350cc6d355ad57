"""Make a backup of a SQLite database, check one, and put one in place. Blocking."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import apsw

from orchestrator.contracts.clock import Clock
from orchestrator.errors import ConflictError, InvalidError, UnavailableError
from orchestrator.model.upkeep import Backup, Progress, Restored
from orchestrator.stores.migrate import Migration
from orchestrator.stores.sqlite.check import inspect
from orchestrator.stores.sqlite.copies import (
    copy_online,
    open_file,
    require_database,
    require_own_directory,
    stamp,
    unstamp,
)
from orchestrator.stores.sqlite.errors import translate
from orchestrator.stores.sqlite.lock import hold_lock
from orchestrator.stores.sqlite.partial import cannot_write, file_exists, partial_beside, publish

_COPY_BYTES = 1 << 20


def back_up(
    database: Path, file: Path, *, migrations: Sequence[Migration], replace: bool, clock: Clock, progress: Progress
) -> Backup:
    """
    Write a backup of a database, which may be in use, to `file`; it has its name only when it is complete and checked.

    Raises `NotFoundError` where there is no database, `ConflictError` (`file_exists`) unless `replace`,
    `UnavailableError` for a disk that is full, `InvalidError` for a database that is damaged.
    """
    began = clock.monotonic()
    require_database(database)
    _require_free(file, database, replace=replace)
    with partial_beside(file) as partial:
        copy_online(database, partial, progress)
        stamp(partial, clock.now())
        contents = inspect(partial, migrations, called=database)
        publish(partial, file, replace=replace)
    return Backup(file=file, contents=contents, seconds=clock.monotonic() - began)


def restore(
    file: Path,
    database: Path,
    *,
    migrations: Sequence[Migration],
    replace: bool,
    admin: bytes | None,
    clock: Clock,
    progress: Progress,
) -> Restored:
    """
    Check `file` and put a copy of it in place of `database`; with `replace` the one that is there is kept beside it.

    `admin` is the digest of the token that people use here. Raises, besides what `inspect` does, `ConflictError`
    (`file_exists`, `store_in_use`) and `DeniedError`; then nothing was changed.
    """
    began = clock.monotonic()
    contents = inspect(file, migrations)
    require_own_directory(database)
    if database.exists() and not replace:
        raise ConflictError(
            f"{database} exists: with --force it is kept beside the restored one, under another name.",
            code="file_exists",
        )
    _make_directory(database)
    with hold_lock(database), partial_beside(database) as partial:
        _copy(file, partial, progress)
        inspect(partial, migrations, called=file)  # what is put in place is what was checked
        unstamp(partial)
        admits = _admits(partial, admin)
        kept = _set_aside(database, clock)
        publish(partial, database, replace=replace)
    return Restored(database=database, contents=contents, kept=kept, admits=admits, seconds=clock.monotonic() - began)


def name_beside(database: Path, purpose: str, clock: Clock) -> Path:
    """A free name beside a database: what it is for, and when."""
    name = f"{database.name}.{purpose}-{clock.now():%Y%m%dT%H%M%SZ}"
    names = (database.with_name(name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(path for path in names if not path.exists())


def _require_free(file: Path, database: Path, *, replace: bool) -> None:
    """Refuse early what would only fail after a long copy, or do harm."""
    try:
        if not file.parent.is_dir():
            raise InvalidError(f"{file.parent} is no directory: make it first.")
        if not file.exists():
            return
        if not file.is_file():
            raise InvalidError(f"{file} is no plain file: name another one.")
        if file.samefile(database):
            raise InvalidError(f"{file} is the database itself: name another file.")
    except OSError as error:
        raise cannot_write(file, error) from error
    if not replace:
        raise file_exists(file)


def _make_directory(database: Path) -> None:
    try:
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(database, error) from error


def _copy(file: Path, partial: Path, progress: Progress) -> None:
    done = 0
    try:
        with file.open("rb") as source, partial.open("wb") as target:
            total = os.fstat(source.fileno()).st_size
            while block := source.read(_COPY_BYTES):
                target.write(block)
                done += len(block)
                progress(done, total)
    except OSError as error:
        raise cannot_write(partial, error) from error


def _admits(database: Path, digest: bytes | None) -> bool:
    with open_file(database) as connection:
        try:
            query = "SELECT COUNT(*) FROM tokens WHERE digest = ? AND revoked_at IS NULL"
            return bool(connection.execute(query, (digest,)).get)
        except apsw.Error as error:
            raise translate(error, str(database)) from error


def _set_aside(database: Path, clock: Clock) -> Path | None:
    """
    Keep what is there under another name too, and leave no log of it: SQLite would apply it to the next database.

    `database` goes on to exist: whenever we are killed, a server finds the old one or the new one, and makes no third.
    """
    kept = name_beside(database, "before-restore", clock)
    try:
        if database.exists():
            _settle(database)
            os.link(database, kept)
        for ending in ("-wal", "-journal"):
            log = database.with_name(database.name + ending)
            if log.exists():
                log.rename(kept.with_name(kept.name + ending))
        database.with_name(f"{database.name}-shm").unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(kept, error) from error
    return kept if kept.exists() else None


def _settle(database: Path) -> None:
    try:
        unstamp(database)
    except UnavailableError:
        return  # damaged, which may be why it is replaced: it is kept as it is, with its log
