"""Finish: result, journal entry and what must follow, in one fenced transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.executor import Exit
from orchestrator.contracts.store import Outcome, Repositories, Store
from orchestrator.model.artifacts import Artifact
from orchestrator.model.jobs import Claim, Job, JobId, JobStatus, Reason, Timings
from orchestrator.model.journal import EntryKind
from orchestrator.model.json import Json

ADVANCE_RUN = "advance_run"
ADMIT = "admit"
NOTIFY = "notify"
NOTIFY_LANE = "notify:"  # before a queue's name: what waits for others' servers must not hold up what does not


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why a supervisor ended a process itself: cancelled, timed out."""

    status: JobStatus
    reason: Reason
    message: str


CANCELLED = Ending(status=JobStatus.CANCELLED, reason=Reason.CANCELLED, message="Cancelled.")


async def finish(
    store: Store, clock: Clock, claim: Claim, outcome: Outcome, left: Sequence[Artifact] = (), *, by: str
) -> Job:
    """
    Record the outcome of a claimed job, and what it left.

    Raises `LeaseLostError` when somebody else supervises it now.
    """
    async with store.begin() as repos:
        job = await repos.jobs.finish(claim, outcome)
        await _record(repos, claim, left)
        await announce_follow_up(repos, job, at=clock.now(), by=by)
    return job


async def retry(
    store: Store,
    clock: Clock,
    claim: Claim,
    outcome: Outcome,
    delay: timedelta,
    left: Sequence[Artifact] = (),
    *,
    by: str,
) -> Job:
    """
    Give a job whose attempt failed back to the queue, for another one after `delay`; record what the attempt left.

    Raises `LeaseLostError` as `finish` does. A job whose cancelling was requested meanwhile ends here.
    """
    async with store.begin() as repos:
        job = await repos.jobs.release(claim, after=delay)
        await _record(repos, claim, left)
        if job.cancel_requested_at is not None:
            return await end_cancelled(repos, job, at=clock.now(), by=by)
        data: dict[str, Json] = {
            "attempt": job.attempt,
            "of": job.spec.retry.attempts + job.given_back,
            "reason": outcome.reason,
            "exit_code": outcome.exit_code,
            "message": outcome.message,
            "delay_seconds": round(delay.total_seconds(), 3),
        }
        await repos.journal.append(job.id, EntryKind.RETRYING, at=clock.now(), by=by, data=data)
    return job


async def _record(repos: Repositories, claim: Claim, left: Sequence[Artifact]) -> None:
    """What the latest attempt left takes the place of what those before it left."""
    if left or claim.job.attempt > 1:
        await repos.artifacts.replace(claim.job.id, left)


async def end_cancelled(repos: Repositories, job: Job, *, at: datetime, by: str) -> Job:
    """End a job that has just gone back to the queue, and whose end was asked for meanwhile."""
    cancelled = Outcome(status=CANCELLED.status, reason=CANCELLED.reason, message=CANCELLED.message, finished_at=at)
    job = await repos.jobs.finish_queued(job.id, cancelled)
    await announce_follow_up(repos, job, at=at, by=by)
    return job


async def give_up_waiting(store: Store, clock: Clock, job_id: JobId, *, by: str) -> Job:
    """End a job that waited too long for its first attempt. Raises `ConflictError` when it is not queued any more."""
    now = clock.now()
    outcome = Outcome(
        status=JobStatus.TIMED_OUT,
        reason=Reason.TIMEOUT,
        message="It waited longer for its turn than its queue timeout allows.",
        finished_at=now,
    )
    async with store.begin() as repos:
        job = await repos.jobs.finish_queued(job_id, outcome)
        await announce_follow_up(repos, job, at=now, by=by)
    return job


async def announce_follow_up(repos: Repositories, job: Job, *, at: datetime, by: str) -> None:
    """Write the journal entry of a final job and the outbox items of what follows it, in the caller's transaction."""
    data: dict[str, Json] = {
        "status": job.status,
        "reason": job.reason,
        "exit_code": job.exit_code,
        "message": job.message,
        "attempt": job.attempt,
    }
    await repos.journal.append(job.id, EntryKind.FINISHED, at=at, by=by, data=data)
    if job.run_id is not None:
        await repos.outbox.add(
            f"{ADVANCE_RUN}:{job.id}", ADVANCE_RUN, queue=job.queue, payload={"run_id": job.run_id}, at=at
        )
    if job.concurrency_key is not None:
        await repos.outbox.add(f"{ADMIT}:{job.id}", ADMIT, queue=job.queue, payload={"key": job.concurrency_key}, at=at)
    if job.event_id is not None and job.status in (JobStatus.FAILED, JobStatus.TIMED_OUT):
        await repos.outbox.add(
            f"{NOTIFY}:{job.id}", NOTIFY, queue=f"{NOTIFY_LANE}{job.queue}", payload={"job_id": job.id}, at=at
        )


def judge(job: Job, exit_: Exit, ending: Ending | None, *, now: datetime, started_at: datetime) -> Outcome:
    """Say what an exit means: the supervisor's own ending wins, then what the executor knows, then the exit code."""
    finished_at = exit_.finished_at or now
    timings = Timings(
        queued_ms=job.timings.queued_ms,
        setup_ms=job.timings.setup_ms,
        execution_ms=max(0, round((finished_at - started_at).total_seconds() * 1000)),
        cleanup_ms=max(0, round((now - finished_at).total_seconds() * 1000)),
    )
    status, reason, message = _verdict(exit_, ending)
    return Outcome(
        status=status, reason=reason, message=message, exit_code=exit_.code, finished_at=now, timings=timings
    )


def _verdict(exit_: Exit, ending: Ending | None) -> tuple[JobStatus, Reason | None, str | None]:
    if ending is not None:
        return ending.status, ending.reason, ending.message
    if exit_.reason is Reason.OUT_OF_MEMORY:
        return JobStatus.FAILED, exit_.reason, exit_.note or "The script used more memory than its limit allows."
    if exit_.reason is not None or exit_.code is None:
        return JobStatus.FAILED, exit_.reason or Reason.LOST, exit_.note or "What became of the script is unknown."
    if exit_.code == 0:
        return JobStatus.SUCCEEDED, None, None
    message = f"The script ended with exit code {exit_.code}."
    return JobStatus.FAILED, Reason.EXIT_CODE, message if exit_.by_others is None else f"{message} {exit_.by_others}"
