"""Settle what a killed `cronium run` left in the store it shares with others: its jobs are lost, its runs failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.executor import Executor
from orchestrator.contracts.store import JobFilter, Outcome, Store
from orchestrator.errors import ConflictError
from orchestrator.jobs.artifacts import NOTHING, Shelf
from orchestrator.jobs.environment import Surroundings, clean
from orchestrator.jobs.finish import announce_follow_up, finish
from orchestrator.model.jobs import Claim, JobStatus, Reason
from orchestrator.model.journal import EntryKind
from orchestrator.model.specs import ExecutorKind
from orchestrator.model.workflows import RunStatus

MANY = 1000
LEASE = timedelta(seconds=15)
MESSAGE = "The command that ran it was killed."


@dataclass(frozen=True, slots=True, kw_only=True)
class Settler:
    """`is_gone` says of a queue's name whether the command that worked on it has ended."""

    store: Store
    clock: Clock
    executors: Mapping[ExecutorKind, Executor]
    surroundings: Surroundings
    owner: str
    is_gone: Callable[[str], bool]
    shelf: Shelf | None = None

    async def settle(self) -> None:
        """Look once at what is not final and belongs to a queue whose command is gone."""
        for queue in sorted(await self._abandoned_queues()):
            async with self.store.begin() as repos:
                claims = await repos.jobs.adopt(self.owner, queue, lease=LEASE, alone=True)
            for claim in claims:
                await self._settle_job(claim)
            await self._settle_queued(queue)
            await self._settle_runs(queue)

    async def _abandoned_queues(self) -> set[str]:
        async with self.store.read() as repos:
            queues = await repos.jobs.queues() | await repos.runs.queues()
        return {queue for queue in queues if self.is_gone(queue)}

    async def _settle_job(self, claim: Claim) -> None:
        executor = self.executors.get(claim.job.executor)
        if executor is None:
            return  # a later command that uses this executor finds it
        process = await executor.attach(claim.process) if claim.process else None
        if process is not None:
            await process.remove()
        left = self.surroundings.artifacts(claim.job)
        taken = NOTHING if self.shelf is None else await self.shelf.take(claim, left, at=self.clock.now())
        await finish(self.store, self.clock, claim, self._lost(), taken.artifacts, by=self.owner)
        await asyncio.to_thread(clean, claim.job, self.surroundings)

    async def _settle_queued(self, queue: str) -> None:
        async with self.store.read() as repos:
            page = await repos.jobs.page(JobFilter(status=JobStatus.QUEUED, queue=queue), after=None, limit=MANY)
        for job in page.items:
            async with self.store.begin() as repos:
                lost = await repos.jobs.finish_queued(job.id, self._lost())
                await announce_follow_up(repos, lost, at=self.clock.now(), by=self.owner)

    async def _settle_runs(self, queue: str) -> None:
        """End the runs, and what would have followed: nobody looks at this queue's outbox any more."""
        async with self.store.begin() as repos:
            for item in await repos.outbox.due(queue, at=self.clock.now(), limit=MANY):
                await repos.outbox.delivered(item.id, at=self.clock.now())
            for run_id in await repos.runs.unfinished(queue):
                now = self.clock.now()
                try:
                    await repos.runs.finish(run_id, RunStatus.FAILED, at=now, output=None, error=MESSAGE)
                except ConflictError:
                    continue  # final by now
                await repos.journal.append(
                    run_id, EntryKind.WORKFLOW_FAILED, at=now, by=self.owner, data={"error": MESSAGE}
                )

    def _lost(self) -> Outcome:
        return Outcome(status=JobStatus.FAILED, reason=Reason.LOST, message=MESSAGE, finished_at=self.clock.now())
