"""Submit: one transaction stores the job as queued with its journal entry; then the dispatcher is woken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.observer import Observer
from orchestrator.contracts.store import IdempotencyKey, Repositories, Store
from orchestrator.crash import crash_point
from orchestrator.errors import Fault, InvalidError
from orchestrator.jobs.admit import Stored, concurrency_key, store_admitted
from orchestrator.model.jobs import EventId, Job, JobId, JobStatus, RunId, TriggerKind
from orchestrator.model.specs import ExecutorKind, JobSpec

KEYS_KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """
    A wish to run something. `by` says who: `token:<name>`, `cli:<user>`, `engine`.

    With an idempotency key the same wish, made again, comes to the job of the first time.
    """

    spec: JobSpec
    trigger: TriggerKind
    by: str
    event_id: EventId | None = None
    scheduled_at: datetime | None = None
    run_id: RunId | None = None
    step: str | None = None
    idempotency: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitter:
    """Turns submissions into queued jobs. `ended` is told of jobs that had to make place: they end, or have ended."""

    store: Store
    clock: Clock
    observer: Observer
    new_id: Callable[[str], str]
    wake: Callable[[], None]
    ended: Callable[[Job], None]
    default_executor: ExecutorKind
    executors: frozenset[ExecutorKind]
    queue: str

    async def submit(self, submission: Submission) -> Job:
        """
        Store the job durably and return it; it runs as soon as there is room.

        Raises `InvalidError` (`executor_missing`) for an executor that this installation has no slots for, and
        `ConflictError` (`idempotency_key_reused`) for a key that stands for another wish.
        """
        built = self.build(submission)
        crash_point("submit.before")
        async with self.store.begin() as repos:
            first = await self.first(repos, submission, built)
            if first is not None:
                return first
            stored = await store_admitted(repos, built, by=submission.by)
        crash_point("submit.committed")
        self.announce(stored)
        return stored.job

    async def first(self, repos: Repositories, submission: Submission, built: Job) -> Job | None:
        """The job that this wish came to when it was made before."""
        key = submission.idempotency
        if key is None:
            return None
        first = await repos.idempotency.remember(key, built.id, at=built.created_at, keep=KEYS_KEPT)
        return None if first is None else await repos.jobs.get(JobId(first))

    async def enqueue(self, repos: Repositories, submission: Submission) -> Stored:
        """Store the job inside a transaction of the caller, who calls `announce` when it is committed."""
        return await store_admitted(repos, self.build(submission), by=submission.by)

    def announce(self, stored: Stored) -> None:
        """Tell those who wait for work, after the commit."""
        self.observer.job_submitted(stored.job)
        self.wake()
        for job in stored.displaced:
            self.ended(job)
        if stored.job.status.is_final:
            self.ended(stored.job)

    def build(self, submission: Submission, *, runs: bool = True) -> Job:
        """The job a submission becomes, not stored yet. One that never `runs` may name an executor that is not in use."""
        spec = submission.spec
        executor = choose_executor(spec, self.default_executor)
        if runs and executor not in self.executors:
            usable = ", ".join(sorted(self.executors))
            message = f"The {executor} executor is not in use here (in use: {usable}); `cronium doctor` says why."
            raise InvalidError(message, faults=(Fault(path="executor", message=message),), code="executor_missing")
        return Job(
            id=JobId(self.new_id("job")),
            status=JobStatus.QUEUED,
            spec=spec,
            executor=executor,
            queue=self.queue,
            trigger=submission.trigger,
            priority=spec.priority,
            created_at=self.clock.now(),
            input=spec.input,
            event_id=submission.event_id,
            scheduled_at=submission.scheduled_at,
            concurrency_key=concurrency_key(spec, submission.event_id, self.queue),
            run_id=submission.run_id,
            step=submission.step,
        )


def choose_executor(spec: JobSpec, default: ExecutorKind) -> ExecutorKind:
    """The executor the spec names; Docker where it names an image; else the configured default."""
    if spec.executor is not None:
        return spec.executor
    return ExecutorKind.DOCKER if spec.image is not None else default
