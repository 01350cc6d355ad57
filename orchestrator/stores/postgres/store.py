"""`Store` on Postgres."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import asyncpg

from orchestrator.contracts.clock import Clock
from orchestrator.contracts.store import Bell, Repositories, Store
from orchestrator.errors import ConflictError, UnavailableError
from orchestrator.stores.migrate import read_migrations
from orchestrator.stores.postgres.bell import open_bell
from orchestrator.stores.postgres.connect import Address, open_pool, wait_for
from orchestrator.stores.postgres.errors import OURS_TO_HANDLE, translate
from orchestrator.stores.postgres.schema import migrate
from orchestrator.stores.postgres.transaction import Block, Marker, PoolConnection
from orchestrator.stores.sql.connection import Dialect, Row, Value
from orchestrator.stores.sql.reading import read_only, require_query
from orchestrator.stores.sql.repositories import bind

PACKAGE = "orchestrator.stores.postgres"
NOW = "CAST(EXTRACT(EPOCH FROM statement_timestamp()) * 1000000 AS BIGINT)"
# The head of a subject stays locked until the transaction ends.
APPEND = """WITH head AS (
        INSERT INTO journal_heads (subject, last_seq) VALUES ($1, 1)
        ON CONFLICT (subject) DO UPDATE SET last_seq = journal_heads.last_seq + 1 RETURNING last_seq
    )
    INSERT INTO journal (subject, at, kind, by_whom, data, seq) SELECT $1, $2, $3, $4, $5, last_seq FROM head"""
DIALECT = Dialect(now=NOW, for_update="FOR UPDATE", skip_locked="FOR UPDATE SKIP LOCKED", append_to_journal=APPEND)
READING = replace(DIALECT, for_update="", skip_locked="")
TURN_SECONDS = 30.0
RELEASE_SECONDS = 2.0
DOUBT_SECONDS = 600.0
DOUBT_STEP_SECONDS = 0.2

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Markers:
    """Markers for the blocks of one store; one whose block was left in doubt is not used again."""

    store: str = field(default_factory=lambda: secrets.token_hex(8))
    _free: list[Marker] = field(default_factory=list)
    _made: int = 0

    def take(self) -> Marker:
        if not self._free:
            self._made += 1
            self._free.append(Marker(f"{self.store}-{self._made}"))
        marker = self._free.pop()
        marker.number += 1
        return marker

    def give_back(self, marker: Marker) -> None:
        self._free.append(marker)


@dataclass(frozen=True, slots=True)
class PostgresStore:
    """A pool of connections: a block has one of its own, a query takes whichever is free."""

    pool: asyncpg.Pool[asyncpg.Record]
    where: str
    ringer: Bell
    dialect: Dialect
    reading: Dialect
    markers: Markers = field(default_factory=Markers)
    _inside: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def driver(self) -> str:
        return "postgres"

    @property
    def bell(self) -> Bell:
        return self.ringer

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Repositories]:
        task = asyncio.current_task()
        if task is None or task in self._inside:
            raise ConflictError("A transaction is open in this task already; Store.begin is never nested.")
        self._inside.add(task)
        try:
            async with self._block() as block:
                yield bind(block, self.dialect)
        finally:
            self._inside.discard(task)

    @asynccontextmanager
    async def _block(self, *, patient: bool = True) -> AsyncIterator[Block]:
        """A transaction. Who is not `patient` is told of a commit in doubt that it failed."""
        connection = await self._acquire()
        marker = self.markers.take()
        block = Block(connection, marker, self.where)
        try:
            try:
                await block.begin()
                yield block
            except BaseException:
                await block.roll_back()
                raise
            certain = await block.commit()
        finally:
            if not block.in_doubt:
                self.markers.give_back(marker)
            await self._release(connection)
        if not certain:
            await self._settle_doubt(marker, changed=block.has_changes and patient)
            self.markers.give_back(marker)

    async def _release(self, connection: PoolConnection) -> None:
        """Give a connection back; the pool has closed one that cannot be given back in order."""
        try:
            await self.pool.release(connection, timeout=RELEASE_SECONDS)
        except OURS_TO_HANDLE as error:
            log.debug("a connection was given up", extra={"error": str(error)})

    async def _acquire(self) -> PoolConnection:
        began = asyncio.get_running_loop().time()
        try:
            return await self.pool.acquire(timeout=TURN_SECONDS)
        except TimeoutError as error:
            if asyncio.get_running_loop().time() - began < TURN_SECONDS:
                raise translate(error, self.where) from error  # there was a place, and no connection to be had
            raise UnavailableError(
                f"The store was busy for {TURN_SECONDS:g} s; try again.", code="store_busy"
            ) from error
        except OURS_TO_HANDLE as error:
            raise translate(error, self.where) from error

    async def _settle_doubt(self, marker: Marker, *, changed: bool) -> None:
        """
        The connection was lost while committing: ask what became of the transaction, as long as it takes.

        Guessing would be wrong either way: a result written twice is refused as a stranger's, one not written is lost.
        """
        lost = translate(ConnectionError("the connection was lost while committing"), self.where)
        if not changed:
            raise lost
        try:
            async with asyncio.timeout(DOUBT_SECONDS):
                committed = await self._fate(marker)
        except TimeoutError as error:
            raise UnavailableError(
                f"{lost.message} Whether the change was stored is not known.", code="in_doubt"
            ) from error
        log.info("a commit was in doubt", extra={"committed": committed})
        if not committed:
            raise lost

    async def _fate(self, marker: Marker) -> bool:
        while True:
            try:
                return await marker.was_committed(self.pool.fetchval)
            except OURS_TO_HANDLE as error:
                log.debug("cannot ask yet", extra={"error": str(error)})
            await asyncio.sleep(DOUBT_STEP_SECONDS)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Repositories]:
        yield bind(_Reader(self), self.reading)

    async def sweep_markers(self) -> None:
        """Remove the markers of stores that are long gone; nobody asks for them any more."""
        async with self._block() as block:
            await block.change("DELETE FROM commits WHERE written_on < CURRENT_DATE - 7")

    async def query(self, sql: str, args: tuple[Value, ...]) -> list[Row]:
        """Run a query on whichever connection is free, on committed data."""
        connection = await self._acquire()
        try:
            return [tuple(record) for record in await connection.fetch(sql, *args)]
        except OURS_TO_HANDLE as error:
            raise translate(error, self.where) from error
        finally:
            await self._release(connection)

    async def check(self) -> None:
        async with self._block(patient=False) as block:
            await block.change(
                f"""INSERT INTO checks (id, checked_at) VALUES (1, {self.dialect.now})
                    ON CONFLICT (id) DO UPDATE SET checked_at = excluded.checked_at"""
            )


@dataclass(frozen=True, slots=True)
class _Reader:
    """A `Connection` that only reads."""

    store: PostgresStore

    async def rows(self, sql: str, *args: Value) -> list[Row]:
        require_query(sql)
        return await self.store.query(sql, args)

    async def change(self, sql: str, *_args: Value) -> int:
        raise read_only(sql)

    async def later(self, sql: str, *_args: Value) -> None:
        raise read_only(sql)


@asynccontextmanager
async def open_postgres_store(
    url: str,
    *,
    clock: Clock,
    patience: timedelta,
    pool_size: int = 10,
    dialect: Dialect = DIALECT,
    reading: Dialect = READING,
) -> AsyncIterator[Store]:
    """
    Connect to the database at `url` and bring its schema up to date.

    Raises `UnavailableError` (`store_unavailable`), naming the server without the password, when it does not answer
    within `patience`, and `InvalidError` for a URL that is none. Several orchestrators share a database. Leases are
    counted on the database's clock, `clock` measures.
    """
    address = Address.parse(url)
    async with AsyncExitStack() as stack:
        await wait_for(address, patience)
        await migrate(address, read_migrations(PACKAGE), clock)
        pool = await stack.enter_async_context(open_pool(address, size=pool_size))
        ringer = await stack.enter_async_context(open_bell(address))
        store = PostgresStore(pool, address.where, ringer, dialect, reading)
        await store.sweep_markers()
        yield store
