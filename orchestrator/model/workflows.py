"""Workflows and runs: the template, its steps, and one execution of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orchestrator.model.jobs import RunId
from orchestrator.model.json import Json


class RunStatus(StrEnum):
    """Where a run stands; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)


class When(StrEnum):
    """After which results of its needs a step starts."""

    SUCCESS = "success"
    FAILURE = "failure"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """
    A node. `spec` is the step's job specification as a checked document (the keys of a job spec, templates not yet
    filled in); it becomes a `JobSpec` when the step starts. `condition` is the text of `if`. `artifacts` are those of
    earlier steps that it finds, by the name under which: `STEP/NAME`, or `STEP` for all of them.
    """

    name: str
    spec: Mapping[str, Json]
    needs: tuple[str, ...] = ()
    condition: str | None = None
    when: When = When.SUCCESS
    artifacts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputDeclaration:
    """A declared input: `type` is one of string, number, integer, boolean, object, array, any."""

    type: str = "any"
    default: Json = None
    has_default: bool = False
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """The template. `document` is the checked file as JSON, stored with each run so that a run never changes."""

    name: str
    steps: tuple[Step, ...]
    inputs: Mapping[str, InputDeclaration] = field(default_factory=dict)
    outputs: Mapping[str, Json] = field(default_factory=dict)
    document: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a workflow. Its steps are jobs (`Job.run_id`, `Job.step`)."""

    id: RunId
    workflow_name: str
    status: RunStatus
    document: Mapping[str, Json]
    input: Mapping[str, Json]
    queue: str
    created_at: datetime
    workflow_id: str | None = None
    output: Mapping[str, Json] | None = None
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested_at: datetime | None = None
