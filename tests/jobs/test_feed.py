"""Watching a job: every line once and in order, whoever stores it and whenever one begins to look."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.contracts.store import Outcome, Store
from orchestrator.errors import NotFoundError
from orchestrator.jobs import feed as feed_module
from orchestrator.jobs.feed import Changed, Ended, Feed, Lines
from orchestrator.model.jobs import Claim, Job, JobId, JobStatus, TriggerKind
from orchestrator.model.logs import Cursor, Line, Stream
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Script
from orchestrator.stores.sqlite import open_sqlite_store
from tests.fakes import FakeClock

AT = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path: Path):
    async with open_sqlite_store(tmp_path / "test.db", clock=FakeClock(), exclusive=True) as store:
        yield store


class Scripted:
    """A job in the store whose supervisor is the test."""

    def __init__(self, store: Store, feed: Feed, claim: Claim) -> None:
        self.store, self.feed, self.claim, self.seq = store, feed, claim, 0

    async def say(self, *texts: str, publish: bool = True) -> None:
        lines = [
            Line(seq=self.seq + n, at=AT, stream=Stream.STDOUT, text=text, attempt=1) for n, text in enumerate(texts, 1)
        ]
        self.seq += len(lines)
        async with self.store.begin() as repos:
            await repos.logs.append(self.claim, lines, Cursor())
        if publish:
            await self.feed.published(self.claim.job, lines)

    async def end(self, *, publish: bool = True) -> None:
        async with self.store.begin() as repos:
            job = await repos.jobs.finish(self.claim, Outcome(status=JobStatus.SUCCEEDED, finished_at=AT))
        if publish:
            self.feed.changed(job)


async def running(store: Store, feed: Feed) -> Scripted:
    job = Job(
        id=JobId("job_1"),
        status=JobStatus.QUEUED,
        spec=JobSpec(script=Script(language=Language.SHELL, text="")),
        executor=ExecutorKind.PROCESS,
        queue="q",
        trigger=TriggerKind.API,
        priority=0,
        created_at=AT,
    )
    async with store.begin() as repos:
        await repos.jobs.insert(job)
        (claim,) = await repos.jobs.claim("me", "q", {ExecutorKind.PROCESS: 1}, lease=timedelta(seconds=15))
    return Scripted(store, feed, claim)


async def collect(feed: Feed, after: int = 0) -> tuple[list[str], list[str]]:
    texts: list[str] = []
    kinds: list[str] = []
    async for item in feed.watch(JobId("job_1"), after=after):
        kinds.append(type(item).__name__)
        if isinstance(item, Lines):
            texts += [line.text for line in item.lines]
    return texts, kinds


async def test_watchers_that_come_at_any_time_get_every_line_once(store: Store):
    feed = Feed(store)
    script = await running(store, feed)
    async with asyncio.TaskGroup() as tasks:
        early = tasks.create_task(collect(feed))
        for batch in range(50):
            await script.say(*(f"{batch}.{n}" for n in range(7)))
            if batch == 25:
                late = tasks.create_task(collect(feed))
                resumed = tasks.create_task(collect(feed, after=100))
        await script.end()

    expected = [f"{batch}.{n}" for batch in range(50) for n in range(7)]
    assert early.result()[0] == late.result()[0] == expected
    assert resumed.result()[0] == expected[100:]
    assert early.result()[1][-1] == "Ended"
    assert early.result()[1].count("Ended") == 1


async def test_a_watcher_that_does_not_read_slows_nobody_and_misses_nothing(store: Store, monkeypatch):
    monkeypatch.setattr(feed_module, "RECENT_BYTES", 1000)
    feed = Feed(store)
    script = await running(store, feed)
    stalled = feed.watch(JobId("job_1"))
    assert isinstance(await anext(stalled), Changed)

    for n in range(500):
        await script.say(f"line {n}")
    await script.end()

    rest = [item async for item in stalled]
    assert [line.text for item in rest if isinstance(item, Lines) for line in item.lines] == [
        f"line {n}" for n in range(500)
    ]
    assert isinstance(rest[-1], Ended)


async def test_what_another_orchestrator_stores_is_found_without_being_told(store: Store, monkeypatch):
    monkeypatch.setattr(feed_module, "POLL_SECONDS", 0.01)
    feed = Feed(store)
    script = await running(store, feed)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(collect(feed))
        await asyncio.sleep(0)
        await script.say("unannounced", publish=False)
        await script.end(publish=False)

    assert watching.result()[0] == ["unannounced"]


async def test_draining_ends_a_watch_without_the_end_of_the_job(store: Store):
    feed = Feed(store)
    script = await running(store, feed)
    await script.say("one")
    watch = feed.watch(JobId("job_1"))
    seen = [type(await anext(watch)), type(await anext(watch))]

    feed.drain()

    assert seen == [Changed, Lines]
    assert [item async for item in watch] == []


async def test_a_job_that_is_not_there_cannot_be_watched(store: Store):
    with pytest.raises(NotFoundError):
        await anext(Feed(store).watch(JobId("job_none")))


async def test_watchers_here_hear_what_another_orchestrator_tells(store: Store, monkeypatch):
    """Two feeds on one store, as two orchestrators have; without being told, one would look in an hour."""
    monkeypatch.setattr(feed_module, "POLL_SECONDS", 3600)
    here = Feed(store)
    there = Feed(store, tell=here.heard)
    script = await running(store, there)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(collect(here))
        for n in range(100):
            await script.say(f"line {n}")
        await script.end()

    texts, kinds = watching.result()
    assert texts == [f"line {n}" for n in range(100)]
    assert kinds[-1] == "Ended"


async def test_a_job_that_moves_between_orchestrators_shows_every_line_once(store: Store, monkeypatch):
    monkeypatch.setattr(feed_module, "POLL_SECONDS", 3600)
    here = Feed(store)
    there = Feed(store, tell=here.heard)
    script = await running(store, here)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(collect(here))
        await asyncio.sleep(0)
        for n in range(60):
            script.feed = here if n // 20 % 2 == 0 else there
            await script.say(f"line {n}")
        script.feed = here
        await script.end()

    assert watching.result()[0] == [f"line {n}" for n in range(60)]


async def test_after_lost_wake_ups_every_watch_looks(store: Store, monkeypatch):
    monkeypatch.setattr(feed_module, "POLL_SECONDS", 3600)
    feed = Feed(store)
    script = await running(store, feed)
    watch = feed.watch(JobId("job_1"))
    assert isinstance(await anext(watch), Changed)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(anext(watch))
        await asyncio.sleep(0)
        await script.say("missed", publish=False)
        feed.heard_everything()
        item = await looking
    assert isinstance(item, Lines)
    assert [line.text for line in item.lines] == ["missed"]
    await watch.aclose()


class Slow:
    """A store whose answers take their time on the way back, as over a network."""

    def __init__(self, store: Store) -> None:
        self.store, self.reading, self.arrives = store, asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def read(self):
        async with self.store.read() as repos:
            yield SimpleNamespace(jobs=SimpleNamespace(get=partial(self._get, repos)), logs=repos.logs)

    async def _get(self, repos, job_id):
        job = await repos.jobs.get(job_id)
        self.reading.set()
        await self.arrives.wait()
        return job


async def test_news_heard_while_the_job_is_read_are_not_lost(store: Store, monkeypatch):
    monkeypatch.setattr(feed_module, "POLL_SECONDS", 3600)
    slow = Slow(store)
    here = Feed(slow)
    there = Feed(store, tell=here.heard)
    script = await running(store, there)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(collect(here))
        await slow.reading.wait()
        await script.end()  # stored and told, while the old state is still on its way
        slow.arrives.set()
    assert watching.result()[1][-1] == "Ended"


async def test_idle_watchers_of_one_job_ask_the_store_together(store: Store, monkeypatch):
    monkeypatch.setattr(feed_module, "POLL_SECONDS", 0.05)
    slow = Slow(store)
    slow.arrives.set()
    asked = 0
    real = slow._get

    async def count(repos, job_id):
        nonlocal asked
        asked += 1
        if asked == 4:
            await script.end(publish=False)
        return await real(repos, job_id)

    slow._get = count
    feed = Feed(slow)
    script = await running(store, Feed(store))
    async with asyncio.timeout(60):
        results = await asyncio.gather(*(collect(feed) for _ in range(100)))
    assert all(kinds[-1] == "Ended" for _, kinds in results)
    assert asked < 20
