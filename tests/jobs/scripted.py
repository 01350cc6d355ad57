"""An executor whose processes do what the test says, a store that can go away, and an engine's parts around them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from orchestrator.contracts.executor import UNHEARD, Availability, Exit, Placement, Process, ProcessSpec, Setup, Signal
from orchestrator.contracts.observer import SilentObserver
from orchestrator.contracts.store import Repositories, Store
from orchestrator.errors import UnavailableError
from orchestrator.jobs.dispatch import Dispatcher, Leases
from orchestrator.jobs.environment import Surroundings
from orchestrator.jobs.feed import Ended, Feed
from orchestrator.jobs.run import Patience, Runner
from orchestrator.jobs.submit import Submission, Submitter
from orchestrator.model.jobs import Claim, Job, JobId, TriggerKind, process_name
from orchestrator.model.journal import EntryKind
from orchestrator.model.logs import Chunk, Cursor, Line, Stream
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Script
from orchestrator.stores.sqlite import open_sqlite_store
from tests.fakes import NEW_YEAR, FakeClock

KEY = b"k" * 32
PATIENCE_SECONDS = 20.0
LEASE = timedelta(seconds=15)
QUICK = Patience(
    setup=timedelta(seconds=PATIENCE_SECONDS),
    grace=timedelta(milliseconds=1),
    attach_retry=timedelta(milliseconds=1),
)
AWAY = UnavailableError("It does not answer.")


@dataclass(slots=True)
class Changes:
    """Wakes those who wait for something to become true whenever something has changed."""

    _next: asyncio.Event = field(default_factory=asyncio.Event)

    def happened(self) -> None:
        self._next.set()
        self._next = asyncio.Event()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_so():
                await self._next.wait()


class ScriptedProcess:
    """A `Process` that writes with `say`, ends with `end`, and on the signals named in `ends_on`."""

    def __init__(self, name: str, changes: Changes) -> None:
        self._name, self._changes = name, changes
        self._exit: Exit | None = None
        self.written: list[Chunk] = []
        self.yielded = 0  # chunks, to all readers
        self.readers_waiting = 0
        self.signals: list[Signal] = []
        self.signal_failures: deque[Exception] = deque()
        self.ends_on: Mapping[Signal, int] = {Signal.TERM: 143, Signal.KILL: 137}
        self.removals = 0
        self.on_remove: Callable[[], Awaitable[None]] | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def has_ended(self) -> bool:
        return self._exit is not None

    def say(self, data: bytes, stream: Stream = Stream.STDOUT) -> None:
        self.written.append(Chunk(stream=stream, data=data, at=NEW_YEAR))
        self._changes.happened()

    def end(self, code: int | None = 0, **more: Any) -> None:
        if self._exit is None:
            self._exit = Exit(code=code, **more)
        self._changes.happened()

    async def taken(self) -> None:
        """Wait until a reader has dealt with everything said so far and asks for more."""
        await self._changes.until(lambda: self.readers_waiting > 0)

    async def output(self, after: Cursor) -> AsyncGenerator[Chunk, None]:
        skip = {Stream.STDOUT: after.stdout.bytes, Stream.STDERR: after.stderr.bytes}
        position = 0
        while True:
            while position < len(self.written):
                chunk = self.written[position]
                position += 1
                skipped = min(skip[chunk.stream], len(chunk.data))
                skip[chunk.stream] -= skipped
                if data := chunk.data[skipped:]:
                    self.yielded += 1
                    yield Chunk(stream=chunk.stream, data=data, at=chunk.at)
            if self.has_ended:
                return
            await self._more(position)

    async def _more(self, position: int) -> None:
        self.readers_waiting += 1
        self._changes.happened()
        try:
            while position == len(self.written) and not self.has_ended:
                await self._changes._next.wait()
        finally:
            self.readers_waiting -= 1
            self._changes.happened()

    async def wait(self) -> Exit:
        while self._exit is None:
            await self._changes._next.wait()
        return self._exit

    async def signal(self, signal: Signal) -> None:
        if self.signal_failures:
            raise self.signal_failures.popleft()
        self.signals.append(signal)
        self._changes.happened()
        if signal in self.ends_on:
            self.end(self.ends_on[signal])

    async def remove(self) -> None:
        self.removals += 1
        if self.on_remove is not None:
            await self.on_remove()
        self.end(137)


class ScriptedExecutor:
    """An `Executor` whose starts and attachments do what the test says."""

    def __init__(self, kind: ExecutorKind = ExecutorKind.PROCESS, changes: Changes | None = None) -> None:
        self._kind = kind
        self.changes = changes or Changes()
        self.processes: dict[str, ScriptedProcess] = {}
        self.specs: list[ProcessSpec] = []
        self.begun = 0
        self.gate = asyncio.Event()  # closed: starting hangs until it is cancelled
        self.gate.set()
        self.start_failures: dict[str, Exception] = {}  # by name of the job; "" for all
        self.starts_all_the_same = False  # a start that fails has started the process
        self.attach_failures: deque[Exception] = deque()
        self.attached: list[str] = []
        self.sweep_gate = asyncio.Event()
        self.sweep_gate.set()
        self.sweeping = 0
        self.swept: list[str] = []
        self.on_setup: Callable[[Setup], None] = lambda _: None
        self.on_start: Callable[[ScriptedProcess], None] = lambda _: None

    @property
    def kind(self) -> ExecutorKind:
        return self._kind

    @property
    def only(self) -> ScriptedProcess:
        """The one process that was started."""
        (process,) = self.processes.values()
        return process

    def placement(self, directory: Path) -> Placement:
        return Placement(
            files=str(directory),
            sdk="/sdk",
            runtime_api="unix:/run/api.sock",
            workdir=str(directory / "work"),
            env={"PATH": "/usr/bin:/bin"},
        )

    async def start(self, spec: ProcessSpec, setup: Setup = UNHEARD) -> Process:
        self.begun += 1
        self.on_setup(setup)
        self.changes.happened()
        await self.gate.wait()
        failure = self.start_failures.get(spec.labels["job"]) or self.start_failures.get("")
        if failure is not None and not self.starts_all_the_same:
            raise failure
        process = self.processes.get(spec.name)
        if process is None:
            process = self.processes[spec.name] = ScriptedProcess(spec.name, self.changes)
            self.specs.append(spec)
            self.on_start(process)
            self.changes.happened()
        if failure is not None:
            raise failure
        return process

    async def attach(self, name: str) -> Process | None:
        if self.attach_failures:
            raise self.attach_failures.popleft()
        self.attached.append(name)
        return self.processes.get(name)

    async def sweep(self, keep: frozenset[str]) -> list[str]:
        self.sweeping += 1
        self.changes.happened()
        await self.sweep_gate.wait()
        left = [name for name in self.processes if name not in keep]
        for name in left:
            await self.processes[name].remove()
        self.swept += left
        self.changes.happened()
        return left

    async def check(self) -> Availability:
        return Availability(kind=self.kind, available=True, detail="It does what the test says.")

    async def started(self, number: int) -> list[ScriptedProcess]:
        """Wait until so many processes were started; return them in the order they were started."""
        await self.changes.until(lambda: len(self.processes) >= number)
        return list(self.processes.values())


@dataclass(slots=True)
class FlakyStore:
    """A real store that can go away for writers, for readers, or both."""

    store: Store
    changes: Changes
    is_away: bool = False
    refused: int = 0
    gate: asyncio.Event | None = None  # while it is there and not set, transactions wait before they begin
    waiting: int = 0

    @property
    def driver(self) -> str:
        return self.store.driver

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Repositories]:
        self._answer()
        if self.gate is not None:
            await self._pass(self.gate)
        async with self.store.begin() as repos:
            yield repos

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Repositories]:
        self._answer()
        async with self.store.read() as repos:
            yield repos

    async def check(self) -> None:
        self._answer()
        await self.store.check()

    async def _pass(self, gate: asyncio.Event) -> None:
        self.waiting += 1
        self.changes.happened()
        await gate.wait()
        self.waiting -= 1

    def _answer(self) -> None:
        if self.is_away:
            self.refused += 1
            self.changes.happened()
            raise UnavailableError("The store is away.", code="store_unavailable")


class Counter(SilentObserver):
    """An observer that remembers what it was told."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self.submitted: list[Job] = []
        self.started: list[Job] = []
        self.finished: list[Job] = []
        self.stored: list[tuple[int, int]] = []
        self.lost = 0

    def job_submitted(self, job: Job) -> None:
        self.submitted.append(job)
        self._changes.happened()

    def job_started(self, job: Job, latency_seconds: float) -> None:
        self.started.append(job)
        self._changes.happened()

    def job_finished(self, job: Job) -> None:
        self.finished.append(job)
        self._changes.happened()

    def lines_stored(self, lines: int, size_bytes: int) -> None:
        self.stored.append((lines, size_bytes))
        self._changes.happened()

    def lease_lost(self) -> None:
        self.lost += 1
        self._changes.happened()


@dataclass(slots=True, kw_only=True)
class Rig:
    """The parts of an engine on one store in memory, with scripted executors."""

    store: FlakyStore
    clock: FakeClock
    feed: Feed
    observer: Counter
    changes: Changes
    executors: dict[ExecutorKind, ScriptedExecutor]
    surroundings: Surroundings
    numbers: Any = field(default_factory=lambda: count(1))
    follows: int = 0
    again: list[timedelta] = field(default_factory=list)

    @property
    def executor(self) -> ScriptedExecutor:
        return self.executors[ExecutorKind.PROCESS]

    def follow(self) -> None:
        self.follows += 1

    def try_again(self, delay: timedelta) -> None:
        self.again.append(delay)
        self.changes.happened()

    def submitter(self, **changes: Any) -> Submitter:
        given: dict[str, Any] = {
            "store": self.store,
            "clock": self.clock,
            "observer": self.observer,
            "new_id": lambda prefix: f"{prefix}_{next(self.numbers)}",
            "wake": lambda: None,
            "ended": lambda _: None,
            "default_executor": ExecutorKind.PROCESS,
            "executors": frozenset(self.executors),
            "queue": "q",
        }
        return Submitter(**{**given, **changes})

    async def submit(self, spec: JobSpec | None = None, **changes: Any) -> Job:
        """A queued job."""
        return await self.submitter().submit(a_submission(spec or a_spec(**changes)))

    async def claim(self, owner: str = "me") -> list[Claim]:
        async with self.store.begin() as repos:
            return await repos.jobs.claim(owner, "q", dict.fromkeys(self.executors, 100), lease=LEASE)

    async def adopt(self, owner: str = "other") -> Claim:
        """The claim of a new supervisor on the only running job; the one before loses its own."""
        async with self.store.begin() as repos:
            (claim,) = await repos.jobs.adopt(owner, "q", lease=LEASE, alone=True)
        return claim

    async def claimed(self, **changes: Any) -> Claim:
        """A job that was just claimed."""
        await self.submit(**changes)
        (claim,) = await self.claim()
        return claim

    def runner(self, **changes: Any) -> Runner:
        given: dict[str, Any] = {
            "store": self.store,
            "clock": self.clock,
            "observer": self.observer,
            "feed": self.feed,
            "executors": self.executors,
            "surroundings": self.surroundings,
            "owner": "me",
            "follow": self.follow,
            "again": self.try_again,
            "chance": lambda: 0.0,
            "patience": QUICK,
        }
        return Runner(**{**given, **changes})

    def dispatcher(self, owner: str = "me", **changes: Any) -> Dispatcher:
        quick = timedelta(milliseconds=2)
        given: dict[str, Any] = {
            "store": self.store,
            "clock": self.clock,
            "observer": self.observer,
            "feed": self.feed,
            "runner": self.runner(owner=owner),
            "executors": self.executors,
            "slots": dict.fromkeys(self.executors, 100),
            "owner": owner,
            "queue": "q",
            "alone": True,
            "leases": Leases(renew_every=quick, poll_every=quick),
        }
        return Dispatcher(**{**given, **changes})

    def process_of(self, job: Job, attempt: int = 1) -> ScriptedProcess:
        return self.executors[job.executor].processes[process_name(job.id, attempt)]

    async def job(self, job_id: JobId) -> Job:
        async with self.store.store.read() as repos:
            return await repos.jobs.get(job_id)

    async def ended(self, job_id: JobId) -> Job:
        """Wait for the end of a job."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for item in self.feed.watch(job_id):
                if isinstance(item, Ended):
                    return await self.job(job_id)
        raise AssertionError(f"the watch of {job_id} ended before the job did")

    async def lines(self, job_id: JobId) -> list[Line]:
        found: list[Line] = []
        async with self.store.store.read() as repos:
            while more := await repos.logs.read(job_id, after=len(found), limit=10_000):
                found += more
        return found

    async def texts(self, job_id: JobId) -> list[str]:
        """The texts of a job's lines, which are numbered from 1 without gaps."""
        lines = await self.lines(job_id)
        assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
        return [line.text for line in lines]

    async def journal(self, subject: str) -> list[EntryKind]:
        async with self.store.store.read() as repos:
            return [entry.kind for entry in await repos.journal.read(subject)]


@asynccontextmanager
async def open_rig(attempts: Path, kinds: Sequence[ExecutorKind] = (ExecutorKind.PROCESS,)) -> AsyncIterator[Rig]:
    clock, changes = FakeClock(), Changes()
    attempts.mkdir(parents=True)
    async with open_sqlite_store(None, clock=clock, exclusive=False) as store:
        flaky = FlakyStore(store, changes)
        yield Rig(
            store=flaky,
            clock=clock,
            feed=Feed(flaky),
            observer=Counter(changes),
            changes=changes,
            executors={kind: ScriptedExecutor(kind, changes) for kind in kinds},
            surroundings=Surroundings(
                attempts=attempts,
                sdk=attempts.parent / "sdk",
                images={Language.SHELL: "debian"},
                find=lambda name: name if name.startswith("/") else f"/usr/bin/{name}",
                key=KEY,
            ),
        )


@asynccontextmanager
async def working(dispatcher: Dispatcher) -> AsyncIterator[asyncio.Task[None]]:
    """The dispatcher works while the block is open."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(dispatcher.run())
        try:
            yield task
        finally:
            task.cancel()


def a_spec(text: str = "true", **changes: Any) -> JobSpec:
    return JobSpec(script=Script(language=Language.SHELL, text=text), **changes)


def a_submission(spec: JobSpec | None = None, **changes: Any) -> Submission:
    return Submission(**{"spec": spec or a_spec(), "trigger": TriggerKind.API, "by": "test", **changes})
