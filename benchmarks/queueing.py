"""
Claims and finishes per second of both stores, beside the durable commits of one row that the bare driver makes.

`python -m benchmarks.queueing`: TMPDIR decides which disk is measured.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import apsw
import asyncpg

from benchmarks.figures import WINDOW_SECONDS, medians, rate, row
from benchmarks.rows import PATIENCE, QUEUE, QUEUED, fill_postgres, fill_sqlite, new_database
from orchestrator.contracts.store import Outcome, Store
from orchestrator.jobs.finish import finish
from orchestrator.model.jobs import Claim, JobStatus, Timings
from orchestrator.model.specs import ExecutorKind
from orchestrator.stores.postgres import open_postgres_store
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.telemetry.clock import SystemClock
from tests.servers import Postgres

JOBS = 150_000
READY = 512
SLOTS = 16
WRITERS = 64
POOL = 10
LEASE = timedelta(minutes=10)
CLOCK = SystemClock()
TEXT = "x" * 200


@dataclass(slots=True)
class Queueing:
    """The verbs of a dispatcher whose jobs do nothing."""

    store: Store

    async def claim(self, places: int = SLOTS) -> list[Claim]:
        async with self.store.begin() as repos:
            claims = await repos.jobs.claim("bench", QUEUE, {ExecutorKind.PROCESS: places}, lease=LEASE)
        if not claims:
            raise SystemExit("the queue ran empty: put more jobs into it")
        return claims

    async def finish(self, claim: Claim) -> None:
        outcome = Outcome(
            status=JobStatus.SUCCEEDED,
            reason=None,
            message=None,
            exit_code=0,
            finished_at=CLOCK.now(),
            timings=Timings(queued_ms=1, setup_ms=1, execution_ms=1),
        )
        await finish(self.store, CLOCK, claim, outcome, by="bench")

    async def claims(self) -> float:
        """Jobs claimed per second, sixteen at a time, one claimer: as many as one orchestrator has."""

        async def work(_caller: int) -> int:
            return len(await self.claim())

        return await rate(work, callers=1)

    async def finishes(self, callers: int) -> float:
        """Results stored per second, each a transaction of its own with journal and outbox; claiming is not counted."""
        done, seconds = 0, 0.0
        while seconds < WINDOW_SECONDS:
            claims = await self.claim(READY)
            done += len(claims)
            begun = time.perf_counter()
            async with asyncio.TaskGroup() as tasks:
                for caller in range(callers):
                    tasks.create_task(self._finish_each(claims[caller::callers]))
            seconds += time.perf_counter() - begun
        return done / seconds

    async def _finish_each(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            await self.finish(claim)

    async def jobs(self, slots: int) -> float:
        """Jobs claimed and finished per second with this many slots: claim whenever one is free, finish at once."""
        free, done, freed = slots, 0, asyncio.Event()
        started = time.perf_counter()

        async def end(claim: Claim) -> None:
            nonlocal free, done
            await self.finish(claim)
            free, done = free + 1, done + 1
            freed.set()

        async with asyncio.TaskGroup() as tasks:
            while time.perf_counter() < started + WINDOW_SECONDS:
                freed.clear()
                if free:
                    claims = await self.claim(free)
                    free -= len(claims)
                    for claim in claims:
                        tasks.create_task(end(claim))
                await freed.wait()
        return done / (time.perf_counter() - started)


async def measure(name: str, store: Store, bare: Callable[[], Awaitable[float]], floor_is: str) -> None:
    """All rows of one store."""
    queueing = Queueing(store)
    floor, claims, few, many, jobs, more = await medians(
        bare,
        queueing.claims,
        lambda: queueing.finishes(SLOTS),
        lambda: queueing.finishes(WRITERS),
        lambda: queueing.jobs(SLOTS),
        lambda: queueing.jobs(WRITERS),
    )
    beside = f"{floor_is} {floor:,.0f}/s"

    def say(what: str, figure: float, aim: str) -> None:
        row(f"{name}: {what}", f"{figure:,.0f}/s", f"{beside}: {figure / floor:.2f}x", aim)

    say(f"claims, {SLOTS} at a time", claims, ">= 0.5x")
    say(f"finishes, {SLOTS} at once", few, ">= 0.5x")
    say(f"finishes, {WRITERS} at once", many, ">= 0.5x")
    say(f"no-op claim and finish, {SLOTS} slots", jobs, "")
    say(f"no-op claim and finish, {WRITERS} slots", more, ">= 3,000/s on one store")


async def bench_sqlite(directory: Path) -> None:
    await fill_sqlite(directory / "queue.db", JOBS, QUEUED)
    with closing(apsw.Connection(str(directory / "bare.db"))) as connection:
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "FULL")
        connection.execute("CREATE TABLE notes (number INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT")

        async def bare() -> float:
            return await asyncio.to_thread(bare_commits, connection)

        async with open_sqlite_store(directory / "queue.db", clock=CLOCK, exclusive=True) as store:
            await measure("SQLite", store, bare, "bare apsw")


def bare_commits(connection: apsw.Connection) -> float:
    """The floor: one thread, one row, one durable commit after the other."""
    started, commits = time.perf_counter(), 0
    while time.perf_counter() < started + WINDOW_SECONDS:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO notes (text) VALUES (?)", (TEXT,))
        connection.execute("COMMIT")
        commits += 1
    return commits / (time.perf_counter() - started)


async def bench_postgres(server: Postgres) -> None:
    url = new_database(server)
    await fill_postgres(url, JOBS, QUEUED)
    async with AsyncExitStack() as stack:
        connections = [await asyncpg.connect(url) for _ in range(POOL)]
        for connection in connections:
            stack.push_async_callback(connection.close)
        await connections[0].execute("CREATE TABLE notes (number BIGSERIAL PRIMARY KEY, text TEXT NOT NULL)")

        async def commit(caller: int) -> int:
            await connections[caller].execute("BEGIN")
            await connections[caller].execute("INSERT INTO notes (text) VALUES ($1)", TEXT)
            await connections[caller].execute("COMMIT")
            return 1

        store = await stack.enter_async_context(
            open_postgres_store(url, clock=CLOCK, patience=PATIENCE, pool_size=POOL)
        )
        floor_is = f"bare asyncpg, {POOL} connections"
        await measure("Postgres", store, lambda: rate(commit, callers=POOL), floor_is)


def main() -> None:
    from tests.servers import DURABLE, running_postgres  # noqa: PLC0415 - only where it is measured

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(bench_sqlite(Path(directory)))
    with running_postgres(flags=DURABLE, place=tempfile.gettempdir()) as server:
        asyncio.run(bench_postgres(server))


if __name__ == "__main__":
    main()
