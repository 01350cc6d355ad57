"""Which files jobs left, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.contracts.store import Page
from orchestrator.model.artifacts import Artifact
from orchestrator.model.jobs import JobId
from orchestrator.stores.codec import micros, moment, pack_text, unpack_text
from orchestrator.stores.sql.connection import Connection, Row

COLUMNS = "job_id, name, attempt, size, sha256, media_type, created_at, place, folder"


@dataclass(frozen=True, slots=True)
class SqlArtifacts:
    """`ArtifactRepository` in SQL."""

    connection: Connection

    async def replace(self, job_id: JobId, artifacts: Sequence[Artifact]) -> None:
        await self.forget(job_id)
        for artifact in artifacts:
            await self.connection.later(
                f"INSERT INTO artifacts ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                job_id,
                pack_text(artifact.name),
                artifact.attempt,
                artifact.size,
                artifact.sha256,
                pack_text(artifact.media_type),
                micros(artifact.created_at),
                pack_text(artifact.place),
                pack_text(artifact.folder),
            )

    async def get(self, job_id: JobId, name: str) -> Artifact | None:
        rows = await self.connection.rows(
            f"SELECT {COLUMNS} FROM artifacts WHERE job_id = $1 AND name = $2", pack_text(job_id), pack_text(name)
        )
        return _artifact(rows[0]) if rows else None

    async def page(self, job_id: JobId, *, after: str | None, limit: int) -> Page[Artifact]:
        rows = await self.connection.rows(
            f"SELECT {COLUMNS} FROM artifacts WHERE job_id = $1 AND name > $2 ORDER BY name LIMIT $3",
            pack_text(job_id),
            pack_text(after or ""),
            limit + 1,
        )
        items = [_artifact(row) for row in rows[:limit]]
        return Page(items=items, next_cursor=items[-1].name if len(rows) > limit else None)

    async def made_before(self, moment_: datetime, *, limit: int) -> list[JobId]:
        rows = await self.connection.rows(
            "SELECT job_id FROM artifacts WHERE created_at < $1 ORDER BY created_at, job_id LIMIT $2",
            micros(moment_),
            limit,
        )
        return [*dict.fromkeys(JobId(row[0]) for row in rows)]

    async def forget(self, job_id: JobId) -> None:
        await self.connection.later("DELETE FROM artifacts WHERE job_id = $1", pack_text(job_id))


def _artifact(row: Row) -> Artifact:
    job_id, name, attempt, size, sha256, media_type, created_at, place, folder = row
    return Artifact(
        job_id=JobId(job_id),
        name=unpack_text(name),
        attempt=attempt,
        size=size,
        sha256=sha256,
        media_type=unpack_text(media_type),
        created_at=moment(created_at),
        place=unpack_text(place),
        folder=unpack_text(folder),
    )
