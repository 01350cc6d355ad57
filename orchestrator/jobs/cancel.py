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
            before = await repos.jobs.get(job_id)
            job = await request_end(repos, before, at=self.clock.now(), by=by)
        crash_point("cancel.committed")
        if before.status.is_final:
            return job
        if job.status.is_final:
            self.observer.job_finished(job)
            self.feed.changed(job)
            self.wake()
        else:
            self.poke(job_id)
        return job


async def request_end(
    repos: Repositories, before: Job, *, at: datetime, by: str, message: str = "Cancelled before it started."
) -> Job:
    """
    Note the wish to end a job, in the caller's transaction, and return the job as it now is.

    A queued job is final at once, and `message` says why.
    """
    job = await repos.jobs.request_cancel(before.id, at=at)
    if before.status.is_final or before.cancel_requested_at is not None:
        return job
    await repos.journal.append(job.id, EntryKind.CANCEL_REQUESTED, at=at, by=by)
    if job.status is not JobStatus.QUEUED:
        return job
    outcome = Outcome(status=JobStatus.CANCELLED, reason=Reason.CANCELLED, message=message, finished_at=at)
    job = await repos.jobs.finish_queued(job.id, outcome)
    await announce_follow_up(repos, job, at=at, by=by)
    return job
