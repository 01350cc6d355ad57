"""A script that a supervisor had ended, and then the supervisor died too: its successor tells what the end was."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.model.jobs import Claim, Job, JobStatus, Reason
from tests.jobs.scripted import PATIENCE_SECONDS, Rig, ScriptedProcess, open_rig

HOUR = timedelta(hours=1)


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


async def left_running(rig: Rig, claim: Claim) -> ScriptedProcess:
    """The process of a job whose supervisor was killed."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(rig.runner().run(claim, asyncio.Event()))
        await rig.changes.until(lambda: len(rig.observer.started) == 1)
        task.cancel()
    return rig.executor.only


async def adopted(rig: Rig) -> Job:
    """The job after its successor has adopted it, as the dispatcher does."""
    claim, cancel = await rig.adopt(), asyncio.Event()
    if claim.job.cancel_requested_at is not None:
        cancel.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await rig.runner(owner="other").adopt(claim, cancel)
    return await rig.job(claim.job.id)


async def wish_to_cancel(rig: Rig, claim: Claim) -> None:
    async with rig.store.begin() as repos:
        await repos.jobs.request_cancel(claim.job.id, at=rig.clock.now())


async def test_a_script_that_ended_after_its_cancelling_was_asked_for_was_cancelled(rig: Rig):
    claim = await rig.claimed()
    process = await left_running(rig, claim)
    await wish_to_cancel(rig, claim)
    rig.clock.advance(timedelta(seconds=1))
    process.end(143, finished_at=rig.clock.now())

    job = await adopted(rig)

    assert (job.status, job.reason, job.exit_code) == (JobStatus.CANCELLED, Reason.CANCELLED, 143)
    assert process.signals == []


async def test_a_script_that_ended_before_its_cancelling_was_asked_for_was_not_cancelled(rig: Rig):
    claim = await rig.claimed()
    process = await left_running(rig, claim)
    process.end(3, finished_at=rig.clock.now())
    rig.clock.advance(timedelta(seconds=1))
    await wish_to_cancel(rig, claim)

    job = await adopted(rig)

    assert (job.status, job.reason, job.exit_code) == (JobStatus.FAILED, Reason.EXIT_CODE, 3)


@pytest.mark.parametrize("code", [137, 143, 1])
async def test_a_script_that_failed_after_its_deadline_had_run_too_long(rig: Rig, code: int):
    claim = await rig.claimed(timeout=HOUR)
    process = await left_running(rig, claim)
    rig.clock.advance(HOUR + timedelta(seconds=1))
    process.end(code, finished_at=rig.clock.now())

    job = await adopted(rig)

    assert (job.status, job.reason, job.exit_code) == (JobStatus.TIMED_OUT, Reason.TIMEOUT, code)


@pytest.mark.parametrize(
    ("late", "code", "status"),
    [
        pytest.param(timedelta(seconds=-1), 143, JobStatus.FAILED, id="it failed in time"),
        pytest.param(timedelta(seconds=1), 0, JobStatus.SUCCEEDED, id="it did its work, and nobody stopped it"),
    ],
)
async def test_otherwise_the_exit_code_says_what_became_of_it(rig: Rig, late: timedelta, code: int, status: JobStatus):
    claim = await rig.claimed(timeout=HOUR)
    process = await left_running(rig, claim)
    rig.clock.advance(HOUR + late)
    process.end(code, finished_at=rig.clock.now())
    rig.clock.advance(HOUR)

    job = await adopted(rig)

    assert (job.status, job.exit_code) == (status, code)
