"""How jobs look: a row of a table, and everything about one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from orchestrator.cli.answers import Document, JobView, read_job, time_of
from orchestrator.cli.render import duration, json_text, local_time, size
from orchestrator.model.json import Json

JOB_COLUMNS = ("ID", "STATUS", "REASON", "EXECUTOR", "NAME", "STARTED", "DURATION")
MAX_NAME = 40


def job_rows(page: Document) -> list[Mapping[str, str]]:
    """The rows of a page of jobs."""
    items = page.get("items")
    return [_row(read_job(item)) for item in items] if isinstance(items, list) else []


def job_pairs(job: JobView) -> list[tuple[str, str | None]]:
    """All about a job, in the order in which one asks; what is not known yet is None."""
    document = job.document
    took, scheduled = job.took_seconds(_now()), time_of(document, "scheduled_at")
    return [
        ("job", job.id),
        ("name", job.name),
        ("status", job.status),
        ("reason", job.reason),
        ("message", job.message),
        ("exit code", _shown(document.get("exit_code"))),
        ("executor", job.executor),
        ("attempt", _shown(document.get("attempt"))),
        ("trigger", _shown(document.get("trigger"))),
        ("priority", _shown(document.get("priority") or None)),
        ("created", local_time(job.created_at) if job.created_at else None),
        ("started", local_time(job.started_at) if job.started_at else None),
        ("finished", local_time(job.finished_at) if job.finished_at else None),
        ("duration", duration(took) if took is not None else None),
        ("phases", _phases(document.get("timings"))),
        ("run", _shown(document.get("run_id"))),
        ("step", _shown(document.get("step"))),
        ("event", _shown(document.get("event_id"))),
        ("scheduled", local_time(scheduled) if scheduled else None),
        ("concurrency", _concurrency(document)),
        ("input", _shown(document.get("input"))),
        ("output", _shown(document.get("output"))),
        ("condition", _shown(document.get("condition"))),
        ("progress", _shown(document.get("progress"))),
        ("log", _log(document.get("log"))),
    ]


def _row(job: JobView) -> dict[str, str]:
    took = job.took_seconds(_now())
    name = job.name or ""
    return {
        "ID": job.id,
        "STATUS": job.status,
        "REASON": job.reason or "",
        "EXECUTOR": job.executor or "",
        "NAME": name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…",
        "STARTED": local_time(job.started_at) if job.started_at else "",
        "DURATION": duration(took) if took is not None else "",
    }


def _shown(value: Json) -> str | None:
    if value is None:
        return None
    return value if isinstance(value, str) else json_text(value, indent=None)


def _concurrency(document: Document) -> str | None:
    """The key a job is counted under, and whether it waits for a place there."""
    key = _shown(document.get("concurrency_key"))
    return f"{key}, waiting for a place" if key is not None and document.get("held") is True else key


def _phases(timings: Json) -> str | None:
    """How long each phase took that has ended."""
    if not isinstance(timings, dict):
        return None
    known = [(key.removesuffix("_ms"), value) for key, value in timings.items() if isinstance(value, int)]
    return ", ".join(f"{phase} {duration(value / 1000)}" for phase, value in known) or None


def _log(log: Json) -> str | None:
    if not isinstance(log, dict):
        return None
    lines, count, omitted = log.get("lines"), log.get("bytes"), log.get("omitted_lines")
    text = f"{lines} lines"
    if isinstance(count, int):
        text += f", {size(count)}"
    return f"{text}, {omitted} lines left out" if omitted else text


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)
