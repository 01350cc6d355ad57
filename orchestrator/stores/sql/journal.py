"""The journal in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.model.journal import Entry, EntryKind
from orchestrator.model.json import Json
from orchestrator.stores.codec import micros, moment, object_from_json, pack_text, to_json, unpack_text
from orchestrator.stores.sql.connection import Connection


@dataclass(frozen=True, slots=True)
class SqlJournal:
    """`JournalRepository` in SQL."""

    connection: Connection

    async def append(
        self, subject: str, kind: EntryKind, *, at: datetime, by: str, data: Mapping[str, Json] | None = None
    ) -> Entry:
        # What cannot be kept is refused before a number is taken.
        document, whom, packed = to_json(data or {}), pack_text(by), pack_text(subject)
        # The row of the subject stays locked until the transaction ends, so its numbers are given out one by one
        # and a number that is rolled back is given out again.
        rows = await self.connection.rows(
            """INSERT INTO journal_heads (subject, last_seq) VALUES ($1, 1)
               ON CONFLICT (subject) DO UPDATE SET last_seq = journal_heads.last_seq + 1 RETURNING last_seq""",
            packed,
        )
        seq: int = rows[0][0]
        await self.connection.change(
            "INSERT INTO journal (subject, seq, at, kind, by_whom, data) VALUES ($1, $2, $3, $4, $5, $6)",
            packed,
            seq,
            micros(at),
            kind.value,
            whom,
            document,
        )
        return Entry(subject=subject, seq=seq, at=at, kind=kind, by=by, data=object_from_json(document))

    async def read(self, subject: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        rows = await self.connection.rows(
            """SELECT seq, at, kind, by_whom, data FROM journal
               WHERE subject = $1 AND seq > $2 ORDER BY seq LIMIT $3""",
            pack_text(subject),
            after,
            limit,
        )
        return [
            Entry(
                subject=subject,
                seq=seq,
                at=moment(at),
                kind=EntryKind(kind),
                by=unpack_text(by),
                data=object_from_json(data),
            )
            for seq, at, kind, by, data in rows
        ]
