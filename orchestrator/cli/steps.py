"""How a step is shown: a word for its state, how long it took, why it ended so."""

from __future__ import annotations

from orchestrator.cli.render import duration
from orchestrator.model.jobs import Job, JobStatus

MARKS = {
    JobStatus.QUEUED: "wait",
    JobStatus.RUNNING: "run ",
    JobStatus.SUCCEEDED: "ok  ",
    JobStatus.FAILED: "FAIL",
    JobStatus.TIMED_OUT: "TIME",
    JobStatus.CANCELLED: "stop",
    JobStatus.SKIPPED: "skip",
}


def took(job: Job) -> str:
    """How long the script ran; nothing for one that did not."""
    milliseconds = job.timings.execution_ms
    return duration(milliseconds / 1000) if milliseconds is not None else ""


def because(job: Job) -> str:
    """Why the job ended as it did, behind two blanks; nothing for one that succeeded."""
    return f"  {job.message}" if job.message else ""
