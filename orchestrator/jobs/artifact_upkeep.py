"""Remove artifacts whose time is over, and files that no record names."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import Store
from orchestrator.errors import NotFoundError, UnavailableError
from orchestrator.jobs.artifacts import Shelf, remove_tree
from orchestrator.model.jobs import JobId

BATCH = 100
STRAY_AFTER = timedelta(hours=1)  # copying takes less, and what is copied is recorded next

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Folder:
    """One of a job's, and when it was changed last, in seconds since 1970."""

    name: str
    changed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactUpkeep:
    """Keeps artifacts for `retention` from the end of their attempt."""

    store: Store
    clock: Clock
    shelf: Shelf
    retention: timedelta
    first_after: timedelta = timedelta(seconds=10)
    every: timedelta = timedelta(hours=1)
    rounds_to_stray: int = 24  # every file is looked at then

    async def run(self) -> None:
        """Work until cancelled."""
        number = 0
        await asyncio.sleep(self.first_after.total_seconds())
        while True:
            try:
                await self.remove_expired()
                if number % self.rounds_to_stray == 0:
                    await self.remove_strays()
            except (UnavailableError, OSError) as error:
                log.info("artifacts are cleared up later", extra={"error": str(error)})
            number += 1
            await asyncio.sleep(self.every.total_seconds())

    async def remove_expired(self) -> int:
        """Remove what is too old, of any server the records, of this one the files; how many jobs that were."""
        before, removed = self.clock.now() - self.retention, 0
        while True:
            async with self.store.read() as repos:
                jobs = await repos.artifacts.made_before(before, limit=BATCH)
            if not jobs:
                return removed
            async with self.store.begin() as repos:
                for job_id in jobs:
                    await repos.artifacts.forget(job_id)
            for job_id in jobs:
                await self.shelf.remove(job_id)
            removed += len(jobs)
            log.info("removed artifacts whose time is over", extra={"jobs": len(jobs)})

    async def remove_strays(self) -> int:
        """Remove the folders that a crash left, or that another server had recorded and forgotten; how many."""
        found = await asyncio.to_thread(_old_folders, self.shelf.root, self.clock.now() - STRAY_AFTER)
        removed = 0
        for job_id, folders in found.items():
            strays = await self._strays(JobId(job_id), folders)
            for folder in strays:
                await asyncio.to_thread(_remove, self.shelf.root / job_id, folder)
            removed += len(strays)
        if removed:
            log.info("removed artifacts without a record", extra={"folders": removed})
        return removed

    async def _strays(self, job_id: JobId, folders: Sequence[_Folder]) -> list[str]:
        """
        Those of a job's folders that no record names, and none will: its end is stored.

        Those of a job that nobody knows stay until their time is over: the server may have been started with another
        database than theirs, by mistake or before a backup is restored.
        """
        async with self.store.read() as repos:
            try:
                if not (await repos.jobs.get(job_id)).status.is_final:
                    return []
            except NotFoundError:
                expired = (self.clock.now() - self.retention).timestamp()
                return [folder.name for folder in folders if folder.changed < expired]
            page = await repos.artifacts.page(job_id, after=None, limit=1)
        named = {artifact.folder for artifact in page.items if artifact.place == self.shelf.place}
        return [folder.name for folder in folders if folder.name not in named]


def _old_folders(root: Path, before: datetime) -> Mapping[str, list[_Folder]]:
    """The folders, by job, that nobody has written to since a moment."""
    found: dict[str, list[_Folder]] = {}
    if not root.is_dir():
        return found
    for job in os.scandir(root):
        if not job.is_dir(follow_symlinks=False):
            continue
        for folder in os.scandir(job.path):
            changed = folder.stat(follow_symlinks=False).st_mtime
            if changed < before.timestamp():
                found.setdefault(job.name, []).append(_Folder(folder.name, changed))
    return found


def _remove(job: Path, folder: str) -> None:
    remove_tree(job / folder)
    try:
        job.rmdir()
    except OSError:
        return  # there are others
