"""What the outside sees of jobs, lines, journal entries and runs: plain JSON documents, the same at every door."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from orchestrator.model.jobs import Job
from orchestrator.model.journal import Entry
from orchestrator.model.json import Json
from orchestrator.model.logs import Line
from orchestrator.model.workflows import Run

WAITING = "waiting"


def job_document(job: Job) -> dict[str, Json]:
    """A job. Times as `time_text` says, durations in milliseconds; what is not known yet is null."""
    return {
        "id": job.id,
        "name": job.spec.name,
        "status": job.status.value,
        "reason": None if job.reason is None else job.reason.value,
        "message": job.message,
        "exit_code": job.exit_code,
        "attempt": job.attempt,
        "executor": job.executor.value,
        "trigger": job.trigger.value,
        "priority": job.priority,
        "created_at": time_text(job.created_at),
        "started_at": _time_or_null(job.started_at),
        "finished_at": _time_or_null(job.finished_at),
        "cancel_requested_at": _time_or_null(job.cancel_requested_at),
        "timings": {
            "queued_ms": job.timings.queued_ms,
            "setup_ms": job.timings.setup_ms,
            "execution_ms": job.timings.execution_ms,
            "cleanup_ms": job.timings.cleanup_ms,
        },
        "input": job.input,
        "output": job.output,
        "condition": job.condition,
        "progress": job.progress,
        "event_id": job.event_id,
        "run_id": job.run_id,
        "step": job.step,
        "parent_id": job.parent_id,
        "log": {"lines": job.log.lines, "bytes": job.log.bytes, "omitted_lines": job.log.omitted_lines},
    }


def line_document(line: Line) -> dict[str, Json]:
    """A line of output. `continued` is there, and true, on all but the last piece of a line that was cut."""
    document: dict[str, Json] = {
        "seq": line.seq,
        "ts": time_text(line.at),
        "stream": line.stream.value,
        "text": line.text,
        "attempt": line.attempt,
    }
    if line.continued:
        document["continued"] = True
    return document


def entry_document(entry: Entry) -> dict[str, Json]:
    """A journal entry; `subject` is the id of the job or run it is about."""
    return {
        "subject": entry.subject,
        "seq": entry.seq,
        "ts": time_text(entry.at),
        "kind": entry.kind.value,
        "by": entry.by,
        "data": dict(entry.data),
    }


def run_document(run: Run, jobs: Sequence[Job]) -> dict[str, Json]:
    """
    A run with its steps in the order of the workflow file. `jobs` are the run's jobs.

    A step that has no job yet is `waiting`; in a run that is over it is `skipped`.
    """
    by_step = {job.step: job for job in jobs if job.step is not None}
    names = dict.fromkeys((*_step_names(run), *by_step))
    idle = "skipped" if run.status.is_final else WAITING
    return {
        "id": run.id,
        "workflow_id": run.workflow_id,
        "name": run.workflow_name,
        "status": run.status.value,
        "input": dict(run.input),
        "output": None if run.output is None else dict(run.output),
        "error": run.error,
        "steps": {name: _step_document(by_step.get(name), idle) for name in names},
        "created_at": time_text(run.created_at),
        "started_at": _time_or_null(run.started_at),
        "finished_at": _time_or_null(run.finished_at),
    }


def time_text(at: datetime) -> str:
    """A time as RFC 3339 in UTC with microseconds: `2026-01-31T09:30:00.000000Z`, so that texts sort as times do."""
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _time_or_null(at: datetime | None) -> str | None:
    return None if at is None else time_text(at)


def _step_document(job: Job | None, idle: str) -> dict[str, Json]:
    if job is None:
        return {"status": idle, "job_id": None, "output": None, "started_at": None, "finished_at": None}
    return {
        "status": job.status.value,
        "job_id": job.id,
        "output": job.output,
        "started_at": _time_or_null(job.started_at),
        "finished_at": _time_or_null(job.finished_at),
    }


def _step_names(run: Run) -> tuple[str, ...]:
    steps = run.document.get("steps")
    return tuple(steps) if isinstance(steps, dict) else ()
