"""Supervising a job from its claim to its end, and going on with one that another supervisor left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Placement, ProcessSpec, Signal
from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.jobs import run as run_module
from orchestrator.jobs.environment import Surroundings
from orchestrator.jobs.run import Runner
from orchestrator.model.jobs import Claim, Job, JobStatus, Reason
from orchestrator.model.journal import EntryKind
from orchestrator.model.logs import Stream
from orchestrator.model.specs import ExecutorKind, RetryPolicy
from tests.fakes import NEW_YEAR
from tests.jobs.scripted import AWAY, PATIENCE_SECONDS, QUICK, Rig, ScriptedProcess, open_rig


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


async def supervised(rig: Rig, claim: Claim, cancel: asyncio.Event | None = None, runner: Runner | None = None) -> Job:
    """The job after its supervision."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        await (runner or rig.runner()).run(claim, cancel or asyncio.Event())
    return await rig.job(claim.job.id)


async def adopted(rig: Rig, claim: Claim, cancel: asyncio.Event | None = None) -> Job:
    """The job after another supervisor has taken it over and seen it through."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        await rig.runner(owner="other").adopt(claim, cancel or asyncio.Event())
    return await rig.job(claim.job.id)


@asynccontextmanager
async def running(rig: Rig, claim: Claim, cancel: asyncio.Event | None = None) -> AsyncIterator[ScriptedProcess]:
    """Supervise in the background until the block ends, which kills the supervisor; give the process."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(rig.runner().run(claim, cancel or asyncio.Event()))
        await rig.changes.until(lambda: len(rig.observer.started) == 1)
        try:
            yield rig.executor.only
        finally:
            task.cancel()


def directories(rig: Rig) -> list[Path]:
    return sorted(rig.surroundings.attempts.iterdir())


def ending(code: int | None = 0, **more: object):
    """What a process does that prints a line and ends."""

    def begin(process: ScriptedProcess) -> None:
        process.say(b"hello\n")
        process.end(code, **more)

    return begin


def taking_the_store_along(rig: Rig):
    """What a process does with whose removal the store goes away."""

    async def leave() -> None:
        rig.store.is_away = True

    def begin(process: ScriptedProcess) -> None:
        process.on_remove = leave

    return begin


async def removed_and_never_finished(rig: Rig, claim: Claim, runner: Runner | None = None) -> None:
    """Supervise until the process is removed and the store has gone; then the supervisor dies."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task((runner or rig.runner()).run(claim, asyncio.Event()))
        await rig.changes.until(lambda: rig.store.refused > 0)
        task.cancel()
    rig.store.is_away = False
    rig.executor.processes.clear()  # it was removed


async def refuse_removal() -> None:
    raise AWAY


def stubborn(process: ScriptedProcess) -> None:
    """Ends on KILL alone."""
    process.ends_on = {Signal.KILL: 137}


# From the claim to the end


async def test_a_script_that_ends_with_0_has_succeeded(rig: Rig):
    rig.executor.on_start = ending(0)

    job = await supervised(rig, await rig.claimed())

    assert (job.status, job.reason, job.message, job.exit_code) == (JobStatus.SUCCEEDED, None, None, 0)
    assert await rig.texts(job.id) == ["hello"]
    assert await rig.journal(job.id) == [EntryKind.QUEUED, EntryKind.CLAIMED, EntryKind.STARTED, EntryKind.FINISHED]
    assert (len(rig.observer.started), len(rig.observer.finished), rig.follows) == (1, 1, 1)


async def test_the_exit_code_of_a_script_that_fails_is_kept(rig: Rig):
    rig.executor.on_start = ending(3)

    job = await supervised(rig, await rig.claimed())

    assert (job.status, job.reason, job.exit_code) == (JobStatus.FAILED, Reason.EXIT_CODE, 3)
    assert job.message == "The script ended with exit code 3."


async def test_what_the_executor_notes_is_the_last_line(rig: Rig):
    rig.executor.on_start = ending(0, note="A child ran out of memory.")

    job = await supervised(rig, await rig.claimed())

    assert job.status is JobStatus.SUCCEEDED
    assert [(line.stream, line.text) for line in await rig.lines(job.id)] == [
        (Stream.STDOUT, "hello"),
        (Stream.SYSTEM, "A child ran out of memory."),
    ]


async def test_each_phase_is_timed(rig: Rig):
    await rig.submit()
    rig.clock.advance(timedelta(seconds=5))
    (claim,) = await rig.claim()

    def begin(process: ScriptedProcess) -> None:
        rig.clock.advance(timedelta(seconds=2))
        process.end(0, finished_at=rig.clock.now() + timedelta(seconds=3))

    rig.executor.on_start = begin
    job = await supervised(rig, claim)

    assert (job.timings.queued_ms, job.timings.setup_ms, job.timings.execution_ms) == (5000, 2000, 3000)
    assert job.started_at == NEW_YEAR + timedelta(seconds=7)


async def test_the_attempts_name_and_token_are_recorded_before_the_process_is_started(rig: Rig):
    rig.executor.gate.clear()
    claim = await rig.claimed()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(rig.runner().run(claim, asyncio.Event()))
        await rig.changes.until(lambda: rig.executor.begun == 1)
        found = await rig.adopt()
        task.cancel()

    assert found.process == f"cronium-{claim.job.id}-1"


async def test_the_process_is_removed_only_when_the_result_is_committed(rig: Rig):
    seen: list[JobStatus] = []
    claim = await rig.claimed()

    def begin(process: ScriptedProcess) -> None:
        async def look() -> None:
            seen.append((await rig.job(claim.job.id)).status)

        process.on_remove = look
        process.end(0)

    rig.executor.on_start = begin
    await supervised(rig, claim)

    assert seen == [JobStatus.SUCCEEDED]


async def test_a_process_that_cannot_be_removed_changes_nothing_about_the_result(rig: Rig):
    def begin(process: ScriptedProcess) -> None:
        process.on_remove = refuse_removal
        process.end(0)

    rig.executor.on_start = begin
    job = await supervised(rig, await rig.claimed())

    assert job.status is JobStatus.SUCCEEDED
    assert directories(rig) == []


async def test_the_attempts_directory_is_there_while_it_runs_and_gone_afterwards(rig: Rig):
    seen: list[list[str]] = []

    def begin(process: ScriptedProcess) -> None:
        seen.append([path.name for path in directories(rig)])
        process.end(0)

    rig.executor.on_start = begin
    job = await supervised(rig, await rig.claimed())

    assert seen == [[f"cronium-{job.id}-1"]]
    assert directories(rig) == []


async def test_the_attempts_token_is_masked_in_the_output(rig: Rig):
    claim = await rig.claimed()
    token = rig.surroundings.token(claim.job.id, 1)

    def begin(process: ScriptedProcess) -> None:
        process.say(f"CRONIUM_EXECUTION_TOKEN={token}\n".encode())
        process.end(0)

    rig.executor.on_start = begin
    await supervised(rig, claim)

    assert await rig.texts(claim.job.id) == ["CRONIUM_EXECUTION_TOKEN=***"]


async def test_a_result_waits_for_a_store_that_is_away(rig: Rig, monkeypatch):
    monkeypatch.setattr("orchestrator.jobs.persist.FIRST_DELAY_SECONDS", 0.001)
    claim = await rig.claimed()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.runner().run(claim, asyncio.Event()))
        (process,) = await rig.executor.started(1)
        await rig.changes.until(lambda: len(rig.observer.started) == 1)
        rig.store.is_away = True
        process.say(b"meanwhile\n")
        process.end(0)
        await rig.changes.until(lambda: rig.store.refused >= 3)
        assert process.removals == 0
        rig.store.is_away = False

    assert (await rig.job(claim.job.id)).status is JobStatus.SUCCEEDED
    assert await rig.texts(claim.job.id) == ["meanwhile"]


# Not started


@pytest.mark.parametrize("reason", [Reason.IMAGE_UNAVAILABLE, Reason.INVALID, Reason.HOST_KEY_MISMATCH])
async def test_a_start_that_fails_says_why(rig: Rig, reason: Reason):
    rig.executor.start_failures[""] = StartFailedError("It has no such thing; get one.", reason=reason)

    job = await supervised(rig, await rig.claimed())

    assert (job.status, job.reason, job.exit_code) == (JobStatus.FAILED, reason, None)
    assert job.message == "It has no such thing; get one."
    assert job.started_at is None
    assert directories(rig) == []


async def test_an_executor_that_does_not_answer_at_the_start_is_unreachable(rig: Rig):
    rig.executor.start_failures[""] = AWAY

    job = await supervised(rig, await rig.claimed())

    assert (job.status, job.reason, job.message) == (JobStatus.FAILED, Reason.HOST_UNREACHABLE, AWAY.message)


async def test_what_an_executor_started_without_saying_so_does_not_run_on_when_the_job_has_failed(rig: Rig):
    rig.executor.start_failures[""] = AWAY
    rig.executor.starts_all_the_same = True

    job = await supervised(rig, await rig.claimed())

    assert job.reason is Reason.HOST_UNREACHABLE
    assert rig.executor.only.removals == 1


async def test_an_executor_that_is_not_installed_is_named(rig: Rig):
    claim = await rig.claimed()

    job = await supervised(rig, claim, runner=rig.runner(executors={}))

    assert (job.status, job.reason) == (JobStatus.FAILED, Reason.INVALID)
    assert "process executor is not part of this installation" in (job.message or "")


async def test_an_interpreter_that_is_missing_is_named(rig: Rig):
    around = replace(rig.surroundings, find=lambda _: None)

    job = await supervised(rig, await rig.claimed(), runner=rig.runner(surroundings=around))

    assert job.reason is Reason.INVALID
    assert "No /bin/sh on this machine" in (job.message or "")
    assert directories(rig) == []


async def test_files_that_cannot_be_written_are_a_limit_reached(rig: Rig):
    rig.surroundings.attempts.rmdir()
    rig.surroundings.attempts.write_text("a file where the directory should be")

    job = await supervised(rig, await rig.claimed())

    assert (job.status, job.reason) == (JobStatus.FAILED, Reason.LIMIT)
    assert str(rig.surroundings.attempts) in (job.message or "")


async def test_a_setup_that_takes_too_long_is_broken_off(rig: Rig):
    rig.executor.gate.clear()
    patience = replace(QUICK, setup=timedelta(milliseconds=20))

    job = await supervised(rig, await rig.claimed(), runner=rig.runner(patience=patience))

    assert (job.status, job.reason) == (JobStatus.TIMED_OUT, Reason.TIMEOUT)
    assert job.message == "Setting the job up took longer than 0.02 s."
    assert rig.executor.attached == [f"cronium-{job.id}-1"]
    assert directories(rig) == []


# Cancelling


async def test_a_job_whose_cancelling_was_asked_for_before_it_was_claimed_is_not_started(rig: Rig):
    job = await rig.submit()
    async with rig.store.begin() as repos:
        await repos.jobs.request_cancel(job.id, at=rig.clock.now())
    (claim,) = await rig.claim()

    job = await supervised(rig, claim)

    assert (job.status, job.reason) == (JobStatus.CANCELLED, Reason.CANCELLED)
    assert rig.executor.begun == 0


async def test_a_job_is_cancelled_while_it_is_being_started(rig: Rig):
    rig.executor.gate.clear()
    claim, cancel = await rig.claimed(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.runner().run(claim, cancel))
        await rig.changes.until(lambda: rig.executor.begun == 1)
        cancel.set()

    job = await rig.job(claim.job.id)
    assert (job.status, job.reason, job.started_at) == (JobStatus.CANCELLED, Reason.CANCELLED, None)
    assert rig.executor.attached == [f"cronium-{job.id}-1"]
    assert directories(rig) == []


async def test_cancelling_a_start_that_has_begun_the_process_removes_it(rig: Rig):
    rig.executor.gate.clear()
    claim, cancel = await rig.claimed(), asyncio.Event()
    process = rig.executor.processes[f"cronium-{claim.job.id}-1"] = ScriptedProcess("it", rig.changes)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.runner().run(claim, cancel))
        await rig.changes.until(lambda: rig.executor.begun == 1)
        cancel.set()

    assert process.removals == 1


async def test_cancelling_a_start_while_the_executor_is_away_is_survived(rig: Rig):
    rig.executor.gate.clear()
    rig.executor.attach_failures.append(AWAY)
    claim, cancel = await rig.claimed(), asyncio.Event()
    cancel.set()

    assert (await supervised(rig, claim, cancel)).status is JobStatus.CANCELLED


async def test_a_job_cancelled_while_its_files_are_written_waits_for_that_and_leaves_none(rig: Rig, monkeypatch):
    real, begun, may_go_on = run_module.prepare, threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(job: Job, around: Surroundings, placement: Placement) -> ProcessSpec:
        begun.set()
        loop.call_soon_threadsafe(rig.changes.happened)
        assert may_go_on.wait(PATIENCE_SECONDS)
        return real(job, around, placement)

    monkeypatch.setattr(run_module, "prepare", slow)
    claim, cancel = await rig.claimed(), asyncio.Event()
    runner = rig.runner(patience=replace(QUICK, grace=timedelta(seconds=PATIENCE_SECONDS)))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run(claim, cancel))
        await rig.changes.until(begun.is_set)
        cancel.set()
        meanwhile = [(await rig.job(claim.job.id)).status for _ in range(50)]  # time enough to end it, one read a turn
        may_go_on.set()

    assert set(meanwhile) == {JobStatus.RUNNING}
    assert (await rig.job(claim.job.id)).status is JobStatus.CANCELLED
    assert directories(rig) == []


async def test_a_running_job_is_cancelled_with_term(rig: Rig):
    claim, cancel = await rig.claimed(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.runner().run(claim, cancel))
        (process,) = await rig.executor.started(1)
        process.say(b"half ")
        cancel.set()

    job = await rig.job(claim.job.id)
    assert (job.status, job.reason, job.exit_code) == (JobStatus.CANCELLED, Reason.CANCELLED, 143)
    assert process.signals == [Signal.TERM]
    assert await rig.texts(job.id) == ["half "]


async def test_a_script_that_ignores_term_is_killed_after_the_grace_period(rig: Rig):
    rig.executor.on_start = stubborn
    claim, cancel = await rig.claimed(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.runner().run(claim, cancel))
        (process,) = await rig.executor.started(1)
        cancel.set()

    assert process.signals == [Signal.TERM, Signal.KILL]
    assert (await rig.job(claim.job.id)).exit_code == 137


async def test_a_signal_that_does_not_arrive_is_followed_by_the_next(rig: Rig):
    claim, cancel = await rig.claimed(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.runner().run(claim, cancel))
        (process,) = await rig.executor.started(1)
        process.signal_failures.append(AWAY)
        cancel.set()

    assert process.signals == [Signal.KILL]
    assert (await rig.job(claim.job.id)).status is JobStatus.CANCELLED


async def test_a_script_that_runs_too_long_gets_term_then_kill(rig: Rig):
    rig.executor.on_start = stubborn

    job = await supervised(rig, await rig.claimed(timeout=timedelta(milliseconds=20)))

    assert (job.status, job.reason) == (JobStatus.TIMED_OUT, Reason.TIMEOUT)
    assert job.message == "The script ran longer than its timeout of 0.02 s and was ended."
    assert rig.executor.only.signals == [Signal.TERM, Signal.KILL]


# Going on with what another supervisor left


async def test_a_running_process_is_adopted_with_no_line_lost_or_doubled(rig: Rig):
    claim = await rig.claimed()
    async with running(rig, claim) as process:
        process.say(b"one\ntwo\nthr")
        await process.taken()
    process.say(b"ee\nfour\n")
    process.end(0)

    job = await adopted(rig, await rig.adopt())

    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)
    assert await rig.texts(job.id) == ["one", "two", "three", "four"]
    assert len(rig.executor.specs) == 1
    assert await rig.journal(job.id) == [
        EntryKind.QUEUED,
        EntryKind.CLAIMED,
        EntryKind.STARTED,
        EntryKind.ADOPTED,
        EntryKind.FINISHED,
    ]


async def test_a_process_that_ended_unseen_is_collected(rig: Rig):
    claim = await rig.claimed()
    async with running(rig, claim) as process:
        pass
    process.say(b"nobody listens\n")
    process.end(7)

    job = await adopted(rig, await rig.adopt())

    assert (job.status, job.exit_code) == (JobStatus.FAILED, 7)
    assert await rig.texts(job.id) == ["nobody listens"]
    assert process.removals == 1
    assert directories(rig) == []


async def test_a_process_that_was_started_before_that_could_be_noted_is_adopted(rig: Rig):
    rig.executor.gate.clear()
    claim = await rig.claimed()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(rig.runner().run(claim, asyncio.Event()))
        await rig.changes.until(lambda: rig.executor.begun == 1)
        task.cancel()
    process = rig.executor.processes[f"cronium-{claim.job.id}-1"] = ScriptedProcess("it", rig.changes)
    process.say(b"alone\n")
    process.end(0)

    job = await adopted(rig, await rig.adopt())

    assert (job.status, job.attempt, job.started_at) == (JobStatus.SUCCEEDED, 1, NEW_YEAR)
    assert await rig.texts(job.id) == ["alone"]


async def test_an_attempt_that_was_given_back_is_none_of_those_that_a_policy_allows(rig: Rig):
    await rig.claimed(retry=RetryPolicy(attempts=2, delay=timedelta(0), jitter=0.0))
    await adopted(rig, await rig.adopt())
    rig.executor.on_start = ending(1)
    for attempt in (2, 3):
        (claim,) = await rig.claim()
        job = await supervised(rig, claim)
        assert job.attempt == attempt
        rig.clock.advance(timedelta(seconds=1))

    assert (job.status, job.given_back) == (JobStatus.FAILED, 1)
    assert len(rig.again) == 1


async def test_what_was_never_started_goes_back_to_the_queue_and_is_run_as_the_next_attempt(rig: Rig):
    rig.executor.gate.clear()
    claim = await rig.claimed()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(rig.runner().run(claim, asyncio.Event()))
        await rig.changes.until(lambda: rig.executor.begun == 1)
        task.cancel()
    rig.executor.gate.set()
    rig.executor.on_start = ending(0)

    waiting = await adopted(rig, await rig.adopt())
    left = directories(rig)
    (again,) = await rig.claim()
    job = await supervised(rig, again)

    assert (waiting.status, left) == (JobStatus.QUEUED, [])
    assert (job.status, job.attempt, job.given_back) == (JobStatus.SUCCEEDED, 2, 1)
    assert rig.executor.only.name == f"cronium-{job.id}-2"
    assert await rig.journal(job.id) == [
        EntryKind.QUEUED,
        EntryKind.CLAIMED,
        EntryKind.ADOPTED,
        EntryKind.QUEUED,
        EntryKind.CLAIMED,
        EntryKind.STARTED,
        EntryKind.FINISHED,
    ]


async def test_a_claim_that_nothing_came_of_goes_back_to_the_queue(rig: Rig):
    await rig.claimed()

    job = await adopted(rig, await rig.adopt())

    assert job.status is JobStatus.QUEUED
    assert rig.executor.attached == []


async def test_what_was_started_and_cannot_be_found_is_lost(rig: Rig):
    claim = await rig.claimed()
    async with running(rig, claim):
        pass
    rig.executor.processes.clear()

    job = await adopted(rig, await rig.adopt())

    assert (job.status, job.reason, job.exit_code) == (JobStatus.FAILED, Reason.LOST, None)
    assert "gone" in (job.message or "")
    assert directories(rig) == []


async def test_an_attempt_that_ran_though_its_start_failed_is_not_run_again(rig: Rig):
    """Its executor did not say that it had started it; who ended it died before the result was stored."""
    rig.executor.start_failures[""] = AWAY
    rig.executor.starts_all_the_same = True
    rig.executor.on_start = taking_the_store_along(rig)
    await removed_and_never_finished(rig, await rig.claimed())

    job = await adopted(rig, await rig.adopt())

    assert (job.status, job.reason, job.attempt) == (JobStatus.FAILED, Reason.LOST, 1)
    assert job.started_at is not None
    assert await rig.claim() == []


async def test_an_attempt_that_ran_though_its_setup_took_too_long_is_not_run_again(rig: Rig):
    claim = await rig.claimed()
    rig.executor.gate.clear()
    rig.executor.attach_failures.append(AWAY)  # it tells of the process only when it is back
    process = rig.executor.processes[f"cronium-{claim.job.id}-1"] = ScriptedProcess("it", rig.changes)
    taking_the_store_along(rig)(process)
    patience = replace(QUICK, setup=timedelta(milliseconds=20))
    await removed_and_never_finished(rig, claim, rig.runner(patience=patience))

    job = await adopted(rig, await rig.adopt())

    assert (process.removals, job.status, job.reason) == (1, JobStatus.FAILED, Reason.LOST)
    assert await rig.claim() == []


async def test_a_job_cancelled_between_its_adoption_and_its_way_back_to_the_queue_ends(rig: Rig):
    """The adopter read it before; the queue would run it, and nobody would look at the wish again."""
    await rig.claimed()
    adoption = await rig.adopt()
    async with rig.store.begin() as repos:
        await repos.jobs.request_cancel(adoption.job.id, at=rig.clock.now())

    job = await adopted(rig, adoption)

    assert (job.status, job.reason) == (JobStatus.CANCELLED, Reason.CANCELLED)
    assert (await rig.journal(job.id))[-2:] == [EntryKind.ADOPTED, EntryKind.FINISHED]
    assert (rig.observer.finished, rig.follows) == ([job], 1)
    assert await rig.claim() == []
    assert directories(rig) == []


async def test_an_executor_that_is_away_is_asked_again_before_anything_is_called_lost(rig: Rig):
    claim = await rig.claimed()
    async with running(rig, claim) as process:
        pass
    rig.executor.attach_failures.extend([AWAY, UnavailableError("Still not.")])
    process.end(0)

    assert (await adopted(rig, await rig.adopt())).status is JobStatus.SUCCEEDED


async def test_the_timeout_of_an_adopted_job_counts_from_its_start(rig: Rig):
    claim = await rig.claimed(timeout=timedelta(hours=1))
    async with running(rig, claim) as process:
        pass
    rig.clock.advance(timedelta(hours=1, seconds=1))

    job = await adopted(rig, await rig.adopt())

    assert (job.status, job.timings.execution_ms) == (JobStatus.TIMED_OUT, 3_601_000)
    assert process.signals == [Signal.TERM]


async def test_an_adopted_job_with_time_left_runs_on(rig: Rig):
    claim = await rig.claimed(timeout=timedelta(hours=1))
    async with running(rig, claim) as process:
        process.say(b"early\n")
        await process.taken()
    rig.clock.advance(timedelta(minutes=59))
    adoption = await rig.adopt()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(adopted(rig, adoption))
        await process.taken()
        process.say(b"late\n")
        process.end(0)

    assert task.result().status is JobStatus.SUCCEEDED
    assert process.signals == []
    assert await rig.texts(claim.job.id) == ["early", "late"]


async def test_an_adopted_job_can_be_cancelled(rig: Rig):
    claim = await rig.claimed()
    async with running(rig, claim) as process:
        pass
    cancel = asyncio.Event()
    cancel.set()

    job = await adopted(rig, await rig.adopt(), cancel)

    assert (job.status, process.signals) == (JobStatus.CANCELLED, [Signal.TERM])


async def test_killing_the_supervisor_leaves_the_process_and_its_files(rig: Rig):
    claim = await rig.claimed()
    async with running(rig, claim) as process:
        pass

    assert (process.signals, process.removals) == ([], 0)
    assert [path.name for path in directories(rig)] == [f"cronium-{claim.job.id}-1"]
    assert (await rig.job(claim.job.id)).status is JobStatus.RUNNING


async def test_a_container_is_given_its_image(tmp_path: Path):
    async with open_rig(tmp_path / "attempts", [ExecutorKind.DOCKER]) as rig:
        executor = rig.executors[ExecutorKind.DOCKER]
        executor.on_start = ending(0)

        await supervised(rig, await rig.claimed(image="debian:slim", executor=ExecutorKind.DOCKER))

        assert [spec.image for spec in executor.specs] == ["debian:slim"]


async def test_a_script_that_ended_in_time_is_not_timed_out_because_we_learned_of_it_late(rig: Rig):
    claim = await rig.claimed(timeout=timedelta(hours=1))
    async with running(rig, claim) as process:
        pass
    in_time = rig.clock.now() + timedelta(minutes=1)
    rig.clock.advance(timedelta(hours=2))
    process.ends_on = {}
    adoption = await rig.adopt()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(adopted(rig, adoption))
        await rig.changes.until(lambda: process.signals == [Signal.TERM])
        process.end(0, finished_at=in_time)
    job = task.result()

    assert (job.status, job.exit_code, job.timings.execution_ms) == (JobStatus.SUCCEEDED, 0, 60_000)
