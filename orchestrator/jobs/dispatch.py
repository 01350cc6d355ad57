"""Dispatch: recover first, then claim due jobs while there is room, supervise them, and keep their leases alive."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.executor import Executor, Exit
from orchestrator.contracts.observer import Observer
from orchestrator.contracts.store import Repositories, Store
from orchestrator.crash import crash_point
from orchestrator.errors import ConflictError, LeaseLostError, UnavailableError
from orchestrator.jobs.environment import sweep
from orchestrator.jobs.feed import Feed
from orchestrator.jobs.finish import finish, give_up_waiting, judge
from orchestrator.jobs.persist import Outage, persist
from orchestrator.jobs.run import Runner
from orchestrator.model.jobs import Claim, JobId, Reason, process_name
from orchestrator.model.specs import ExecutorKind

SWEEP_SECONDS = 30.0
ROUNDS_TO_RETURN = 3  # of renewing, after the store was away, before another's lease that has expired means anything

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """How long a claim holds without renewal, how often it is renewed, how often the queue is looked at unasked."""

    length: timedelta = timedelta(seconds=15)
    renew_every: timedelta = timedelta(seconds=5)
    poll_every: timedelta = timedelta(seconds=2)


@dataclass(slots=True)
class _Supervision:
    """A job supervised here: and how to end it."""

    claim: Claim
    cancel: asyncio.Event


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """
    Supervises the jobs of one queue.

    The jobs of owners whose names begin with `kin` are ours to adopt; `alone` says that no other such owner lives, so
    that they may be adopted at start whatever their leases say. Jobs of others are adopted when their supervisor has
    been away for `strays_after`, if that is given.
    """

    store: Store
    clock: Clock
    observer: Observer
    feed: Feed
    runner: Runner
    executors: Mapping[ExecutorKind, Executor]
    slots: Mapping[ExecutorKind, int]
    owner: str
    queue: str
    alone: bool
    kin: str = ""
    strays_after: timedelta | None = None
    leases: Leases = field(default_factory=Leases)
    recovered: asyncio.Event = field(default_factory=asyncio.Event)
    _unclaimable: Outage = field(default_factory=lambda: Outage("cannot claim jobs now"))
    _running: dict[JobId, _Supervision] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # held from looking at the queue to supervising
    _looking: asyncio.Event = field(default_factory=asyncio.Event)
    _claiming: bool = True
    _returning: int = ROUNDS_TO_RETURN  # rounds that are left until then; at a start nobody knows how long it was away
    _swept: bool = False

    @property
    def is_claiming(self) -> bool:
        """Whether it takes new jobs."""
        return self._claiming

    @property
    def is_settled(self) -> bool:
        """Whether what was left running was found again, and nothing is supervised here."""
        return self._swept and not self._running

    def heir_of(self, kin: str, runner: Runner) -> Dispatcher:
        """Another one, for the jobs that a dead kin left: it adopts and ends them, and takes no new ones."""
        return Dispatcher(
            store=self.store,
            clock=self.clock,
            observer=self.observer,
            feed=self.feed,
            runner=runner,
            executors=runner.executors,
            slots={},
            owner=runner.owner,
            queue=self.queue,
            alone=True,
            kin=kin,
            leases=self.leases,
        )

    def wake(self) -> None:
        """Look at the queue now."""
        self._woken.set()

    def look(self) -> None:
        """Look now whether the cancelling of a job supervised here was requested elsewhere."""
        self._looking.set()

    def cancel(self, job_id: JobId) -> None:
        """End a job supervised here, if it is; others find the stored wish when they renew their leases."""
        supervision = self._running.get(job_id)
        if supervision is not None:
            supervision.cancel.set()

    def stop_claiming(self) -> None:
        """Take no more jobs; those that run go on."""
        self._claiming = False

    async def cancel_all(self) -> None:
        """Take no more jobs, end those that run, and wait until their results are stored."""
        self.stop_claiming()
        async with self._turn:  # what is just being claimed is ended too
            pass
        for supervision in self._running.values():
            supervision.cancel.set()
        await self.idle()

    async def idle(self) -> None:
        """Return when nothing is supervised here. Call `stop_claiming` before, or that may never be."""
        async with self._turn:  # what is just being claimed counts
            pass
        if self._running:
            self._idle.clear()
            await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled. Cancelling leaves processes running, to be adopted at the next start."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat(self.leases.renew_every, lambda: self._renew(tasks)))
            tasks.create_task(self._clear_leftovers())
            await self._recover(tasks)
            while True:
                self._woken.clear()
                await self._claim(tasks)
                await self._wait()

    async def _recover(self, tasks: asyncio.TaskGroup) -> None:
        """Adopt what was left running before anything new is claimed, then remove what nobody needs."""
        async with self._turn:
            crash_point("adopt.before")
            adopted = await persist(lambda: self._adopt_from_store(alone=self.alone))
            crash_point("adopt.committed")
            for claim in adopted:
                self._supervise(tasks, claim, self.runner.adopt)
        self.recovered.set()
        if self.alone:
            crash_point("sweep.before")
            await self._sweep()  # before anything new is started: what is new is not in the list of what to keep
        self._swept = True

    async def _adopt_from_store(self, *, alone: bool) -> list[Claim]:
        async with self.store.begin() as repos:
            return await self._adopt(repos, alone=alone)

    async def _adopt(self, repos: Repositories, *, alone: bool) -> list[Claim]:
        return await repos.jobs.adopt(
            self.owner,
            self.queue,
            lease=self.leases.length,
            alone=alone,
            kin=self.kin,
            strays_after=None if self._returning else self.strays_after,
        )

    async def _sweep(self) -> None:
        """Remove processes of ours that no running job owns: their results are stored, or they were given up."""
        supervised = [supervision.claim for supervision in self._running.values()]
        keep = await persist(self._processes)
        keep |= {claim.process for claim in supervised if claim.process is not None}
        keep |= {process_name(claim.job.id, claim.job.attempt) for claim in supervised}
        for kind, executor in self.executors.items():
            try:
                async with asyncio.timeout(SWEEP_SECONDS):
                    removed = await executor.sweep(keep)
            except (UnavailableError, TimeoutError) as error:
                log.info("what is left over is swept at a later start", extra={"executor": kind, "error": str(error)})
            except Exception:
                log.exception("the sweep failed", extra={"executor": kind})  # new jobs need not wait for old rubbish
            else:
                if removed:
                    log.info("removed what was left over", extra={"executor": kind, "processes": removed})
        await asyncio.to_thread(sweep, self.runner.surroundings, keep)
        crash_point("sweep.done")

    async def _clear_leftovers(self) -> None:
        """Beside the renewing of leases, which must not wait for an executor."""
        while True:
            await asyncio.sleep(self.leases.renew_every.total_seconds())
            await self.runner.clear_leftovers()

    async def _give_up_waiting(self) -> None:
        """End jobs that waited longer for their first attempt than they may."""
        async with self.store.read() as repos:
            overdue = await repos.jobs.overdue(self.queue)
        for job_id in overdue:
            try:
                job = await give_up_waiting(self.store, self.clock, job_id, by=self.owner)
            except ConflictError:
                continue  # it was claimed or cancelled just now
            self.observer.job_finished(job)
            self.feed.changed(job)
            self.runner.follow()

    async def _processes(self) -> frozenset[str]:
        async with self.store.read() as repos:
            return await repos.jobs.processes()

    async def _claim(self, tasks: asyncio.TaskGroup) -> None:
        async with self._turn:
            free = self._free()
            if not self._claiming or not any(free.values()):
                return
            crash_point("claim.before")
            try:
                async with self.store.begin() as repos:
                    claims = await repos.jobs.claim(self.owner, self.queue, free, lease=self.leases.length)
            except UnavailableError as error:
                self._unclaimable.refused(error)
                return
            self._unclaimable.over()
            if claims:
                crash_point("claim.committed")
            for claim in claims:
                self._supervise(tasks, claim, self.runner.run)

    def _free(self) -> dict[ExecutorKind, int]:
        used = Counter(supervision.claim.job.executor for supervision in self._running.values())
        return {kind: max(0, slots - used[kind]) for kind, slots in self.slots.items()}

    def _supervise(
        self, tasks: asyncio.TaskGroup, claim: Claim, work: Callable[[Claim, asyncio.Event], Awaitable[None]]
    ) -> None:
        supervision = _Supervision(claim=claim, cancel=asyncio.Event())
        if claim.job.cancel_requested_at is not None:
            supervision.cancel.set()
        self._running[claim.job.id] = supervision
        tasks.create_task(self._at_edge(supervision, work))

    async def _at_edge(
        self, supervision: _Supervision, work: Callable[[Claim, asyncio.Event], Awaitable[None]]
    ) -> None:
        """One job's failure to be supervised is its own: the others go on."""
        job_id = supervision.claim.job.id
        try:
            await work(supervision.claim, supervision.cancel)
        except* LeaseLostError:
            self.observer.lease_lost()
            log.warning("another orchestrator supervises this job now", extra={"job_id": job_id})
            await self.runner.abandon(supervision.claim)
        except* Exception:
            log.exception("a job could not be supervised", extra={"job_id": job_id})
            await self._give_up(supervision.claim)
        finally:
            if self._running.get(job_id) is supervision:
                del self._running[job_id]
            if not self._running:
                self._idle.set()
            self.wake()

    async def _give_up(self, claim: Claim) -> None:
        """A fault of ours must not leave the job `running` for ever."""
        note = "Cronium could not supervise the job because of a fault of its own; the server's log has the details."
        now = self.clock.now()
        gone = Exit(code=None, reason=Reason.LOST, note=note)
        outcome = judge(claim.job, gone, None, now=now, started_at=claim.job.started_at or now)
        try:
            job = await persist(lambda: finish(self.store, self.clock, claim, outcome, by=self.owner))
            self.observer.job_finished(job)
            self.feed.changed(job)
            self.runner.follow()
            executor = self.executors.get(job.executor)
            if executor is not None:
                await self.runner.end(job, executor)
        except LeaseLostError as error:
            self.observer.lease_lost()
            log.warning("another orchestrator has it now", extra={"job_id": claim.job.id, "error": str(error)})
        except Exception:
            log.exception(
                "what was left of a job that was given up stays for the sweep", extra={"job_id": claim.job.id}
            )

    async def _renew(self, tasks: asyncio.TaskGroup) -> None:
        """
        Keep the leases of what is supervised here, find wishes to cancel that came another way, and adopt jobs whose
        lease has expired: those of an orchestrator that died, and any of ours that nobody supervises.

        While the store was away nobody could renew: whoever comes back first must not take the jobs of the others.
        """
        async with self._turn:
            crash_point("renew.before")
            async with self.store.begin() as repos:
                await repos.jobs.renew(self.owner, lease=self.leases.length, jobs=frozenset(self._running))
                unwanted = await repos.jobs.cancel_requested(self.owner)
                expired: list[Claim] = []
                if self._claiming:
                    expired = await self._adopt(repos, alone=False)
            crash_point("renew.committed")
            self._returning = max(0, self._returning - 1)
            for claim in expired:
                self._supervise(tasks, claim, self.runner.adopt)
        for job_id in unwanted:
            self.cancel(job_id)
        await self._give_up_waiting()

    async def _repeat(self, every: timedelta, work: Callable[[], Awaitable[None]]) -> None:
        outage = Outage("the store is away: leases are not renewed")
        while True:
            await _wait_for(self._looking, every)
            self._looking.clear()
            try:
                await work()
            except UnavailableError as error:
                self._returning = ROUNDS_TO_RETURN
                outage.refused(error)
            else:
                outage.over()

    async def _wait(self) -> None:
        await _wait_for(self._woken, self.leases.poll_every)


async def _wait_for(event: asyncio.Event, at_most: timedelta) -> None:
    try:
        async with asyncio.timeout(at_most.total_seconds()):
            await event.wait()
    except TimeoutError:
        return
