"""Jobs in SQL: storing and finding them, and the queue they form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.contracts.store import REQUEUE_SCOPE, AttemptOwner, JobFilter, Outcome, Page
from orchestrator.errors import ConflictError, InvalidError, LeaseLostError, NotFoundError
from orchestrator.model.backlog import Waiting
from orchestrator.model.jobs import Claim, Job, JobId, JobStatus, RunId
from orchestrator.model.json import Json
from orchestrator.model.specs import ExecutorKind
from orchestrator.stores.codec import (
    micros,
    moment_or_none,
    pack_or_none,
    pack_text,
    page_cursor,
    parse_page_cursor,
    span,
    to_json,
    unpack_text,
)
from orchestrator.stores.documents import job_document
from orchestrator.stores.sql.connection import Connection, Dialect, Row, Value
from orchestrator.stores.sql.job_rows import (
    CLAIM_COLUMNS,
    INSERT_COLUMNS,
    INSERT_COUNT,
    INSERT_PLACEHOLDERS,
    JOB_COLUMNS,
    STATUS,
    claims_from_rows,
    insert_values,
    job_from_row,
)


@dataclass(frozen=True, slots=True)
class SqlJobs:
    """`JobRepository` in SQL."""

    connection: Connection
    dialect: Dialect

    async def insert(self, job: Job) -> Job:
        document = job_document(job.spec, job.input)
        stored = await self.connection.change(
            f"""INSERT INTO jobs ({INSERT_COLUMNS}, give_up_at)
                VALUES ({INSERT_PLACEHOLDERS}, {self.dialect.now} + ${INSERT_COUNT + 1})
                ON CONFLICT (run_id, step) DO NOTHING""",
            *insert_values(job),
            None if job.spec.queue_timeout is None else span(job.spec.queue_timeout),
        )
        if not stored:
            return await self._of_step(job)
        await self.connection.later("INSERT INTO job_documents (job_id, document) VALUES ($1, $2)", job.id, document)
        return job

    async def _of_step(self, job: Job) -> Job:
        rows = await self.connection.rows(
            f"SELECT {JOB_COLUMNS} FROM jobs WHERE run_id = $1 AND step = $2", job.run_id, pack_or_none(job.step)
        )
        return job_from_row(rows[0])

    async def get(self, job_id: JobId) -> Job:
        rows = await self.connection.rows(f"SELECT {JOB_COLUMNS} FROM jobs WHERE id = $1", pack_text(job_id))
        if not rows:
            raise NotFoundError(f"There is no job {job_id!r}; `cronium jobs` lists those there are.")
        return job_from_row(rows[0])

    async def page(self, which: JobFilter, *, after: str | None, limit: int) -> Page[Job]:
        if limit < 1:
            raise InvalidError(f"The limit of a page must be 1 or more, not {limit}.")
        wanted: list[tuple[str, Value]] = [
            ("status =", which.status and which.status.value),
            ("queue =", pack_or_none(which.queue)),
            ("run_id =", which.run_id),
            ("event_id =", None if which.event_id is None else pack_text(which.event_id)),
            ("number <", None if after is None else parse_page_cursor(after)),
        ]
        given = [(column, value) for column, value in wanted if value is not None]
        where = " AND ".join(f"{column} ${place}" for place, (column, _) in enumerate(given, start=1)) or "1 = 1"
        if which.dead:
            where += f" AND {_DEAD}"
        # Rows are numbered as they are inserted, so what comes later never lands on a later page.
        rows = await self.connection.rows(
            f"SELECT number, {JOB_COLUMNS} FROM jobs WHERE {where} ORDER BY number DESC LIMIT ${len(given) + 1}",
            *(value for _, value in given),
            limit + 1,
        )
        items = [job_from_row(row[1:]) for row in rows[:limit]]
        return Page(items=items, next_cursor=page_cursor(rows[limit - 1][0]) if len(rows) > limit else None)

    async def of_run(self, run_id: RunId) -> list[Job]:
        rows = await self.connection.rows(f"SELECT {JOB_COLUMNS} FROM jobs WHERE run_id = $1 ORDER BY number", run_id)
        return [job_from_row(row) for row in rows]

    async def claim(self, owner: str, queue: str, free: Mapping[ExecutorKind, int], *, lease: timedelta) -> list[Claim]:
        rows: list[Row] = []
        for kind, places in free.items():
            if places > 0:
                rows += await self.connection.rows(
                    self._claim_statement(), pack_text(queue), kind.value, places, pack_text(owner), span(lease)
                )
        return claims_from_rows(rows)

    def _claim_statement(self) -> str:
        """A new attempt starts with nothing of the one before: no process, no token, no cursor, no start."""
        now = self.dialect.now
        return f"""
            WITH due AS MATERIALIZED (
                SELECT number FROM jobs WHERE queue = $1 AND executor = $2 AND status = 'queued' AND held = 0
                    AND (due_at IS NULL OR due_at <= {now})
                ORDER BY priority DESC, created_at, number LIMIT $3 {self.dialect.skip_locked}
            )
            UPDATE jobs SET
                status = 'running', owner = $4, lease_until = {now} + $5, fence = fence + 1, attempt = attempt + 1,
                process = NULL, token_digest = NULL, log_cursor = NULL, started_at = NULL, setup_ms = NULL,
                due_at = NULL, give_up_at = NULL,
                queued_ms = COALESCE(queued_ms, CASE WHEN created_at < {now} THEN ({now} - created_at) / 1000 ELSE 0 END)
            WHERE number IN (SELECT number FROM due)
            RETURNING {CLAIM_COLUMNS}"""

    async def adopt(
        self,
        owner: str,
        queue: str,
        *,
        lease: timedelta,
        alone: bool,
        kin: str = "",
        strays_after: timedelta | None = None,
    ) -> list[Claim]:
        now = self.dialect.now
        expired = "" if alone else f"AND lease_until <= {now}"
        strays = "" if strays_after is None else f"OR lease_until <= {now} - $5"
        rows = await self.connection.rows(
            f"""UPDATE jobs SET owner = $1, lease_until = {now} + $2, fence = fence + 1
                WHERE queue = $3 AND status = 'running'
                    AND ((substr(owner, 1, length(CAST($4 AS TEXT))) = $4 {expired}) {strays})
                RETURNING {CLAIM_COLUMNS}""",
            pack_text(owner),
            span(lease),
            pack_text(queue),
            pack_text(kin),
            *(() if strays_after is None else (span(strays_after),)),
        )
        return claims_from_rows(rows)

    async def renew(self, owner: str, *, lease: timedelta, jobs: frozenset[JobId] | None = None) -> frozenset[JobId]:
        if jobs is not None and not jobs:
            return frozenset()
        wanted = sorted(jobs or ())
        places = ", ".join(f"${place}" for place in range(3, 3 + len(wanted)))
        rows = await self.connection.rows(
            f"""UPDATE jobs SET lease_until = {self.dialect.now} + $1
                WHERE owner = $2 AND status = 'running' {f"AND id IN ({places})" if wanted else ""} RETURNING id""",
            span(lease),
            pack_text(owner),
            *wanted,
        )
        return frozenset(JobId(row[0]) for row in rows)

    async def start_attempt(self, claim: Claim, *, process: str, token_digest: bytes) -> None:
        await self._fenced(claim, "process = $1, token_digest = $2", process, token_digest)

    async def mark_started(self, claim: Claim, *, at: datetime, setup_ms: int | None) -> Job:
        return await self._fenced_job(claim, "started_at = $1, setup_ms = $2", micros(at), setup_ms)

    async def release(self, claim: Claim, *, after: timedelta | None = None, begun: bool = True) -> Job:
        return await self._fenced_job(
            claim,
            f"""due_at = {self.dialect.now} + $1, status = 'queued', owner = NULL, lease_until = NULL, process = NULL,
                token_digest = NULL, started_at = NULL, setup_ms = NULL, output = NULL, condition = NULL,
                progress = NULL{"" if begun else ", given_back = given_back + 1"}""",
            None if after is None else span(after),
        )

    async def processes(self) -> frozenset[str]:
        rows = await self.connection.rows("SELECT process FROM jobs WHERE status = 'running' AND process IS NOT NULL")
        return frozenset(row[0] for row in rows)

    async def request_cancel(self, job_id: JobId, *, at: datetime) -> Job:
        rows = await self.connection.rows(
            f"""UPDATE jobs SET cancel_requested_at = COALESCE(cancel_requested_at, $1)
                WHERE id = $2 AND {STATUS} IN ('queued', 'running') RETURNING {JOB_COLUMNS}""",
            micros(at),
            pack_text(job_id),
        )
        return job_from_row(rows[0]) if rows else await self.get(job_id)

    async def cancel_requested(self, owner: str) -> frozenset[JobId]:
        rows = await self.connection.rows(
            "SELECT id FROM jobs WHERE owner = $1 AND status = 'running' AND cancel_requested_at IS NOT NULL",
            pack_text(owner),
        )
        return frozenset(JobId(row[0]) for row in rows)

    async def finish(self, claim: Claim, outcome: Outcome) -> Job:
        return await self._fenced_job(claim, _ENDING, *_ending(outcome))

    async def overdue(self, queue: str) -> list[JobId]:
        rows = await self.connection.rows(
            f"""SELECT id FROM jobs WHERE queue = $1 AND status = 'queued' AND give_up_at IS NOT NULL
                AND give_up_at <= {self.dialect.now} ORDER BY give_up_at, number""",
            pack_text(queue),
        )
        return [JobId(row[0]) for row in rows]

    async def finish_queued(self, job_id: JobId, outcome: Outcome) -> Job:
        rows = await self.connection.rows(
            f"UPDATE jobs SET {_ENDING} WHERE id = $10 AND {STATUS} = 'queued' RETURNING {JOB_COLUMNS}",
            *_ending(outcome),
            pack_text(job_id),
        )
        if rows:
            return job_from_row(rows[0])
        job = await self.get(job_id)
        raise ConflictError(f"Job {job_id} is {job.status} and not queued any more.")

    async def occupy(self, key: str) -> None:
        # Writing the row, even as it is, locks it.
        await self.connection.change(
            "INSERT INTO concurrency_keys (key) VALUES ($1) ON CONFLICT (key) DO UPDATE SET key = excluded.key",
            pack_text(key),
        )

    async def under_way(self, key: str) -> list[Job]:
        rows = await self.connection.rows(
            f"""SELECT {JOB_COLUMNS} FROM jobs WHERE concurrency_key = $1 AND held = 0
                AND status IN ('queued', 'running') ORDER BY created_at, number""",
            pack_text(key),
        )
        return [job_from_row(row) for row in rows]

    async def next_held(self, key: str) -> Job | None:
        rows = await self.connection.rows(f"{_HELD} LIMIT 1", pack_text(key))
        return job_from_row(rows[0]) if rows else None

    async def held(self, key: str) -> list[Job]:
        return [job_from_row(row) for row in await self.connection.rows(_HELD, pack_text(key))]

    async def admit(self, job_id: JobId) -> None:
        await self.connection.change(
            f"UPDATE jobs SET held = 0 WHERE id = $1 AND held = 1 AND {STATUS} = 'queued'", pack_text(job_id)
        )

    async def owner_of(self, token_digest: bytes) -> AttemptOwner | None:
        rows = await self.connection.rows(
            f"SELECT {JOB_COLUMNS} FROM jobs WHERE token_digest = $1 AND {STATUS} = 'running'", token_digest
        )
        if not rows:
            return None
        job = job_from_row(rows[0])
        return AttemptOwner(job=job, attempt=job.attempt)

    async def set_output(self, job_id: JobId, attempt: int, value: Json) -> None:
        await self._said(job_id, attempt, "output", to_json(value))

    async def set_condition(self, job_id: JobId, attempt: int, *, condition: bool) -> None:
        await self._said(job_id, attempt, "condition", int(condition))

    async def set_progress(self, job_id: JobId, attempt: int, value: Json) -> None:
        await self._said(job_id, attempt, "progress", to_json(value))

    async def queues(self) -> frozenset[str]:
        rows = await self.connection.rows("SELECT DISTINCT queue FROM jobs WHERE status IN ('queued', 'running')")
        return frozenset(unpack_text(row[0]) for row in rows)

    async def count(self) -> Mapping[JobStatus, int]:
        rows = await self.connection.rows("SELECT status, COUNT(*) FROM jobs GROUP BY status")
        return {JobStatus(status): number for status, number in rows}

    async def waiting(self, queue: str, *, at: datetime) -> Mapping[ExecutorKind, Waiting]:
        rows = await self.connection.rows(
            """SELECT executor, COUNT(*), SUM(CASE WHEN due_at > $1 THEN 1 ELSE 0 END),
                    MIN(CASE WHEN due_at > $1 THEN NULL ELSE COALESCE(due_at, created_at) END)
                FROM jobs WHERE queue = $2 AND status = 'queued' AND held = 0 GROUP BY executor""",
            micros(at),
            pack_text(queue),
        )
        held = await self.connection.rows(
            """SELECT executor, COUNT(*) FROM jobs WHERE concurrency_key IS NOT NULL AND status IN ('queued', 'running')
                AND held = 1 AND queue = $1 GROUP BY executor""",
            pack_text(queue),
        )
        found = {
            kind: Waiting(due=number - int(later), oldest_due_at=moment_or_none(oldest), later=int(later))
            for kind, number, later, oldest in rows
        }
        found |= {kind: replace(found.get(kind, Waiting()), held=number) for kind, number in held}
        return {ExecutorKind(kind): waiting for kind, waiting in found.items()}

    async def running(self, queue: str) -> Mapping[ExecutorKind, int]:
        rows = await self.connection.rows(
            "SELECT executor, COUNT(*) FROM jobs WHERE status = 'running' AND queue = $1 GROUP BY executor",
            pack_text(queue),
        )
        return {ExecutorKind(kind): number for kind, number in rows}

    async def _said(self, job_id: JobId, attempt: int, column: str, value: Value) -> None:
        """Keep what an attempt's script said in `column`."""
        changed = await self.connection.change(
            f"UPDATE jobs SET {column} = $1 WHERE id = $2 AND attempt = $3 AND {STATUS} = 'running'",
            value,
            job_id,
            attempt,
        )
        if not changed:
            raise LeaseLostError(f"Attempt {attempt} of job {job_id} is over; what it says now is not kept.")

    async def _fenced_job(self, claim: Claim, assignments: str, *args: Value) -> Job:
        rows = await self._fenced(claim, assignments, *args, returning=INSERT_COLUMNS)
        return job_from_row(rows[0], claim.job)

    async def _fenced(self, claim: Claim, assignments: str, *args: Value, returning: str = "id") -> list[Row]:
        """Change the claimed job where the claim is the latest and the job runs; otherwise change nothing and raise."""
        place = len(args) + 1
        rows = await self.connection.rows(
            f"""UPDATE jobs SET {assignments}
                WHERE id = ${place} AND fence = ${place + 1} AND {STATUS} = 'running' RETURNING {returning}""",
            *args,
            claim.job.id,
            claim.fence,
        )
        if not rows:
            raise lease_lost(claim)
        return rows


_HELD = f"""SELECT {JOB_COLUMNS} FROM jobs WHERE concurrency_key = $1 AND held = 1
    AND status IN ('queued', 'running') ORDER BY priority DESC, created_at, number"""
# COALESCE keeps SQLite from its index of runs: nearly all jobs have none.
_DEAD = f"""status IN ('failed', 'timed_out') AND COALESCE(run_id, '') = '' AND NOT EXISTS (
    SELECT 1 FROM idempotency_keys WHERE scope = '{REQUEUE_SCOPE}' AND key = jobs.id)"""
_ENDING = """status = $1, finished_at = $2, reason = $3, message = $4, exit_code = $5,
    queued_ms = COALESCE($6, queued_ms), setup_ms = COALESCE($7, setup_ms),
    execution_ms = COALESCE($8, execution_ms), cleanup_ms = COALESCE($9, cleanup_ms),
    owner = NULL, lease_until = NULL, token_digest = NULL, held = 0"""


def _ending(outcome: Outcome) -> tuple[Value, ...]:
    """The values of `_ENDING`. A phase that the outcome does not know keeps what was recorded while it ran."""
    if not outcome.status.is_final:
        raise InvalidError(f"A job cannot end as {outcome.status}; name a final status.")
    return (
        outcome.status.value,
        micros(outcome.finished_at),
        None if outcome.reason is None else outcome.reason.value,
        pack_or_none(outcome.message),
        outcome.exit_code,
        outcome.timings.queued_ms,
        outcome.timings.setup_ms,
        outcome.timings.execution_ms,
        outcome.timings.cleanup_ms,
    )


def lease_lost(claim: Claim) -> LeaseLostError:
    """What a fenced write raises whose claim is not the latest, or whose job does not run."""
    return LeaseLostError(
        f"Claim {claim.fence} of job {claim.job.id} is not the latest one or the job has ended; stop supervising it."
    )
