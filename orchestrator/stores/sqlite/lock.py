"""The lock that proves that no other process serves from a database."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import ConflictError
from orchestrator.stores.sqlite.errors import store_unavailable


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """
    Hold `<path>.lock` until the end; the kernel lets go of it when the process dies, however it dies.

    Raises `ConflictError` (`store_in_use`), naming the holder's pid, while another process holds it.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise store_unavailable(f"{lock} cannot be used ({error.strerror}): check its permissions.") from error
    try:
        _take(file, path)
        yield
    finally:
        # The file stays: removing it would let two processes lock two files of the same name.
        os.close(file)


def _take(file: int, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise ConflictError(
            f"{path} is in use by process {pid}: stop that one first, or choose another data directory.",
            code="store_in_use",
        ) from error
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
