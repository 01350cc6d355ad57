"""`Store` on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import Bell, Repositories, Store
from orchestrator.stores.bell import SilentBell
from orchestrator.stores.migrate import read_migrations
from orchestrator.stores.sql.connection import Connection
from orchestrator.stores.sql.repositories import bind
from orchestrator.stores.sqlite.connect import BUSY_SECONDS, DIALECT, open_connection, prepare_file
from orchestrator.stores.sqlite.lock import hold_lock
from orchestrator.stores.sqlite.readers import TurnReader, open_readers
from orchestrator.stores.sqlite.schema import migrate
from orchestrator.stores.sqlite.transaction import Transaction
from orchestrator.stores.sqlite.worker import finished, open_worker
from orchestrator.stores.sqlite.writer import Writer

PACKAGE = "orchestrator.stores.sqlite"
MAX_BATCH_BLOCKS = 256


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """One writer, whose blocks share commits, and connections that read."""

    writer: Writer
    reader: Connection
    bell: Bell = field(default_factory=SilentBell)

    @property
    def driver(self) -> str:
        return "sqlite"

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Repositories]:
        async with self.writer.block() as block:
            yield bind(block, DIALECT)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Repositories]:
        yield bind(self.reader, DIALECT)

    async def check(self) -> None:
        async with self.writer.block() as block:
            await block.change(
                f"""INSERT INTO checks (id, checked_at) VALUES (1, {DIALECT.now})
                    ON CONFLICT (id) DO UPDATE SET checked_at = excluded.checked_at"""
            )
        await self.reader.rows("SELECT checked_at FROM checks WHERE id = 1")


@asynccontextmanager
async def open_sqlite_store(
    path: Path | None, *, clock: Clock, exclusive: bool, busy_seconds: float = BUSY_SECONDS
) -> AsyncIterator[Store]:
    """
    Open the database at `path`, making it where there is none and bringing its schema up to date; None: in memory.

    With `exclusive` no other process can open it so at the same time: raises `ConflictError` (`store_in_use`) while
    one does. Without, several processes may write, each waiting up to `busy_seconds` for the others, then
    `UnavailableError` (`store_busy`). Leases are counted on `clock`.
    """
    async with AsyncExitStack() as stack:
        if path is not None:
            prepare_file(path)
            if exclusive:
                stack.enter_context(hold_lock(path))
        writer = await stack.enter_async_context(_open_writer(path, clock, busy_seconds))
        if path is None:
            yield SqliteStore(writer, TurnReader(writer))
        else:
            connect = partial(open_connection, path, clock, query_only=True, busy_seconds=busy_seconds)
            yield SqliteStore(writer, await stack.enter_async_context(open_readers(connect)))


@asynccontextmanager
async def _open_writer(path: Path | None, clock: Clock, busy_seconds: float) -> AsyncIterator[Writer]:
    """The writing connection, migrated. In memory each block is committed by itself, so that readers see its changes."""
    opened: list[Transaction] = []

    def open_() -> Transaction:
        connection = open_connection(path, clock, query_only=False, busy_seconds=busy_seconds)
        opened.append(Transaction(connection))
        migrate(connection, read_migrations(PACKAGE), clock)
        return opened[0]

    def close() -> None:
        for transaction in opened:
            transaction.close()

    async with open_worker("sqlite-write", threads=1, close=close) as worker:
        transaction = await finished(worker.submit(open_))
        yield Writer(transaction, worker, max_blocks=1 if path is None else MAX_BATCH_BLOCKS)
