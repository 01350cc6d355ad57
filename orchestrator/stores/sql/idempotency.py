"""Idempotency keys in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.contracts.store import IdempotencyKey
from orchestrator.errors import ConflictError
from orchestrator.stores.codec import micros, pack_text
from orchestrator.stores.sql.connection import Connection


@dataclass(frozen=True, slots=True)
class SqlIdempotency:
    """`IdempotencyRepository` in SQL."""

    connection: Connection

    async def remember(self, key: IdempotencyKey, subject: str, *, at: datetime, keep: timedelta) -> str | None:
        # Whoever inserts the same key meanwhile is waited for; an entry that is too old is as good as none.
        taken = await self.connection.rows(
            """INSERT INTO idempotency_keys (scope, key, digest, subject, used_at) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (scope, key) DO UPDATE SET
                   digest = excluded.digest, subject = excluded.subject, used_at = excluded.used_at
                   WHERE idempotency_keys.used_at <= $6
               RETURNING subject""",
            pack_text(key.scope),
            pack_text(key.key),
            key.digest,
            subject,
            micros(at),
            micros(at - keep),
        )
        if taken:
            return None
        [(first, digest)] = await self.connection.rows(
            "SELECT subject, digest FROM idempotency_keys WHERE scope = $1 AND key = $2",
            pack_text(key.scope),
            pack_text(key.key),
        )
        if digest != key.digest:
            raise ConflictError(
                f"The idempotency key {key.key!r} was used for another request, which made {first}: choose a new one.",
                code="idempotency_key_reused",
            )
        return str(first)
