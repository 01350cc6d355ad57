"""
How soon an orchestrator hears what another one on the same Postgres has rung, beside a bare NOTIFY.

`python -m benchmarks.wake_ups`
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import asyncpg

from benchmarks.figures import p50, percentile, row
from benchmarks.rows import CLOCK, PATIENCE, new_database
from orchestrator.jobs.dispatch import Leases
from orchestrator.stores.postgres import open_postgres_store
from tests.servers import DURABLE, Postgres, running_postgres

ROUNDS = 150
LONGEST_SECONDS = 5.0


async def bench_wake_ups(server: Postgres) -> None:
    url = new_database(server)
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(open_postgres_store(url, clock=CLOCK, patience=PATIENCE))
        there = await stack.enter_async_context(open_postgres_store(url, clock=CLOCK, patience=PATIENCE))
        stack.enter_context(there.bell.listen(heard.put_nowait))
        speaker, listener = await asyncpg.connect(url), await asyncpg.connect(url)
        stack.push_async_callback(speaker.close)
        stack.push_async_callback(listener.close)
        await listener.add_listener("bare", lambda *news: heard.put_nowait(str(news[3])))
        rung, bare = [], []
        async with asyncio.TaskGroup() as tasks:
            for number in range(ROUNDS):
                rung.append(await _until_heard(heard, f"queued:{number}", here.bell.ring))

                def notify(topic: str) -> None:
                    tasks.create_task(speaker.execute("SELECT pg_notify('bare', $1)", topic))

                bare.append(await _until_heard(heard, f"bare:{number}", notify))
    floor = f"bare NOTIFY {p50(bare):.1f} ms, p95 {percentile(bare, 95):.1f} ms"
    row("Postgres: wake-up of another orchestrator", f"{p50(rung):.1f} ms", floor)
    row("", f"p95 {percentile(rung, 95):.1f} ms", f"the poll beneath: every {Leases().poll_every.total_seconds():g} s")


async def _until_heard(heard: asyncio.Queue[str], topic: str, say: Callable[[str], None]) -> float:
    """Milliseconds from saying a topic to hearing it; other topics are not meant for us."""
    begun = time.perf_counter()
    say(topic)
    async with asyncio.timeout(LONGEST_SECONDS):
        while await heard.get() != topic:
            pass
    return (time.perf_counter() - begun) * 1000


def main() -> None:
    with running_postgres(flags=DURABLE, place=tempfile.gettempdir()) as server:
        asyncio.run(bench_wake_ups(server))


if __name__ == "__main__":
    main()
