"""The outbox in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.contracts.store import OutboxItem
from orchestrator.model.json import Json
from orchestrator.stores.codec import micros, object_from_json, pack_text, to_json, unpack_text
from orchestrator.stores.sql.connection import Connection


@dataclass(frozen=True, slots=True)
class SqlOutbox:
    """`OutboxRepository` in SQL. What was delivered stays, so that its key stays taken."""

    connection: Connection

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
            """SELECT id, key, kind, queue, payload, tries FROM outbox
               WHERE queue = $1 AND due_at <= $2 AND delivered_at IS NULL ORDER BY due_at, id LIMIT $3""",
            pack_text(queue),
            micros(at),
            limit,
        )
        return [
            OutboxItem(
                id=id_,
                key=unpack_text(key),
                kind=unpack_text(kind),
                queue=unpack_text(stored_queue),
                payload=object_from_json(payload),
                tries=tries,
            )
            for id_, key, kind, stored_queue, payload, tries in rows
        ]

    async def delivered(self, item_id: int, *, at: datetime) -> None:
        await self.connection.change(
            "UPDATE outbox SET delivered_at = $1, tries = tries + 1 WHERE id = $2 AND delivered_at IS NULL",
            micros(at),
            item_id,
        )

    async def retry(self, item_id: int, *, at: datetime, error: str) -> None:
        await self.connection.change(
            "UPDATE outbox SET due_at = $1, tries = tries + 1, last_error = $2 WHERE id = $3 AND delivered_at IS NULL",
            micros(at),
            pack_text(error),
            item_id,
        )
