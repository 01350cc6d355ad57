"""Lines of jobs in SQL, in compressed chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.errors import ConflictError
from orchestrator.model.jobs import Claim, JobId
from orchestrator.model.logs import Cursor, Line
from orchestrator.stores.codec import cursor_document, pack_text, parse_cursor
from orchestrator.stores.sql.connection import Connection
from orchestrator.stores.sql.job_rows import STATUS
from orchestrator.stores.sql.jobs import lease_lost
from orchestrator.stores.sql.log_chunks import PackedChunk, pack, text_bytes, unpack

# From this size on, compressing takes longer than going to another thread for it.
_LARGE_BYTES = 64 * 1024
_READ_CHUNKS = 4
_READ_CHARACTERS = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SqlLogs:
    """`LogRepository` in SQL."""

    connection: Connection

    async def append(self, claim: Claim, lines: Sequence[Line], cursor: Cursor, *, omitted: int = 0) -> None:
        _refuse_gaps(claim.job.id, lines)
        size = sum(text_bytes(line.text) for line in lines)
        chunks = await asyncio.to_thread(pack, lines) if size > _LARGE_BYTES else pack(lines)
        await self._count(claim, lines, size, cursor, omitted)
        for chunk in chunks:
            await self._insert(claim.job.id, chunk)

    async def _count(self, claim: Claim, lines: Sequence[Line], size: int, cursor: Cursor, omitted: int) -> None:
        """Add to the job's totals; this is also where the fence and the first number are checked."""
        counted = await self.connection.change(
            f"""UPDATE jobs SET log_lines = log_lines + $1, log_bytes = log_bytes + $2, log_omitted = log_omitted + $3,
                    log_cursor = $4
                WHERE id = $5 AND fence = $6 AND {STATUS} = 'running' {"AND log_lines = $7" if lines else ""}""",
            len(lines),
            size,
            omitted,
            cursor_document(cursor),
            claim.job.id,
            claim.fence,
            *(line.seq - 1 for line in lines[:1]),
        )
        if not counted:
            await self._refuse(claim, lines)

    async def _refuse(self, claim: Claim, lines: Sequence[Line]) -> None:
        rows = await self.connection.rows(
            f"SELECT log_lines FROM jobs WHERE id = $1 AND fence = $2 AND {STATUS} = 'running'",
            claim.job.id,
            claim.fence,
        )
        if not rows:
            raise lease_lost(claim)
        raise ConflictError(
            f"The next line of job {claim.job.id} has number {rows[0][0] + 1}, not {lines[0].seq}; "
            "go on after the stored cursor."
        )

    async def _insert(self, job_id: JobId, chunk: PackedChunk) -> None:
        await self.connection.later(
            "INSERT INTO log_chunks (job_id, first_seq, last_seq, attempt, data) VALUES ($1, $2, $3, $4, $5)",
            job_id,
            chunk.first_seq,
            chunk.last_seq,
            chunk.attempt,
            chunk.data,
        )

    async def read(self, job_id: JobId, *, after: int, limit: int) -> list[Line]:
        lines: list[Line] = []
        position, size = max(after, 0), 0
        while len(lines) < limit and size < _READ_CHARACTERS:
            rows = await self.connection.rows(
                """SELECT first_seq, attempt, data FROM log_chunks
                   WHERE job_id = $1 AND last_seq > $2 ORDER BY last_seq LIMIT $3""",
                pack_text(job_id),
                position,
                _READ_CHUNKS,
            )
            for first_seq, attempt, data in rows:
                found = unpack(data, first_seq=first_seq, attempt=attempt, after=position, limit=limit - len(lines))
                lines += found
                size += sum(len(line.text) for line in found)
                position = lines[-1].seq
                if len(lines) >= limit or size >= _READ_CHARACTERS:
                    break
            if len(rows) < _READ_CHUNKS:
                break
        return lines

    async def cursor(self, job_id: JobId) -> tuple[int, Cursor]:
        rows = await self.connection.rows("SELECT log_lines, log_cursor FROM jobs WHERE id = $1", pack_text(job_id))
        return (rows[0][0], parse_cursor(rows[0][1])) if rows else (0, Cursor())


def _refuse_gaps(job_id: JobId, lines: Sequence[Line]) -> None:
    for earlier, later in pairwise(lines):
        if later.seq != earlier.seq + 1:
            raise ConflictError(f"Line {later.seq} of job {job_id} was given after line {earlier.seq}.")
