"""Connections that read committed data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from queue import SimpleQueue

import apsw

from orchestrator.stores.sql.connection import Row, Value
from orchestrator.stores.sql.reading import read_only, require_query
from orchestrator.stores.sqlite.connect import execute
from orchestrator.stores.sqlite.worker import Worker, finished, open_worker
from orchestrator.stores.sqlite.writer import Writer

READERS = 2


@dataclass(frozen=True, slots=True)
class Readers:
    """A `Connection` that runs each query on whichever of its connections is free, on that one's committed data."""

    worker: Worker
    idle: SimpleQueue[apsw.Connection]

    async def rows(self, sql: str, *args: Value) -> list[Row]:
        require_query(sql)
        # Cancelled, the query runs on and is forgotten: nothing depends on its connection.
        return await self.worker.submit(self._query, sql, args)

    async def change(self, sql: str, *_args: Value) -> int:
        raise read_only(sql)

    async def later(self, sql: str, *_args: Value) -> None:
        raise read_only(sql)

    def _query(self, sql: str, args: tuple[Value, ...]) -> list[Row]:
        connection = self.idle.get_nowait()
        try:
            return execute(connection, sql, args)
        finally:
            self.idle.put(connection)


@asynccontextmanager
async def open_readers(connect: Callable[[], apsw.Connection]) -> AsyncIterator[Readers]:
    """As many connections as threads, so that a query on a thread always finds one."""
    idle: SimpleQueue[apsw.Connection] = SimpleQueue()
    opened: list[apsw.Connection] = []

    def open_one() -> None:
        opened.append(connect())
        idle.put(opened[-1])

    def close() -> None:
        for _ in opened:
            idle.get().close()  # waits for a query that still runs on the other thread

    async with open_worker("sqlite-read", threads=READERS, close=close) as worker:
        for _ in range(READERS):
            await finished(worker.submit(open_one))
        yield Readers(worker, idle)


@dataclass(frozen=True, slots=True)
class TurnReader:
    """A `Connection` for a database in memory, which has one connection only: a query waits for its turn with blocks."""

    writer: Writer

    async def rows(self, sql: str, *args: Value) -> list[Row]:
        require_query(sql)
        async with self.writer.block() as block:
            return await block.rows(sql, *args)

    async def change(self, sql: str, *_args: Value) -> int:
        raise read_only(sql)

    async def later(self, sql: str, *_args: Value) -> None:
        raise read_only(sql)
