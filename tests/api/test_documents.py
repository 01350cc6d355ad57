"""The documents of jobs, events, lines, entries and runs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from orchestrator.jobs.event_document import parse_event
from orchestrator.model.documents import (
    duration_text,
    entry_document,
    event_document,
    job_document,
    line_document,
    run_document,
    time_text,
)
from orchestrator.model.events import Event, EventStatus
from orchestrator.model.jobs import EventId, Job, JobId, JobStatus, LogTotals, Reason, RunId, Timings, TriggerKind
from orchestrator.model.journal import Entry, EntryKind
from orchestrator.model.json import Json
from orchestrator.model.logs import Line, Stream
from orchestrator.model.specs import ExecutorKind, JobSpec, Language, Script
from orchestrator.model.workflows import Run, RunStatus

AT = datetime(2026, 1, 31, 9, 30, 0, 1500, tzinfo=UTC)


def make_job(status: JobStatus = JobStatus.QUEUED, **changes: object) -> Job:
    return Job(
        id=JobId("job_1"),
        status=status,
        spec=JobSpec(script=Script(language=Language.BASH, text="true")),
        executor=ExecutorKind.PROCESS,
        queue="main",
        trigger=TriggerKind.API,
        priority=0,
        created_at=AT,
        **changes,
    )


def make_run(status: RunStatus) -> Run:
    return Run(
        id=RunId("run_1"),
        workflow_name="nightly",
        status=status,
        document={"steps": {"b": {}, "a": {}}},
        input={},
        queue="main",
        created_at=AT,
    )


def test_times_are_utc_with_microseconds_always():
    assert time_text(AT) == "2026-01-31T09:30:00.001500Z"
    assert time_text(AT.replace(microsecond=0)) == "2026-01-31T09:30:00.000000Z"
    assert time_text(AT.astimezone(timezone(timedelta(hours=-5)))) == "2026-01-31T09:30:00.001500Z"


def test_a_new_job_has_every_field_and_null_for_what_is_not_known():
    document = job_document(make_job())
    assert document["timings"] == {"queued_ms": None, "setup_ms": None, "execution_ms": None, "cleanup_ms": None}
    assert document["log"] == {"lines": 0, "bytes": 0, "omitted_lines": 0}
    for name in ("reason", "message", "exit_code", "started_at", "finished_at", "output", "condition", "progress"):
        assert document[name] is None


def test_an_ended_job_is_plain_json():
    job = make_job(
        JobStatus.FAILED,
        reason=Reason.EXIT_CODE,
        exit_code=3,
        attempt=1,
        timings=Timings(queued_ms=1, setup_ms=2, execution_ms=3, cleanup_ms=4),
        output={"falsy": [0, "", False, None]},
        has_output=True,
        condition=False,
        log=LogTotals(lines=2, bytes=10, omitted_lines=1),
        finished_at=AT,
    )
    document = json.loads(json.dumps(job_document(job)))
    assert document == job_document(job)
    assert (document["status"], document["reason"], document["exit_code"]) == ("failed", "exit_code", 3)
    assert document["condition"] is False
    assert type(job_document(job)["status"]) is str


def test_only_a_piece_of_a_line_is_continued():
    line = Line(seq=1, at=AT, stream=Stream.STDERR, text="x", attempt=2)
    whole = {"seq": 1, "ts": "2026-01-31T09:30:00.001500Z", "stream": "stderr", "text": "x", "attempt": 2}
    assert line_document(line) == whole
    piece = Line(seq=1, at=AT, stream=Stream.STDERR, text="x", attempt=2, continued=True)
    assert line_document(piece) == {**whole, "continued": True}


def test_an_entry_says_what_when_and_who():
    entry = Entry(subject="job_1", seq=3, at=AT, kind=EntryKind.STARTED, by="engine", data={"attempt": 1})
    assert entry_document(entry) == {
        "subject": "job_1",
        "seq": 3,
        "ts": "2026-01-31T09:30:00.001500Z",
        "kind": "started",
        "by": "engine",
        "data": {"attempt": 1},
    }


def test_a_run_shows_its_steps_in_the_order_of_the_file():
    job = make_job(JobStatus.SUCCEEDED, step="a", run_id=RunId("run_1"), output=7, has_output=True, finished_at=AT)
    document = run_document(make_run(RunStatus.RUNNING), [job])
    steps = document["steps"]
    assert isinstance(steps, dict)
    assert list(steps) == ["b", "a"]
    assert steps["b"] == {"status": "waiting", "job_id": None, "output": None, "started_at": None, "finished_at": None}
    assert steps["a"] == {
        "status": "succeeded",
        "job_id": "job_1",
        "output": 7,
        "started_at": None,
        "finished_at": "2026-01-31T09:30:00.001500Z",
    }


def test_a_step_that_never_got_a_job_was_skipped_when_the_run_is_over():
    document = run_document(make_run(RunStatus.CANCELLED), [])
    steps = document["steps"]
    assert isinstance(steps, dict)
    assert {name: step["status"] for name, step in steps.items() if isinstance(step, dict)} == {
        "b": "skipped",
        "a": "skipped",
    }


def make_event(document: dict[str, Json]) -> Event:
    wish = parse_event(document)
    return Event(
        id=EventId("evt_1"),
        name=wish.name,
        status=EventStatus.ACTIVE,
        spec=wish.spec,
        queue="main",
        created_at=AT,
        updated_at=AT,
        anchor=AT,
        description=wish.description,
        schedule=wish.schedule,
        max_executions=wish.max_executions,
        failure_webhook=wish.failure_webhook,
    )


@pytest.mark.parametrize(
    "said",
    [
        {"bash": "true"},
        {"node": "import x from 'y'", "image": "node:22", "network": "bridge", "pull": "always", "workdir": "/x"},
        {
            "python": "print(1)\n",
            "executor": "process",
            "args": ["a", ""],
            "input": {"n": [1, None]},
            "timeout": {"queue": "1d2h", "setup": "90s", "execution": "1500ms"},
            "retry": {"attempts": 3, "backoff": "fixed", "delay": "10s", "jitter": 0, "exit_codes": [75], "on_lost": "retry"},
            "priority": -3,
            "concurrency": {"limit": 2, "key": "deploy", "when_full": "skip"},
            "memory": "1GB",
            "pids": 17,
            "cpus": 0.5,
        },
        {"shell": "true", "timeout": "5m", "memory": 7_000_001, "concurrency": 1},
    ],
    ids=["little", "image", "much", "odd"],
)  # fmt: skip
def test_the_document_of_an_event_is_an_event_file_again(said: dict[str, Json]):
    written: dict[str, Json] = {
        "name": "nightly", "description": "Why.", "max_executions": 3, "schedule": {"every": "36h"}, **said,
    }  # fmt: skip
    event = make_event(written)
    shown = event_document(event)
    spec = shown["spec"]
    assert isinstance(spec, dict)
    assert set(spec) == set(said)
    kept = {key: shown[key] for key in ("name", "description", "max_executions", "schedule")}
    assert make_event({**kept, **spec}) == event
    assert json.loads(json.dumps(shown)) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example.org/a/b?c=d", "https://hooks.example.org/***"),
        ("http://127.0.0.1:8123", "http://127.0.0.1:8123/***"),
        ("https://[::1]:9/x", "https://[::1]:9/***"),
        ("https://ann:pw@example.org/x", "https://example.org/***"),
    ],
)
def test_of_a_webhook_the_host_alone_is_shown(url: str, shown: str):
    event = replace(make_event({"name": "a", "bash": "true"}), failure_webhook=url)
    assert event_document(event)["notify"] == {"failure": {"webhook": shown}}


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(minutes=90), "1h30m"),
        (timedelta(days=2), "2d"),
        (timedelta(milliseconds=61_005), "1m1s5ms"),
        (timedelta(milliseconds=1), "1ms"),
        (timedelta(), "0ms"),
    ],
)
def test_lengths_of_time_are_written_as_files_write_them(length: timedelta, text: str):
    assert duration_text(length) == text
