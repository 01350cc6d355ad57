"""Take over what a script left in `$CRONIUM_ARTIFACTS`, and keep it where the API, the command line and later steps find it."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from orchestrator.crash import crash_point
from orchestrator.jobs.artifact_files import ArtifactLimits, Haul, StoppedError, copy_all
from orchestrator.jobs.artifact_watch import ArtifactWatch
from orchestrator.model.artifacts import Artifact
from orchestrator.model.jobs import Claim, JobId

THREADS = 2  # what is copied here must not take the threads, and the disk, from the starting of other jobs
ResultT = TypeVar("ResultT")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was taken over of one attempt: the artifacts to record, and what is to be said of the rest."""

    artifacts: tuple[Artifact, ...] = ()
    notes: tuple[str, ...] = ()


NOTHING = Taken()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """
    Where artifacts are kept: `root/<job>/<attempt>-<fence>/<name>`, read-only to everybody but us.

    Each supervision has a folder of its own: one that lost its job while it copied spoils nothing of the one after it.
    `place` is the name of this installation.
    """

    root: Path
    place: str
    watch: ArtifactWatch = field(default_factory=lambda: ArtifactWatch(ArtifactLimits()))
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="artifacts")
    )

    def file(self, artifact: Artifact) -> Path | None:
        """Where an artifact lies; None for one that another installation keeps."""
        if artifact.place != self.place:
            return None
        return self.root / artifact.job_id / artifact.folder / artifact.name

    async def take(self, claim: Claim, source: Path, *, at: datetime) -> Taken:
        """
        Copy what an attempt left in `source`, which stays as it is.

        Never raises but when it is cancelled: what cannot be kept is said in the notes.
        """
        try:
            with os.scandir(source) as entries:  # so quick that most jobs, which leave nothing, need no thread for it
                is_empty = next(entries, None) is None
        except FileNotFoundError:
            return NOTHING
        except OSError:
            is_empty = False  # a script has put something else in its place
        return NOTHING if is_empty else await self._take(claim, source, at)

    async def _take(self, claim: Claim, source: Path, at: datetime) -> Taken:
        job_id, attempt = claim.job.id, claim.job.attempt
        folder = f"{attempt}-{claim.fence}"
        crash_point("artifacts.before")
        stop = threading.Event()
        copying = asyncio.ensure_future(
            self._in_thread(lambda: self._copy(source, self.root / job_id / folder, stop.is_set))
        )
        try:
            haul = await asyncio.shield(copying)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait({copying})
            raise
        crash_point("artifacts.copied")
        artifacts = tuple(
            Artifact(
                job_id=job_id,
                attempt=attempt,
                name=file.name,
                size=file.size,
                sha256=file.sha256,
                media_type=file.media_type,
                created_at=at,
                place=self.place,
                folder=folder,
            )
            for file in haul.files
        )
        return Taken(artifacts=artifacts, notes=tuple(haul.sentences()))

    def _copy(self, source: Path, target: Path, stopped: Callable[[], bool]) -> Haul:
        try:
            remove_tree(target)  # of the same supervision, which began it before
            return copy_all(source, target, self.watch.limits, stopped)
        except StoppedError:
            return Haul()
        except OSError as error:
            log.warning("artifacts are not kept", extra={"directory": str(source), "error": str(error)})
            haul = Haul()
            haul.notes.append(f"The artifacts could not be kept: {error.strerror}.")
            return haul

    async def keep_only(self, job_id: JobId, taken: Taken) -> None:
        """Remove what earlier supervisions of a job left here, once a result is stored. What fails is for the upkeep."""
        keep = {artifact.folder for artifact in taken.artifacts}
        await self._in_thread(lambda: self._keep_only(self.root / job_id, keep))

    def _keep_only(self, directory: Path, keep: set[str]) -> None:
        try:
            for folder in directory.iterdir():
                if folder.name not in keep:
                    remove_tree(folder)
            if not keep:
                directory.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("old artifacts are left", extra={"directory": str(directory), "error": str(error)})

    async def remove(self, job_id: JobId) -> None:
        """Remove all that is kept here of a job."""
        await self._in_thread(lambda: self._keep_only(self.root / job_id, set()))

    async def _in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    def close(self) -> None:
        """Let the threads end when what they do is done."""
        self.pool.shutdown(wait=False)


def remove_tree(path: Path) -> None:
    """Remove what was made here before; does nothing where nothing is."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
