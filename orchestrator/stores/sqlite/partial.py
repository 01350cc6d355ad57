"""Files in the making: under a name that nobody takes for a finished one, then complete under their own name at once."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import ConflictError, UnavailableError
from orchestrator.stores.sqlite.errors import store_unavailable

ENDING = ".partial"
SIDE_FILES = ("-journal", "-wal", "-shm")


@contextmanager
def partial_beside(file: Path) -> Iterator[Path]:
    """
    An empty 0600 file in the directory of `file`, removed at the end with what SQLite has laid beside it.

    What a killed process left there is removed first: the lock on such a file is gone with its process.
    """
    try:
        _sweep(file.parent)
        partial, lock = _make(file.parent)
    except OSError as error:
        raise cannot_write(file, error) from error
    try:
        yield partial
    finally:
        _remove(partial)
        os.close(lock)


def publish(partial: Path, file: Path, *, replace: bool) -> None:
    """Give a finished file its name, durably. Without `replace` raises `ConflictError` (`file_exists`) where it is taken."""
    try:
        sync(partial)
        if replace:
            partial.replace(file)
        else:
            os.link(partial, file)
        sync(file.parent)
    except FileExistsError as error:
        raise file_exists(file) from error
    except OSError as error:
        raise cannot_write(file, error) from error


def sync(path: Path) -> None:
    """Have the disk keep a file, or the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_exists(file: Path) -> ConflictError:
    return ConflictError(f"{file} exists: name another file, or use --force to replace it.", code="file_exists")


def cannot_write(file: Path, error: OSError) -> UnavailableError:
    return store_unavailable(f"{file} cannot be written ({error.strerror}): check its directory, disk and permissions.")


def _make(directory: Path) -> tuple[Path, int]:
    """A new file and the descriptor that holds its lock."""
    while True:
        partial = directory / f".cronium-{secrets.token_hex(6)}{ENDING}"
        lock = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)
        if partial.exists():  # else another process swept it away before it was locked
            return partial, lock
        os.close(lock)


def _sweep(directory: Path) -> None:
    for left in directory.glob(f".cronium-*{ENDING}"):
        try:
            lock = os.open(left, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(left)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)


def _remove(partial: Path) -> None:
    for side in ("", *SIDE_FILES):
        partial.with_name(partial.name + side).unlink(missing_ok=True)
