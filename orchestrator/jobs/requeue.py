"""Requeue: run again, as a new job, what has failed for good."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import REQUEUE_SCOPE, IdempotencyKey, Store
from orchestrator.errors import ConflictError
from orchestrator.jobs.admit import store_admitted
from orchestrator.jobs.submit import Submission, Submitter
from orchestrator.model.jobs import Job, JobId, JobStatus, TriggerKind
from orchestrator.model.journal import EntryKind

FOR_EVER = timedelta(days=36500)
DEAD = (JobStatus.FAILED, JobStatus.TIMED_OUT, JobStatus.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeuer:
    """A job that is final stays so: what is run again is a new one, with the same specification and input."""

    store: Store
    clock: Clock
    submitter: Submitter

    async def requeue(self, job_id: JobId, *, by: str) -> Job:
        """
        The job that runs instead; asked again, the same one.

        Raises `NotFoundError`, and `ConflictError`: `job_not_dead` for a job that has not ended or has succeeded,
        `job_of_run` for a step, which only its run can take further.
        """
        async with self.store.begin() as repos:
            dead = await repos.jobs.get(job_id)
            _require_dead(dead)
            built = self.submitter.build(
                Submission(
                    spec=dead.spec,
                    trigger=TriggerKind.MANUAL,
                    by=by,
                    event_id=dead.event_id,
                    scheduled_at=dead.scheduled_at,
                )
            )
            key = IdempotencyKey(scope=REQUEUE_SCOPE, key=job_id, digest=b"")
            now = self.clock.now()
            first = await repos.idempotency.remember(key, built.id, at=now, keep=FOR_EVER)
            if first is not None:
                return await repos.jobs.get(JobId(first))
            stored = await store_admitted(repos, built, by=by)
            await repos.journal.append(job_id, EntryKind.REQUEUED, at=now, by=by, data={"job_id": built.id})
        self.submitter.announce(stored)
        return stored.job


def _require_dead(job: Job) -> None:
    if job.status not in DEAD:
        raise ConflictError(
            f"Job {job.id} is {job.status}: only what has failed, timed out or was cancelled is run again.",
            code="job_not_dead",
        )
    if job.run_id is not None:
        raise ConflictError(
            f"Job {job.id} is a step of {job.run_id}: start the workflow again instead.", code="job_of_run"
        )
