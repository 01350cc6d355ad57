"""The outbox in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.contracts.store import OutboxItem
from orchestrator.model.backlog import Lane
from orchestrator.model.json import Json
from orchestrator.stores.codec import micros, moment_or_none, object_from_json, pack_text, to_json, unpack_text
from orchestrator.stores.sql.connection import Connection, Dialect, Row

_OPEN = "delivered_at IS NULL AND gave_up_at IS NULL"


@dataclass(frozen=True, slots=True)
class SqlOutbox:
    """`OutboxRepository` in SQL. What was delivered stays, so that its key stays taken."""

    connection: Connection
    dialect: Dialect

    async def add(self, key: str, kind: str, *, queue: str, payload: Mapping[str, Json], at: datetime) -> None:
        await self.connection.later(
            """INSERT INTO outbox (key, kind, queue, payload, due_at, tries) VALUES ($1, $2, $3, $4, $5, 0)
               ON CONFLICT (key) DO NOTHING""",
            pack_text(key),
            pack_text(kind),
            pack_text(queue),
            to_json(payload),
            micros(at),
        )

    async def due(self, queue: str, *, at: datetime, limit: int) -> list[OutboxItem]:
        # By due time, so that an item that fails again and again does not hold up those behind it.
        rows = await self.connection.rows(
            f"""SELECT id, key, kind, queue, payload, tries FROM outbox
                WHERE queue = $1 AND due_at <= $2 AND {_OPEN} ORDER BY due_at, id LIMIT $3""",
            pack_text(queue),
            micros(at),
            limit,
        )
        return [_item(row) for row in rows]

    async def take(self, queue: str, *, at: datetime, lease: timedelta, limit: int) -> list[OutboxItem]:
        # The order is that of the times which are overwritten, and so must be written down to be returned.
        rows = await self.connection.rows(
            f"""WITH taken AS MATERIALIZED (
                    SELECT id FROM outbox WHERE queue = $1 AND due_at <= $2 AND {_OPEN}
                    ORDER BY due_at, id LIMIT $3 {self.dialect.skip_locked}
                )
                UPDATE outbox SET due_at = $4, taken_from = due_at WHERE id IN (SELECT id FROM taken)
                RETURNING taken_from, id, key, kind, queue, payload, tries""",
            pack_text(queue),
            micros(at),
            limit,
            micros(at + lease),
        )
        return [_item(row[1:]) for row in sorted(rows, key=lambda row: (row[0], row[1]))]

    async def lane(self, queue: str) -> Lane:
        rows = await self.connection.rows(
            f"SELECT COUNT(*), MIN(due_at) FROM outbox WHERE queue = $1 AND {_OPEN}", pack_text(queue)
        )
        return Lane(pending=rows[0][0], first_due_at=moment_or_none(rows[0][1]))

    async def delivered(self, item_id: int, *, at: datetime) -> None:
        await self.connection.change(
            "UPDATE outbox SET delivered_at = $1, tries = tries + 1 WHERE id = $2 AND delivered_at IS NULL",
            micros(at),
            item_id,
        )

    async def retry(self, item_id: int, *, at: datetime, error: str) -> None:
        await self.connection.change(
            f"UPDATE outbox SET due_at = $1, tries = tries + 1, last_error = $2 WHERE id = $3 AND {_OPEN}",
            micros(at),
            pack_text(error),
            item_id,
        )

    async def give_up(self, item_id: int, *, at: datetime, error: str) -> None:
        await self.connection.change(
            f"UPDATE outbox SET gave_up_at = $1, tries = tries + 1, last_error = $2 WHERE id = $3 AND {_OPEN}",
            micros(at),
            pack_text(error),
            item_id,
        )


def _item(row: Row) -> OutboxItem:
    id_, key, kind, queue, payload, tries = row
    return OutboxItem(
        id=id_,
        key=unpack_text(key),
        kind=unpack_text(kind),
        queue=unpack_text(queue),
        payload=object_from_json(payload),
        tries=tries,
    )
