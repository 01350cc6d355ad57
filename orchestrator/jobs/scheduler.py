"""Fire: when the time of an event's schedule has come, make a job of it, once, whoever looks."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from datetime import timedelta

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import Outcome, Repositories, Store
from orchestrator.crash import crash_point
from orchestrator.errors import InvalidError, NotFoundError, UnavailableError
from orchestrator.jobs.admit import Stored, store_admitted
from orchestrator.jobs.finish import announce_follow_up
from orchestrator.jobs.persist import Outage
from orchestrator.jobs.registrar import count
from orchestrator.jobs.schedule import latest_due, next_fire
from orchestrator.jobs.submit import Submission, Submitter
from orchestrator.model.events import EventStatus
from orchestrator.model.jobs import EventId, Job, JobStatus, Reason, TriggerKind
from orchestrator.model.journal import EntryKind
from orchestrator.model.json import Json

BATCH = 100
BY = "schedule"

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Scheduler:
    """
    Fires the events of one queue. Any number of schedulers may: a fire is unique by event and time.

    Of the times that passed while nobody looked the latest is made up for, the others are counted in the journal.
    """

    store: Store
    clock: Clock
    submitter: Submitter
    queue: str
    poll_every: timedelta = timedelta(seconds=2)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _firing: bool = True

    def wake(self) -> None:
        """Look at the schedules now: one has changed."""
        self._woken.set()

    def stop_firing(self) -> None:
        """Fire no more: whoever serves next does."""
        self._firing = False

    async def run(self) -> None:
        """Work until cancelled."""
        outage = Outage("the store is away: no schedule fires")
        while True:
            self._woken.clear()
            pause = self.poll_every
            try:
                while await self._fire_due():
                    pass
                pause = await self._pause()
            except UnavailableError as error:
                outage.refused(error)
            else:
                outage.over()
            await self._wait(pause)

    async def _fire_due(self) -> bool:
        """Fire what is due, a batch of it; whether there may be more."""
        if not self._firing:
            return False
        async with self.store.read() as repos:
            due = await repos.events.due(self.queue, at=self.clock.now(), limit=BATCH)
        fired = [await self._at_edge(event_id) for event_id in due]
        return len(due) == BATCH and any(fired)

    async def _at_edge(self, event_id: EventId) -> bool:
        """One event's fault is its own: the others fire. Whether it was dealt with."""
        try:
            stored = await self.fire(event_id)
        except UnavailableError:
            raise
        except Exception:
            log.exception("an event could not be fired", extra={"event_id": event_id})
            return False
        if stored is not None:
            self.submitter.announce(stored)
        return True

    async def fire(self, event_id: EventId) -> Stored | None:
        """Make the job of an event whose time has come, unless somebody else has, and say when it fires next."""
        now = self.clock.now()
        crash_point("fire.before")
        async with self.store.begin() as repos:
            try:
                event = await repos.events.get(event_id)
            except NotFoundError:
                return None
            due, schedule = event.next_fire_at, event.schedule
            if event.status is not EventStatus.ACTIVE or schedule is None or due is None or due > now:
                return None
            fire_time, missed = latest_due(schedule, anchor=event.anchor, due=due, now=now)
            if missed:
                data: dict[str, Json] = {"missed": missed, "from": due.isoformat(), "fired_for": fire_time.isoformat()}
                await repos.journal.append(event.id, EntryKind.FIRES_MISSED, at=now, by=BY, data=data)
            submission = Submission(
                spec=event.spec, trigger=TriggerKind.SCHEDULE, by=BY, event_id=event.id, scheduled_at=fire_time
            )
            built, fault = self._build(submission)
            event = replace(event, next_fire_at=next_fire(schedule, anchor=event.anchor, after=fire_time))
            if not await repos.events.fire(event.id, fire_time, built.id):
                await repos.events.update(event)
                return None
            stored = await store_admitted(repos, built, by=BY)
            if fault is not None and not stored.job.status.is_final:
                stored = replace(stored, job=await self._refuse(repos, stored.job, fault))
            await repos.events.update(await count(repos, event, stored.job, at=now))
        crash_point("fire.committed")
        self.submitter.observer.event_fired((now - fire_time).total_seconds(), missed)
        return stored

    def _build(self, submission: Submission) -> tuple[Job, InvalidError | None]:
        """The job; one that cannot be run here any more is a job all the same, and says so."""
        try:
            return self.submitter.build(submission), None
        except InvalidError as error:
            return self.submitter.build(submission, runs=False), error

    async def _refuse(self, repos: Repositories, job: Job, fault: InvalidError) -> Job:
        outcome = Outcome(
            status=JobStatus.FAILED, reason=Reason.INVALID, message=fault.message, finished_at=job.created_at
        )
        job = await repos.jobs.finish_queued(job.id, outcome)
        await announce_follow_up(repos, job, at=job.created_at, by=BY)
        return job

    async def _pause(self) -> timedelta:
        """How long nothing is due, and never longer than a poll: others change events too."""
        async with self.store.read() as repos:
            due = await repos.events.next_due(self.queue)
        if due is None or not self._firing:
            return self.poll_every
        # An event that could not be fired stays due: it is tried again with the next poll, not at once.
        left = due - self.clock.now()
        return min(left, self.poll_every) if left > timedelta(0) else self.poll_every

    async def _wait(self, pause: timedelta) -> None:
        try:
            async with asyncio.timeout(pause.total_seconds()):
                await self._woken.wait()
        except TimeoutError:
            return
