"""What the outside sees of jobs, events, lines, journal entries and runs: plain JSON documents, the same at every door."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from orchestrator.model.events import Event, Schedule
from orchestrator.model.jobs import Job
from orchestrator.model.journal import Entry
from orchestrator.model.json import Json
from orchestrator.model.logs import Line
from orchestrator.model.specs import Concurrency, JobSpec, Language, Limits, PullPolicy, RetryPolicy, Script, Workspace
from orchestrator.model.workflows import Run

WAITING = "waiting"
MEBIBYTE = 1024 * 1024
UNITS_MS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000))
USUAL = JobSpec(script=Script(language=Language.SHELL))


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
        "scheduled_at": _time_or_null(job.scheduled_at),
        "concurrency_key": job.concurrency_key,
        "held": job.held,
        "run_id": job.run_id,
        "step": job.step,
        "parent_id": job.parent_id,
        "log": {"lines": job.log.lines, "bytes": job.log.bytes, "omitted_lines": job.log.omitted_lines},
    }


def event_document(event: Event, *, whole: bool = True) -> dict[str, Json]:
    """
    An event. `spec` says what it runs as an event file does, without what is as usual; lists leave it out.

    What may be a secret is not in it: of the environment the names, of the webhook the host.
    """
    webhook = event.failure_webhook
    document: dict[str, Json] = {
        "id": event.id,
        "name": event.name,
        "status": event.status.value,
        "description": event.description,
        "schedule": None if event.schedule is None else _schedule(event.schedule),
        "max_executions": event.max_executions,
        "executions": event.executions,
        "next_fire_at": _time_or_null(event.next_fire_at),
        "notify": None if webhook is None else {"failure": {"webhook": _host_alone(webhook)}},
        "created_at": time_text(event.created_at),
        "updated_at": time_text(event.updated_at),
    }
    return {**document, "spec": spec_document(event.spec)} if whole else document


def spec_document(spec: JobSpec) -> dict[str, Json]:
    """A specification with the keys and in the words of a job file, but for `env`, which is a list of names."""
    said: dict[str, Json] = {
        spec.script.language.value: spec.script.text if spec.script.file is None else spec.script.file,
        "executor": None if spec.executor is None else spec.executor.value,
        "image": spec.image,
        "pull": None if spec.pull is PullPolicy.MISSING else spec.pull.value,
        "network": None if spec.network == USUAL.network else spec.network,
        "args": [*spec.args] or None,
        "workdir": spec.workdir,
        "input": spec.input,
        "env": [*spec.env] or None,
        "timeout": _timeouts(spec),
        "retry": None if spec.retry == USUAL.retry else _retry(spec.retry),
        "priority": spec.priority or None,
        "concurrency": None if spec.concurrency is None else _concurrency(spec.concurrency),
        **_limits(spec.limits),
        "packages": [*spec.packages] or None,
        "volumes": [f"{volume.source}:{volume.target}" for volume in spec.volumes] or None,
        "workspace": None if spec.workspace is Workspace.TMPFS else spec.workspace.value,
        "warm": None if spec.warm else False,
        "secrets": [
            one.name if one.name == one.variable else {"name": one.name, "as": one.variable} for one in spec.secrets
        ]
        or None,
    }
    return {key: value for key, value in said.items() if value is not None}


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


def duration_text(length: timedelta) -> str:
    """A length of time as job files write it: `1h30m`, `90s` as `1m30s`, `500ms`."""
    rest = round(length.total_seconds() * 1000)
    parts = []
    for unit, size in UNITS_MS:
        count, rest = divmod(rest, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join([*parts, f"{rest}ms"] if rest or not parts else parts)


def _schedule(schedule: Schedule) -> dict[str, Json]:
    return {"cron": schedule.cron} if schedule.every is None else {"every": duration_text(schedule.every)}


def _host_alone(url: str) -> str:
    """Addresses of webhooks are secrets from the path on, and in a user's name."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/***"


def _timeouts(spec: JobSpec) -> Json:
    said: dict[str, Json] = {
        "queue": None if spec.queue_timeout is None else duration_text(spec.queue_timeout),
        "setup": None if spec.setup_timeout is None else duration_text(spec.setup_timeout),
        "execution": None if spec.timeout == USUAL.timeout else duration_text(spec.timeout),
    }
    given: dict[str, Json] = {key: value for key, value in said.items() if value is not None}
    if set(given) <= {"execution"}:
        return given.get("execution")
    return given


def _retry(policy: RetryPolicy) -> dict[str, Json]:
    said: dict[str, Json] = {
        "attempts": policy.attempts,
        "backoff": policy.backoff.value,
        "delay": duration_text(policy.delay),
        "max_delay": duration_text(policy.max_delay),
        "jitter": policy.jitter,
        "exit_codes": None if policy.exit_codes is None else [*sorted(policy.exit_codes)],
        "reasons": None if policy.reasons is None else [*sorted(policy.reasons)],
        "on_lost": "retry" if policy.on_lost else "never",
    }
    return {key: value for key, value in said.items() if value is not None}


def _concurrency(concurrency: Concurrency) -> dict[str, Json]:
    said: dict[str, Json] = {
        "limit": concurrency.limit,
        "key": concurrency.key,
        "when_full": concurrency.when_full.value,
    }
    return {key: value for key, value in said.items() if value is not None}


def _limits(limits: Limits) -> dict[str, Json]:
    usual = USUAL.limits
    return {
        "memory": None if limits.memory_bytes == usual.memory_bytes else _size(limits.memory_bytes),
        "pids": None if limits.pids == usual.pids else limits.pids,
        "cpus": None if limits.cpus == usual.cpus else limits.cpus,
    }


def _size(count: int) -> Json:
    return count if count % MEBIBYTE else f"{count // MEBIBYTE}MB"


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
