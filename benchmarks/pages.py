"""
A page of 50 out of a million finished jobs, on both stores, and what it becomes behind the door for people.

`python -m benchmarks.pages`
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.figures import p50, percentile, row
from benchmarks.rows import CLOCK, FINAL, PATIENCE, fill_postgres, fill_sqlite, new_database
from orchestrator.contracts.store import JobFilter, Store
from orchestrator.model.jobs import JobStatus, RunId
from orchestrator.stores.codec import page_cursor
from orchestrator.stores.postgres import open_postgres_store
from orchestrator.stores.sqlite import open_sqlite_store
from tests.servers import DURABLE, Postgres, running_postgres

JOBS = int(os.environ.get("CRONIUM_BENCH_JOBS", "1000000"))
PAGE = 50
ROUNDS = 60
EVERYTHING = JobFilter()
RARE = JobFilter(status=JobStatus.TIMED_OUT)


async def measure(name: str, store: Store) -> None:
    """All rows of one store."""

    async def page(which: JobFilter, after: str | None = None) -> None:
        async with store.read() as repos:
            found = await repos.jobs.page(which, after=after, limit=PAGE)
        if not found.items:
            raise SystemExit(f"nothing found for {which}")

    async def backlog() -> None:
        async with store.read() as repos:
            await repos.jobs.waiting("default", at=CLOCK.now())
            await repos.jobs.running("default")

    pages: list[tuple[str, Callable[[], Awaitable[None]]]] = [
        ("first page", lambda: page(EVERYTHING)),
        ("page in the middle", lambda: page(EVERYTHING, page_cursor(JOBS // 2))),
        ("status one in 10 has", lambda: page(JobFilter(status=JobStatus.FAILED))),
        ("status one in 10,000 has", lambda: page(RARE)),
        ("the same, in the middle", lambda: page(RARE, page_cursor(JOBS // 2))),
        ("of one run", lambda: page(JobFilter(run_id=RunId(f"run_{100_000_000_000 + JOBS // 40}")))),
    ]
    for what, work in pages:
        times = await timed(work, ROUNDS)
        row(f"{name}: {what}", f"{p50(times):.1f} ms", f"p95 {percentile(times, 95):.1f} ms", "p95 < 50 ms")
    times = await timed(backlog, 5)
    row(f"{name}: what waits and runs, for /metrics", f"{p50(times):.1f} ms")


async def timed(work: Callable[[], Awaitable[None]], rounds: int) -> list[float]:
    """Milliseconds of each call, after one that is not counted."""
    await work()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        await work()
        times.append((time.perf_counter() - begun) * 1000)
    return times


async def bench_sqlite(directory: Path) -> None:
    path = directory / "cronium.db"
    await fill_sqlite(path, JOBS, FINAL)
    async with open_sqlite_store(path, clock=CLOCK, exclusive=True) as store:
        await measure(f"SQLite, {JOBS:,} jobs", store)


async def bench_postgres(server: Postgres) -> None:
    url = new_database(server)
    await fill_postgres(url, JOBS, FINAL)
    async with open_postgres_store(url, clock=CLOCK, patience=PATIENCE) as store:
        await measure(f"Postgres, {JOBS:,} jobs", store)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(bench_sqlite(Path(directory)))
    with running_postgres(flags=DURABLE, place=tempfile.gettempdir()) as server:
        asyncio.run(bench_postgres(server))


if __name__ == "__main__":
    main()
