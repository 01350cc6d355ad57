"""Runs of workflows in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.errors import ConflictError, InvalidError, NotFoundError
from orchestrator.model.jobs import RunId
from orchestrator.model.json import Json
from orchestrator.model.workflows import Run, RunStatus
from orchestrator.stores.codec import (
    micros,
    micros_or_none,
    moment,
    moment_or_none,
    object_from_json,
    pack_or_none,
    pack_text,
    to_json,
    unpack_or_none,
    unpack_text,
)
from orchestrator.stores.sql.connection import Connection, Dialect, Row

_COLUMNS = """id, workflow_name, status, document, input, queue, created_at, workflow_id, output, error,
    started_at, finished_at, cancel_requested_at"""
_NOT_FINAL = "status IN ('queued', 'running', 'waiting')"


@dataclass(frozen=True, slots=True)
class SqlRuns:
    """`RunRepository` in SQL."""

    connection: Connection
    dialect: Dialect

    async def insert(self, run: Run) -> Run:
        await self.connection.change(
            f"""INSERT INTO runs ({_COLUMNS})
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)""",
            run.id,
            pack_text(run.workflow_name),
            run.status.value,
            to_json(run.document),
            to_json(run.input),
            pack_text(run.queue),
            micros(run.created_at),
            run.workflow_id,
            None if run.output is None else to_json(run.output),
            pack_or_none(run.error),
            micros_or_none(run.started_at),
            micros_or_none(run.finished_at),
            micros_or_none(run.cancel_requested_at),
        )
        return run

    async def queues(self) -> frozenset[str]:
        rows = await self.connection.rows(f"SELECT DISTINCT queue FROM runs WHERE {_NOT_FINAL}")
        return frozenset(unpack_text(row[0]) for row in rows)

    async def get(self, run_id: RunId) -> Run:
        rows = await self.connection.rows(
            f"SELECT {_COLUMNS} FROM runs WHERE id = $1 {self.dialect.for_update}", pack_text(run_id)
        )
        if not rows:
            raise NotFoundError(f"There is no run {run_id!r}; `cronium runs` lists those there are.")
        return _run(rows[0])

    async def set_status(self, run_id: RunId, status: RunStatus, *, at: datetime) -> Run:
        if status.is_final:
            raise InvalidError(f"A run enters {status} by finishing.")
        rows = await self.connection.rows(
            f"""UPDATE runs SET status = $1, started_at = COALESCE(started_at, $2)
                WHERE id = $3 AND {_NOT_FINAL} RETURNING {_COLUMNS}""",
            status.value,
            micros(at) if status is RunStatus.RUNNING else None,
            run_id,
        )
        return _run(rows[0]) if rows else await self._refuse(run_id)

    async def finish(
        self,
        run_id: RunId,
        status: RunStatus,
        *,
        at: datetime,
        output: Mapping[str, Json] | None,
        error: str | None,
    ) -> Run:
        if not status.is_final:
            raise InvalidError(f"A run cannot end as {status}; name a final status.")
        rows = await self.connection.rows(
            f"""UPDATE runs SET status = $1, finished_at = $2, output = $3, error = $4
                WHERE id = $5 AND {_NOT_FINAL} RETURNING {_COLUMNS}""",
            status.value,
            micros(at),
            None if output is None else to_json(output),
            pack_or_none(error),
            run_id,
        )
        return _run(rows[0]) if rows else await self._refuse(run_id)

    async def request_cancel(self, run_id: RunId, *, at: datetime) -> Run:
        rows = await self.connection.rows(
            f"""UPDATE runs SET cancel_requested_at = COALESCE(cancel_requested_at, $1)
                WHERE id = $2 AND {_NOT_FINAL} RETURNING {_COLUMNS}""",
            micros(at),
            run_id,
        )
        return _run(rows[0]) if rows else await self.get(run_id)

    async def unfinished(self, queue: str) -> list[RunId]:
        rows = await self.connection.rows(
            f"SELECT id FROM runs WHERE queue = $1 AND {_NOT_FINAL} ORDER BY number", pack_text(queue)
        )
        return [RunId(row[0]) for row in rows]

    async def _refuse(self, run_id: RunId) -> Run:
        run = await self.get(run_id)
        raise ConflictError(f"Run {run_id} is {run.status} already; a final status does not change.")


def _run(row: Row) -> Run:
    (
        id_,
        workflow_name,
        status,
        document,
        input_,
        queue,
        created_at,
        workflow_id,
        output,
        error,
        started_at,
        finished_at,
        cancel_requested_at,
    ) = row
    return Run(
        id=RunId(id_),
        workflow_name=unpack_text(workflow_name),
        status=RunStatus(status),
        document=object_from_json(document),
        input=object_from_json(input_),
        queue=unpack_text(queue),
        created_at=moment(created_at),
        workflow_id=workflow_id,
        output=None if output is None else object_from_json(output),
        error=unpack_or_none(error),
        started_at=moment_or_none(started_at),
        finished_at=moment_or_none(finished_at),
        cancel_requested_at=moment_or_none(cancel_requested_at),
    )
