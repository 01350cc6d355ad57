"""Claiming, supervising many jobs at once, recovering what was left, and one supervisor per job."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Signal
from orchestrator.jobs.cancel import Canceller
from orchestrator.jobs.dispatch import Leases
from orchestrator.jobs.environment import clean
from orchestrator.model.jobs import Job, JobId, JobStatus, Reason
from orchestrator.model.journal import EntryKind
from orchestrator.model.specs import ExecutorKind
from tests.jobs.scripted import AWAY, Rig, ScriptedProcess, a_submission, open_rig, working

BOTH = (ExecutorKind.PROCESS, ExecutorKind.DOCKER)


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts", BOTH) as rig:
        yield rig


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("orchestrator.jobs.persist.FIRST_DELAY_SECONDS", 0.001)


def at_once(process: ScriptedProcess) -> None:
    process.end(0)


async def left_running(rig: Rig, **changes: object) -> tuple[Job, ScriptedProcess]:
    """A job whose orchestrator was killed while its script ran."""
    job = await rig.submit(**changes)
    async with working(rig.dispatcher("dead")):
        await rig.changes.until(lambda: len(rig.observer.started) == 1)
    rig.observer.started.clear()
    return job, rig.process_of(job)


async def test_a_job_is_claimed_run_and_finished(rig: Rig):
    rig.executor.on_start = at_once
    async with working(rig.dispatcher()):
        job = await rig.ended((await rig.submit()).id)

    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)


async def test_a_dispatcher_that_is_woken_looks_at_once(rig: Rig):
    rig.executor.on_start = at_once
    slow = rig.dispatcher(leases=Leases(poll_every=timedelta(hours=1)))
    async with working(slow):
        await rig.changes.until(lambda: rig.executor.sweeping == 1)
        job = await rig.submit()
        slow.wake()

        assert (await rig.ended(job.id)).status is JobStatus.SUCCEEDED


async def test_each_executor_has_slots_of_its_own(rig: Rig):
    docker = rig.executors[ExecutorKind.DOCKER]
    for _ in range(4):
        await rig.submit()
        await rig.submit(executor=ExecutorKind.DOCKER)
    async with working(rig.dispatcher(slots={ExecutorKind.PROCESS: 2, ExecutorKind.DOCKER: 1})):
        first, _ = await rig.executor.started(2)
        await docker.started(1)
        await turns(rig)
        assert (len(rig.executor.processes), len(docker.processes)) == (2, 1)

        first.end(0)
        await rig.executor.started(3)
        await turns(rig)
        assert (len(rig.executor.processes), len(docker.processes)) == (3, 1)


async def test_a_full_executor_does_not_hold_up_the_other(rig: Rig):
    docker = rig.executors[ExecutorKind.DOCKER]
    docker.on_start = at_once
    async with working(rig.dispatcher(slots={ExecutorKind.PROCESS: 1, ExecutorKind.DOCKER: 1})):
        await rig.submit()
        waiting = await rig.submit()
        await rig.executor.started(1)
        other = await rig.submit(executor=ExecutorKind.DOCKER)

        assert (await rig.ended(other.id)).status is JobStatus.SUCCEEDED
        assert (await rig.job(waiting.id)).status is JobStatus.QUEUED


async def test_an_executor_without_slots_is_given_nothing(rig: Rig):
    rig.executors[ExecutorKind.DOCKER].on_start = at_once
    async with working(rig.dispatcher(slots={ExecutorKind.PROCESS: 0, ExecutorKind.DOCKER: 1})):
        waiting = await rig.submit()
        await rig.ended((await rig.submit(executor=ExecutorKind.DOCKER)).id)

        assert (await rig.job(waiting.id)).status is JobStatus.QUEUED


async def test_the_highest_priority_is_first_then_the_oldest(rig: Rig):
    jobs = {}
    for name, priority in [("low", -5), ("old", 0), ("young", 0), ("high", 7)]:
        jobs[(await rig.submit(name=name, priority=priority)).id] = name
        rig.clock.advance(timedelta(seconds=1))
    rig.executor.on_start = at_once
    async with working(rig.dispatcher(slots={ExecutorKind.PROCESS: 1})):
        await rig.executor.started(4)

    assert [jobs[spec.labels["job"]] for spec in rig.executor.specs] == ["high", "old", "young", "low"]


async def test_the_jobs_of_another_queue_are_left_alone(rig: Rig):
    async with rig.store.begin() as repos:
        other = rig.submitter(queue="other").build(a_submission())
        await repos.jobs.insert(other)
    rig.executor.on_start = at_once
    async with working(rig.dispatcher()):
        await rig.ended((await rig.submit()).id)

        assert (await rig.job(other.id)).status is JobStatus.QUEUED


async def test_a_job_that_cannot_be_supervised_fails_and_the_others_go_on(rig: Rig):
    broken, fine = await rig.submit(), await rig.submit()
    rig.executor.start_failures[broken.id] = RuntimeError("a fault of ours")
    rig.executor.on_start = at_once
    async with working(rig.dispatcher()):
        failed = await rig.ended(broken.id)
        assert (await rig.ended(fine.id)).status is JobStatus.SUCCEEDED
        later = await rig.submit()
        assert (await rig.ended(later.id)).status is JobStatus.SUCCEEDED

    assert (failed.status, failed.reason) == (JobStatus.FAILED, Reason.LOST)
    assert "fault of its own" in (failed.message or "")


async def test_a_job_whose_cancelling_was_asked_for_while_it_was_queued_ends_as_cancelled(rig: Rig):
    job = await rig.submit()
    async with rig.store.begin() as repos:
        await repos.jobs.request_cancel(job.id, at=rig.clock.now())
    async with working(rig.dispatcher()):
        job = await rig.ended(job.id)

    assert (job.status, rig.executor.begun) == (JobStatus.CANCELLED, 0)


async def test_a_queued_job_that_is_cancelled_is_never_claimed(rig: Rig):
    dispatcher = rig.dispatcher()
    job = await rig.submit()

    cancelled = await canceller(rig, dispatcher.cancel).cancel(job.id, by="test")

    async with working(dispatcher):
        await rig.changes.until(lambda: rig.executor.sweeping == 1)
    assert cancelled.status is JobStatus.CANCELLED
    assert rig.executor.begun == 0
    assert await rig.journal(job.id) == [EntryKind.QUEUED, EntryKind.CANCEL_REQUESTED, EntryKind.FINISHED]


async def test_a_running_job_is_cancelled_here_at_once(rig: Rig):
    dispatcher = rig.dispatcher(leases=Leases())
    job = await rig.submit()
    async with working(dispatcher):
        (process,) = await rig.executor.started(1)
        await canceller(rig, dispatcher.cancel).cancel(job.id, by="test")
        job = await rig.ended(job.id)

    assert (job.status, process.signals) == (JobStatus.CANCELLED, [Signal.TERM])


async def test_a_wish_to_cancel_that_another_process_stored_is_found(rig: Rig):
    job = await rig.submit()
    async with working(rig.dispatcher()):
        await rig.executor.started(1)
        await canceller(rig, lambda _: None).cancel(job.id, by="test")
        job = await rig.ended(job.id)

    assert job.status is JobStatus.CANCELLED


async def test_cancelling_all_waits_for_the_results_and_claims_nothing_more(rig: Rig):
    dispatcher = rig.dispatcher()
    jobs = [await rig.submit() for _ in range(3)]
    async with working(dispatcher):
        await rig.executor.started(3)
        await dispatcher.cancel_all()
        late = await rig.submit()
        dispatcher.wake()

        assert {(await rig.job(job.id)).status for job in jobs} == {JobStatus.CANCELLED}
        assert (await rig.job(late.id)).status is JobStatus.QUEUED


async def test_a_job_that_is_just_being_claimed_is_ended_too_when_all_are(rig: Rig):
    dispatcher = rig.dispatcher(leases=Leases(poll_every=timedelta(hours=1)))
    async with working(dispatcher), asyncio.TaskGroup() as tasks:
        await rig.changes.until(lambda: rig.executor.sweeping == 1)
        await turns(rig)
        job = await rig.submit()
        rig.store.gate = asyncio.Event()
        dispatcher.wake()
        await rig.changes.until(lambda: rig.store.waiting == 1)
        ending = tasks.create_task(dispatcher.cancel_all())
        await asyncio.sleep(0)  # it has begun
        rig.store.gate.set()
        await ending

        await turns(rig)
        assert (await rig.job(job.id)).status is JobStatus.CANCELLED


async def test_a_dispatcher_that_stops_claiming_sees_what_runs_to_its_end(rig: Rig):
    dispatcher = rig.dispatcher()
    job = await rig.submit()
    async with working(dispatcher):
        (process,) = await rig.executor.started(1)
        dispatcher.stop_claiming()
        waiting = await rig.submit()
        process.end(0)

        assert (await rig.ended(job.id)).status is JobStatus.SUCCEEDED
        assert (await rig.job(waiting.id)).status is JobStatus.QUEUED


async def test_a_store_that_is_away_while_jobs_are_claimed_is_waited_for(rig: Rig):
    rig.executor.on_start = at_once
    async with working(rig.dispatcher()):
        await rig.changes.until(lambda: rig.executor.sweeping == 1)
        job = await rig.submit()
        rig.store.is_away = True
        await rig.changes.until(lambda: rig.store.refused >= 5)
        rig.store.is_away = False

        assert (await rig.ended(job.id)).status is JobStatus.SUCCEEDED


async def test_a_store_that_is_away_at_the_start_is_waited_for(rig: Rig):
    job, process = await left_running(rig)
    rig.store.is_away = True
    async with working(rig.dispatcher()):
        await rig.changes.until(lambda: rig.store.refused >= 3)
        rig.store.is_away = False
        process.end(0)

        assert (await rig.ended(job.id)).status is JobStatus.SUCCEEDED


async def test_cancelling_the_dispatcher_leaves_processes_running(rig: Rig):
    job, process = await left_running(rig)

    assert (process.signals, process.removals) == ([], 0)
    assert (await rig.job(job.id)).status is JobStatus.RUNNING


async def test_what_was_left_running_is_adopted_at_the_next_start(rig: Rig):
    job, process = await left_running(rig)
    async with working(rig.dispatcher()):
        process.say(b"still here\n")
        process.end(0)
        job = await rig.ended(job.id)

    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)
    assert await rig.texts(job.id) == ["still here"]
    assert (await rig.journal(job.id)).count(EntryKind.FINISHED) == 1


async def test_what_was_claimed_and_never_started_is_run_as_the_next_attempt(rig: Rig):
    await rig.claimed()
    rig.executor.on_start = at_once
    async with working(rig.dispatcher()):
        await rig.ended((await rig.submit()).id)
        first = await rig.ended(JobId("job_1"))

    assert (first.status, first.attempt) == (JobStatus.SUCCEEDED, 2)


async def test_a_dispatcher_that_is_not_alone_leaves_living_leases_alone(rig: Rig):
    job, process = await left_running(rig)
    async with working(rig.dispatcher(alone=False)):
        process.end(0)
        rig.executor.on_start = at_once
        await rig.ended((await rig.submit()).id)

        assert (await rig.job(job.id)).status is JobStatus.RUNNING
    rig.clock.advance(timedelta(seconds=16))
    async with working(rig.dispatcher(alone=False)):
        assert (await rig.ended(job.id)).status is JobStatus.SUCCEEDED


async def test_an_adopted_job_takes_a_slot(rig: Rig):
    job, process = await left_running(rig)
    async with working(rig.dispatcher(slots={ExecutorKind.PROCESS: 1})):
        await rig.changes.until(lambda: rig.executor.sweeping == 2)
        waiting = await rig.submit()
        await turns(rig)
        assert (await rig.job(waiting.id)).status is JobStatus.QUEUED
        process.end(0)
        await rig.executor.started(2)

    assert (await rig.job(job.id)).status is JobStatus.SUCCEEDED


async def test_an_orchestrator_whose_jobs_were_taken_over_changes_nothing_any_more(rig: Rig):
    first, second = rig.dispatcher("first"), rig.dispatcher("second")
    job = await rig.submit()
    async with working(first):
        (process,) = await rig.executor.started(1)
        process.say(b"one\n")
        await process.taken()
        async with working(second):
            await rig.changes.until(lambda: process.readers_waiting == 2)
            process.say(b"two\n")
            await rig.changes.until(lambda: rig.observer.lost == 1)
            process.say(b"three\n")
            process.end(0)
            job = await rig.ended(job.id)

    assert job.status is JobStatus.SUCCEEDED
    assert await rig.texts(job.id) == ["one", "two", "three"]
    assert (await rig.journal(job.id)).count(EntryKind.FINISHED) == 1
    assert (rig.observer.lost, len(rig.observer.finished)) == (1, 1)


async def test_two_orchestrators_that_see_the_same_end_store_one_result(rig: Rig):
    job = await rig.submit()
    async with working(rig.dispatcher("first")):
        (process,) = await rig.executor.started(1)
        await process.taken()
        async with working(rig.dispatcher("second")):
            await rig.changes.until(lambda: process.readers_waiting == 2)
            process.end(0)
            await rig.ended(job.id)

    assert (await rig.journal(job.id)).count(EntryKind.FINISHED) == 1
    assert len(rig.observer.finished) == 1


async def test_what_nobody_needs_is_removed_at_the_start(rig: Rig):
    job, _ = await left_running(rig)
    stray = rig.executor.processes["cronium-job_0-1"] = ScriptedProcess("cronium-job_0-1", rig.changes)
    directory = rig.surroundings.attempts / "cronium-job_0-1"
    directory.mkdir()
    async with working(rig.dispatcher()):
        rig.executor.on_start = at_once
        await rig.ended((await rig.submit()).id)

        assert rig.executor.swept == ["cronium-job_0-1"]
        assert stray.removals == 1
        assert not directory.exists()
        assert (rig.surroundings.attempts / f"cronium-{job.id}-1").exists()


async def test_nothing_is_started_before_what_nobody_needs_is_gone(rig: Rig):
    rig.executor.sweep_gate.clear()
    rig.executor.on_start = at_once
    job = await rig.submit()
    async with working(rig.dispatcher()):
        await rig.changes.until(lambda: rig.executor.sweeping == 1)
        await turns(rig)
        status = (await rig.job(job.id)).status
        rig.executor.sweep_gate.set()
        await rig.ended(job.id)

    assert status is JobStatus.QUEUED
    assert rig.executor.swept == []


async def test_a_leftover_that_cannot_be_removed_does_not_keep_the_dispatcher_from_working(rig: Rig):
    (rig.surroundings.attempts / "a-file").write_text("not an attempt's directory")
    (rig.surroundings.attempts / "cronium-job_0-1").mkdir()
    rig.executor.on_start = at_once
    async with working(rig.dispatcher()):
        assert (await rig.ended((await rig.submit()).id)).status is JobStatus.SUCCEEDED

    assert not (rig.surroundings.attempts / "cronium-job_0-1").exists()


async def test_a_job_whose_files_cannot_be_removed_keeps_its_result(rig: Rig, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("Device or resource busy")

    monkeypatch.setattr("orchestrator.jobs.run.clean", refuse)
    rig.executor.on_start = at_once
    async with working(rig.dispatcher()):
        job = await rig.ended((await rig.submit()).id)
        assert (await rig.ended((await rig.submit()).id)).status is JobStatus.SUCCEEDED

    assert job.status is JobStatus.SUCCEEDED
    clean(job, rig.surroundings)


async def test_an_executor_that_is_away_is_not_swept_and_nothing_else_waits_for_it(rig: Rig, monkeypatch):
    async def away(_: frozenset[str]) -> list[str]:
        raise AWAY

    monkeypatch.setattr(rig.executor, "sweep", away)
    rig.executor.on_start = at_once
    async with working(rig.dispatcher()):
        assert (await rig.ended((await rig.submit()).id)).status is JobStatus.SUCCEEDED
        assert rig.executors[ExecutorKind.DOCKER].sweeping == 1


async def turns(rig: Rig) -> None:
    """Let the dispatcher do what it would do now: it takes turns with us at the store."""
    for _ in range(50):
        await rig.store.store.check()


def canceller(rig: Rig, poke) -> Canceller:
    return Canceller(
        store=rig.store, clock=rig.clock, observer=rig.observer, feed=rig.feed, poke=poke, wake=lambda: None
    )


async def test_a_sweep_that_fails_in_any_way_keeps_nobody_from_working(rig: Rig, monkeypatch):
    async def fail(keep: frozenset[str]) -> list[str]:
        raise ExceptionGroup("removing", [RuntimeError("one of several")])

    monkeypatch.setattr(rig.executor, "sweep", fail)
    rig.executor.on_start = at_once
    async with working(rig.dispatcher()):
        job = await rig.ended((await rig.submit()).id)

    assert job.status is JobStatus.SUCCEEDED


async def test_a_job_of_ours_that_nobody_supervises_is_taken_up_again_when_its_lease_has_expired(rig: Rig):
    rig.executor.on_start = at_once
    async with working(rig.dispatcher(alone=False)):
        await rig.changes.until(lambda: rig.executor.sweeping == 0)
        job = await rig.submit()
        await rig.claim("me")  # as if the commit of a claim had been reported as failed
        rig.clock.advance(timedelta(seconds=60))
        ended = await rig.ended(job.id)

    assert (ended.status, ended.attempt) == (JobStatus.SUCCEEDED, 2)


async def test_what_a_dead_orchestrator_left_is_taken_over_by_one_that_is_already_working(rig: Rig):
    job, process = await left_running(rig)
    async with working(rig.dispatcher("other", alone=False)):
        rig.clock.advance(timedelta(seconds=60))
        await rig.changes.until(lambda: process.name in rig.executor.attached)
        process.end(4)
        ended = await rig.ended(job.id)

    assert (ended.exit_code, ended.attempt) == (4, 1)


async def test_a_job_whose_executor_is_not_in_use_any_more_waits_for_it(rig: Rig):
    job, process = await left_running(rig, executor=ExecutorKind.DOCKER)
    only = {ExecutorKind.PROCESS: rig.executor}
    runner = rig.runner(executors=only)
    async with working(rig.dispatcher("other", executors=only, runner=runner)) as task:
        await rig.changes.until(lambda: rig.executor.sweeping == 1)
        assert not task.done()
    assert (await rig.job(job.id)).status is JobStatus.RUNNING
    assert not process.has_ended
