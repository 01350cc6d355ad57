"""Both stores and both caches, one after the other, with servers that are started here; says what is not measured and why."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from benchmarks import cache_rates, pages, queueing, wake_ups
from benchmarks.figures import row
from tests.servers import (
    DURABLE,
    MissingServerError,
    Postgres,
    postgres_binaries,
    redis_binary,
    running_postgres,
    running_redis,
)


def main() -> None:
    for part in (queueing, pages):
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(part.bench_sqlite(Path(directory)))
    asyncio.run(cache_rates.bench_memory())
    try:
        postgres_binaries()
    except MissingServerError as error:
        row("Postgres", "not measured", str(error))
    else:
        with running_postgres(flags=DURABLE, place=tempfile.gettempdir()) as server:
            asyncio.run(_bench_postgres(server))
    try:
        redis_binary()
    except MissingServerError as error:
        row("Valkey", "not measured", str(error))
    else:
        with running_redis() as server:
            asyncio.run(cache_rates.bench_valkey(server.url))


async def _bench_postgres(server: Postgres) -> None:
    await queueing.bench_postgres(server)
    await pages.bench_postgres(server)
    await wake_ups.bench_wake_ups(server)
