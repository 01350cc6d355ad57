"""Logs: number the lines of an attempt, mask them, store them in batches with the cursor after them, then publish."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.executor import Process
from orchestrator.contracts.observer import Observer
from orchestrator.contracts.store import Store
from orchestrator.crash import crash_point
from orchestrator.errors import LimitExceededError
from orchestrator.jobs.feed import Feed
from orchestrator.jobs.lines import LineCutter, Piece
from orchestrator.jobs.persist import persist
from orchestrator.jobs.redact import Mask, Screen, StreamMask
from orchestrator.jobs.script_log import Keep, not_here
from orchestrator.jobs.tail import READING_BYTES, LastLine, Tail
from orchestrator.model.jobs import Claim
from orchestrator.model.logs import Chunk, Cursor, Line, Stream

BATCH_SECONDS = 0.05
BATCH_BYTES = 256 * 1024
PENDING_BYTES = 4 * 1024 * 1024  # what may wait for the store before reading stops
PENDING_LINES = 10_000  # likewise: short lines are few bytes, and as much work as long ones
OMITTED_BYTES = 4 * 1024 * 1024  # how much is left out before that is stored, and the executor may forget it
HELD_BYTES = 8 * 1024 * 1024  # how much may come after the beginning of a line whose end has not come
PART_BYTES = 4 * 1024  # of output that are cut without looking at the time
TURN_SECONDS = 0.005  # how long one job's output may keep the others' waiting


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


@runtime_checkable
class Freeing(Protocol):
    """A process that keeps its output only as long as somebody may ask for it."""

    def free(self, before: Cursor) -> None:
        """
        What lies before `before` is stored, and never asked for again.

        A script may have to wait until enough is. Never raises.
        """
        ...


class LogWriter:
    """
    Takes one attempt's output to the store. One instance per supervision; `pump` is called once.

    Stored lines, the number of lines left out and the cursor behind both are one transaction: after any crash another
    writer, opened with that cursor, goes on exactly where storing stopped.
    """

    def __init__(
        self, *, store: Store, clock: Clock, feed: Feed, observer: Observer, claim: Claim, mask: Mask, limits: LogLimits
    ) -> None:
        self._store, self._clock, self._feed, self._observer = store, clock, feed, observer
        self._claim, self._mask, self._limits = claim, mask, limits
        self._pending: list[Line] = []
        self._pending_bytes = 0
        self._stored_bytes = claim.job.log.bytes
        self._seq = claim.job.log.lines
        self._cursor = self._flushed = Cursor()
        self._reached = Cursor()  # also over what waits in the tail or was left out
        self._tail: Tail | None = None
        self._takes_entries = False
        self._entries: list[_Entry] = []  # of the lines that wait, those whose senders wait for them
        self._left_out = claim.job.log.omitted_lines  # stored
        self._read_bytes = 0
        self._seen_bytes = 0  # of what was read when the number left out was stored last
        self._held: dict[Stream, tuple[int, int]] = {}  # where each is, and how much was read when it came there
        self._process: Process | None = None
        self._dirty = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._turn = asyncio.Lock()

    async def pump(self, process: Process, *, resume: bool) -> None:
        """Take all output of `process`, from the stored cursor on when `resume`; returns when all of it is stored."""
        self._process = process
        if resume:
            self._seq, stored = await persist(self._stored)
            self._cursor = self._flushed = self._reached = stored
        self._free()
        async with asyncio.TaskGroup() as tasks:
            flusher = tasks.create_task(self.flush_forever())
            self._takes_entries = True
            await self._read(process)
            self._takes_entries = False
            async with self._turn:  # never while it stores: what it has taken from us would be lost
                flusher.cancel()
        await self._end()

    async def system(self, text: str) -> None:
        """Add a line of Cronium's own and store it."""
        self.note(text)
        await self.flush()

    def note(self, text: str) -> None:
        """Add a line of Cronium's own; it is stored by the next flush."""
        self._add(self._clock.now(), Stream.SYSTEM, self._mask.text(text), continued=False)

    def masked(self, text: str) -> str:
        """A text as it may be shown."""
        return self._mask.text(text)

    @property
    def printed(self) -> list[str]:
        """The names of the secrets that were found and masked so far, in order."""
        return sorted(self._mask.printed)

    async def entry(self, stream: Stream, text: str, keep: Keep | None) -> int:
        """
        Add a line that the script sent by the runtime API; its number, once it is stored. Cancelling leaves it to be stored.

        `keep` is called with the number in the transaction that stores the line. Raises `LimitExceededError` (`log_full`)
        where the head of the log is full: the tail is for what the script writes.
        """
        if not self._takes_entries:
            raise not_here(self._claim.job.id)
        masked = self._mask.text(text)
        if self._tail is not None or self._is_full(len(masked)):
            raise LimitExceededError(
                "The log of this job is full and takes no more entries; write what matters to stdout, whose end is kept.",
                code="log_full",
            )
        self._add(self._clock.now(), stream, masked, continued=False)
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._entries.append(_Entry(self._seq, keep, stored))
        await self._show(stream, f"{masked}\n".encode())
        return await stored

    async def stop(self, flusher: asyncio.Task[None]) -> None:
        """End a task of `flush_forever` and store the rest. Raises what it raised."""
        async with self._turn:  # never while it stores: what it has taken from us would be lost
            flusher.cancel()
        await asyncio.wait({flusher})
        if not flusher.cancelled():
            flusher.result()
        await self.flush()

    async def flush(self) -> None:
        """Store what waits and what was left out, with the cursor after both; publish it."""
        async with self._turn:
            lines, size, cursor, omitted = self._pending, self._pending_bytes, self._cursor, self._omitted()
            if not lines and cursor == self._flushed:
                return
            self._pending, self._pending_bytes = [], 0
            entries, self._entries = self._entries, []
            self._seen_bytes = self._read_bytes
            crash_point("lines.before")
            with _telling(entries):
                await persist(lambda: self._store_lines(lines, cursor, entries, omitted=omitted))
            crash_point("lines.committed")
            self._flushed = cursor
            self._left_out += omitted
            self._room.set()
            self._free()
            await self._published(lines, size)

    def _free(self) -> None:
        process: object = self._process
        if isinstance(process, Freeing):
            process.free(self._flushed)

    def _omitted(self) -> int:
        """Take the number of lines that were left out and are not counted in the store."""
        if self._tail is None:
            return 0
        omitted, self._tail.omitted = self._tail.omitted, 0
        return omitted

    async def _stored(self) -> tuple[int, Cursor]:
        async with self._store.read() as repos:
            return await repos.logs.cursor(self._claim.job.id)

    async def _read(self, process: Process) -> None:
        cutters = {
            Stream.STDOUT: LineCutter(self._cursor.stdout, self._mask.held_back),
            Stream.STDERR: LineCutter(self._cursor.stderr, self._mask.held_back),
        }
        shown = {stream: StreamMask(self._mask) for stream in cutters}
        screens = {stream: Screen(self._mask, cutter.position.bytes) for stream, cutter in cutters.items()}
        last, turn = self._clock.now(), asyncio.get_running_loop().time()
        async for chunk in process.output(self._cursor):
            crash_point("lines.read")
            last = chunk.at
            self._read_bytes += READING_BYTES
            if self._feed.onlooker is not None:
                await self._show(chunk.stream, shown[chunk.stream].feed(chunk.data))
            screens[chunk.stream].feed(chunk.data)
            for part in _parts(chunk) if self._tail is None else (chunk,):
                cutter = cutters[part.stream]
                pieces = cutter.feed(part.data) if self._tail is None else cutter.feed_runs(part.data)
                self._take(part, pieces, screens[part.stream])
                if asyncio.get_running_loop().time() - turn > TURN_SECONDS:
                    await asyncio.sleep(0)
                    turn = asyncio.get_running_loop().time()
                if not self._room.is_set():
                    await self._room.wait()
            self._release_old(cutters, chunk.at)
        for stream, cutter in cutters.items():
            await self._show(stream, shown[stream].flush())
            self._take(Chunk(stream=stream, data=b"", at=last), cutter.flush())

    def _release_old(self, cutters: Mapping[Stream, LineCutter], at: datetime) -> None:
        """Take lines that have begun and not ended for long: what comes after them could not be forgotten anywhere."""
        for stream, cutter in cutters.items():
            reached, read = self._held.get(stream, (-1, 0))
            if cutter.position.bytes != reached:
                self._held[stream] = cutter.position.bytes, self._read_bytes
            elif self._read_bytes - read > HELD_BYTES:
                self._take(Chunk(stream=stream, data=b"", at=at), cutter.release())
                self._held[stream] = cutter.position.bytes, self._read_bytes

    async def _show(self, stream: Stream, data: bytes) -> None:
        if data and self._feed.onlooker is not None:
            await self._feed.onlooker.raw(self._claim.job, stream, data)

    def _take(self, chunk: Chunk, pieces: list[Piece], screen: Screen | None = None) -> None:
        self._read_bytes += len(chunk.data)
        for piece in pieces:
            self._reached = (
                Cursor(stdout=piece.end, stderr=self._reached.stderr)
                if chunk.stream is Stream.STDOUT
                else Cursor(stdout=self._reached.stdout, stderr=piece.end)
            )
            line = LastLine(
                chunk.at, chunk.stream, piece.data, piece.continued, self._reached, self._read_bytes, piece.lines
            )
            clean = screen is not None and screen.is_clean(piece.end.bytes - len(piece.data) - 1, piece.end.bytes)
            self._place(line, clean=clean)

    def _place(self, line: LastLine, *, clean: bool) -> None:
        """Give a line to the store or, once the head is full, to the tail. A `clean` one holds no secret."""
        if self._tail is None:
            text = line.data.decode("utf-8", "replace") if clean else self._text(line)
            if not self._is_full(len(text)):
                self._add(line.at, line.stream, text, continued=line.continued)
                self._cursor = line.after
                return
            max_bytes, max_lines = self._limits.tail
            self._tail = Tail(max_bytes, max_lines)
        self._tail.keep(line)
        self._cursor = self._tail.cursor or self._cursor
        if self._tail.omitted and self._read_bytes - self._seen_bytes > OMITTED_BYTES:
            self._seen_bytes = self._read_bytes
            self._dirty.set()

    def _text(self, line: LastLine) -> str:
        return self._mask.data(line.data).decode("utf-8", "replace")

    def _add(self, at: datetime, stream: Stream, text: str, *, continued: bool) -> None:
        size = len(text)
        self._seq += 1
        line = Line(
            seq=self._seq, at=at, stream=stream, text=text, attempt=self._claim.job.attempt, continued=continued
        )
        self._pending.append(line)
        self._pending_bytes += size + 1
        self._stored_bytes += size
        if self._pending_bytes > PENDING_BYTES or len(self._pending) > PENDING_LINES:
            self._room.clear()
        self._dirty.set()

    def _is_full(self, size: int) -> bool:
        if self._left_out:
            return True  # also for a shorter line, that another writer left out a longer one before it
        max_bytes, max_lines = self._limits.head
        return self._stored_bytes + size > max_bytes or self._seq >= max_lines

    async def flush_forever(self) -> None:
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
        if self._tail is None:
            return
        lines = self._tail.taken()
        left_out = self._left_out + self._tail.omitted
        if left_out:
            where = "here" if self._claim.job.attempt == 1 else "up to here"
            message = f"Log limit reached: {left_out} lines were left out {where}; the last {len(lines)} follow."
            self._add(self._clock.now(), Stream.SYSTEM, message, continued=False)
        for number, line in enumerate(lines, start=1):
            if number % PENDING_LINES == 0:
                await asyncio.sleep(0)  # other jobs' turn
            self._add(line.at, line.stream, self._text(line), continued=line.continued)
        # All of it at once, or the next supervisor would read, and store, a part of the tail again.
        self._cursor = self._reached
        await self.flush()
        self._tail = None

    async def _store_lines(self, lines: list[Line], cursor: Cursor, entries: Sequence[_Entry], *, omitted: int) -> None:
        async with self._store.begin() as repos:
            await repos.logs.append(self._claim, lines, cursor, omitted=omitted)
            for entry in entries:
                if entry.keep is not None:
                    await entry.keep(repos, entry.seq)

    async def _published(self, lines: list[Line], size: int) -> None:
        self._observer.lines_stored(len(lines), size)
        if lines:
            self._observer.log_delayed((self._clock.now() - lines[0].at).total_seconds())
        await self._feed.published(self._claim.job, lines)
        crash_point("lines.published")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line that somebody waits for."""

    seq: int
    keep: Keep | None
    stored: asyncio.Future[int]


@contextmanager
def _telling(entries: Sequence[_Entry]) -> Iterator[None]:
    """Tell those who wait what became of storing their lines."""
    try:
        yield
    except BaseException as error:
        for entry in entries:
            if not entry.stored.done():
                entry.stored.set_exception(error) if isinstance(error, Exception) else entry.stored.cancel()
        raise
    for entry in entries:
        if not entry.stored.done():
            entry.stored.set_result(entry.seq)


def _parts(chunk: Chunk) -> Iterator[Chunk]:
    """The chunk in parts that are cut into lines in a moment each, however short its lines are."""
    if len(chunk.data) <= PART_BYTES:
        yield chunk
        return
    for start in range(0, len(chunk.data), PART_BYTES):
        yield Chunk(stream=chunk.stream, data=chunk.data[start : start + PART_BYTES], at=chunk.at)
