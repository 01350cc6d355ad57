"""One transaction on one connection, and how to find out what became of it when the connection is lost meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import asyncpg

from orchestrator.errors import ConflictError, CroniumError
from orchestrator.stores.postgres.errors import OURS_TO_HANDLE, is_lost, translate
from orchestrator.stores.settle import settle
from orchestrator.stores.sql.connection import Row, Value

ResultT = TypeVar("ResultT")
PoolConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

UNDO_SECONDS = 2.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Marker:
    """
    A row of the table `commits`, which one block at a time writes its number into.

    The number is there if and only if that block was committed. Asking Postgres for the state of the transaction
    would not do: after a crash the numbers of transactions that were never flushed are given out again.
    """

    slot: str
    number: int = 0

    def added_to(self, sql: str, places: int) -> str:
        """The statement, of `places` placeholders, which also writes the number: no extra trip, hardly any time."""
        mark = f"""marked AS (INSERT INTO commits (slot, number) VALUES (${places + 1}, ${places + 2})
            ON CONFLICT (slot) DO UPDATE SET number = excluded.number, written_on = excluded.written_on)"""
        body = sql.lstrip()
        return f"WITH {mark}, {body[5:]}" if body.startswith("WITH ") else f"WITH {mark} {body}"

    async def was_committed(self, fetch_value: Callable[..., Awaitable[Any]]) -> bool:
        """Whether the number is there. Waits for a transaction that still runs and may write it."""
        # Writes the row even where there is none, since only a write waits for others that write it.
        stored = await fetch_value(
            """INSERT INTO commits (slot, number) VALUES ($1, -1)
               ON CONFLICT (slot) DO UPDATE SET slot = excluded.slot RETURNING number""",
            self.slot,
        )
        return bool(stored == self.number)


class Block:
    """The `Connection` of one block of `Store.begin`. Statements after its end, or after one that failed, are refused."""

    def __init__(self, connection: PoolConnection, marker: Marker, where: str) -> None:
        self._connection, self._marker, self._where = connection, marker, where
        self._failure: CroniumError | None = None
        self._ended = False
        self.has_changes = False
        self.in_doubt = False

    async def rows(self, sql: str, *args: Value) -> list[Row]:
        if sql.lstrip().startswith("SELECT"):
            records = await self._call(lambda: self._connection.fetch(sql, *args))
        else:
            marked, values = self._marked(sql, args)
            records = await self._call(lambda: self._connection.fetch(marked, *values))
        return [tuple(record) for record in records]

    async def change(self, sql: str, *args: Value) -> int:
        marked, values = self._marked(sql, args)
        tag = await self._call(lambda: self._connection.execute(marked, *values))
        return int(tag.rpartition(" ")[2])

    async def later(self, sql: str, *args: Value) -> None:
        """At once: a statement of its own is a trip of its own, whenever it is sent."""
        await self.rows(sql, *args)

    async def begin(self) -> None:
        await self._call(lambda: self._connection.execute("BEGIN"))

    async def commit(self) -> bool:
        """
        Make it last. False: the connection was lost and nobody said whether it was committed.

        Raises the error of a statement that failed, also one that the block has swallowed: nothing was changed then.
        """
        self._ended = True
        if self._failure is not None:
            await self.roll_back()
            raise self._failure
        call = asyncio.ensure_future(self._connection.execute("COMMIT"))
        interrupted = await settle(call)
        error = call.exception()
        self.in_doubt = error is not None and is_lost(error)
        if interrupted:
            raise asyncio.CancelledError
        if error is not None and is_lost(error):
            return False
        if isinstance(error, Exception):
            raise translate(error, self._where) from error
        return True

    async def roll_back(self) -> None:
        """Undo everything. A connection that cannot even do that is closed: the server undoes it then."""
        self._ended = True
        if await settle(asyncio.ensure_future(self._undo())):
            raise asyncio.CancelledError

    async def _undo(self) -> None:
        try:
            async with asyncio.timeout(UNDO_SECONDS):
                await self._connection.execute("ROLLBACK")
        except OURS_TO_HANDLE as error:
            log.debug("a connection is given up", extra={"error": str(error)})
            with suppress(asyncpg.InterfaceError):  # the pool has noticed already
                self._connection.terminate()

    def _marked(self, sql: str, args: tuple[Value, ...]) -> tuple[str, tuple[Value, ...]]:
        """The first statement that changes something also writes the marker."""
        if self.has_changes:
            return sql, args
        self.has_changes = True
        return self._marker.added_to(sql, len(args)), (*args, self._marker.slot, self._marker.number)

    async def _call(self, statement: Callable[[], Awaitable[ResultT]]) -> ResultT:
        if self._failure is not None:
            raise self._failure
        if self._ended:
            raise ConflictError("This transaction has ended; what is written now needs a Store.begin of its own.")
        try:
            return await statement()
        except OURS_TO_HANDLE as error:
            self._failure = translate(error, self._where)
            raise self._failure from error
