"""Logs: number the lines of an attempt, mask them, store them in batches with the cursor after them, then publish."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.executor import Process
from orchestrator.contracts.observer import Observer
from orchestrator.contracts.store import Store
from orchestrator.jobs.feed import Feed
from orchestrator.jobs.lines import LineCutter, Piece
from orchestrator.jobs.persist import persist
from orchestrator.jobs.redact import Mask, StreamMask
from orchestrator.model.jobs import Claim
from orchestrator.model.logs import Chunk, Cursor, Line, Stream

BATCH_SECONDS = 0.05
BATCH_BYTES = 256 * 1024
PENDING_BYTES = 4 * 1024 * 1024  # what may wait for the store before reading stops


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """How much of one job's output is kept: nine tenths from its beginning, one tenth from its end."""

    max_bytes: int = 50 * 1024 * 1024
    max_lines: int = 1_000_000

    @property
    def head(self) -> tuple[int, int]:
        return self.max_bytes - self.max_bytes // 10, self.max_lines - self.max_lines // 10

    @property
    def tail(self) -> tuple[int, int]:
        return self.max_bytes // 10, self.max_lines // 10


@dataclass(slots=True)
class _Tail:
    """The last lines of a job whose head is full; counts what falls out."""

    limits: LogLimits
    lines: deque[tuple[datetime, Stream, str, bool]] = field(default_factory=deque)
    bytes: int = 0
    omitted: int = 0

    def keep(self, at: datetime, stream: Stream, text: str, continued: bool) -> None:
        self.lines.append((at, stream, text, continued))
        self.bytes += len(text)
        max_bytes, max_lines = self.limits.tail
        while self.lines and (self.bytes > max_bytes or len(self.lines) > max_lines):
            self.bytes -= len(self.lines.popleft()[2])
            self.omitted += 1


class LogWriter:
    """
    Takes one attempt's output to the store. One instance per supervision; `pump` is called once.

    Stored lines and the cursor behind them are one transaction: after any crash another writer, opened with that
    cursor, goes on exactly where storing stopped.
    """

    def __init__(
        self, *, store: Store, clock: Clock, feed: Feed, observer: Observer, claim: Claim, mask: Mask, limits: LogLimits
    ) -> None:
        self._store, self._clock, self._feed, self._observer = store, clock, feed, observer
        self._claim, self._mask, self._limits = claim, mask, limits
        self._pending: list[Line] = []
        self._pending_bytes = 0
        self._stored_bytes = claim.job.log.bytes
        self._seq = 0
        self._cursor = self._flushed = Cursor()
        self._reached = Cursor()  # also over what waits in the tail or was left out
        self._tail: _Tail | None = None
        self._dirty = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._turn = asyncio.Lock()

    async def pump(self, process: Process, *, resume: bool) -> None:
        """Take all output of `process`, from the stored cursor on when `resume`; returns when all of it is stored."""
        self._seq, stored = await persist(self._stored)
        if resume:
            self._cursor = self._flushed = self._reached = stored
        async with asyncio.TaskGroup() as tasks:
            flusher = tasks.create_task(self._flush_forever())
            await self._read(process)
            async with self._turn:  # never while it stores: what it has taken from us would be lost
                flusher.cancel()
        await self._end()

    async def system(self, text: str) -> None:
        """Add a line of Cronium's own and store it."""
        self._add(self._clock.now(), Stream.SYSTEM, self._mask.text(text), continued=False)
        await self.flush()

    async def flush(self) -> None:
        """Store what waits, with the cursor after it; publish it."""
        async with self._turn:
            lines, size, cursor = self._pending, self._pending_bytes, self._cursor
            if not lines and cursor == self._flushed:
                return
            self._pending, self._pending_bytes = [], 0
            await persist(lambda: self._store_lines(lines, cursor, omitted=0))
            self._flushed = cursor
            self._room.set()
            await self._published(lines, size)

    async def _stored(self) -> tuple[int, Cursor]:
        async with self._store.read() as repos:
            return await repos.logs.cursor(self._claim.job.id)

    async def _read(self, process: Process) -> None:
        cutters = {
            Stream.STDOUT: LineCutter(self._cursor.stdout),
            Stream.STDERR: LineCutter(self._cursor.stderr),
        }
        shown = {stream: StreamMask(self._mask) for stream in cutters}
        last = self._clock.now()
        async for chunk in process.output(self._cursor):
            last = chunk.at
            await self._show(chunk.stream, shown[chunk.stream].feed(chunk.data))
            self._take(chunk, cutters[chunk.stream].feed(chunk.data))
            if not self._room.is_set():
                await self._room.wait()
        for stream, cutter in cutters.items():
            await self._show(stream, shown[stream].flush())
            self._take(Chunk(stream=stream, data=b"", at=last), cutter.flush())

    async def _show(self, stream: Stream, data: bytes) -> None:
        if data and self._feed.onlooker is not None:
            await self._feed.onlooker.raw(self._claim.job, stream, data)

    def _take(self, chunk: Chunk, pieces: list[Piece]) -> None:
        for piece in pieces:
            text = self._mask.text(piece.data.decode("utf-8", "replace"))
            self._add(chunk.at, chunk.stream, text, continued=piece.continued)
            self._reached = (
                Cursor(stdout=piece.end, stderr=self._reached.stderr)
                if chunk.stream is Stream.STDOUT
                else Cursor(stdout=self._reached.stdout, stderr=piece.end)
            )
            if self._tail is None:
                self._cursor = self._reached

    def _add(self, at: datetime, stream: Stream, text: str, *, continued: bool) -> None:
        size = len(text)
        if self._tail is None and stream is not Stream.SYSTEM and self._is_full(size):
            self._tail = _Tail(self._limits)
        if self._tail is not None and stream is not Stream.SYSTEM:
            self._tail.keep(at, stream, text, continued)
            return
        self._seq += 1
        line = Line(
            seq=self._seq, at=at, stream=stream, text=text, attempt=self._claim.job.attempt, continued=continued
        )
        self._pending.append(line)
        self._pending_bytes += size + 1
        self._stored_bytes += size
        if self._pending_bytes > PENDING_BYTES:
            self._room.clear()
        self._dirty.set()

    def _is_full(self, size: int) -> bool:
        max_bytes, max_lines = self._limits.head
        return self._stored_bytes + size > max_bytes or self._seq >= max_lines

    async def _flush_forever(self) -> None:
        """The first line goes at once; what comes while it is stored, and a moment longer, goes together."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self.flush()
            if self._pending_bytes < BATCH_BYTES:
                await asyncio.sleep(BATCH_SECONDS)

    async def _end(self) -> None:
        """Store the rest: what waits and, where the head was full, the number of lines left out and the tail."""
        await self.flush()
        tail, self._tail = self._tail, None
        if tail is None:
            return
        if tail.omitted:
            self._add(
                self._clock.now(),
                Stream.SYSTEM,
                f"Log limit reached: {tail.omitted} lines were left out here; the last {len(tail.lines)} follow.",
                continued=False,
            )
        start = len(self._pending)
        for number, (at, stream, text, continued) in enumerate(tail.lines, start=self._seq + 1):
            attempt = self._claim.job.attempt
            self._pending.append(
                Line(seq=number, at=at, stream=stream, text=text, attempt=attempt, continued=continued)
            )
        self._seq += len(self._pending) - start
        lines, self._pending = self._pending, []
        self._cursor = self._flushed = self._reached  # or the next supervisor would read, and store, the tail again
        await persist(lambda: self._store_lines(lines, self._reached, omitted=tail.omitted))
        await self._published(lines, tail.bytes)

    async def _store_lines(self, lines: list[Line], cursor: Cursor, *, omitted: int) -> None:
        async with self._store.begin() as repos:
            await repos.logs.append(self._claim, lines, cursor, omitted=omitted)

    async def _published(self, lines: list[Line], size: int) -> None:
        self._observer.lines_stored(len(lines), size)
        await self._feed.published(self._claim.job, lines)
