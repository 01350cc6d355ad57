"""The open transaction of the writer, seen from its thread: blocks as savepoints, many of them in one commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import apsw

from orchestrator.errors import UnavailableError
from orchestrator.stores.sql.connection import Row, Value
from orchestrator.stores.sqlite.connect import execute
from orchestrator.stores.sqlite.errors import store_unavailable, translate

Statement: TypeAlias = tuple[str, tuple[Value, ...]]


class Transaction:
    """
    All methods but `is_open` block and are called on one thread.

    The newest block is the savepoint that is open. A block is kept by doing nothing more: opening the next one or
    committing releases its savepoint, which saves a trip to the thread for each block.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.is_open = False

    def begin_block(self, statements: Sequence[Statement]) -> tuple[list[Row], int]:
        """Open a block, and the transaction where there is none, and run the block's first statements."""
        if self.is_open:
            self._word("RELEASE block")
        else:
            self._word("BEGIN IMMEDIATE")
            self.is_open = True
        self._word("SAVEPOINT block")
        return self.run(statements)

    def run(self, statements: Sequence[Statement]) -> tuple[list[Row], int]:
        """Run statements; return the rows of the last and how many rows it touched."""
        if not self.is_open:
            raise store_unavailable("The transaction was rolled back.")
        rows: list[Row] = []
        try:
            for sql, args in statements:
                rows = execute(self._connection, sql, args)
        except UnavailableError:
            # SQLite may have rolled back everything already; if not, what is left cannot be relied on.
            self._abandon()
            raise
        return rows, self._connection.changes()

    def commit_after(self, run: Callable[[Sequence[Statement]], object], statements: Sequence[Statement]) -> None:
        """`run` (`begin_block` or `run`) statements and commit all kept blocks, this one among them."""
        run(statements)
        self.commit()

    def undo_block(self) -> None:
        """Roll back the newest block alone."""
        if self.is_open:
            self._word("ROLLBACK TO block")

    def commit(self) -> None:
        """Commit all kept blocks; when that fails, none of them happened."""
        if self.is_open:
            self._word("COMMIT")
            self.is_open = False

    def close(self) -> None:
        """Close the connection, dropping what was not committed."""
        self.is_open = False
        self._connection.close()

    def _word(self, sql: str) -> None:
        try:
            self._connection.execute(sql)
        except apsw.Error as error:
            self._abandon()
            raise translate(error, self._connection.filename or "memory") from error

    def _abandon(self) -> None:
        self.is_open = False
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            raise translate(error, self._connection.filename or "memory") from error
