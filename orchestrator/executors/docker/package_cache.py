"""The directory in which installed packages are kept: entries that are whole or not there, locks, the limit of its size."""

from __future__ import annotations

import ctypes
import fcntl
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

log = logging.getLogger(__name__)

TREE = "tree"
FACTS = "entry.json"
LOCK = ".lock"
STAGING = "staging"


class Facts(BaseModel):
    """What is known of an entry."""

    language: str
    image: str
    requirements: list[str]
    resolved: dict[str, str]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """An entry that is being made. `tree` is for the container's user to write, whatever its number."""

    directory: Path
    key: str

    @property
    def tree(self) -> Path:
        return self.directory / TREE


class PackageCache:
    """
    `<root>/<key>/tree` holds what is mounted, `<root>/<key>/entry.json` what is known of it; the time of that file is
    that of its last use.

    A lock (flock(2) on `<root>/<key>.lock`) is shared by those who are about to mount the entry, and exclusive for who
    makes or removes it. It goes with the process that holds it, and keeps apart those within one process, too. Every
    method does file work: call it in a thread where it may be long.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def tree(self, key: str) -> Path:
        return self._root / key / TREE

    def find(self, key: str) -> Facts | None:
        """The facts of a whole entry."""
        try:
            facts = Facts.model_validate_json((self._root / key / FACTS).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValidationError as error:
            log.warning("an entry of the package cache is damaged", extra={"key": key, "error": str(error)})
            return None
        return facts if self.tree(key).is_dir() else None

    def touch(self, key: str) -> None:
        """It is used now. The time is written out: the kernel's own for a file is that of its last tick."""
        now = time.time_ns()
        os.utime(self._root / key / FACTS, ns=(now, now))

    def leave(self, key: str, lock: Lock) -> None:
        """Give a shared lock back, once there is a container: who looked for those before must not remove the entry."""
        try:
            self.touch(key)
        except OSError as error:
            log.info("packages cannot be marked as used", extra={"key": key, "error": str(error)})
        finally:
            lock.release()

    def lock(self, key: str, *, shared: bool = False) -> Lock | None:
        """Take the entry's lock; None where somebody has it."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._root / f"{key}{LOCK}"
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                if _is_still(path, descriptor):
                    return Lock(descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # the file was removed between our opening and locking it

    def stage(self, key: str) -> Staged:
        """Begin an entry, at once; the caller has its exclusive lock."""
        directory = self._root / STAGING / f"{key}.{secrets.token_hex(4)}"
        directory.mkdir(mode=0o700, parents=True)
        staged = Staged(directory=directory, key=key)
        staged.tree.mkdir()
        staged.tree.chmod(0o777)  # it lies in directories that only we may enter
        return staged

    def publish(self, staged: Staged, facts: Mapping[str, object]) -> None:
        """Put the entry into place, whole, also after the power has failed."""
        whole = Facts.model_validate({**facts, "size": size_of(staged.tree)})
        _sync(staged.tree)
        with (staged.directory / FACTS).open("wb") as file:
            file.write(json.dumps(whole.model_dump(), indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        place = self._root / staged.key
        if place.exists():  # damaged, or it would have been used
            self._remove(place)
        staged.directory.rename(place)

    def discard(self, staged: Staged) -> None:
        """Give up an entry that was begun."""
        if staged.directory.exists():
            self._remove(staged.directory)

    def shrink(self, limit: int, used: frozenset[str], *, as_of: float | None = None) -> list[str]:
        """
        Remove what was not used for longest until all is within `limit` bytes; never `used` or locked entries.

        `as_of` is when it was asked what is used (time.time(); None: now); an entry that was touched since stays.
        """
        before = time.time() if as_of is None else as_of
        entries = sorted(self._entries(), key=lambda entry: entry[1])
        total = sum(size for _, _, size in entries)
        removed = []
        for key, _, size in entries:
            if total <= limit:
                break
            if key not in used and self._evict(key, before):
                total -= size
                removed.append(key)
        return removed

    def sweep(self) -> None:
        """Remove what was begun by processes that are gone, and what is left of removed entries."""
        for directory in _names(self._root / STAGING):
            with self._alone(directory.name.partition(".")[0]) as alone:
                if alone:
                    self._remove(directory)
        for path in _names(self._root):
            key = path.name.removesuffix(LOCK)
            if path.name == STAGING or self.find(key) is not None:
                continue
            with self._alone(key) as alone:
                if alone and self.find(key) is None:
                    self._forget(key)

    def is_locked(self, key: str) -> bool:
        """Whether somebody makes, removes or is about to mount the entry."""
        with self._alone(key) as alone:
            return not alone

    def _evict(self, key: str, before: float) -> bool:
        """
        First out of the way, in one step, then removed: half an entry must not be found. Whether it is gone, which may be
        another's work.
        """
        with self._alone(key) as alone:
            if not alone or self._used_at(key) > before:
                return False
            if not (self._root / key).exists():
                self._forget(key)
                return True
            away = self._root / STAGING / f"{key}.{secrets.token_hex(4)}"
            away.parent.mkdir(mode=0o700, exist_ok=True)
            (self._root / key).rename(away)
            self._remove(away)
            self._forget(key)
        log.info("packages were removed to make room", extra={"key": key})
        return True

    def _forget(self, key: str) -> None:
        """Remove what there is of an entry that is none, and the lock that the caller holds."""
        if (self._root / key).exists():
            self._remove(self._root / key)
        (self._root / f"{key}{LOCK}").unlink(missing_ok=True)

    def _entries(self) -> Iterator[tuple[str, float, int]]:
        """Key, last use and size of every whole entry."""
        for path in _names(self._root):
            facts = self.find(path.name)
            if facts is not None:
                yield path.name, self._used_at(path.name), facts.size

    def _used_at(self, key: str) -> float:
        """0 for an entry that is gone."""
        try:
            return (self._root / key / FACTS).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    @contextmanager
    def _alone(self, key: str) -> Iterator[bool]:
        lock = self.lock(key)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def _remove(self, directory: Path) -> None:
        try:
            remove_tree(directory)
        except OSError as error:
            log.warning("packages cannot be removed", extra={"directory": str(directory), "error": str(error)})


class Lock:
    """A lock that is held until it is released, or the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)


def size_of(directory: Path) -> int:
    """What is in it takes so many bytes on disk. Links are not followed: containers have laid them."""
    total, waiting = 0, [os.fspath(directory)]
    while waiting:  # not os.walk(), which calls itself: a package may bring any number of levels
        for entry in _entries_of(waiting.pop()):
            try:
                total += 512 * entry.stat(follow_symlinks=False).st_blocks
            except OSError:  # it is being written
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
    return total


def remove_tree(top: Path) -> None:
    """As `shutil.rmtree`, also where there are more levels than it can call itself."""
    try:
        shutil.rmtree(top)
    except RecursionError:
        _flatten(top)
        shutil.rmtree(top)


def _flatten(top: Path) -> None:
    """Move every directory up to `top`: neither the stack nor a path grows with the levels."""
    waiting, prefix, number = [os.fspath(top)], secrets.token_hex(4), 0
    while waiting:
        for entry in _entries_of(waiting.pop()):
            if entry.is_dir(follow_symlinks=False):
                number += 1
                waiting.append(f"{top}/{prefix}-{number}")
                os.rename(entry.path, waiting[-1])  # noqa: PTH104


def _entries_of(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:  # it is gone, or closed to us
        return []


def _sync(directory: Path) -> None:
    """Have what is written on this file system on its disk, syncfs(2); a file system that hangs elsewhere is not waited for."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def _names(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
