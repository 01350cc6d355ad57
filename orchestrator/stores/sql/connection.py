"""What the repositories ask of a database: a connection that runs statements, and the few words that differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Value: TypeAlias = "str | int | bytes | None"
Row: TypeAlias = tuple[Any, ...]


class Connection(Protocol):
    """
    Runs one statement at a time, inside the transaction that the connection stands for.

    Placeholders are `$1` to `$n`, and a statement mentions them for the first time in rising order. Raises the errors
    that `contracts.store` promises; a violated constraint is a `ConflictError`.
    """

    async def rows(self, sql: str, *args: Value) -> list[Row]:
        """Run the statement and return its rows (of a query, or of RETURNING)."""
        ...

    async def change(self, sql: str, *args: Value) -> int:
        """Run the statement and return how many rows it touched."""
        ...

    async def later(self, sql: str, *args: Value) -> None:
        """
        Run the statement before the next one, or at the end of the transaction: nobody asks what comes of it.

        That may save a trip to the database. Where it is refused, so is what it travels with.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """
    Fragments of SQL in which databases differ.

    `now` is the database's clock in microseconds since 1970, the same throughout a statement. `for_update` keeps a
    row that was read from others until the transaction ends, `skip_locked` does so and passes over rows that others
    keep; both are empty where only one transaction writes at a time, and on a connection that only reads.
    `append_to_journal` writes an entry of subject $1 with the next number; $2 to $5 are `at`, `kind`, `by_whom` and
    `data`. The numbers of a subject are given out one by one, and again when one is rolled back.
    """

    now: str
    for_update: str
    skip_locked: str
    append_to_journal: str
