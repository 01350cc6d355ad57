"""Planning: tables of single decisions, and random graphs played to their end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.model.jobs import JobStatus, RunId
from orchestrator.model.workflows import Run, RunStatus, Step, When, Workflow
from orchestrator.workflows.plan import FAILURES, StepState, next_steps, scope_for

OK, FAILED, SKIPPED = JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.SKIPPED
TIMED_OUT, CANCELLED = JobStatus.TIMED_OUT, JobStatus.CANCELLED
RUNNING, QUEUED = JobStatus.RUNNING, JobStatus.QUEUED
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_run(cancelled=False) -> Run:
    return Run(
        id=RunId("run_1"),
        workflow_name="w",
        status=RunStatus.RUNNING,
        document={},
        input={"day": "monday"},
        queue="q",
        created_at=NOW,
        cancel_requested_at=NOW if cancelled else None,
    )


def make_step(name, *needs: str, when=When.SUCCESS, condition=None) -> Step:
    return Step(name=name, spec={"bash": "true"}, needs=needs, when=when, condition=condition)


def plan(steps, states=(), *, cancelled=False):
    """What follows, by names: starts, skips, fails and the result."""
    workflow = Workflow(name="w", steps=tuple(steps))
    full = {
        name: state if isinstance(state, StepState) else StepState(status=state) for name, state in dict(states).items()
    }
    found = next_steps(workflow, full, run=make_run(cancelled))
    names = (
        [step.name for step in found.start],
        [step.name for step, _ in found.skip],
        [step.name for step, _ in found.fail],
    )
    return (*names, found.finished)


def test_steps_without_needs_start_at_once_in_the_order_of_the_file():
    assert plan([make_step("b"), make_step("a"), make_step("c", "a")]) == (["b", "a"], [], [], None)


@pytest.mark.parametrize(
    ("when", "status", "starts"),
    [
        (When.SUCCESS, OK, True),
        (When.SUCCESS, FAILED, False),
        (When.SUCCESS, TIMED_OUT, False),
        (When.SUCCESS, CANCELLED, False),
        (When.SUCCESS, SKIPPED, False),
        (When.FAILURE, OK, False),
        (When.FAILURE, FAILED, True),
        (When.FAILURE, TIMED_OUT, True),
        (When.FAILURE, CANCELLED, True),
        (When.FAILURE, SKIPPED, False),
        (When.ALWAYS, OK, True),
        (When.ALWAYS, FAILED, True),
        (When.ALWAYS, TIMED_OUT, True),
        (When.ALWAYS, CANCELLED, True),
        (When.ALWAYS, SKIPPED, True),
    ],
)
def test_when_decides_by_how_the_need_ended(when, status, starts):
    found = plan([make_step("a"), make_step("b", "a", when=when)], {"a": status})

    assert found == ((["b"], [], [], None) if starts else ([], ["b"], [], None))


@pytest.mark.parametrize("when", list(When))
@pytest.mark.parametrize("status", [RUNNING, QUEUED])
def test_nothing_is_decided_while_a_need_runs(when, status):
    steps = [make_step("a"), make_step("x"), make_step("b", "a", "x", when=when)]

    assert plan(steps, {"a": status, "x": FAILED}) == ([], [], [], None)


def test_a_failure_among_several_needs_is_enough():
    steps = [make_step("a"), make_step("b"), make_step("ok", "a", "b"), make_step("bad", "a", "b", when=When.FAILURE)]

    assert plan(steps, {"a": OK, "b": FAILED}) == (["bad"], ["ok"], [], None)


@pytest.mark.parametrize(
    ("condition", "starts"),
    [
        ("{{ steps.a.output.rows > 3 }}", True),
        ("steps.a.output.rows > 4", False),
        ("{{ steps.a.condition }}", True),
        ("{{ steps.a.status == 'succeeded' }}", True),
        ("{{ inputs.day == 'monday' }}", True),
        ("{{ run.status == 'failed' }}", False),
        ("false", False),
    ],
)
def test_a_condition_decides(condition, starts):
    state = StepState(status=OK, output={"rows": 4}, condition=True)

    found = plan([make_step("a"), make_step("b", "a", condition=condition)], {"a": state})

    assert found == ((["b"], [], [], None) if starts else ([], ["b"], [], None))


def test_a_condition_that_cannot_be_worked_out_fails_its_step():
    assert plan([make_step("a"), make_step("b", "a", condition="steps.a.output.x > 1")], {"a": OK}) == (
        [],
        [],
        ["b"],
        None,
    )


def test_a_condition_is_not_looked_at_where_when_says_no():
    steps = [make_step("a"), make_step("b", "a", condition="steps.a.output.x > 1")]

    assert plan(steps, {"a": FAILED}) == ([], ["b"], [], None)


def test_a_skip_says_why():
    workflow = Workflow(name="w", steps=(make_step("a"), make_step("b", "a"), make_step("c", "a", when=When.FAILURE)))

    skipped = next_steps(workflow, {"a": StepState(status=TIMED_OUT)}, run=make_run()).skip

    assert [(step.name, why) for step, why in skipped] == [("b", "It needs `a`, which timed out.")]


@pytest.mark.parametrize(
    ("states", "result"),
    [
        ({"a": OK, "b": SKIPPED, "c": OK}, RunStatus.SUCCEEDED),
        ({"a": FAILED, "b": OK, "c": OK}, RunStatus.SUCCEEDED),
        ({"a": TIMED_OUT, "b": OK, "c": SKIPPED}, RunStatus.SUCCEEDED),
        ({"a": FAILED, "b": FAILED, "c": OK}, RunStatus.FAILED),
        ({"a": FAILED, "b": SKIPPED, "c": OK}, RunStatus.FAILED),
        ({"a": CANCELLED, "b": SKIPPED, "c": OK}, RunStatus.FAILED),
        ({"a": OK, "b": SKIPPED, "c": FAILED}, RunStatus.FAILED),
        ({"a": FAILED, "b": OK, "c": FAILED}, RunStatus.FAILED),
        ({"a": OK, "b": SKIPPED, "c": SKIPPED}, RunStatus.SUCCEEDED),
        ({"a": OK, "b": SKIPPED, "c": RUNNING}, None),
    ],
)
@pytest.mark.parametrize("when", [When.FAILURE, When.ALWAYS])
def test_a_run_fails_unless_its_failures_were_handled(states, result, when):
    steps = [make_step("a"), make_step("b", "a", when=when), make_step("c")]

    assert plan(steps, states)[3] is result


def test_a_failure_is_handled_by_a_step_that_needs_it_directly_only():
    steps = [make_step("a"), make_step("b", "a"), make_step("c", "b", when=When.ALWAYS)]

    assert plan(steps, {"a": FAILED, "b": SKIPPED, "c": OK})[3] is RunStatus.FAILED


def test_a_cancelled_run_starts_nothing_and_ends_when_all_has_ended():
    steps = [make_step("a"), make_step("b", "a", when=When.ALWAYS), make_step("c", condition="1 / 0 > 1")]

    assert plan(steps, {"a": RUNNING}, cancelled=True) == ([], ["b", "c"], [], None)
    assert plan(steps, {"a": RUNNING, "b": SKIPPED, "c": SKIPPED}, cancelled=True)[3] is None
    assert plan(steps, {"a": CANCELLED, "b": SKIPPED, "c": SKIPPED}, cancelled=True)[3] is RunStatus.CANCELLED
    assert plan(steps, {"a": OK, "b": SKIPPED, "c": SKIPPED}, cancelled=True)[3] is RunStatus.CANCELLED


def test_the_scope_shows_inputs_steps_and_the_run():
    workflow = Workflow(name="w", steps=(make_step("a"),))
    states = {"a": StepState(status=FAILED, output=[1], condition=False)}

    assert scope_for(workflow, states, run=make_run()) == {
        "inputs": {"day": "monday"},
        "steps": {"a": {"status": "failed", "output": [1], "condition": False}},
        "run": {"id": "run_1", "workflow": "w", "status": "failed", "created_at": "2026-01-01T00:00:00Z"},
    }


@st.composite
def graphs(draw) -> Workflow:
    steps = []
    for index in range(draw(st.integers(1, 9))):
        needs = draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set()
        condition = draw(st.sampled_from([None, None, None, "true", "false", "run.status == 'succeeded'", "1 < 'a'"]))
        when = draw(st.sampled_from(list(When)))
        steps.append(make_step(f"s{index}", *(f"s{need}" for need in sorted(needs)), when=when, condition=condition))
    return Workflow(name="w", steps=tuple(draw(st.permutations(steps))))


@settings(deadline=None)
@given(graphs(), st.data())
def test_every_run_ends_and_nothing_starts_before_its_needs(workflow, data):
    """Play a run: start what is planned, let any running step end in any way, cancel at any time."""
    states: dict[str, StepState] = {}
    run = make_run()
    for _ in range(200):
        found = next_steps(workflow, states, run=run)
        assert found == next_steps(workflow, dict(reversed(states.items())), run=run)
        if found.finished is not None:
            break
        for step in found.start:
            assert step.name not in states
            assert all(states[need].status.is_final for need in step.needs)
            assert step.when is not When.SUCCESS or all(states[need].status is OK for need in step.needs)
            assert step.when is not When.FAILURE or any(states[need].status in FAILURES for need in step.needs)
            assert run.cancel_requested_at is None
        states |= {step.name: StepState(status=RUNNING) for step in found.start}
        states |= {step.name: StepState(status=SKIPPED) for step, _ in found.skip}
        states |= {step.name: StepState(status=FAILED) for step, _ in found.fail}
        running = sorted(name for name, state in states.items() if not state.status.is_final)
        if found.skip or found.fail or not running:
            assert found.start or found.skip or found.fail, "a run that waits for nothing"
            continue
        ending = data.draw(st.sampled_from(running))
        states[ending] = StepState(status=data.draw(st.sampled_from([OK, OK, FAILED, TIMED_OUT, CANCELLED])))
        if data.draw(st.integers(0, 19)) == 0:
            run = make_run(cancelled=True)
    assert found.finished is not None
    assert set(states) == {step.name for step in workflow.steps}
    assert all(state.status.is_final for state in states.values())
