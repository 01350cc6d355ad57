"""What could not be removed when its job was over is removed later; what others supervise is left to them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Exit, Signal
from orchestrator.contracts.store import Outcome
from orchestrator.jobs.run import Runner
from orchestrator.model.jobs import Claim, JobStatus
from orchestrator.model.specs import RetryPolicy
from tests.jobs.scripted import AWAY, PATIENCE_SECONDS, Rig, ScriptedProcess, open_rig


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


async def supervised(runner: Runner, claim: Claim, cancel: asyncio.Event | None = None) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await runner.run(claim, cancel or asyncio.Event())


def ending(code: int):
    def begin(process: ScriptedProcess) -> None:
        process.end(code)

    return begin


async def refuse() -> None:
    raise AWAY


async def test_a_process_that_could_not_be_removed_is_removed_later(rig: Rig):
    def begin(process: ScriptedProcess) -> None:
        process.on_remove = refuse
        process.end(0)

    rig.executor.on_start = begin
    runner = rig.runner()
    claim = await rig.claimed()
    await supervised(runner, claim)
    process = rig.executor.only
    assert (await rig.job(claim.job.id)).status is JobStatus.SUCCEEDED
    assert list(runner.leftovers) == [process.name]

    await runner.clear_leftovers()
    assert list(runner.leftovers) == [process.name]
    rig.executor.attach_failures.append(AWAY)
    process.on_remove = None
    await runner.clear_leftovers()
    assert list(runner.leftovers) == [process.name]

    before = process.removals
    await runner.clear_leftovers()
    assert (runner.leftovers, process.removals) == ({}, before + 1)


async def test_the_dispatcher_clears_what_was_left_while_it_works(rig: Rig):
    def begin(process: ScriptedProcess) -> None:
        process.on_remove = refuse
        process.end(0)

    rig.executor.on_start = begin
    dispatcher = rig.dispatcher()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(dispatcher.run())
        await rig.ended((await rig.submit()).id)
        process = rig.executor.only
        await rig.changes.until(lambda: process.name in dispatcher.runner.leftovers or process.removals > 1)
        process.on_remove = None
        await rig.changes.until(lambda: process.removals > 1)
        task.cancel()
    assert process.removals > 1


async def test_a_process_whose_job_was_ended_by_others_is_removed(rig: Rig):
    claim = await rig.claimed()
    runner = rig.runner()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(runner.run(claim, asyncio.Event()))
        [process] = await rig.executor.started(1)
        task.cancel()
    taken = await rig.adopt()
    await runner.abandon(claim)
    assert process.removals == 0  # it runs on, for the one who has it now

    async with rig.store.begin() as repos:
        await repos.jobs.finish(taken, Outcome(status=JobStatus.FAILED, finished_at=rig.clock.now()))
    await runner.abandon(claim)
    assert process.removals == 1


async def test_each_attempt_has_a_setup_time_of_its_own(rig: Rig):
    rig.executor.on_start = ending(1)
    claim = await rig.claimed(retry=RetryPolicy(attempts=2, delay=timedelta(0), jitter=0.0))
    rig.clock.advance(timedelta(seconds=60))
    await supervised(rig.runner(), claim)
    rig.clock.advance(timedelta(seconds=30))
    (again,) = await rig.claim()
    await supervised(rig.runner(), again)

    job = await rig.job(claim.job.id)
    assert (job.attempt, job.timings.setup_ms) == (2, 0)
    assert len(rig.observer.started) == 1  # its latency is that of the job, which a second attempt does not change


async def test_of_our_own_kill_it_is_not_said_that_it_was_others_and_what_else_is_to_say_is(rig: Rig):
    cancel = asyncio.Event()
    runner = rig.runner()
    claim = await rig.claimed()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run(claim, cancel))
        [process] = await rig.executor.started(1)
        process.ends_on = {}
        cancel.set()
        await rig.changes.until(lambda: Signal.TERM in process.signals)
        process._exit = Exit(code=137, note="The disk was full.", by_others="Somebody ended it by hand.")
        rig.changes.happened()
    assert (await rig.job(claim.job.id)).status is JobStatus.CANCELLED
    assert await rig.texts(claim.job.id) == ["The disk was full."]
