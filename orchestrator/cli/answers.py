"""What the server answers, as values the commands can show: a job, a line, a message of the live feed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.cli.client import Client, path_of
from orchestrator.errors import CroniumError, NotFoundError
from orchestrator.model.json import Json

EXIT_TIMEOUT = 124
FINAL = ("succeeded", "failed", "timed_out", "cancelled", "skipped")
JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
LAST = "last"

Document = Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as the server shows it; `document` is all of it."""

    id: str
    status: str
    document: Document
    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None
    executor: str | None = None
    name: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    execution_ms: int | None = None
    lines: int = 0

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    def took_seconds(self, now: datetime) -> float | None:
        """How long the script ran, or runs until `now`; None when it did not start."""
        if self.execution_ms is not None:
            return self.execution_ms / 1000
        if self.started_at is None:
            return None
        return max(0.0, ((self.finished_at or now) - self.started_at).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class LineView:
    """One line of output; `at` is the text of its time, `continued` says that the next piece belongs to it."""

    seq: int
    at: str
    stream: str
    text: str
    continued: bool
    document: Document


def read_job(document: Json) -> JobView:
    """Raises `CroniumError` (`bad_answer`) for what is no job."""
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        raise CroniumError("The answer holds no job: is this a Cronium server of another version?", code="bad_answer")
    timings, log = document.get("timings"), document.get("log")
    return JobView(
        id=str(document["id"]),
        status=_text(document, "status") or "unknown",
        document=document,
        reason=_text(document, "reason"),
        message=_text(document, "message"),
        exit_code=_number(document, "exit_code"),
        executor=_text(document, "executor"),
        name=_text(document, "name") or _text(document, "step"),
        created_at=time_of(document, "created_at"),
        started_at=time_of(document, "started_at"),
        finished_at=time_of(document, "finished_at"),
        execution_ms=_number(timings, "execution_ms") if isinstance(timings, dict) else None,
        lines=(_number(log, "lines") or 0) if isinstance(log, dict) else 0,
    )


def read_lines(document: Document) -> list[LineView]:
    """The lines of a page or of a message."""
    lines = document.get("lines")
    return [_line(line) for line in lines if isinstance(line, dict)] if isinstance(lines, list) else []


def exit_code(job: JobView) -> int:
    """The exit code of a command that followed one job: the script's own, 124 for a timeout, 1 where there is none."""
    if job.status == "timed_out":
        return EXIT_TIMEOUT
    if job.status == "succeeded":
        return job.exit_code or 0
    return job.exit_code or 1


def find_job(client: Client, word: str) -> JobView:
    """The job of an id, or with `last` the newest. Raises `NotFoundError`."""
    if word == LAST:
        items = client.get("/jobs", {"limit": 1}).get("items")
        if not isinstance(items, list) or not items:
            raise NotFoundError("There are no jobs yet.")
        return read_job(items[0])
    return read_job(client.get(job_path(word)))


def find_job_id(client: Client, word: str) -> str:
    """The id itself, or with `last` the newest job's; asks the server only for `last`."""
    return find_job(client, word).id if word == LAST else word


def job_path(job_id: str, *rest: str) -> str:
    """The path of a job. Raises `NotFoundError` for a word that cannot be an id."""
    if not JOB_ID.fullmatch(job_id):
        raise NotFoundError(f"There is no job {job_id!r}; `cronium jobs` lists those there are.")
    return path_of("jobs", job_id, *rest)


def _line(document: dict[str, Json]) -> LineView:
    return LineView(
        seq=_number(document, "seq") or 0,
        at=_text(document, "ts") or "",
        stream=_text(document, "stream") or "stdout",
        text=_text(document, "text") or "",
        continued=document.get("continued") is True,
        document=document,
    )


def _text(document: Document, key: str) -> str | None:
    value = document.get(key)
    return value if isinstance(value, str) else None


def _number(document: Document, key: str) -> int | None:
    value = document.get(key)
    return value if isinstance(value, int) else None


def time_of(document: Document, key: str) -> datetime | None:
    text = _text(document, key)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
