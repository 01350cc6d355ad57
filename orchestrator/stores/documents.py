"""Specifications and events to the JSON documents that a database keeps, and back. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from orchestrator.model.events import Event, Schedule
from orchestrator.model.json import Json
from orchestrator.model.specs import (
    Backoff,
    Concurrency,
    ExecutorKind,
    GivenArtifact,
    JobSpec,
    Language,
    Limits,
    PullPolicy,
    RetryPolicy,
    Script,
    Volume,
    WantedSecret,
    WhenFull,
    Workspace,
)
from orchestrator.stores.codec import span, to_json


def job_document(spec: JobSpec, input_: Json) -> str:
    """What a job runs and its input, as one document."""
    return to_json({"spec": _spec_fields(spec), "input": input_})


def parse_job_document(document: str) -> tuple[JobSpec, Json]:
    """The inverse of `job_document`."""
    fields = orjson.loads(document)
    return _parse_spec(fields["spec"]), fields["input"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSaying:
    """What of an event never changes, and is stored as one document."""

    spec: JobSpec
    description: str | None
    schedule: Schedule | None
    max_executions: int | None
    failure_webhook: str | None


def event_document(event: Event) -> str:
    """What of an event never changes, as one document."""
    schedule = event.schedule
    return to_json(
        {
            "spec": _spec_fields(event.spec),
            "description": event.description,
            "cron": None if schedule is None else schedule.cron,
            "every_us": None if schedule is None or schedule.every is None else span(schedule.every),
            "max_executions": event.max_executions,
            "failure_webhook": event.failure_webhook,
        }
    )


def parse_event_document(document: str) -> EventSaying:
    """The inverse of `event_document`."""
    fields = orjson.loads(document)
    schedule = Schedule(cron=fields["cron"], every=_span_or_none(fields["every_us"]))
    return EventSaying(
        spec=_parse_spec(fields["spec"]),
        description=fields["description"],
        schedule=schedule if schedule != Schedule() else None,
        max_executions=fields["max_executions"],
        failure_webhook=fields["failure_webhook"],
    )


def _spec_fields(spec: JobSpec) -> dict[str, Json]:
    script, limits = spec.script, spec.limits
    return {
        "script": {
            "language": script.language.value,
            "text": script.text,
            "file": script.file,
            "module": script.module,
        },
        "name": spec.name,
        "executor": None if spec.executor is None else spec.executor.value,
        "image": spec.image,
        "pull": spec.pull.value,
        "network": spec.network,
        "args": list(spec.args),
        "workdir": spec.workdir,
        "input": spec.input,
        "env": dict(spec.env),
        "timeout_us": span(spec.timeout),
        "setup_timeout_us": None if spec.setup_timeout is None else span(spec.setup_timeout),
        "queue_timeout_us": None if spec.queue_timeout is None else span(spec.queue_timeout),
        "retry": _retry_fields(spec.retry),
        "priority": spec.priority,
        "concurrency": None if spec.concurrency is None else _concurrency_fields(spec.concurrency),
        "limits": {"memory_bytes": limits.memory_bytes, "pids": limits.pids, "cpus": limits.cpus},
        **_container_fields(spec),
    }


def _container_fields(spec: JobSpec) -> dict[str, Json]:
    """What is asked of a container, without what is as usual: most specifications have none of it."""
    fields: dict[str, Json] = {
        "packages": [*spec.packages],
        "volumes": [[volume.source, volume.target] for volume in spec.volumes],
        "workspace": None if spec.workspace is Workspace.TMPFS else spec.workspace.value,
        "cold": not spec.warm,
        "artifacts": [[one.name, one.step, one.job_id, one.artifact] for one in spec.artifacts],
        "secrets": [[one.name, one.variable] for one in spec.secrets],
    }
    return {name: value for name, value in fields.items() if value}


def _concurrency_fields(concurrency: Concurrency) -> dict[str, Json]:
    return {"limit": concurrency.limit, "key": concurrency.key, "when_full": concurrency.when_full.value}


def _parse_concurrency(fields: dict[str, Any] | None) -> Concurrency | None:
    if fields is None:
        return None
    return Concurrency(limit=fields["limit"], key=fields["key"], when_full=WhenFull(fields["when_full"]))


def _retry_fields(policy: RetryPolicy) -> dict[str, Json]:
    return {
        "attempts": policy.attempts,
        "backoff": policy.backoff.value,
        "delay_us": span(policy.delay),
        "max_delay_us": span(policy.max_delay),
        "jitter": policy.jitter,
        "exit_codes": None if policy.exit_codes is None else [*sorted(policy.exit_codes)],
        "reasons": None if policy.reasons is None else [*sorted(policy.reasons)],
        "on_lost": policy.on_lost,
    }


def _parse_retry(fields: dict[str, Any]) -> RetryPolicy:
    return RetryPolicy(
        attempts=fields["attempts"],
        backoff=Backoff(fields["backoff"]),
        delay=timedelta(microseconds=fields["delay_us"]),
        max_delay=timedelta(microseconds=fields["max_delay_us"]),
        jitter=fields["jitter"],
        exit_codes=None if fields["exit_codes"] is None else frozenset(fields["exit_codes"]),
        reasons=None if fields["reasons"] is None else frozenset(fields["reasons"]),
        on_lost=fields["on_lost"],
    )


def _span_or_none(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else timedelta(microseconds=microseconds)


def _parse_spec(fields: dict[str, Any]) -> JobSpec:
    script = fields["script"]
    return JobSpec(
        script=Script(
            language=Language(script["language"]), text=script["text"], file=script["file"], module=script["module"]
        ),
        name=fields["name"],
        executor=None if fields["executor"] is None else ExecutorKind(fields["executor"]),
        image=fields["image"],
        pull=PullPolicy(fields["pull"]),
        network=fields["network"],
        args=tuple(fields["args"]),
        workdir=fields["workdir"],
        input=fields["input"],
        env=fields["env"],
        timeout=timedelta(microseconds=fields["timeout_us"]),
        setup_timeout=_span_or_none(fields["setup_timeout_us"]),
        queue_timeout=_span_or_none(fields["queue_timeout_us"]),
        retry=_parse_retry(fields["retry"]),
        priority=fields["priority"],
        concurrency=_parse_concurrency(fields.get("concurrency")),  # none in what was stored before there was any
        limits=Limits(**fields["limits"]),
        packages=tuple(fields.get("packages", ())),
        volumes=tuple(Volume(source=source, target=target) for source, target in fields.get("volumes", ())),
        workspace=Workspace(fields.get("workspace", Workspace.TMPFS)),
        warm=not fields.get("cold", False),
        artifacts=tuple(
            GivenArtifact(name=name, step=step, job_id=job_id, artifact=artifact)
            for name, step, job_id, artifact in fields.get("artifacts", ())
        ),
        secrets=tuple(WantedSecret(name=name, variable=variable) for name, variable in fields.get("secrets", ())),
    )
