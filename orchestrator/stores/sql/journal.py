"""The journal in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.model.journal import Entry, EntryKind
from orchestrator.model.json import Json
from orchestrator.stores.codec import micros, moment, object_from_json, pack_text, to_json, unpack_text
from orchestrator.stores.sql.connection import Connection, Dialect


@dataclass(frozen=True, slots=True)
class SqlJournal:
    """`JournalRepository` in SQL."""

    connection: Connection
    dialect: Dialect

    async def append(
        self, subject: str, kind: EntryKind, *, at: datetime, by: str, data: Mapping[str, Json] | None = None
    ) -> None:
        document, whom, packed = to_json(data or {}), pack_text(by), pack_text(subject)
        await self.connection.later(self.dialect.append_to_journal, packed, micros(at), kind.value, whom, document)

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
