"""One transaction on one connection, and what became of it when the connection is lost while it is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import asyncpg

from orchestrator.errors import ConflictError, CroniumError
from orchestrator.stores.postgres.errors import OURS_TO_HANDLE, is_lost, translate
from orchestrator.stores.settle import settle
from orchestrator.stores.sql.connection import Row, Value

ResultT = TypeVar("ResultT")
PoolConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
_TRANSACTION_ID = "txid_current()"


class Block:
    """
    The `Connection` of one block of `Store.begin`. Statements after its end, or after one that failed, are refused.

    The first statement that touches a row also tells the number of the transaction, at no extra cost: with it,
    whoever loses the connection while committing can ask the server what became of the transaction.
    """

    def __init__(self, connection: PoolConnection, where: str) -> None:
        self._connection, self._where = connection, where
        self._failure: CroniumError | None = None
        self._ended = False
        self.number: int | None = None

    async def rows(self, sql: str, *args: Value) -> list[Row]:
        numbered = self.number is None and " RETURNING " in sql
        records = await self._run(f"{sql}, {_TRANSACTION_ID}" if numbered else sql, args)
        return self._stripped(records) if numbered else [tuple(record) for record in records]

    async def change(self, sql: str, *args: Value) -> int:
        if self.number is None:
            return len(self._stripped(await self._run(f"{sql} RETURNING {_TRANSACTION_ID}", args)))
        tag = await self._call(lambda: self._connection.execute(sql, *args))
        return int(tag.rpartition(" ")[2])

    async def begin(self) -> None:
        await self._call(lambda: self._connection.execute("BEGIN"))

    async def commit(self) -> bool:
        """
        Make it last. False: the connection was lost and nobody said whether it was committed.

        Raises the error of a statement that failed, also one that the block has swallowed: nothing was changed then.
        """
        self._ended = True
        if self._failure is not None:
            raise self._failure
        call = asyncio.ensure_future(self._connection.execute("COMMIT"))
        interrupted = await settle(call)
        error = call.exception()
        if interrupted:
            raise asyncio.CancelledError
        if error is not None and is_lost(error):
            return False
        if isinstance(error, Exception):
            raise translate(error, self._where) from error
        return True

    async def roll_back(self) -> None:
        """Undo everything. A connection that cannot even do that is closed: the server does it then."""
        self._ended = True
        call = asyncio.ensure_future(self._connection.execute("ROLLBACK"))
        interrupted = await settle(call)
        if call.exception() is not None and not self._connection.is_closed():
            self._connection.terminate()
        if interrupted:
            raise asyncio.CancelledError

    def _stripped(self, records: list[asyncpg.Record]) -> list[Row]:
        if records:
            self.number = records[0][-1]
        return [tuple(record)[:-1] for record in records]

    async def _run(self, sql: str, args: tuple[Value, ...]) -> list[asyncpg.Record]:
        return await self._call(lambda: self._connection.fetch(sql, *args))

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


async def was_committed(fetch_value: Callable[..., Awaitable[Any]], number: int) -> bool | None:
    """What the server says of a transaction: whether it was committed; None while it still runs."""
    try:
        status = await fetch_value("SELECT txid_status($1)", number)
    except asyncpg.InvalidParameterValueError:
        return False  # a number the server has not given out yet: it is another server, which never saw the transaction
    return None if status == "in progress" else status == "committed"
