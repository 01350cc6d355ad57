"""Migrations: numbered, forward only, checksummed. Which ones a database still needs. Pure but for reading the files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import zip_longest

from orchestrator.errors import ConflictError, InvalidError

_FILE_NAME = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """A migration that a database has recorded."""

    number: int
    name: str
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """A migration as it lies in the package."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def record(self) -> Applied:
        """What a database keeps of it."""
        return Applied(number=self.number, name=self.name, checksum=self.checksum)


def read_migrations(package: str) -> list[Migration]:
    """The files `migrations/NNNN_name.sql` of a package, in order; their numbers count from 1 without gaps."""
    found = []
    for entry in files(package).joinpath("migrations").iterdir():
        match = _FILE_NAME.fullmatch(entry.name)
        if match is not None:
            found.append(Migration(number=int(match[1]), name=match[2], sql=entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.number)
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise InvalidError(f"The migrations of {package} are not numbered 1, 2, 3, ...; the installation is damaged.")
    return found


def plan(available: Sequence[Migration], applied: Sequence[Applied]) -> list[Migration]:
    """
    What is still to be applied, in order.

    Raises `ConflictError` where the database is newer than the code (`database_newer`), or was made by a migration
    that is not the one in the code (`migration_changed`).
    """
    missing = []
    for migration, record in zip_longest(available, sorted(applied, key=lambda record: record.number)):
        if migration is None:
            raise ConflictError(
                f"The database was written by a newer Cronium: it has migration {record.number:04d} "
                f"({record.name}), this version knows {len(available)}. Install that version again, or restore a "
                "backup made before the upgrade.",
                code="database_newer",
            )
        if record is None:
            missing.append(migration)
        elif record != migration.record:
            raise ConflictError(
                f"Migration {record.number:04d} ({record.name}) has changed since it was applied to this database. "
                "Install an unmodified Cronium; a change of the schema needs a new migration.",
                code="migration_changed",
            )
    return missing
