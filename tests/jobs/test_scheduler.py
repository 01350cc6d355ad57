"""Schedules make jobs: each time once, whoever looks, and nothing that is late is lost without a trace."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.store import JobFilter
from orchestrator.jobs.event_document import parse_event
from orchestrator.jobs.registrar import Registrar
from orchestrator.jobs.scheduler import BATCH, Scheduler
from orchestrator.model.events import Event, EventStatus
from orchestrator.model.jobs import Job, JobStatus, Reason, TriggerKind
from orchestrator.model.journal import EntryKind
from tests.jobs.scripted import PATIENCE_SECONDS, Rig, open_rig

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


@pytest.fixture
def registrar(rig: Rig) -> Registrar:
    return Registrar(store=rig.store, clock=rig.clock, submitter=rig.submitter(), wake=lambda: None)


def a_scheduler(rig: Rig, **changes) -> Scheduler:
    quick = timedelta(milliseconds=2)
    return Scheduler(store=rig.store, clock=rig.clock, submitter=rig.submitter(**changes), queue="q", poll_every=quick)


async def create(registrar: Registrar, **changes) -> Event:
    document = {"name": "nightly", "bash": "true", "schedule": {"every": "1m"}, **changes}
    return await registrar.create(parse_event(document), by="me")


async def jobs_of(rig: Rig) -> list[Job]:
    """Oldest first."""
    async with rig.store.read() as repos:
        return list(reversed((await repos.jobs.page(JobFilter(queue="q"), after=None, limit=200)).items))


async def test_a_time_that_has_come_makes_a_job_of_that_time(rig: Rig, registrar: Registrar):
    event = await create(registrar)
    rig.clock.advance(MINUTE + timedelta(seconds=3))

    stored = await a_scheduler(rig).fire(event.id)

    assert stored is not None
    (job,) = await jobs_of(rig)
    assert (job.id, job.event_id, job.trigger) == (stored.job.id, event.id, TriggerKind.SCHEDULE)
    assert job.scheduled_at == event.created_at + MINUTE
    after = await registrar.find("nightly")
    assert (after.next_fire_at, after.executions) == (event.created_at + 2 * MINUTE, 1)
    async with rig.store.read() as repos:
        assert await repos.events.fires(event.id) == [(job.scheduled_at, job.id)]


async def test_before_its_time_nothing_fires(rig: Rig, registrar: Registrar):
    event = await create(registrar)
    rig.clock.advance(MINUTE - timedelta(microseconds=1))
    assert await a_scheduler(rig).fire(event.id) is None
    assert await jobs_of(rig) == []


@pytest.mark.parametrize("change", ["pause", "archive"])
async def test_what_was_put_aside_meanwhile_does_not_fire(rig: Rig, registrar: Registrar, change: str):
    event = await create(registrar)
    rig.clock.advance(MINUTE)
    await getattr(registrar, change)("nightly", by="me")
    assert await a_scheduler(rig).fire(event.id) is None
    assert await jobs_of(rig) == []


async def test_of_many_that_fire_at_once_one_makes_the_job(rig: Rig, registrar: Registrar):
    """M47: two engines fire one event once."""
    event = await create(registrar)
    rig.clock.advance(MINUTE)
    results = await asyncio.gather(*(a_scheduler(rig).fire(event.id) for _ in range(10)))
    assert sum(result is not None for result in results) == 1
    assert len(await jobs_of(rig)) == 1


async def test_a_time_that_has_fired_does_not_fire_again_when_the_event_is_set_back(rig: Rig, registrar: Registrar):
    """What a restored backup of a single row would do: the fire is what counts."""
    event = await create(registrar)
    rig.clock.advance(MINUTE)
    await a_scheduler(rig).fire(event.id)
    async with rig.store.begin() as repos:
        await repos.events.update(event)
    assert await a_scheduler(rig).fire(event.id) is None
    assert len(await jobs_of(rig)) == 1
    assert (await registrar.find("nightly")).next_fire_at == event.created_at + 2 * MINUTE


async def test_after_an_absence_the_latest_time_is_made_up_for_and_the_others_are_counted(
    rig: Rig, registrar: Registrar
):
    event = await create(registrar)
    rig.clock.advance(5 * MINUTE + timedelta(seconds=20))
    await a_scheduler(rig).fire(event.id)
    (job,) = await jobs_of(rig)
    assert job.scheduled_at == event.created_at + 5 * MINUTE
    async with rig.store.read() as repos:
        (entry,) = [entry for entry in await repos.journal.read(event.id) if entry.kind is EntryKind.FIRES_MISSED]
    assert entry.data["missed"] == 4
    assert (await registrar.find("nightly")).next_fire_at == event.created_at + 6 * MINUTE


async def test_the_last_execution_ends_the_schedule(rig: Rig, registrar: Registrar):
    event = await create(registrar, max_executions=1)
    rig.clock.advance(MINUTE)
    await a_scheduler(rig).fire(event.id)
    rig.clock.advance(MINUTE)
    assert await a_scheduler(rig).fire(event.id) is None
    exhausted = await registrar.find("nightly")
    assert (exhausted.status, exhausted.next_fire_at) == (EventStatus.PAUSED, None)
    assert len(await jobs_of(rig)) == 1


async def test_what_cannot_run_here_any_more_is_a_failed_job_and_not_silence(rig: Rig, registrar: Registrar):
    event = await create(registrar)
    rig.clock.advance(MINUTE)
    await a_scheduler(rig, executors=frozenset()).fire(event.id)
    (job,) = await jobs_of(rig)
    assert (job.status, job.reason) == (JobStatus.FAILED, Reason.INVALID)
    assert "not in use here" in (job.message or "")
    assert await rig.journal(job.id) == [EntryKind.QUEUED, EntryKind.FINISHED]
    assert (await registrar.find("nightly")).next_fire_at == event.created_at + 2 * MINUTE


async def test_the_loop_fires_what_is_due_and_goes_on_when_the_store_was_away(rig: Rig, registrar: Registrar):
    first = await create(registrar)
    second = await create(registrar, name="other", schedule="* * * * *")
    scheduler = a_scheduler(rig)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(scheduler.run())
        rig.store.is_away = True
        await rig.changes.until(lambda: rig.store.refused > 1)
        rig.clock.advance(MINUTE)
        rig.store.is_away = False
        async with asyncio.timeout(PATIENCE_SECONDS):
            await rig.changes.until(lambda: len(rig.observer.submitted) == 2)
        assert {job.event_id for job in rig.observer.submitted} == {first.id, second.id}
        task.cancel()


async def test_a_schedule_that_is_to_stop_fires_no_more(rig: Rig, registrar: Registrar):
    await create(registrar)
    scheduler = a_scheduler(rig)
    scheduler.stop_firing()
    rig.clock.advance(MINUTE)
    assert await scheduler._fire_due() is False
    assert await jobs_of(rig) == []


async def test_as_many_broken_events_as_one_look_finds_are_not_tried_again_at_once(rig: Rig, registrar: Registrar):
    """They stay due; a scheduler that took them for work to be done would never pause."""
    for number in range(BATCH + 1):
        await create(registrar, name=f"e-{number}")
    rig.clock.advance(MINUTE)
    tried: list[str] = []

    def break_down(prefix: str) -> str:
        tried.append(prefix)
        raise ValueError("no id for it")

    assert await a_scheduler(rig, new_id=break_down)._fire_due() is False
    assert len(tried) == BATCH
    whole = a_scheduler(rig)
    assert (await whole._fire_due(), await whole._fire_due()) == (True, False)
    assert len(await jobs_of(rig)) == BATCH + 1
