"""What an exit means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.contracts.executor import Exit
from orchestrator.jobs.finish import CANCELLED, Ending, judge
from orchestrator.model.jobs import Job, JobId, JobStatus, Reason, TriggerKind
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Script

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
JOB = Job(
    id=JobId("job_1"),
    status=JobStatus.RUNNING,
    spec=JobSpec(script=Script(language=Language.SHELL, text="")),
    executor=ExecutorKind.PROCESS,
    queue="default",
    trigger=TriggerKind.API,
    priority=0,
    created_at=NOW,
)
TIMED_OUT = Ending(status=JobStatus.TIMED_OUT, reason=Reason.TIMEOUT, message="late")


@pytest.mark.parametrize(
    ("exit_", "ending", "status", "reason"),
    [
        (Exit(code=0), None, JobStatus.SUCCEEDED, None),
        (Exit(code=3), None, JobStatus.FAILED, Reason.EXIT_CODE),
        (Exit(code=137), None, JobStatus.FAILED, Reason.EXIT_CODE),
        (Exit(code=137, reason=Reason.OUT_OF_MEMORY), None, JobStatus.FAILED, Reason.OUT_OF_MEMORY),
        (Exit(code=0, note="a child ran out of memory"), None, JobStatus.SUCCEEDED, None),
        (Exit(code=None, reason=Reason.LOST), None, JobStatus.FAILED, Reason.LOST),
        (Exit(code=None), None, JobStatus.FAILED, Reason.LOST),
        (Exit(code=143), CANCELLED, JobStatus.CANCELLED, Reason.CANCELLED),
        (Exit(code=0), CANCELLED, JobStatus.CANCELLED, Reason.CANCELLED),
        (Exit(code=143), TIMED_OUT, JobStatus.TIMED_OUT, Reason.TIMEOUT),
    ],
)
def test_the_verdict(exit_: Exit, ending: Ending | None, status: JobStatus, reason: Reason | None):
    outcome = judge(JOB, exit_, ending, now=NOW, started_at=NOW - timedelta(seconds=2))

    assert (outcome.status, outcome.reason, outcome.exit_code) == (status, reason, exit_.code)
    assert (outcome.message is None) == (status is JobStatus.SUCCEEDED)


def test_what_an_exit_code_was_is_said_whatever_else_there_is_to_say():
    exit_ = Exit(code=137, note="The disk was full.", by_others="Somebody ended it by hand.")

    outcome = judge(JOB, exit_, None, now=NOW, started_at=NOW)

    assert outcome.message == "The script ended with exit code 137. Somebody ended it by hand."


def test_execution_is_measured_to_the_end_of_the_script_not_of_its_supervision():
    exit_ = Exit(code=0, finished_at=NOW - timedelta(seconds=60))

    outcome = judge(JOB, exit_, None, now=NOW, started_at=NOW - timedelta(seconds=62))

    assert outcome.timings.execution_ms == 2000
    assert outcome.timings.cleanup_ms == 60_000
