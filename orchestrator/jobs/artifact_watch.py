"""Look at what running scripts leave behind, so that none fills the disk: one task for all of them."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from orchestrator.jobs.artifact_files import ArtifactLimits

SETTLED_NS = 1_000_000_000  # a directory's time tells a change from the one before when so much lies between them
BLOCK_BYTES = 512  # of `st_blocks`, see stat(2)
BLOCKS_FACTOR = 4  # file systems reserve more than is written, up to twice as much

MOST_LEVELS = 64  # none of what lies deeper can be kept, see `model.artifacts.MAX_DEPTH`
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Watched:
    """A directory. `empty_since` is its time of change when it was seen empty."""

    too_much: asyncio.Event = field(default_factory=asyncio.Event)
    empty_since: int | None = None


@dataclass(slots=True)
class ArtifactWatch:
    """Looks at the directories of running attempts, every two seconds; one that stays empty costs one call."""

    limits: ArtifactLimits
    every: timedelta = timedelta(seconds=2)
    _watched: dict[Path, _Watched] = field(default_factory=dict)

    @contextmanager
    def on(self, directory: Path) -> Iterator[asyncio.Event]:
        """Watch a directory while the block is open; the event is set when more is in it than may be left."""
        watched = self._watched[directory] = _Watched()
        try:
            yield watched.too_much
        finally:
            if self._watched.get(directory) is watched:  # else a later supervision of the same attempt watches it
                del self._watched[directory]

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self.every.total_seconds())
            await self.look()

    async def look(self) -> None:
        """Look at all directories once."""
        waiting = [(path, watched) for path, watched in self._watched.items() if not watched.too_much.is_set()]
        if waiting:
            for watched in await asyncio.to_thread(self._look, waiting):
                watched.too_much.set()

    def _look(self, waiting: list[tuple[Path, _Watched]]) -> list[_Watched]:
        found = []
        for path, watched in waiting:
            try:
                changed = os.lstat(path).st_mtime_ns
                if changed != watched.empty_since and self._has_too_much(path, changed, watched):
                    found.append(watched)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.debug("artifacts cannot be looked at", extra={"directory": str(path), "error": str(error)})
        return found

    def _has_too_much(self, path: Path, changed: int, watched: _Watched) -> bool:
        tally = _Tally(self.limits)
        tally.count(os.open(path, DIRECTORY), MOST_LEVELS)
        if not tally.files and not tally.directories and time.time_ns() - changed > SETTLED_NS:
            watched.empty_since = changed
        return tally.is_too_much


@dataclass(slots=True)
class _Tally:
    """What is there, counted as far as the limits. It follows no links, and waits for nobody: a FIFO is not opened."""

    limits: ArtifactLimits
    files: int = 0
    directories: int = 0
    size: int = 0
    blocks: int = 0
    is_too_deep: bool = False

    @property
    def is_too_much(self) -> bool:
        reserved = self.blocks * BLOCK_BYTES > BLOCKS_FACTOR * self.limits.max_bytes and self.size > 0
        too_many = max(self.files, self.directories) > self.limits.max_files
        return too_many or reserved or self.is_too_deep or self.size > self.limits.max_bytes

    def count(self, directory: int, levels: int) -> None:
        """Count what is in an open directory, which is closed."""
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    self._count_one(directory, entry, levels)
                    if self.is_too_much:
                        return
        finally:
            os.close(directory)

    def _count_one(self, directory: int, entry: os.DirEntry[str], levels: int) -> None:
        try:
            found = entry.stat(follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                self.files += 1
                self.size += found.st_size if stat.S_ISREG(found.st_mode) else 0
                self.blocks += found.st_blocks
                return
            self.directories += 1
            self.is_too_deep = levels == 0
            if levels:
                self.count(os.open(entry.name, DIRECTORY, dir_fd=directory), levels - 1)
        except OSError:
            return  # gone meanwhile, or closed to us: then none of it can be kept
