"""What SQLite's errors mean for a caller."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from orchestrator.errors import ConflictError, CroniumError, InvalidError, LimitExceededError, UnavailableError

_BUSY = (apsw.BusyError, apsw.LockedError)
_DAMAGED = (apsw.CorruptError, apsw.NotADBError, apsw.FormatError)
_CLOSED = (apsw.ConnectionClosedError, apsw.CursorClosedError)
# What SQLite says of a file that it could not make or make longer; why, it keeps to itself.
_BY_THE_DISK = (apsw.IOError, apsw.CantOpenError)
_AWAY = (
    apsw.FullError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.PermissionsError,
    apsw.AuthError,
    apsw.NoMemError,
    apsw.ProtocolError,
    apsw.NoLFSError,
)


def translate(error: Exception, where: str) -> CroniumError:
    """The error of ours for one that a statement raised; `where` names the database."""
    if isinstance(error, _BUSY):
        return UnavailableError(
            f"Another process has been writing to {where} for too long; try again.", code="store_busy"
        )
    if isinstance(error, (*_AWAY, *_DAMAGED, *_CLOSED)):
        return store_unavailable(_what_is_wrong(error, where))
    if isinstance(error, apsw.ConstraintError):
        return ConflictError(f"It exists already, or refers to what does not exist ({error}).")
    if isinstance(error, apsw.TooBigError):
        return LimitExceededError("A value is larger than a database field can be (1 GB).")
    if isinstance(error, OverflowError):
        return InvalidError("An integer does not fit into 64 bits.")
    if isinstance(error, UnicodeError):
        return InvalidError(f"A text is not valid Unicode: it holds a lone surrogate ({error}).")
    return CroniumError(f"A statement failed on {where}; this is a fault in Cronium ({error!r}).")


def _what_is_wrong(error: Exception, where: str) -> str:
    if isinstance(error, apsw.FullError) or (isinstance(error, _BY_THE_DISK) and _is_full(where)):
        return f"There is no space left for {where}: free some on that disk."
    if isinstance(error, apsw.ReadOnlyError):
        return f"{where} cannot be written ({error}): is its disk mounted read-only, or are its files protected?"
    if isinstance(error, _DAMAGED):
        return f"{where} is damaged or not a Cronium database ({error}): restore a backup."
    if isinstance(error, _CLOSED):
        return f"{where} was closed."
    return f"{where} cannot be used ({error}): check its disk, its owner and its permissions."


def _is_full(where: str) -> bool:
    """Whether the disk of the database has no room, or can hold no more files."""
    try:
        disk = os.statvfs(Path(where).parent)
    except OSError:
        return False  # nothing is known of it, and SQLite's own words stand
    return disk.f_bavail == 0 or (disk.f_files > 0 and disk.f_favail == 0)


def store_unavailable(message: str) -> UnavailableError:
    return UnavailableError(message, code="store_unavailable")
