"""Decide what a run does next. Pure: the workflow and the states of its steps in, what starts and what is skipped out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import InvalidError
from orchestrator.model.jobs import JobStatus
from orchestrator.model.json import Json
from orchestrator.model.workflows import Run, RunStatus, Step, When, Workflow
from orchestrator.workflows.conditions import evaluate, is_true

FAILURES = frozenset({JobStatus.FAILED, JobStatus.TIMED_OUT, JobStatus.CANCELLED})
HANDLES_FAILURE = frozenset({When.FAILURE, When.ALWAYS})


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """Where a step stands: its job's status, and what its script put out."""

    status: JobStatus
    output: Json = None
    condition: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What follows from a state, in the order of the file.

    `start`: steps to start now. `skip`, `fail`: steps that end without running, each with why. `finished`: how the
    run ends; None while a step runs, or is to start or to be settled first. Settling a step changes the state: plan
    again after it.
    """

    start: tuple[Step, ...] = ()
    skip: tuple[tuple[Step, str], ...] = ()
    fail: tuple[tuple[Step, str], ...] = ()
    finished: RunStatus | None = None


def next_steps(workflow: Workflow, states: Mapping[str, StepState], *, run: Run) -> Plan:
    """
    Plan from the states of the steps that have one.

    A step is due when all it needs is final. `when` then looks at what it needs directly: `success` wants all of it
    succeeded, `failure` some of it failed, timed out or cancelled, `always` nothing. Then `if` decides. A step that is
    not let through is skipped, and one whose `if` cannot be worked out has failed. Once cancelling was asked for,
    nothing starts any more.
    """
    due = [step for step in workflow.steps if step.name not in states and _is_due(step, states, run)]
    if not due:
        ended = len(states) >= len(workflow.steps) and all(state.status.is_final for state in states.values())
        return Plan(finished=_result(workflow, states, run) if ended else None)
    scope = scope_for(workflow, states, run=run)
    start, skip, fail = [], [], []
    for step in due:
        try:
            why = _why_not(step, states, scope, run)
        except InvalidError as error:
            fail.append((step, f"`if`: {error.message}"))
            continue
        if why is None:
            start.append(step)
        else:
            skip.append((step, why))
    return Plan(start=tuple(start), skip=tuple(skip), fail=tuple(fail))


def scope_for(workflow: Workflow, states: Mapping[str, StepState], *, run: Run) -> dict[str, Json]:
    """
    What expressions see: `inputs`, `steps` and `run`.

    `run.status` is how the run would end if nothing more happened: a failure counts until a step has handled it.
    """
    return {
        "inputs": dict(run.input),
        "steps": {
            name: {"status": str(state.status), "output": state.output, "condition": state.condition}
            for name, state in states.items()
        },
        "run": {
            "id": run.id,
            "workflow": run.workflow_name,
            "status": str(_result(workflow, states, run)),
            "created_at": run.created_at.isoformat().replace("+00:00", "Z"),
        },
    }


def _is_due(step: Step, states: Mapping[str, StepState], run: Run) -> bool:
    if run.cancel_requested_at is not None:
        return True
    return all(name in states and states[name].status.is_final for name in step.needs)


def _why_not(step: Step, states: Mapping[str, StepState], scope: Mapping[str, Json], run: Run) -> str | None:
    """Why a due step is skipped; None when it is to start. Raises `InvalidError` where `if` cannot be worked out."""
    if run.cancel_requested_at is not None:
        return "The run was cancelled."
    why = _why_not_when(step, states)
    if why is not None or step.condition is None:
        return why
    return None if is_true(evaluate(step.condition, scope)) else "Its condition `if` is not true."


def _why_not_when(step: Step, states: Mapping[str, StepState]) -> str | None:
    failed = any(states[name].status in FAILURES for name in step.needs)
    match step.when:
        case When.ALWAYS:
            return None
        case When.FAILURE:
            return None if failed else "Nothing that it needs has failed."
        case When.SUCCESS:
            blocking = [name for name in step.needs if states[name].status is not JobStatus.SUCCEEDED]
            return f"It needs `{blocking[0]}`, which {_ended(states[blocking[0]].status)}." if blocking else None


def _ended(status: JobStatus) -> str:
    words = {JobStatus.SKIPPED: "was skipped", JobStatus.CANCELLED: "was cancelled", JobStatus.TIMED_OUT: "timed out"}
    return words.get(status, "failed")


def _result(workflow: Workflow, states: Mapping[str, StepState], run: Run) -> RunStatus:
    """How a run with these states ends: a failure counts unless a step that needs it, and is for failures, succeeded."""
    if run.cancel_requested_at is not None:
        return RunStatus.CANCELLED
    handled = {
        name
        for step in workflow.steps
        if step.when in HANDLES_FAILURE and step.name in states and states[step.name].status is JobStatus.SUCCEEDED
        for name in step.needs
    }
    failed = (name for name, state in states.items() if state.status in FAILURES)
    return RunStatus.FAILED if any(name not in handled for name in failed) else RunStatus.SUCCEEDED
