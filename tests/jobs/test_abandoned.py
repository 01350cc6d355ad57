"""Settling what a killed `cronium run` left in the store that it shared with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import UnavailableError
from orchestrator.jobs.abandoned import Settler
from orchestrator.jobs.artifacts import Shelf
from orchestrator.model.jobs import Job, JobStatus, Reason, RunId, process_name
from orchestrator.model.journal import EntryKind
from orchestrator.model.specs import ExecutorKind
from orchestrator.model.workflows import Run, RunStatus
from tests.jobs.scripted import AWAY, LEASE, Rig, ScriptedProcess, a_submission, open_rig

DEAD, LIVING = "run-1-dead", "run-2-living"


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


def settler(rig: Rig, **changes: object) -> Settler:
    given = {
        "store": rig.store,
        "clock": rig.clock,
        "executors": rig.executors,
        "surroundings": rig.surroundings,
        "owner": "run-3-mine",
        "is_gone": lambda queue: queue == DEAD,
    }
    return Settler(**{**given, **changes})


async def queued(rig: Rig, queue: str, **changes: object) -> Job:
    return await rig.submitter(queue=queue).submit(a_submission(**changes))


async def running(rig: Rig, queue: str, **changes: object) -> tuple[Job, ScriptedProcess]:
    """A job whose script runs, with the attempt's directory."""
    job = await queued(rig, queue, **changes)
    name = process_name(job.id, 1)
    async with rig.store.begin() as repos:
        (claim,) = await repos.jobs.claim(queue, queue, {ExecutorKind.PROCESS: 1}, lease=LEASE)
        await repos.jobs.start_attempt(claim, process=name, token_digest=name.encode())
        await repos.jobs.mark_started(claim, at=rig.clock.now(), setup_ms=0)
    rig.executor.processes[name] = ScriptedProcess(name, rig.changes)
    (rig.surroundings.attempts / name).mkdir()
    return await rig.job(job.id), rig.executor.processes[name]


async def a_run(rig: Rig, queue: str) -> RunId:
    run = Run(
        id=RunId(f"run_{queue}"),
        workflow_name="w",
        status=RunStatus.RUNNING,
        document={},
        input={},
        queue=queue,
        created_at=rig.clock.now(),
    )
    async with rig.store.begin() as repos:
        return (await repos.runs.insert(run)).id


async def run_status(rig: Rig, run_id: RunId) -> RunStatus:
    async with rig.store.read() as repos:
        return (await repos.runs.get(run_id)).status


async def test_a_running_job_of_a_dead_command_is_lost_and_its_process_removed(rig: Rig):
    job, process = await running(rig, DEAD)

    await settler(rig).settle()

    job = await rig.job(job.id)
    assert (job.status, job.reason) == (JobStatus.FAILED, Reason.LOST)
    assert job.message == "The command that ran it was killed."
    assert process.removals == 1
    assert list(rig.surroundings.attempts.iterdir()) == []
    assert (await rig.journal(job.id))[-1] is EntryKind.FINISHED


async def test_a_queued_job_of_a_dead_command_is_lost_and_the_journal_says_so(rig: Rig):
    job = await queued(rig, DEAD)

    await settler(rig).settle()

    job = await rig.job(job.id)
    assert (job.status, job.reason) == (JobStatus.FAILED, Reason.LOST)
    assert await rig.journal(job.id) == [EntryKind.QUEUED, EntryKind.FINISHED]


async def test_a_run_of_a_dead_command_has_failed(rig: Rig):
    run_id = await a_run(rig, DEAD)
    await running(rig, DEAD, run_id=run_id, step="extract")

    await settler(rig).settle()

    assert await run_status(rig, run_id) is RunStatus.FAILED
    assert await rig.journal(run_id) == [EntryKind.WORKFLOW_FAILED]


async def test_a_run_killed_between_two_steps_has_failed_and_nothing_of_it_follows(rig: Rig):
    run_id = await a_run(rig, DEAD)
    async with rig.store.begin() as repos:
        await repos.outbox.add("key", "advance_run", queue=DEAD, payload={"run_id": run_id}, at=rig.clock.now())

    await settler(rig).settle()

    assert await run_status(rig, run_id) is RunStatus.FAILED
    async with rig.store.read() as repos:
        assert await repos.outbox.due(DEAD, at=rig.clock.now(), limit=10) == []


async def test_what_belongs_to_a_living_command_is_left_alone(rig: Rig):
    await queued(rig, DEAD)
    run_id = await a_run(rig, LIVING)
    waiting = await queued(rig, LIVING)
    job, process = await running(rig, LIVING + "-2")

    await settler(rig).settle()

    assert (await rig.job(waiting.id)).status is JobStatus.QUEUED
    assert await rig.job(job.id) == job
    assert process.removals == 0
    assert await run_status(rig, run_id) is RunStatus.RUNNING
    assert len(list(rig.surroundings.attempts.iterdir())) == 1


async def test_a_job_whose_process_was_never_started_is_lost_too(rig: Rig):
    job = await queued(rig, DEAD)
    async with rig.store.begin() as repos:
        await repos.jobs.claim(DEAD, DEAD, {ExecutorKind.PROCESS: 1}, lease=LEASE)

    await settler(rig).settle()

    assert (await rig.job(job.id)).reason is Reason.LOST
    assert rig.executor.attached == []


async def test_the_job_of_an_executor_that_this_command_lacks_is_left_to_a_later_one(rig: Rig):
    job, process = await running(rig, DEAD)

    await settler(rig, executors={}).settle()
    assert (await rig.job(job.id)).status is JobStatus.RUNNING
    await settler(rig).settle()

    assert (await rig.job(job.id)).status is JobStatus.FAILED
    assert process.removals == 1


async def test_what_cannot_be_looked_at_now_is_settled_by_a_later_command(rig: Rig):
    job, process = await running(rig, DEAD)
    rig.executor.attach_failures.append(AWAY)

    with pytest.raises(UnavailableError):
        await settler(rig).settle()
    assert (await rig.job(job.id)).status is JobStatus.RUNNING
    await settler(rig).settle()

    assert (await rig.job(job.id)).status is JobStatus.FAILED
    assert process.removals == 1


async def test_settling_again_changes_nothing(rig: Rig):
    job, _ = await running(rig, DEAD)
    run_id = await a_run(rig, DEAD)
    await settler(rig).settle()
    before = (await rig.job(job.id), await rig.journal(job.id), await rig.journal(run_id))

    await settler(rig).settle()

    assert (await rig.job(job.id), await rig.journal(job.id), await rig.journal(run_id)) == before


async def test_what_its_jobs_had_left_is_kept(rig, tmp_path):
    job, _ = await running(rig, DEAD)
    left = rig.surroundings.artifacts(job)
    left.mkdir(parents=True)
    (left / "half.csv").write_text("a,b\n")

    await settler(rig, shelf=Shelf(root=tmp_path / "kept", place="here")).settle()

    async with rig.store.read() as repos:
        page = await repos.artifacts.page(job.id, after=None, limit=10)
    assert [(artifact.name, artifact.size) for artifact in page.items] == [("half.csv", 4)]
    assert not left.exists()
