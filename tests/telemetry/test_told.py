"""Verbs and doors tell their observer what metrics are made of."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.observer import SilentObserver
from orchestrator.contracts.store import OutboxItem
from orchestrator.errors import UnavailableError
from orchestrator.jobs.event_document import parse_event
from orchestrator.jobs.follow import Follower, Outside
from orchestrator.jobs.registrar import Registrar
from orchestrator.jobs.scheduler import Scheduler
from orchestrator.model.jobs import Job
from tests.api.door import Door, open_door
from tests.jobs.scripted import Rig, open_rig

MINUTE = timedelta(minutes=1)
PATIENCE_SECONDS = 20


class Listener(SilentObserver):
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.news = asyncio.Event()

    def job_adopted(self, job: Job) -> None:
        self._note("adopted", job.id)

    def event_fired(self, late_seconds: float, missed: int) -> None:
        self._note("fired", late_seconds, missed)

    def follow_up_failed(self, lane: str, *, given_up: bool) -> None:
        self._note("failed", lane, given_up)

    def log_delayed(self, seconds: float) -> None:
        self._note("delayed", seconds)

    def request_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self._note(method, route, status)

    def cache_asked(self, cache: str, *, hit: bool) -> None:
        self._note(cache, hit)

    def _note(self, *what: object) -> None:
        self.told.append(what)
        self.news.set()

    async def hear(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.news.wait()


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


async def test_a_job_that_has_a_supervisor_again_is_told(rig: Rig, listener: Listener):
    job = (await rig.claimed()).job

    await rig.runner(owner="other", observer=listener).adopt(await rig.adopt(), asyncio.Event())

    assert listener.told == [("adopted", job.id)]


async def test_a_fire_is_told_with_how_late_it_was_and_how_many_were_missed(rig: Rig, listener: Listener):
    submitter = rig.submitter(observer=listener)
    registrar = Registrar(store=rig.store, clock=rig.clock, submitter=submitter, wake=lambda: None)
    event = await registrar.create(
        parse_event({"name": "nightly", "bash": "true", "schedule": {"every": "1m"}}), by="me"
    )
    rig.clock.advance(3 * MINUTE + timedelta(seconds=5))

    await Scheduler(store=rig.store, clock=rig.clock, submitter=submitter, queue="q").fire(event.id)

    assert listener.told == [("fired", 5.0, 2)]


@pytest.mark.parametrize(
    ("outside", "told"),
    [
        (None, ("failed", "inside", False)),
        (Outside(), ("failed", "outside", False)),
        (Outside(tries=1), ("failed", "outside", True)),
    ],
)
async def test_a_delivery_that_fails_is_told_by_its_lane(rig: Rig, listener: Listener, outside, told):
    async def refuse(item: OutboxItem) -> None:
        raise UnavailableError("no")

    async with rig.store.begin() as repos:
        await repos.outbox.add("k", "kind", queue="q", payload={}, at=rig.clock.now())
    follower = Follower(
        store=rig.store, clock=rig.clock, handlers={"kind": refuse}, queue="q", outside=outside, observer=listener
    )
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(follower.run())
        await listener.hear()
        task.cancel()

    assert listener.told == [told]


async def test_lines_are_told_with_their_age_and_nothing_where_there_are_none(rig: Rig, listener: Listener):
    claim = await rig.claimed()

    def say(process) -> None:
        process.say(b"one\ntwo\n")
        process.end(0)

    rig.executor.on_start = say
    await rig.runner(observer=listener).run(claim, asyncio.Event())

    assert [what for what, *_ in listener.told] == ["delayed"]
    assert all(age >= 0 for _, age in listener.told)


@pytest.fixture
async def door(tmp_path: Path, listener: Listener):
    async with open_door(tmp_path, observer=listener) as door:
        yield door


async def test_requests_are_told_by_the_template_of_their_route_and_the_status_that_was_sent(
    door: Door, listener: Listener
):
    job = await door.submit()
    await door.get(f"/api/v3/jobs/{job.id}")
    await door.get("/api/v3/jobs/job_nowhere")
    await door.get("/api/v3/jobs", who=None)
    await door.get("/secret/of/mine")
    await door.ask("DELETE", "/healthz")

    assert [told for told in listener.told if told[0] != "tokens"] == [
        ("GET", "/api/v3/jobs/{id}", 200),
        ("GET", "/api/v3/jobs/{id}", 404),
        ("GET", "/api/v3/jobs", 401),
        ("GET", "unmatched", 404),
        ("DELETE", "unmatched", 405),
    ]


async def test_a_token_is_looked_for_in_the_cache_first(door: Door, listener: Listener):
    await door.get("/api/v3/jobs")
    await door.get("/api/v3/jobs")

    assert [told for told in listener.told if told[0] == "tokens"] == [("tokens", False), ("tokens", True)]
