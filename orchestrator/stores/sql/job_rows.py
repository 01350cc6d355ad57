"""A job as a row: the columns in the order in which they are read, and the way there and back."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.model.jobs import (
    Claim,
    EventId,
    Job,
    JobId,
    JobStatus,
    LogTotals,
    Reason,
    RunId,
    Timings,
    TriggerKind,
)
from orchestrator.model.specs import ExecutorKind
from orchestrator.stores.codec import (
    from_json,
    micros,
    micros_or_none,
    moment,
    moment_or_none,
    pack_or_none,
    pack_text,
    to_json,
    unpack_or_none,
    unpack_text,
)
from orchestrator.stores.documents import parse_job_document
from orchestrator.stores.sql.connection import Row, Value

# What is large and never changes lies in a table of its own, so that renewing a lease does not rewrite it.
_DOCUMENT = "(SELECT document FROM job_documents WHERE job_documents.job_id = jobs.id)"
# For one job, found by its id or token: an expression, so that no planner reads the index of statuses instead, which
# leads to every running job there is. Postgres did, with statistics from a time when nothing ran.
STATUS = "(status || '')"
_STORED = (
    "id",
    "status",
    "queue",
    "executor",
    "trigger_kind",
    "priority",
    "created_at",
    "reason",
    "message",
    "exit_code",
    "attempt",
    "given_back",
    "started_at",
    "finished_at",
    "cancel_requested_at",
    "queued_ms",
    "setup_ms",
    "execution_ms",
    "cleanup_ms",
    "output",
    "condition",
    "progress",
    "event_id",
    "scheduled_at",
    "concurrency_key",
    "held",
    "run_id",
    "step",
    "parent_id",
    "log_lines",
    "log_bytes",
    "log_omitted",
)
INSERT_COUNT = len(_STORED)
INSERT_COLUMNS = ", ".join(_STORED)
INSERT_PLACEHOLDERS = ", ".join(f"${number}" for number in range(1, len(_STORED) + 1))
JOB_COLUMNS = f"{INSERT_COLUMNS}, {_DOCUMENT}"
CLAIM_COLUMNS = f"number, fence, process, {JOB_COLUMNS}"


def insert_values(job: Job) -> tuple[Value, ...]:
    """The values of `INSERT_COLUMNS`."""
    return (
        job.id,
        job.status.value,
        pack_text(job.queue),
        job.executor.value,
        job.trigger.value,
        job.priority,
        micros(job.created_at),
        None if job.reason is None else job.reason.value,
        pack_or_none(job.message),
        job.exit_code,
        job.attempt,
        job.given_back,
        micros_or_none(job.started_at),
        micros_or_none(job.finished_at),
        micros_or_none(job.cancel_requested_at),
        job.timings.queued_ms,
        job.timings.setup_ms,
        job.timings.execution_ms,
        job.timings.cleanup_ms,
        to_json(job.output) if job.has_output else None,
        None if job.condition is None else int(job.condition),
        None if job.progress is None else to_json(job.progress),
        job.event_id,
        micros_or_none(job.scheduled_at),
        pack_or_none(job.concurrency_key),
        int(job.held),
        job.run_id,
        pack_or_none(job.step),
        job.parent_id,
        job.log.lines,
        job.log.bytes,
        job.log.omitted_lines,
    )


def job_from_row(row: Row, known: Job | None = None) -> Job:
    """The job of a row of `JOB_COLUMNS`; of `INSERT_COLUMNS` where spec and input, which never change, are `known`."""
    value = dict(zip(_STORED, row, strict=False))
    spec, input_ = parse_job_document(row[len(_STORED)]) if known is None else (known.spec, known.input)
    return Job(
        id=JobId(value["id"]),
        status=JobStatus(value["status"]),
        spec=spec,
        executor=ExecutorKind(value["executor"]),
        queue=unpack_text(value["queue"]),
        trigger=TriggerKind(value["trigger_kind"]),
        priority=value["priority"],
        created_at=moment(value["created_at"]),
        reason=None if value["reason"] is None else Reason(value["reason"]),
        message=unpack_or_none(value["message"]),
        exit_code=value["exit_code"],
        attempt=value["attempt"],
        given_back=value["given_back"],
        started_at=moment_or_none(value["started_at"]),
        finished_at=moment_or_none(value["finished_at"]),
        cancel_requested_at=moment_or_none(value["cancel_requested_at"]),
        timings=Timings(
            queued_ms=value["queued_ms"],
            setup_ms=value["setup_ms"],
            execution_ms=value["execution_ms"],
            cleanup_ms=value["cleanup_ms"],
        ),
        input=input_,
        output=None if value["output"] is None else from_json(value["output"]),
        has_output=value["output"] is not None,
        condition=None if value["condition"] is None else bool(value["condition"]),
        progress=None if value["progress"] is None else from_json(value["progress"]),
        event_id=None if value["event_id"] is None else EventId(value["event_id"]),
        scheduled_at=moment_or_none(value["scheduled_at"]),
        concurrency_key=unpack_or_none(value["concurrency_key"]),
        held=bool(value["held"]),
        run_id=None if value["run_id"] is None else RunId(value["run_id"]),
        step=unpack_or_none(value["step"]),
        parent_id=None if value["parent_id"] is None else JobId(value["parent_id"]),
        log=LogTotals(lines=value["log_lines"], bytes=value["log_bytes"], omitted_lines=value["log_omitted"]),
    )


def claims_from_rows(rows: Iterable[Row]) -> list[Claim]:
    """The claims of rows of `CLAIM_COLUMNS`, which RETURNING gives in any order: highest priority first, then oldest."""
    numbered = [(row[0], Claim(job=job_from_row(row[3:]), fence=row[1], process=row[2])) for row in rows]
    numbered.sort(key=lambda pair: (-pair[1].job.priority, pair[1].job.created_at, pair[0]))
    return [claim for _, claim in numbered]
