"""Events: their names, their pages, when they are due, and the times they have fired for."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.contracts.store import JobFilter, Store
from orchestrator.errors import ConflictError, InvalidError, NotFoundError
from orchestrator.model.events import Event, EventStatus, Schedule
from orchestrator.model.jobs import EventId, JobId
from orchestrator.model.specs import Concurrency, JobSpec, Language, Script, WhenFull
from tests.suites.store_making import (
    ODD_JSON,
    ODD_TEXT,
    BoomError,
    StoreOpening,
    assert_same,
    insert,
    make_event,
    make_job,
)

MINUTE = timedelta(minutes=1)
NOWHERE = EventId("evt_nowhere")


async def store_events(store: Store, *events: Event) -> None:
    async with store.begin() as repos:
        for event in events:
            await repos.events.insert(event)


async def get_event(store: Store, event_id: EventId) -> Event:
    async with store.read() as repos:
        return await repos.events.get(event_id)


async def due(store: Store, at: datetime, *, queue: str = "main", limit: int = 1000) -> list[EventId]:
    async with store.read() as repos:
        return await repos.events.due(queue, at=at, limit=limit)


async def paged(store: Store, status: EventStatus | None, *, limit: int) -> list[Event]:
    """All pages, one after the other."""
    found: list[Event] = []
    after = None
    while True:
        async with store.read() as repos:
            page = await repos.events.page(status=status, after=after, limit=limit)
        assert len(page.items) == limit or page.next_cursor is None
        found += page.items
        after = page.next_cursor
        if after is None:
            return found


class EventSuite(StoreOpening):
    """Events: their names, their pages, when they are due, and the times they have fired for."""

    # What is stored

    async def test_every_field_of_an_event_comes_back(self, store, clock):
        """M19, M20"""
        spec = JobSpec(
            script=Script(language=Language.NODE, text=ODD_TEXT, module=True),
            name=ODD_TEXT,
            input=ODD_JSON,
            env={ODD_TEXT: ODD_TEXT, "a": ""},
            concurrency=Concurrency(limit=3, key=ODD_TEXT, when_full=WhenFull.REPLACE),
        )
        full = make_event(
            clock,
            name=ODD_TEXT,
            status=EventStatus.PAUSED,
            spec=spec,
            queue=ODD_TEXT,
            updated_at=datetime.max.replace(tzinfo=UTC),
            anchor=datetime.min.replace(tzinfo=UTC),
            description=ODD_TEXT,
            schedule=Schedule(cron=ODD_TEXT),
            max_executions=0,
            failure_webhook=ODD_TEXT,
            executions=2**63 - 1,
            next_fire_at=clock.now() + timedelta(microseconds=1),
        )
        plain = make_event(clock)
        holes = [field.name for field in fields(Event) if field.default is None]
        assert all(getattr(full, hole) is not None and getattr(plain, hole) is None for hole in holes)
        await store_events(store, full, plain)
        assert_same([await get_event(store, event.id) for event in (full, plain)], [full, plain])
        async with store.read() as repos:
            assert_same([await repos.events.by_name(ODD_TEXT)], [full])
            assert await repos.events.due(ODD_TEXT, at=full.updated_at, limit=9) == []
            with pytest.raises(NotFoundError, match="evt_nowhere"):
                await repos.events.get(NOWHERE)
            for odd in (ODD_TEXT, "", "\0", "\\", "%", "' OR 1 = 1 --"):
                with pytest.raises(NotFoundError):
                    await repos.events.get(EventId(odd))
                assert await repos.events.fires(EventId(odd)) == []

    async def test_every_status_and_kind_of_schedule_comes_back(self, store, clock):
        """M19"""
        schedules = [
            None,
            Schedule(cron=""),
            Schedule(every=timedelta(microseconds=1)),
            Schedule(every=timedelta(days=100_000_000)),
        ]
        events = [
            make_event(clock, status=status, schedule=schedule) for status in EventStatus for schedule in schedules
        ]
        await store_events(store, *events)
        assert_same([await get_event(store, event.id) for event in events], events)

    async def test_an_update_stores_what_an_event_lives_through_and_nothing_else(self, store, clock):
        event, other = make_event(clock, schedule=Schedule(every=MINUTE)), make_event(clock)
        await store_events(store, event, other)
        lived = replace(
            event,
            status=EventStatus.PAUSED,
            updated_at=clock.now() + MINUTE,
            anchor=clock.now() + MINUTE,
            executions=7,
            next_fire_at=clock.now() + MINUTE,
        )
        async with store.begin() as repos:
            await repos.events.update(
                replace(lived, name="x", queue="x", created_at=clock.now() + MINUTE, description="x", schedule=None)
            )
        assert [await get_event(store, one.id) for one in (event, other)] == [lived, other]
        async with store.begin() as repos:
            await repos.events.update(replace(lived, next_fire_at=None))
            assert await repos.events.get(event.id) == replace(lived, next_fire_at=None)
            with pytest.raises(NotFoundError, match="evt_nowhere"):
                await repos.events.update(replace(event, id=NOWHERE))

    async def test_of_many_that_count_an_execution_at_once_none_is_lost(self, store, clock):
        """An event that was read in a block is not changed by others until its end."""
        event = make_event(clock)
        await store_events(store, event)

        async def count() -> None:
            async with store.begin() as repos:
                found = await repos.events.get(event.id)
                await asyncio.sleep(0)
                await repos.events.update(replace(found, executions=found.executions + 1))

        async with asyncio.timeout(60):
            await asyncio.gather(*(count() for _ in range(30)))
        assert (await get_event(store, event.id)).executions == 30

    # Names

    async def test_a_name_is_taken_until_its_event_is_archived(self, store, clock):
        first, second = (make_event(clock, name=ODD_TEXT) for _ in range(2))
        await store_events(store, first)
        for status in (EventStatus.ACTIVE, EventStatus.PAUSED):
            async with store.begin() as repos:
                await repos.events.update(replace(first, status=status))
            with pytest.raises(ConflictError, match="archive it first") as refused:
                await store_events(store, second)
            assert refused.value.code == "event_name_taken"
        archived = replace(first, status=EventStatus.ARCHIVED)
        async with store.begin() as repos:
            await repos.events.update(archived)
            assert await repos.events.by_name(ODD_TEXT) is None
            await repos.events.insert(second)
            assert await repos.events.by_name(ODD_TEXT) == second
            await repos.events.insert(make_event(clock, name=ODD_TEXT, status=EventStatus.ARCHIVED))
        assert await get_event(store, first.id) == archived
        with pytest.raises(ConflictError):
            async with store.begin() as repos:
                await repos.events.update(first)  # back to life, under a name that is taken
        assert await get_event(store, first.id) == archived

    async def test_names_that_differ_in_little_are_different(self, store, clock):
        names = ["a", "A", "a ", " a", "a\0", "a\\0", "a\\", "ä", "a\u0308", ""]
        events = [make_event(clock, name=name) for name in names]
        await store_events(store, *events)
        async with store.read() as repos:
            assert [await repos.events.by_name(name) for name in names] == events
            assert await repos.events.by_name("a%") is None

    async def test_of_many_that_take_a_name_at_once_one_gets_it(self, store, clock):
        async def take(event: Event) -> Event | ConflictError:
            try:
                await store_events(store, event)
            except ConflictError as error:
                return error
            return event

        async with asyncio.timeout(60):
            results = await asyncio.gather(*(take(make_event(clock, name="nightly")) for _ in range(20)))
        [winner] = [result for result in results if isinstance(result, Event)]
        assert {error.code for error in results if isinstance(error, ConflictError)} == {"event_name_taken"}
        assert await paged(store, None, limit=100) == [winner]

    async def test_a_name_is_free_when_the_block_that_took_it_failed(self, store, clock):
        with pytest.raises(BoomError):
            async with store.begin() as repos:
                await repos.events.insert(make_event(clock, name="nightly"))
                raise BoomError
        event = make_event(clock, name="nightly")
        await store_events(store, event)
        assert await get_event(store, event.id) == event

    # Lists

    async def test_events_are_paged_newest_first_by_status_or_all_that_are_not_archived(self, store, clock):
        """M21"""
        events = [make_event(clock, status=list(EventStatus)[number % 3]) for number in range(30)]
        await store_events(store, *events)
        for limit in (1, 3, 10, 30, 100):
            for status in (None, *EventStatus):
                wanted = [
                    event
                    for event in reversed(events)
                    if (event.status is status if status else event.status is not EventStatus.ARCHIVED)
                ]
                assert await paged(store, status, limit=limit) == wanted

    async def test_a_list_of_events_goes_on_after_its_cursor_whatever_happens_meanwhile(self, store, clock):
        """M21"""
        events = [make_event(clock) for _ in range(6)]
        await store_events(store, *events)
        async with store.begin() as repos:
            first = await repos.events.page(status=None, after=None, limit=3)
            await repos.events.insert(make_event(clock))
            await repos.events.update(replace(events[3], status=EventStatus.ARCHIVED))
            rest = await repos.events.page(status=None, after=first.next_cursor, limit=9)
        assert [*first.items, *rest.items] == events[::-1]
        assert rest.next_cursor is None

    async def test_bad_cursors_and_limits_of_a_list_of_events_are_refused(self, store, clock):
        """M21"""
        await store_events(store, make_event(clock))
        async with store.read() as repos:
            for cursor in ("", "1", "n", "n-1", "n1 ", "\0", "\ud800", "n" + "9" * 40, "evt_1"):
                with pytest.raises(InvalidError) as refused:
                    await repos.events.page(status=None, after=cursor, limit=10)
                assert refused.value.code == "cursor_invalid"
            for limit in (0, -1):
                with pytest.raises(InvalidError):
                    await repos.events.page(status=EventStatus.ACTIVE, after=None, limit=limit)

    async def test_the_jobs_of_an_event_are_listed_by_it(self, store, clock):
        jobs = [make_job(clock, event_id=EventId(f"evt_{number % 2}")) for number in range(6)]
        await insert(store, *jobs, make_job(clock))
        async with store.read() as repos:
            page = await repos.jobs.page(JobFilter(event_id=EventId("evt_1")), after=None, limit=2)
            rest = await repos.jobs.page(JobFilter(event_id=EventId("evt_1")), after=page.next_cursor, limit=2)
            assert (await repos.jobs.page(JobFilter(event_id=EventId(ODD_TEXT)), after=None, limit=2)).items == []
        assert [*page.items, *rest.items] == [jobs[5], jobs[3], jobs[1]]

    # The schedule

    async def test_what_is_due_comes_longest_due_first_then_oldest_first(self, store, clock):
        now = clock.now()
        events = [
            make_event(clock, next_fire_at=now + timedelta(microseconds=number * 7 % 10 // 2)) for number in range(10)
        ]
        await store_events(store, *events)
        wanted = [event.id for event in sorted(events, key=lambda event: event.next_fire_at)]
        assert await due(store, now + MINUTE) == wanted
        assert await due(store, now + MINUTE, limit=3) == wanted[:3]
        assert await due(store, now + timedelta(microseconds=1)) == wanted[:4]
        assert await due(store, now) == wanted[:2]
        assert await due(store, now - timedelta(microseconds=1)) == []

    async def test_only_active_events_of_the_queue_that_have_a_time_are_due(self, store, clock):
        now = clock.now()
        event = make_event(clock, next_fire_at=now + MINUTE)
        other = make_event(clock, next_fire_at=now, queue=ODD_TEXT)
        idle = [make_event(clock, next_fire_at=now, status=status) for status in EventStatus][1:]
        await store_events(store, event, other, make_event(clock), *idle)
        assert await due(store, now + MINUTE) == [event.id]
        assert await due(store, now + MINUTE, queue=ODD_TEXT) == [other.id]
        assert await due(store, now + MINUTE, queue="nowhere") == []
        async with store.begin() as repos:
            assert await repos.events.next_due("main") == now + MINUTE
            assert await repos.events.next_due(ODD_TEXT) == now
            assert await repos.events.next_due("nowhere") is None
            await repos.events.update(replace(event, status=EventStatus.PAUSED))
            assert await repos.events.next_due("main") is None
            assert await repos.events.due("main", at=now + MINUTE, limit=9) == []
            await repos.events.update(replace(event, next_fire_at=now + 2 * MINUTE))
            await repos.events.update(replace(idle[0], status=EventStatus.ACTIVE))
            assert await repos.events.next_due("main") == now
            assert await repos.events.due("main", at=now + 2 * MINUTE, limit=9) == [idle[0].id, event.id]

    async def test_a_time_fires_once(self, store, clock):
        now = clock.now()
        event, other = make_event(clock), make_event(clock)
        await store_events(store, event, other)
        async with store.begin() as repos:
            assert await repos.events.fire(event.id, now + MINUTE, JobId("job_2"))
            assert await repos.events.fire(event.id, now, JobId("job_1"))
            assert not await repos.events.fire(event.id, now, JobId("job_3"))
            assert await repos.events.fire(other.id, now, JobId("job_4"))
        async with store.begin() as repos:
            assert not await repos.events.fire(event.id, now + MINUTE, JobId("job_5"))
            assert await repos.events.fire(event.id, now + timedelta(microseconds=1), JobId("job_6"))
        wanted = [(now, "job_1"), (now + timedelta(microseconds=1), "job_6"), (now + MINUTE, "job_2")]
        async with store.read() as repos:
            assert await repos.events.fires(event.id) == wanted
            assert await repos.events.fires(other.id) == [(now, "job_4")]
            assert await repos.events.fires(NOWHERE) == []

    async def test_an_event_that_is_not_there_does_not_fire(self, store, clock):
        with pytest.raises(ConflictError):
            async with store.begin() as repos:
                await repos.events.fire(NOWHERE, clock.now(), JobId("job_1"))

    async def test_of_many_that_fire_a_time_at_once_one_makes_the_job(self, store, clock):
        """Whoever is told False makes nothing; a block that failed has not fired."""
        event, now = make_event(clock), clock.now()
        await store_events(store, event)
        with pytest.raises(BoomError):
            async with store.begin() as repos:
                assert await repos.events.fire(event.id, now, JobId("job_of_a_failed_block"))
                raise BoomError

        async def fire() -> JobId | None:
            job = make_job(clock, event_id=event.id, scheduled_at=now)
            async with store.begin() as repos:
                if not await repos.events.fire(event.id, now, job.id):
                    return None
                return (await repos.jobs.insert(job)).id

        async with asyncio.timeout(60):
            made = [job_id for job_id in await asyncio.gather(*(fire() for _ in range(20))) if job_id]
        async with store.read() as repos:
            assert await repos.events.fires(event.id) == [(now, made[0])]
            [job] = (await repos.jobs.page(JobFilter(event_id=event.id), after=None, limit=100)).items
        assert ([job.id], job.scheduled_at) == (made, now)
