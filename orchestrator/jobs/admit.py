"""Admit: of the jobs with one concurrency key, only so many are under way as the limit allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import OutboxItem, Outcome, Repositories, Store
from orchestrator.crash import crash_point
from orchestrator.jobs.cancel import ended_at, request_end
from orchestrator.jobs.finish import announce_follow_up
from orchestrator.model.jobs import EventId, Job, JobStatus, Reason
from orchestrator.model.journal import EntryKind
from orchestrator.model.json import Json
from orchestrator.model.specs import Concurrency, JobSpec, WhenFull

ENGINE = "engine"
MOST_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A job as it was stored, and those that it displaced."""

    job: Job
    displaced: tuple[Job, ...] = ()


def concurrency_key(spec: JobSpec, event_id: EventId | None, queue: str) -> str | None:
    """What a job is counted under, among the jobs of its queue. A key that people chose is never that of an event."""
    if spec.concurrency is None:
        return None
    if spec.concurrency.key is not None:
        return f"{queue}/key:{spec.concurrency.key}"
    return None if event_id is None else f"{queue}/event:{event_id}"


async def store_admitted(repos: Repositories, job: Job, *, by: str) -> Stored:
    """
    Store a new job, in the caller's transaction: admitted where its key has a place, else as its `when_full` says.

    A step that the store knows already changes nothing.
    """
    limits, key = job.spec.concurrency, job.concurrency_key
    if limits is None or key is None:
        return Stored(job=await _store(repos, job, by))
    await repos.jobs.occupy(key)
    under_way = await repos.jobs.under_way(key)
    waiting = await repos.jobs.next_held(key)
    if len(under_way) < limits.limit and waiting is None:
        return Stored(job=await _store(repos, job, by))
    if limits.when_full is WhenFull.SKIP:
        stored = await _store(repos, job, by)
        return Stored(job=stored if stored.id != job.id else await _skip(repos, stored, under_way, by))
    stored = await _store(repos, replace(job, held=True), by)
    if stored.id != job.id:
        return Stored(job=stored)
    data: dict[str, Json] = {"key": key, "limit": limits.limit, "under_way": [other.id for other in under_way]}
    await repos.journal.append(job.id, EntryKind.HELD, at=job.created_at, by=by, data=data)
    if limits.when_full is WhenFull.REPLACE:
        return Stored(job=stored, displaced=await _displace(repos, stored, under_way, limits, by))
    return Stored(job=stored)


async def _store(repos: Repositories, job: Job, by: str) -> Job:
    stored = await repos.jobs.insert(job)
    if stored.id == job.id:
        data: dict[str, Json] = {"executor": job.executor, "trigger": job.trigger}
        await repos.journal.append(job.id, EntryKind.QUEUED, at=job.created_at, by=by, data=data)
    return stored


async def _skip(repos: Repositories, job: Job, under_way: list[Job], by: str) -> Job:
    others = ", ".join(other.id for other in under_way[:MOST_NAMED]) or "another job"
    outcome = Outcome(
        status=JobStatus.SKIPPED,
        reason=Reason.LIMIT,
        message=f"Skipped: the same concurrency key had no place, and {others} had not ended.",
        finished_at=job.created_at,
    )
    skipped = await repos.jobs.finish_queued(job.id, outcome)
    await announce_follow_up(repos, skipped, at=job.created_at, by=by)
    return skipped


async def _displace(
    repos: Repositories, job: Job, under_way: list[Job], limits: Concurrency, by: str
) -> tuple[Job, ...]:
    """End the oldest of the key until there is a place for `job`; those that are ending already make place too."""
    staying = [other for other in under_way if other.cancel_requested_at is None]
    staying += [other for other in await repos.jobs.held(job.concurrency_key or "") if other.id != job.id]
    displaced = []
    for other in staying[: max(0, len(staying) - limits.limit + 1)]:
        message = f"Replaced by {job.id} before it started."
        ending = await request_end(repos, other, at=job.created_at, by=by, message=message, replaced_by=job.id)
        if not ending.status.is_final or ended_at(ending, job.created_at):
            displaced.append(ending)
    return tuple(displaced)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitter:
    """Admits those that wait when others have ended. `wake` tells whoever claims."""

    store: Store
    clock: Clock
    wake: Callable[[], None]

    async def follow(self, item: OutboxItem) -> None:
        """The outbox handler: a job of a concurrency key has ended."""
        await self.admit(str(item.payload["key"]))

    async def admit(self, key: str) -> None:
        """Admit as many of the held jobs of `key` as there are places; in order: none overtakes the first."""
        admitted = False
        crash_point("admit.before")
        async with self.store.begin() as repos:
            await repos.jobs.occupy(key)
            under_way = len(await repos.jobs.under_way(key))
            while (job := await repos.jobs.next_held(key)) is not None and under_way < _limit(job):
                await repos.jobs.admit(job.id)
                await repos.journal.append(job.id, EntryKind.ADMITTED, at=self.clock.now(), by=ENGINE)
                under_way += 1
                admitted = True
        if admitted:
            crash_point("admit.committed")
            self.wake()


def _limit(job: Job) -> int:
    return 1 if job.spec.concurrency is None else job.spec.concurrency.limit
