"""Cancel: works in every state. The wish is stored first; whoever supervises the job carries it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.observer import Observer
from orchestrator.contracts.store import Outcome, Repositories, Store
from orchestrator.crash import crash_point
from orchestrator.jobs.feed import Feed
from orchestrator.jobs.finish import announce_follow_up
from orchestrator.model.jobs import Job, JobId, JobStatus, Reason
from orchestrator.model.journal import EntryKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Canceller:
    """`poke` tells the supervisor of a job in this process at once; others find the stored wish."""

    store: Store
    clock: Clock
    observer: Observer
    feed: Feed
    poke: Callable[[JobId], None]
    wake: Callable[[], None]

    async def cancel(self, job_id: JobId, *, by: str) -> Job:
        """
        Ask for the end of a job and return it as it now is.

        A queued job is final at once; a running one gets TERM, a grace period, then KILL. A final one is unchanged.
        Raises `NotFoundError`.
        """
        crash_point("cancel.before")
        async with self.store.begin() as repos:
            now = self.clock.now()
            job = await request_end(repos, await repos.jobs.get(job_id), at=now, by=by)
        crash_point("cancel.committed")
        if job.status.is_final and not ended_at(job, now):
            return job  # others had ended it, perhaps just now
        if job.status.is_final:
            self.observer.job_finished(job)
            self.feed.changed(job)
            self.wake()
        else:
            self.poke(job_id)
        return job


async def request_end(
    repos: Repositories,
    before: Job,
    *,
    at: datetime,
    by: str,
    message: str = "Cancelled before it started.",
    replaced_by: JobId | None = None,
) -> Job:
    """
    Note the wish to end a job, in the caller's transaction, and return the job as it now is.

    A queued job is final at once, and `message` says why.
    """
    job = await repos.jobs.request_cancel(before.id, at=at)
    # What was read may be old by now; what was just written is not. The job's row is locked before its journal, as where
    # it ends: the other way round two would wait for each other.
    if job.status.is_final or before.cancel_requested_at is not None or job.cancel_requested_at != at:
        return job
    if replaced_by is not None:
        await repos.journal.append(job.id, EntryKind.REPLACED, at=at, by=by, data={"job_id": replaced_by})
    await repos.journal.append(job.id, EntryKind.CANCEL_REQUESTED, at=at, by=by)
    if job.status is not JobStatus.QUEUED:
        return job
    outcome = Outcome(status=JobStatus.CANCELLED, reason=Reason.CANCELLED, message=message, finished_at=at)
    job = await repos.jobs.finish_queued(job.id, outcome)
    await announce_follow_up(repos, job, at=at, by=by)
    return job


def ended_at(job: Job, at: datetime) -> bool:
    """Whether `request_end` at this moment is what ended the job."""
    return job.status is JobStatus.CANCELLED and job.finished_at == at
