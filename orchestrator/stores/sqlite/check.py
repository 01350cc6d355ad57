"""Whether a file is a whole Cronium database, and what it holds. Nothing is changed. Blocking."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import apsw

from orchestrator.errors import InvalidError, NotFoundError
from orchestrator.model.upkeep import Contents, Stamp
from orchestrator.stores.codec import moment
from orchestrator.stores.migrate import Applied, Migration, plan
from orchestrator.stores.sqlite.copies import STAMP_TABLE
from orchestrator.stores.sqlite.errors import store_unavailable
from orchestrator.stores.sqlite.seal import digest_without

_MAGIC = b"SQLite format 3\0"
_WRITE_VERSION_AT = 18  # 1: rollback mode, 2: WAL (https://www.sqlite.org/fileformat.html, section 1.3)


def inspect(file: Path, migrations: Sequence[Migration], *, called: Path | None = None) -> Contents:
    """
    Check a database file that nobody writes to: its seal, structure, references and migrations.

    `called` is the name for messages. Raises `NotFoundError`, `InvalidError` (`not_a_backup`, `backup_damaged`) and,
    as `plan` does, `ConflictError` for a database of a newer Cronium.
    """
    name = called or file
    sealed = _read_header(file, name)
    try:
        with closing(_open_as_it_is(file)) as connection:
            pending = missing_migrations(connection, migrations, name)
            found = _check_seal(file, connection, name) if sealed else None
            problem = find_problem(connection)
            if problem is not None:
                raise damaged(name, problem)
            return Contents(
                size_bytes=file.stat().st_size,
                rows=count_rows(connection),
                migration=len(migrations) - len(pending),
                pending=tuple(f"{each.number:04d}_{each.name}" for each in pending),
                stamp=found,
            )
    except (apsw.Error, OSError) as error:
        raise damaged(name, str(error)) from error


def find_problem(connection: apsw.Connection) -> str | None:
    """What is wrong with the structure of a database, or with what its rows refer to; None when nothing is."""
    for (line,) in connection.execute("PRAGMA integrity_check(1)"):
        if line != "ok":
            return " ".join(str(line).split())
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        return f"row {row} of {table} refers to a row of {parent} that does not exist"
    return None


def missing_migrations(connection: apsw.Connection, migrations: Sequence[Migration], name: Path) -> list[Migration]:
    """What is still to be applied. Raises `InvalidError` (`not_a_backup`) for a database of another program."""
    if not connection.table_exists("main", "migrations"):
        raise not_a_backup(name, "it is a SQLite database of another program")
    rows = connection.execute("SELECT number, name, checksum FROM migrations ORDER BY number").fetchall()
    if not rows:
        raise not_a_backup(name, "it is empty")
    return plan(
        migrations,
        [Applied(number=int(str(number)), name=str(title), checksum=str(digest)) for number, title, digest in rows],
    )


def count_rows(connection: apsw.Connection) -> Mapping[str, int]:
    """The number of rows of each table of ours, by name."""
    tables = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ).fetchall()
    counts = {}
    for (table,) in tables:
        if table != STAMP_TABLE:
            counts[str(table)] = int(str(connection.execute(f'SELECT COUNT(*) FROM "{table}"').get))
    return counts


def damaged(name: Path, problem: str) -> InvalidError:
    return InvalidError(f"{name} is damaged: {problem}. Use another backup.", code="backup_damaged")


def not_a_backup(name: Path, what: str) -> InvalidError:
    return InvalidError(f"{name} is not a backup of a Cronium database: {what}.", code="not_a_backup")


def _read_header(file: Path, name: Path) -> bool:
    """Whether the file may be sealed: a server that opened it has set WAL mode, and has changed it since."""
    try:
        if not file.is_file():
            raise not_a_backup(name, "it is no file") if file.exists() else NotFoundError(f"There is no file {name}.")
        with file.open("rb") as stream:
            header = stream.read(100)
        for side in ("-wal", "-journal"):
            beside = file.with_name(file.name + side)
            if beside.exists() and beside.stat().st_size:
                raise not_a_backup(
                    name, f"part of it lies in {beside}, as with a database in use; `cronium backup` makes one file"
                )
    except OSError as error:
        raise store_unavailable(f"{name} cannot be read ({error.strerror}): check its permissions.") from error
    if not header.startswith(_MAGIC):
        raise not_a_backup(name, "it is no SQLite database")
    if len(header) < 100:
        raise damaged(name, "it is cut off")
    return header[_WRITE_VERSION_AT] == 1


def _open_as_it_is(file: Path) -> apsw.Connection:
    """Immutable: SQLite takes no lock and lays nothing beside the file."""
    uri = f"file:{quote(os.fsencode(file.absolute()))}?mode=ro&immutable=1"
    return apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)


def _check_seal(file: Path, connection: apsw.Connection, name: Path) -> Stamp | None:
    """What the backup says of itself, where the seal holds; None where there is none."""
    if not connection.table_exists("main", STAMP_TABLE):
        return None
    row = connection.execute(f"SELECT made_at, version, seal FROM {STAMP_TABLE}").fetchone()
    if row is None or not isinstance(row[2], bytes) or digest_without(file, row[2])[0] != row[2]:
        raise damaged(name, "its bytes are not those that were written")
    return Stamp(made_at=moment(int(str(row[0]))), version=str(row[1]))
