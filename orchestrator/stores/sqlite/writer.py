"""The one writer: blocks take turns, and those that wait for each other share a commit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import ConflictError, CroniumError, UnavailableError
from orchestrator.stores.settle import settle
from orchestrator.stores.sql.connection import Row, Value
from orchestrator.stores.sqlite.errors import store_unavailable
from orchestrator.stores.sqlite.transaction import Statement, Transaction
from orchestrator.stores.sqlite.worker import Worker

MAX_BATCH_SECONDS = 0.05
TURN_SECONDS = 30.0


@dataclass(slots=True)
class _Batch:
    """Blocks that one commit holds. `done` is set by that commit: to None, or to the error that undid all of them."""

    done: asyncio.Future[UnavailableError | None]
    opened_at: float
    blocks: int = 0


class Writer:
    """
    Gives out blocks, one at a time, first come first served.

    A block that ends while others wait leaves its changes in the open transaction and the turn to the next one; the
    last one, or the one that makes the batch full, commits. No block is left before the commit that holds it has
    succeeded, also one that failed by itself: it may have failed because of what the others did.
    """

    def __init__(self, transaction: Transaction, worker: Worker, *, max_blocks: int) -> None:
        self._transaction, self._worker, self._max_blocks = transaction, worker, max_blocks
        self._batch: _Batch | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._held = False
        self._holder: asyncio.Task[Any] | None = None

    @asynccontextmanager
    async def block(self) -> AsyncIterator[Block]:
        """One block; see `Store.begin`. Raises `UnavailableError` (`store_busy`) when its turn does not come."""
        await self._take_turn()
        block = Block(self)
        try:
            yield block
            await block.settle()
        except Exception as error:
            await self._leave(block, keep=False)
            failure = await block.outcome()
            if failure is not None and block.failure is None:
                raise failure from error
            raise
        except BaseException:
            await self._leave(block, keep=False)
            raise
        await self._leave(block, keep=True)
        failure = await block.outcome()
        if failure is not None:
            raise failure

    async def run(self, block: Block, statements: Sequence[Statement]) -> tuple[list[Row], int]:
        """Run statements of the block whose turn it is; what the last one came to."""
        first = block.batch is None
        batch = block.batch = self._join() if block.batch is None else block.batch
        call = self._worker.submit(self._transaction.begin_block if first else self._transaction.run, statements)
        interrupted = await settle(call)
        self._note_failure(block, batch, call.exception())
        if interrupted:
            raise asyncio.CancelledError
        return call.result()

    async def run_last(self, block: Block, statements: Sequence[Statement]) -> None:
        """Run the block's last statements, and commit on the same trip to the thread unless others can still join."""
        first = block.batch is None
        batch = block.batch = self._join() if block.batch is None else block.batch
        run = self._transaction.begin_block if first else self._transaction.run
        if not self._is_due(batch):
            call: asyncio.Future[Any] = self._worker.submit(run, statements)
            interrupted = await settle(call)
        else:
            call = self._worker.submit(self._transaction.commit_after, run, statements)
            interrupted = await settle(call)
            if call.exception() is None:
                self._committed(batch)
        self._note_failure(block, batch, call.exception())
        if interrupted:
            raise asyncio.CancelledError
        if block.failure is not None:
            raise block.failure
        call.result()

    def _note_failure(self, block: Block, batch: _Batch, error: BaseException | None) -> None:
        if error is not None and not self._transaction.is_open and block.failure is None:
            block.failure = self._lose(batch, error)
        elif isinstance(error, CroniumError):
            block.failure = error

    def _join(self) -> _Batch:
        loop = asyncio.get_running_loop()
        if self._batch is None:
            self._batch = _Batch(loop.create_future(), loop.time())
        self._batch.blocks += 1
        return self._batch

    def _lose(self, batch: _Batch, error: BaseException | None) -> UnavailableError:
        """The batch's transaction is gone: none of its blocks happened."""
        failure = (
            error if isinstance(error, UnavailableError) else store_unavailable(f"The transaction failed: {error}")
        )
        if not batch.done.done():
            batch.done.set_result(failure)
        if self._batch is batch:
            self._batch = None
        return failure

    async def _leave(self, block: Block, *, keep: bool) -> None:
        """End the block's turn. When we are cancelled meanwhile, the turn is ended all the same."""
        block.ended = True
        interrupted = False
        try:
            if block.batch is not None and not keep:
                interrupted = await self._undo(block.batch)
            interrupted |= await self._end_turn()
        finally:
            self._pass_turn()
        if interrupted:
            raise asyncio.CancelledError

    async def _undo(self, batch: _Batch) -> bool:
        call = self._worker.submit(self._transaction.undo_block)
        interrupted = await settle(call)
        if call.exception() is not None:
            self._lose(batch, call.exception())
        return interrupted

    async def _end_turn(self) -> bool:
        """Commit unless others wait who can still join; say whether we were cancelled meanwhile."""
        batch = self._batch
        if batch is None:
            return False
        if not self._is_due(batch):
            return False
        call = self._worker.submit(self._transaction.commit)
        interrupted = await settle(call)
        if call.exception() is not None:
            self._lose(batch, call.exception())
        else:
            self._committed(batch)
        return interrupted

    def _is_due(self, batch: _Batch) -> bool:
        """Whether the batch is to be committed now: it is full or old, or nobody waits to join it."""
        full = batch.blocks >= self._max_blocks
        old = asyncio.get_running_loop().time() >= batch.opened_at + MAX_BATCH_SECONDS
        return full or old or not self._others_wait()

    def _committed(self, batch: _Batch) -> None:
        batch.done.set_result(None)
        self._batch = None

    async def _take_turn(self) -> None:
        if self._held and self._holder is asyncio.current_task():
            raise ConflictError("A transaction is open in this task already; Store.begin is never nested.")
        if self._held:
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    await self._wait_for_turn()
            except TimeoutError as error:
                raise UnavailableError(
                    f"The store was busy for {TURN_SECONDS:g} s; try again.", code="store_busy"
                ) from error
        self._held = True
        self._holder = asyncio.current_task()

    async def _wait_for_turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                # Cancelled when the turn was ours already, and with it the duty to commit what others left.
                try:
                    await self._end_turn()
                finally:
                    self._pass_turn()
            raise

    def _others_wait(self) -> bool:
        """Whether somebody waits who has not been cancelled."""
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft()
        return bool(self._waiting)

    def _pass_turn(self) -> None:
        """Hand the turn over, in one step with deciding not to commit: the next one is there and will see to it."""
        self._holder = None
        if self._others_wait():
            self._waiting.popleft().set_result(None)
        else:
            self._held = False


class Block:
    """The `Connection` of one block. Statements after its end are refused."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.batch: _Batch | None = None
        self.failure: CroniumError | None = None
        self.ended = False
        self._later: list[Statement] = []

    async def rows(self, sql: str, *args: Value) -> list[Row]:
        rows, _ = await self._run(sql, args)
        return rows

    async def change(self, sql: str, *args: Value) -> int:
        _, changes = await self._run(sql, args)
        return changes

    async def later(self, sql: str, *args: Value) -> None:
        self._require_usable()
        self._later.append((sql, args))

    async def settle(self) -> None:
        """Run what is left to run. Raises the error of a statement that failed, also one that was swallowed."""
        if self.failure is not None:
            raise self.failure
        if self._later:
            statements, self._later = self._later, []
            await self._writer.run_last(self, statements)

    async def _run(self, sql: str, args: tuple[Value, ...]) -> tuple[list[Row], int]:
        self._require_usable()
        statements, self._later = [*self._later, (sql, args)], []
        return await self._writer.run(self, statements)

    def _require_usable(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self.ended:
            raise ConflictError("This transaction has ended; what is written now needs a Store.begin of its own.")

    async def outcome(self) -> UnavailableError | None:
        """Wait for the commit; an error of our own for each block, since an exception is raised by one task only."""
        if self.batch is None:
            return None
        failure = await asyncio.shield(self.batch.done)
        return None if failure is None else UnavailableError(failure.message, code=failure.code)
