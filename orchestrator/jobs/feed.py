"""The live feed: tells watchers about lines and changes after they are stored. The store is the truth, this is a hint."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from orchestrator.contracts.store import Store
from orchestrator.model.jobs import Job, JobId
from orchestrator.model.logs import Line, Stream
from orchestrator.model.workflows import Run

BATCH_LINES = 2000
BATCH_BYTES = 256 * 1024
RECENT_BYTES = 1024 * 1024
POLL_SECONDS = 2.0  # beneath the wake-ups: another orchestrator may be the one that stores

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines that are stored, in order, none left out."""

    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The job entered another status or attempt."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """The script said how far it is; of what it says in a moment not every word comes."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The job is final and every line was given."""

    job: Job


Item: TypeAlias = Lines | Changed | Progressed | Ended


class Onlooker(Protocol):
    """
    Somebody in this process who sees everything at once: the display of `cronium run`.

    Reading the script's output waits for `raw` and `lines`: an onlooker that cannot keep up slows the script down.
    """

    async def raw(self, job: Job, stream: Stream, data: bytes) -> None:
        """Bytes as the script wrote them, secrets masked, before they are stored."""
        ...

    async def lines(self, job: Job, lines: Sequence[Line]) -> None:
        """Lines that are stored."""
        ...

    def job_changed(self, job: Job) -> None: ...

    def run_changed(self, run: Run) -> None: ...


@dataclass(slots=True)
class _Topic:
    """The watchers of one job and the batches stored last, so that they need not all read the store."""

    watchers: set[asyncio.Event] = field(default_factory=set)
    recent: deque[tuple[Line, ...]] = field(default_factory=deque)
    recent_bytes: int = 0
    job: Job | None = None
    told: int = 0  # how often another orchestrator had news
    read_at: float = 0.0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def keep(self, lines: Sequence[Line]) -> None:
        if self.recent and self.recent[-1][-1].seq + 1 != lines[0].seq:
            self.forget()  # another orchestrator had the job meanwhile
        self.recent.append(tuple(lines))
        self.recent_bytes += sum(len(line.text) for line in lines)
        while self.recent_bytes > RECENT_BYTES and len(self.recent) > 1:
            self.recent_bytes -= sum(len(line.text) for line in self.recent.popleft())

    def is_old(self) -> bool:
        """Whether the job was not read for as long as it may go unread."""
        return asyncio.get_running_loop().time() >= self.read_at + POLL_SECONDS

    def forget(self) -> None:
        self.recent.clear()
        self.recent_bytes = 0

    def newer(self, read: Job) -> Job:
        """Keep what was read unless a change was announced while it was read: that one is newer."""
        if self.job is None:
            self.job = read
        return self.job

    def after(self, seq: int) -> tuple[Line, ...] | None:
        """The first batch with lines after `seq`; None when the batches kept do not reach back that far."""
        if not self.recent or self.recent[0][0].seq > seq + 1:
            return None
        for batch in self.recent:
            if batch[-1].seq > seq:
                return batch[max(0, seq + 1 - batch[0].seq) :]
        return ()


class Feed:
    """
    Publishes to the watchers in this process. A slow watcher reads the store and slows nobody.

    `tell` is called with the id of each job that has news, for the watchers that other orchestrators have.
    """

    def __init__(
        self, store: Store, onlooker: Onlooker | None = None, *, tell: Callable[[JobId], None] = lambda _job_id: None
    ) -> None:
        self._store, self._tell = store, tell
        self._topics: dict[JobId, _Topic] = {}
        self._draining = False
        self.onlooker: Onlooker | None = _Harmless(onlooker) if onlooker is not None else None

    async def published(self, job: Job, lines: Sequence[Line]) -> None:
        """Lines of `job` were stored."""
        if self.onlooker is not None:
            await self.onlooker.lines(job, lines)
        topic = self._topics.get(job.id)
        if topic is not None and lines:
            topic.keep(lines)
            _wake(topic)
        self._tell(job.id)

    def changed(self, job: Job) -> None:
        """A change of `job` was committed."""
        if self.onlooker is not None:
            self.onlooker.job_changed(job)
        topic = self._topics.get(job.id)
        if topic is not None:
            topic.job = job
            _wake(topic)
        self._tell(job.id)

    def heard(self, job_id: JobId) -> None:
        """Another orchestrator says that the job has news: watchers look at the store."""
        topic = self._topics.get(job_id)
        if topic is not None:
            topic.job = None
            topic.told += 1
            _wake(topic)

    def progressed(self, job_id: JobId) -> None:
        """The progress of a job was stored: here or elsewhere watchers look at the store."""
        self.heard(job_id)
        self._tell(job_id)

    def heard_everything(self) -> None:
        """Any job may have news."""
        for job_id in tuple(self._topics):
            self.heard(job_id)

    def run_changed(self, run: Run) -> None:
        """A change of `run` was committed."""
        if self.onlooker is not None:
            self.onlooker.run_changed(run)

    def drain(self) -> None:
        """End every watch, without `Ended`: the server is going away, the jobs are not."""
        self._draining = True
        for topic in self._topics.values():
            _wake(topic)

    async def watch(self, job_id: JobId, *, after: int = 0) -> AsyncGenerator[Item, None]:
        """
        Yield the state of the job, its lines with `seq` > `after` and its changes, and finally `Ended`.

        Each line comes once and in order. Ends without `Ended` when the server drains. Raises `NotFoundError`.
        """
        topic = self._topics.setdefault(job_id, _Topic())
        woken = asyncio.Event()
        topic.watchers.add(woken)
        try:
            async for item in self._watch(job_id, topic, woken, after):
                yield item
        finally:
            topic.watchers.discard(woken)
            if not topic.watchers and self._topics.get(job_id) is topic:
                del self._topics[job_id]

    async def _watch(
        self, job_id: JobId, topic: _Topic, woken: asyncio.Event, position: int
    ) -> AsyncGenerator[Item, None]:
        shown: Job | None = None
        while True:
            woken.clear()
            job = await self._current(job_id, topic)
            if shown is None or (job.status, job.attempt) != (shown.status, shown.attempt):
                shown = job
                if not job.status.is_final:
                    yield Changed(job=job)
            elif job.progress != shown.progress:
                shown = job
                yield Progressed(job=job)
            while lines := await self._lines(job, topic, position):
                yield Lines(lines=lines)
                position = lines[-1].seq
            if job.status.is_final and position >= job.log.lines:
                yield Ended(job=job)
                return
            if self._draining:
                return
            if not await _wait(woken) and topic.is_old():
                topic.job = None  # for all who watch: the next one of them reads it

    async def _current(self, job_id: JobId, topic: _Topic) -> Job:
        """The job as last announced here; asked of the store at first and after each poll that nothing woke."""
        async with topic.turn:  # one reads it for all
            if topic.job is not None:
                return topic.job
            told, topic.read_at = topic.told, asyncio.get_running_loop().time()
            async with self._store.read() as repos:
                read = await repos.jobs.get(job_id)
            return topic.newer(read) if topic.told == told else read  # news since: it is read again at once

    async def _lines(self, job: Job, topic: _Topic, position: int) -> tuple[Line, ...]:
        recent = topic.after(position)
        if recent or (recent is not None and job.log.lines <= position):
            return _within(recent, BATCH_BYTES)
        async with self._store.read() as repos:
            return _within(tuple(await repos.logs.read(job.id, after=position, limit=BATCH_LINES)), BATCH_BYTES)


class _Harmless:
    """An onlooker whose failure is its own: the job that it looks at goes on, and so does whoever supervises it."""

    def __init__(self, onlooker: Onlooker) -> None:
        self._onlooker = onlooker

    async def raw(self, job: Job, stream: Stream, data: bytes) -> None:
        with _logged():
            await self._onlooker.raw(job, stream, data)

    async def lines(self, job: Job, lines: Sequence[Line]) -> None:
        with _logged():
            await self._onlooker.lines(job, lines)

    def job_changed(self, job: Job) -> None:
        with _logged():
            self._onlooker.job_changed(job)

    def run_changed(self, run: Run) -> None:
        with _logged():
            self._onlooker.run_changed(run)


@contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except Exception:
        log.exception("what is shown of a job is incomplete; the job itself goes on")


def _within(lines: tuple[Line, ...], size: int) -> tuple[Line, ...]:
    """The first lines that fit into `size` characters; at least one."""
    for index, line in enumerate(lines):
        size -= len(line.text)
        if size < 0:
            return lines[: max(1, index)]
    return lines


def _wake(topic: _Topic) -> None:
    for watcher in topic.watchers:
        watcher.set()


async def _wait(woken: asyncio.Event) -> bool:
    """Whether somebody woke us within the poll interval."""
    try:
        async with asyncio.timeout(POLL_SECONDS):
            return await woken.wait()
    except TimeoutError:
        return False
