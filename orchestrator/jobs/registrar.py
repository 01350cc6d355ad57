"""Events: create them, find them, say whether they fire, run them by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import IdempotencyKey, Repositories, Store
from orchestrator.errors import ConflictError, NotFoundError
from orchestrator.jobs.admit import store_admitted
from orchestrator.jobs.event_document import EventWish
from orchestrator.jobs.schedule import next_fire
from orchestrator.jobs.submit import Submission, Submitter
from orchestrator.model.events import Event, EventStatus
from orchestrator.model.jobs import EventId, Job, JobStatus, TriggerKind
from orchestrator.model.journal import EntryKind
from orchestrator.model.json import Json

PREFIX = "evt"
ENTRIES = {
    EventStatus.ACTIVE: EntryKind.EVENT_ACTIVATED,
    EventStatus.PAUSED: EntryKind.EVENT_PAUSED,
    EventStatus.ARCHIVED: EntryKind.EVENT_ARCHIVED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registrar:
    """Keeps events. `wake` tells whoever watches the schedules that one has changed."""

    store: Store
    clock: Clock
    submitter: Submitter
    wake: Callable[[], None]

    async def create(self, wish: EventWish, *, by: str) -> Event:
        """
        Store an event, active from now on.

        Raises `ConflictError` (`event_name_taken`) and, for an executor that is not in use, `InvalidError`.
        """
        now = self.clock.now()
        event = Event(
            id=EventId(self.submitter.new_id(PREFIX)),
            name=wish.name,
            status=EventStatus.ACTIVE,
            spec=wish.spec,
            queue=self.submitter.queue,
            created_at=now,
            updated_at=now,
            anchor=now,
            description=wish.description,
            schedule=wish.schedule,
            max_executions=wish.max_executions,
            failure_webhook=wish.failure_webhook,
        )
        event = scheduled(event)
        self.submitter.build(_submission(event, by=by))  # what cannot be run now is refused now
        async with self.store.begin() as repos:
            await repos.events.insert(event)
            await repos.journal.append(event.id, EntryKind.EVENT_CREATED, at=now, by=by)
        self.wake()
        return event

    async def find(self, reference: str) -> Event:
        """The event of this id, or of this name among those that are not archived. Raises `NotFoundError`."""
        async with self.store.read() as repos:
            return await _find(repos, reference)

    async def activate(self, reference: str, *, by: str) -> Event:
        """Let the schedule fire, from now on: times that passed while it was paused are not made up for."""
        return await self._turn(reference, EventStatus.ACTIVE, by)

    async def pause(self, reference: str, *, by: str) -> Event:
        """Let the schedule fire no more. Its jobs go on."""
        return await self._turn(reference, EventStatus.PAUSED, by)

    async def archive(self, reference: str, *, by: str) -> Event:
        """Put the event away for good: it makes no more jobs, and its name is free. Its jobs go on."""
        return await self._turn(reference, EventStatus.ARCHIVED, by)

    async def _turn(self, reference: str, status: EventStatus, by: str) -> Event:
        """Raises `NotFoundError`, and `ConflictError` (`event_archived`)."""
        now = self.clock.now()
        async with self.store.begin() as repos:
            before = await _find(repos, reference)
            if before.status is status:
                return before
            _require_kept(before)
            if status is EventStatus.ACTIVE:
                _require_executions(before)
            event = scheduled(replace(before, status=status, anchor=now, updated_at=now))
            await repos.events.update(event)
            await repos.journal.append(event.id, ENTRIES[status], at=now, by=by)
        self.wake()
        return event

    async def run(
        self,
        reference: str,
        *,
        by: str,
        input: Json = None,  # noqa: A002 - the word of the outside
        given_input: bool = False,
        idempotency: IdempotencyKey | None = None,
    ) -> Job:
        """
        Make a job of the event now, also while it is paused; with `given_input` the job gets `input`.

        Raises `NotFoundError`, `ConflictError` (`event_archived`, `event_exhausted`) and what `Submitter.submit` does.
        """
        async with self.store.begin() as repos:
            event = await _find(repos, reference)
            submission = replace(_submission(event, by=by), idempotency=idempotency)
            if given_input:
                submission = replace(submission, spec=replace(event.spec, input=input))
            built = self.submitter.build(submission)
            first = await self.submitter.first(repos, submission, built)
            if first is not None:
                return first
            _require_kept(event)
            _require_executions(event)
            stored = await store_admitted(repos, built, by=by)
            await repos.events.update(await count(repos, event, stored.job, at=built.created_at))
        self.submitter.announce(stored)
        return stored.job


def scheduled(event: Event) -> Event:
    """The event with the time it fires next, counted from its anchor."""
    if event.schedule is None or event.status is not EventStatus.ACTIVE:
        return replace(event, next_fire_at=None)
    return replace(event, next_fire_at=next_fire(event.schedule, anchor=event.anchor, after=event.anchor))


async def count(repos: Repositories, event: Event, job: Job, *, at: datetime) -> Event:
    """The event after it has made `job`: paused when that was the last it may make. What was skipped does not count."""
    if job.status is JobStatus.SKIPPED:
        return event
    event = replace(event, executions=event.executions + 1)
    if event.max_executions is None or event.executions < event.max_executions:
        return event
    await repos.journal.append(
        event.id, EntryKind.EVENT_EXHAUSTED, at=at, by="engine", data={"executions": event.executions}
    )
    return replace(event, status=EventStatus.PAUSED, next_fire_at=None, updated_at=at)


async def _find(repos: Repositories, reference: str) -> Event:
    """By id or by name; inside a transaction the event is locked."""
    if reference.startswith(f"{PREFIX}_"):  # no name begins so
        return await repos.events.get(EventId(reference))
    named = await repos.events.by_name(reference)
    if named is None:
        raise NotFoundError(f"There is no event {reference!r}; `cronium events` lists those there are.")
    return await repos.events.get(named.id)


def _submission(event: Event, *, by: str) -> Submission:
    return Submission(spec=event.spec, trigger=TriggerKind.MANUAL, by=by, event_id=event.id)


def _require_kept(event: Event) -> None:
    if event.status is EventStatus.ARCHIVED:
        raise ConflictError(f"Event {event.name!r} is archived: create it again.", code="event_archived")


def _require_executions(event: Event) -> None:
    if event.max_executions is not None and event.executions >= event.max_executions:
        raise ConflictError(
            f"Event {event.name!r} has made all {event.max_executions} jobs that its max_executions allows; "
            "archive it and create it again to start over.",
            code="event_exhausted",
        )
