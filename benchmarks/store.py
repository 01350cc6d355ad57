"""
Commits per second of the SQLite store with many writers, beside what bare apsw does in the same run.

`python benchmarks/store.py [DIRECTORY]`: the directory decides which disk is measured; default: the current one.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw

from orchestrator.contracts.store import Store
from orchestrator.model.jobs import Job, JobId, JobStatus, TriggerKind
from orchestrator.model.journal import EntryKind
from orchestrator.model.logs import Cursor, Line, Stream
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Script
from orchestrator.stores.sqlite import open_sqlite_store

SECONDS = 3.0
LEASE = timedelta(seconds=15)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = JobSpec(script=Script(language=Language.BASH, text="echo hello"))


class Clock:
    """The machine's clock."""

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=time.monotonic())

    def monotonic(self) -> float:
        return time.monotonic()


CLOCK = Clock()


def measure_bare(directory: Path) -> float:
    """The floor: one thread, one row, one durable commit after the other."""
    connection = apsw.Connection(str(directory / "bare.db"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "FULL")
    connection.execute("CREATE TABLE notes (number INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT")
    started, commits = time.perf_counter(), 0
    while time.perf_counter() < started + SECONDS:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO notes (text) VALUES (?)", ("x" * 200,))
        connection.execute("COMMIT")
        commits += 1
    elapsed = time.perf_counter() - started
    connection.close()
    return commits / elapsed


async def measure(store: Store, writers: int, numbers: count[int]) -> tuple[float, float]:
    """Submissions per second - a job and its journal entry, durable - and the 99th percentile of one, in ms."""
    times: list[float] = []
    started = time.perf_counter()

    async def submit() -> None:
        while (begun := time.perf_counter()) < started + SECONDS:
            job = Job(
                id=JobId(f"job_{next(numbers):012d}"),
                status=JobStatus.QUEUED,
                spec=SPEC,
                executor=ExecutorKind.PROCESS,
                queue="main",
                trigger=TriggerKind.API,
                priority=0,
                created_at=CLOCK.now(),
            )
            async with store.begin() as repos:
                await repos.jobs.insert(job)
                await repos.journal.append(job.id, EntryKind.QUEUED, at=job.created_at, by="bench")
            times.append(time.perf_counter() - begun)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(writers):
            tasks.create_task(submit())
    elapsed = time.perf_counter() - started
    return len(times) / elapsed, sorted(times)[len(times) * 99 // 100] * 1000


async def measure_notes(store: Store, writers: int) -> float:
    """Blocks of one row per second: what bare apsw is asked for."""
    blocks = 0
    started = time.perf_counter()

    async def write(key: str) -> None:
        nonlocal blocks
        while time.perf_counter() < started + SECONDS:
            async with store.begin() as repos:
                await repos.variables.set("bench", key, "x" * 200, at=EPOCH)
            blocks += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(writers):
            tasks.create_task(write(str(number)))
    return blocks / (time.perf_counter() - started)


async def measure_logs(store: Store) -> tuple[float, float]:
    """Lines stored and read back per second."""
    async with store.begin() as repos:
        [claim] = await repos.jobs.claim("bench", "main", {ExecutorKind.PROCESS: 1}, lease=LEASE)
    lines = [
        Line(seq=seq, at=EPOCH, stream=Stream.STDOUT, text=f"line {seq} of a log like any other", attempt=1)
        for seq in range(1, 200_001)
    ]
    started = time.perf_counter()
    for first in range(0, len(lines), 4000):
        async with store.begin() as repos:
            await repos.logs.append(claim, lines[first : first + 4000], Cursor())
    stored = time.perf_counter()
    async with store.read() as repos:
        for after in range(0, len(lines), 10_000):
            await repos.logs.read(claim.job.id, after=after, limit=10_000)
    return len(lines) / (stored - started), len(lines) / (time.perf_counter() - stored)


async def main(parent: Path) -> None:
    with TemporaryDirectory(dir=parent) as name:
        directory = Path(name)
        floor = measure_bare(directory)
        print(f"bare apsw, 1 row per commit, 1 thread  {floor:10.0f} commits/s")
        async with open_sqlite_store(directory / "store.db", clock=CLOCK, exclusive=True) as store:
            numbers = count(1)
            for writers in (1, 8, 64):
                rate = await measure_notes(store, writers)
                print(
                    f"store, 1 row per block, {writers:2} writers    {rate:10.0f} blocks/s   {rate / floor:5.2f} x bare"
                )
            for writers in (1, 8, 64):
                rate, p99 = await measure(store, writers, numbers)
                print(f"store, submissions, {writers:2} writers        {rate:10.0f} jobs/s     p99 {p99:6.1f} ms")
            stored, read = await measure_logs(store)
            print(f"log lines: stored {stored:,.0f}/s, read {read:,.0f}/s")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
