"""The upkeep of a database: what a checked one holds, what a backup, a restore and a migration have done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

Progress = Callable[[int, int], None]
"""Told now and then how much is done, and of how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a backup says of itself: when it was made, by which version of Cronium."""

    made_at: datetime
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """
    What a database file holds that was checked and found good.

    `stamp` is None for a file that `cronium backup` did not make: a flipped bit inside a value is not noticed there.
    `pending` are the migrations that the next start will apply.
    """

    size_bytes: int
    rows: Mapping[str, int]
    migration: int
    pending: tuple[str, ...]
    stamp: Stamp | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that was made and checked."""

    file: Path
    contents: Contents
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A backup that was put in place. `kept` is the database that was there; `admits` whether the given token is in it."""

    database: Path
    contents: Contents
    kept: Path | None
    admits: bool
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedStep:
    """One migration that was applied, and how long it took."""

    number: int
    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """What was applied to a database; `backup` was made before, where the database is a file of ours."""

    steps: tuple[AppliedStep, ...]
    backup: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """
    What happened to a copy of a database, or to itself in a transaction that was undone (`copy_bytes` None).

    `failure` says which migration failed and how, or what is wrong after.
    """

    steps: tuple[AppliedStep, ...]
    failure: str | None
    before: Mapping[str, int]
    after: Mapping[str, int]
    copy_bytes: int | None
    copy_seconds: float | None
