"""Events: made, found, paused, archived, and run by hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.store import IdempotencyKey
from orchestrator.errors import ConflictError, InvalidError, NotFoundError
from orchestrator.jobs.event_document import EventWish, parse_event
from orchestrator.jobs.registrar import Registrar
from orchestrator.model.events import EventStatus
from orchestrator.model.jobs import EventId, JobStatus, TriggerKind
from orchestrator.model.journal import EntryKind
from tests.jobs.scripted import Rig, open_rig

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


@pytest.fixture
def woken() -> list[bool]:
    return []


@pytest.fixture
def registrar(rig: Rig, woken: list[bool]) -> Registrar:
    return Registrar(store=rig.store, clock=rig.clock, submitter=rig.submitter(), wake=lambda: woken.append(True))


def a_wish(**changes) -> EventWish:
    return parse_event({"name": "nightly", "bash": "true", "schedule": {"every": "1m"}, **changes})


async def test_an_event_is_active_and_says_when_it_fires_first(rig: Rig, registrar: Registrar, woken: list[bool]):
    event = await registrar.create(a_wish(), by="me")
    assert (event.status, event.next_fire_at, event.executions) == (EventStatus.ACTIVE, rig.clock.now() + MINUTE, 0)
    assert await registrar.find("nightly") == await registrar.find(event.id) == event
    assert await rig.journal(event.id) == [EntryKind.EVENT_CREATED]
    assert woken == [True]


async def test_a_name_is_taken_until_its_event_is_archived(registrar: Registrar):
    first = await registrar.create(a_wish(), by="me")
    with pytest.raises(ConflictError) as refused:
        await registrar.create(a_wish(), by="me")
    assert refused.value.code == "event_name_taken"
    await registrar.archive("nightly", by="me")
    second = await registrar.create(a_wish(), by="me")
    assert (await registrar.find("nightly")).id == second.id != first.id


async def test_of_many_that_want_a_name_at_once_one_gets_it(registrar: Registrar):
    results = await asyncio.gather(*(registrar.create(a_wish(), by="me") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, ConflictError) for result in results) == 4


@pytest.mark.parametrize("reference", ["", "nobody", "evt_999", "nightl"])
async def test_what_is_not_there_is_not_found(registrar: Registrar, reference: str):
    await registrar.create(a_wish(), by="me")
    with pytest.raises(NotFoundError, match="cronium events"):
        await registrar.find(reference)


async def test_an_executor_that_is_not_in_use_is_refused_at_once(rig: Rig, registrar: Registrar):
    with pytest.raises(InvalidError, match="not in use"):
        await registrar.create(a_wish(image="debian"), by="me")
    with pytest.raises(NotFoundError):
        await registrar.find("nightly")


async def test_a_paused_event_fires_no_more_and_an_activated_one_from_then_on(rig: Rig, registrar: Registrar):
    event = await registrar.create(a_wish(), by="me")
    paused = await registrar.pause("nightly", by="me")
    assert (paused.status, paused.next_fire_at) == (EventStatus.PAUSED, None)
    rig.clock.advance(timedelta(hours=1, seconds=7))
    active = await registrar.activate(event.id, by="me")
    assert (active.status, active.next_fire_at) == (EventStatus.ACTIVE, rig.clock.now() + MINUTE)
    entries = [EntryKind.EVENT_CREATED, EntryKind.EVENT_PAUSED, EntryKind.EVENT_ACTIVATED]
    assert await rig.journal(event.id) == entries


async def test_saying_it_again_changes_nothing(rig: Rig, registrar: Registrar):
    event = await registrar.create(a_wish(), by="me")
    rig.clock.advance(timedelta(seconds=30))
    assert await registrar.activate("nightly", by="me") == event
    first = await registrar.pause("nightly", by="me")
    assert await registrar.pause("nightly", by="me") == first
    await registrar.archive("nightly", by="me")
    assert (await registrar.archive(event.id, by="me")).status is EventStatus.ARCHIVED
    assert await rig.journal(event.id) == [EntryKind.EVENT_CREATED, EntryKind.EVENT_PAUSED, EntryKind.EVENT_ARCHIVED]


async def test_what_is_archived_stays_so(registrar: Registrar):
    event = await registrar.create(a_wish(), by="me")
    await registrar.archive("nightly", by="me")
    for change in (registrar.activate, registrar.pause, registrar.run):
        with pytest.raises(ConflictError) as refused:
            await change(event.id, by="me")
        assert refused.value.code == "event_archived"


async def test_a_run_by_hand_is_a_job_of_the_event(rig: Rig, registrar: Registrar):
    event = await registrar.create(a_wish(input={"day": 1}), by="me")
    await registrar.pause("nightly", by="me")
    job = await registrar.run("nightly", by="me")
    other = await registrar.run("nightly", by="me", input=None, given_input=True)
    assert (job.event_id, job.trigger, job.spec.name, job.input) == (
        event.id,
        TriggerKind.MANUAL,
        "nightly",
        {"day": 1},
    )
    assert (other.input, other.spec.script) == (None, event.spec.script)
    assert (await registrar.find("nightly")).executions == 2


async def test_the_same_key_is_one_job_and_one_execution(rig: Rig, registrar: Registrar):
    await registrar.create(a_wish(max_executions=1), by="me")
    key = IdempotencyKey(scope="tok", key="k", digest=b"d")
    first = await registrar.run("nightly", by="me", idempotency=key)
    assert await registrar.run("nightly", by="me", idempotency=key) == first
    assert (await registrar.find("nightly")).executions == 1


async def test_an_event_stops_when_it_has_made_all_its_jobs(rig: Rig, registrar: Registrar):
    event = await registrar.create(a_wish(max_executions=2), by="me")
    await registrar.run("nightly", by="me")
    assert (await registrar.find("nightly")).status is EventStatus.ACTIVE
    await registrar.run("nightly", by="me")
    exhausted = await registrar.find("nightly")
    assert (exhausted.status, exhausted.next_fire_at, exhausted.executions) == (EventStatus.PAUSED, None, 2)
    assert EntryKind.EVENT_EXHAUSTED in await rig.journal(event.id)
    for change in (registrar.run, registrar.activate):
        with pytest.raises(ConflictError) as refused:
            await change("nightly", by="me")
        assert refused.value.code == "event_exhausted"


async def test_runs_at_once_never_exceed_the_number_of_executions(rig: Rig, registrar: Registrar):
    await registrar.create(a_wish(max_executions=3), by="me")
    results = await asyncio.gather(*(registrar.run("nightly", by="me") for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(result, ConflictError) for result in results) == 5
    assert (await registrar.find("nightly")).executions == 3


async def test_a_skipped_job_is_no_execution(rig: Rig, registrar: Registrar):
    await registrar.create(a_wish(concurrency={"when_full": "skip"}, max_executions=2), by="me")
    first = await registrar.run("nightly", by="me")
    second = await registrar.run("nightly", by="me")
    assert (first.status, second.status) == (JobStatus.QUEUED, JobStatus.SKIPPED)
    assert (await registrar.find("nightly")).executions == 1


async def test_an_id_finds_its_event_and_none_that_is_called_so(rig: Rig, registrar: Registrar):
    """Such a name is refused today; one that is stored must not take what is meant for another."""
    event = await registrar.create(a_wish(), by="me")
    shadow = replace(event, id=EventId("evt_shadow"), name=event.id)
    async with rig.store.begin() as repos:
        await repos.events.insert(shadow)
    assert (await registrar.find(event.id)).id == event.id
    assert (await registrar.find(shadow.id)).id == shadow.id
    await registrar.archive(event.id, by="me")
    assert (await registrar.find(event.id)).status is EventStatus.ARCHIVED
    assert (await registrar.find(shadow.id)).status is EventStatus.ACTIVE
