"""A job: one execution of a script, and the words for its states."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from orchestrator.model.json import Json
from orchestrator.model.specs import ExecutorKind, JobSpec

JobId = NewType("JobId", str)
EventId = NewType("EventId", str)
RunId = NewType("RunId", str)

EXECUTION_MODES = {ExecutorKind.PROCESS: "process", ExecutorKind.DOCKER: "container", ExecutorKind.SSH: "ssh"}


class JobStatus(StrEnum):
    """Where a job stands. The last five are final: a job enters one of them once and never leaves it."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


class Reason(StrEnum):
    """Why a job ended as it did; absent for a job that succeeded."""

    EXIT_CODE = "exit_code"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    OUT_OF_MEMORY = "out_of_memory"
    LOST = "lost"
    IMAGE_UNAVAILABLE = "image_unavailable"
    HOST_UNREACHABLE = "host_unreachable"
    HOST_KEY_MISMATCH = "host_key_mismatch"
    INVALID = "invalid"
    LIMIT = "limit"


class TriggerKind(StrEnum):
    """Why a job exists."""

    MANUAL = "manual"
    SCHEDULE = "schedule"
    WEBHOOK = "webhook"
    EVENT = "event"
    WORKFLOW = "workflow"
    API = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """
    How long each phase took, in whole milliseconds; None while a phase has not ended.

    Waiting in the queue, preparing and starting, the script itself, and from its end to the stored result: collecting
    the rest of its output, also what a server that was away found later.
    """

    queued_ms: int | None = None
    setup_ms: int | None = None
    execution_ms: int | None = None
    cleanup_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTotals:
    """What is stored of a job's output. `bytes` counts the text as UTF-8, without newlines."""

    lines: int = 0
    bytes: int = 0
    omitted_lines: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    One execution. `attempt` is 0 until the job is claimed for the first time and grows by one with each run of the
    script; of these numbers `given_back` went to runs that never began, because the server died before.

    `message` says in a sentence why the job failed and what to do. `output` and `condition` are what the script
    said through the runtime API; `has_output` tells an absent output from a null one. Times are UTC.

    `scheduled_at` is the time that a schedule fired for. Of the jobs with the same `concurrency_key` only so many are
    under way as their limits allow; one that is `held` waits in the queue until it is admitted.
    """

    id: JobId
    status: JobStatus
    spec: JobSpec
    executor: ExecutorKind
    queue: str
    trigger: TriggerKind
    priority: int
    created_at: datetime
    reason: Reason | None = None
    message: str | None = None
    exit_code: int | None = None
    attempt: int = 0
    given_back: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    timings: Timings = field(default_factory=Timings)
    input: Json = None
    output: Json = None
    has_output: bool = False
    condition: bool | None = None
    progress: Json = None
    event_id: EventId | None = None
    scheduled_at: datetime | None = None
    concurrency_key: str | None = None
    held: bool = False
    run_id: RunId | None = None
    step: str | None = None
    parent_id: JobId | None = None
    log: LogTotals = field(default_factory=LogTotals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """
    The right to supervise a job: every write names `fence` and is refused once a later claim or adoption exists.

    `process` is the deterministic name of the attempt's process where one was recorded, else None.
    """

    job: Job
    fence: int
    process: str | None = None


def process_name(job_id: JobId, attempt: int) -> str:
    """The name of an attempt's process in every executor; recorded before the process is started."""
    return f"cronium-{job_id}-{attempt}"
