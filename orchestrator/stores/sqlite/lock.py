"""The lock that proves that no other process serves from a database, and how its owner gets it back from an heir."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

from orchestrator.errors import ConflictError
from orchestrator.stores.sqlite.errors import store_unavailable

RETURN_PATIENCE = timedelta(seconds=10)  # for an heir to let go
_PID_BYTES = 16
_HEIR = "heir"
# How long a conflict may be a mistake: a holder who has not written what it is, somebody who looks for a wish.
_UNSURE_SECONDS = 0.3
_TRY_EVERY_SECONDS = 0.05

log = logging.getLogger(__name__)


@contextmanager
def hold_lock(path: Path, *, as_heir: bool = False) -> Iterator[None]:
    """
    Hold `<path>.lock` until the end; the kernel lets go of it when the process dies, however it dies.

    Raises `ConflictError` (`store_in_use`), naming the holder's pid, while another process holds it. `as_heir` for who
    goes on with the work of an owner who is dead: such a one gives way to an owner who waits in `reclaim_lock`.
    """
    with _opened(path, "lock") as file:
        if as_heir and is_wanted(path):
            raise ConflictError(f"The owner of {path} is coming back: leave it alone.", code="store_in_use")
        try:
            _take(file, path, f"{os.getpid()} {_HEIR}" if as_heir else str(os.getpid()))
        except OSError as error:
            where = _beside(path, "lock")
            raise store_unavailable(f"{where} cannot be written ({error.strerror}): make room or rights.") from error
        yield


@asynccontextmanager
async def reclaim_lock(path: Path, *, patience: timedelta = RETURN_PATIENCE) -> AsyncIterator[None]:
    """
    As `hold_lock`, for the owner: an heir who has it is asked to let go, and given `patience` to do so.

    The wish is a lock too, on `<path>.wish`, and ends with who has it. Raises `ConflictError` as `hold_lock` does.
    """
    with ExitStack() as held:
        await _reclaim(path, patience, held)
        yield


def is_wanted(path: Path) -> bool:
    """Whether its owner waits for the lock of `path`."""
    try:
        file = os.open(_beside(path, "wish"), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False  # nobody has ever waited
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(file)


def _take(file: int, path: Path, holder: str) -> None:
    if not _try_lock(file):
        raise ConflictError(_in_use(path, _holder(file)), code="store_in_use")
    # As many bytes as the holder before: it is written over, and a disk that is full meanwhile need not have room.
    os.pwrite(file, f"{holder:<{_PID_BYTES - 1}}\n".encode(), 0)


async def _reclaim(path: Path, patience: timedelta, held: ExitStack) -> None:
    """Take the lock into `held`, waiting only for an heir, and only where no other owner waits."""
    now = asyncio.get_running_loop().time
    begun, asked = now(), False
    with _opened(path, "wish") as wish:
        while True:
            try:
                held.enter_context(hold_lock(path))
            except ConflictError:
                asks = _try_lock(wish) and _is_held_by_heir(path)
                if now() - begun >= (patience.total_seconds() if asks else _UNSURE_SECONDS):
                    raise
            else:
                return
            if asks and not asked:
                log.info("asking the server that goes on with the jobs of this one to let go", extra={"file": path})
                asked = True
            await asyncio.sleep(_TRY_EVERY_SECONDS)


@contextmanager
def _opened(path: Path, suffix: str) -> Iterator[int]:
    lock = _beside(path, suffix)
    try:
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise store_unavailable(f"{lock} cannot be used ({error.strerror}): check its permissions.") from error
    try:
        yield file
    finally:
        # The file stays: removing it would let two processes lock two files of the same name.
        os.close(file)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


def _try_lock(file: int) -> bool:
    """Take the lock of an open file, which may be ours already; False while another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_held_by_heir(path: Path) -> bool:
    with _opened(path, "lock") as file:
        return _HEIR in _holder(file)


def _holder(file: int) -> str:
    return os.pread(file, _PID_BYTES, 0).decode("ascii", "replace").strip() or "unknown"


def _in_use(path: Path, holder: str) -> str:
    pid, _, role = holder.partition(" ")
    if role == _HEIR:
        return (
            f"{path} is in use by process {pid}, another server that goes on with the jobs of a dead one: start again "
            "in a moment, or stop that one first."
        )
    return f"{path} is in use by process {pid}: stop that one first, or choose another data directory."
