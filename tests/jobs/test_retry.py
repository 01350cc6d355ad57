"""Retries: when another attempt follows, how long it waits, and that nothing of a job is lost or doubled by it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.store import Outcome
from orchestrator.errors import ConflictError, InvalidError
from orchestrator.jobs.cancel import Canceller
from orchestrator.jobs.finish import give_up_waiting
from orchestrator.jobs.retry import next_delay
from orchestrator.jobs.spec_document import parse_job_spec
from orchestrator.model.jobs import JobStatus, Reason
from orchestrator.model.journal import EntryKind
from orchestrator.model.specs import Backoff, JobSpec, RetryPolicy
from tests.jobs.scripted import Rig, a_spec, open_rig, working

SECOND = timedelta(seconds=1)


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


def failed(reason: Reason = Reason.EXIT_CODE, exit_code: int | None = 1) -> Outcome:
    status = JobStatus.TIMED_OUT if reason is Reason.TIMEOUT else JobStatus.FAILED
    return Outcome(status=status, finished_at=datetime(2026, 1, 1, tzinfo=UTC), reason=reason, exit_code=exit_code)


def seconds(policy: RetryPolicy, *, chance: float = 0.0) -> list[float]:
    """The delays after each attempt until the outcome stands."""
    found: list[float] = []
    while (delay := next_delay(policy, len(found) + 1, failed(), chance=chance)) is not None:
        found.append(delay.total_seconds())
    return found


def test_without_a_policy_the_first_outcome_stands():
    assert seconds(RetryPolicy()) == []


def test_a_fixed_delay_stays_and_an_exponential_one_doubles_up_to_its_maximum():
    fixed = RetryPolicy(attempts=4, backoff=Backoff.FIXED, delay=SECOND, jitter=0)
    assert seconds(fixed) == [1, 1, 1]
    growing = replace(fixed, attempts=6, backoff=Backoff.EXPONENTIAL, max_delay=SECOND * 5)
    assert seconds(growing) == [1, 2, 4, 5, 5]


def test_chance_takes_away_no_more_than_its_share():
    policy = RetryPolicy(attempts=2, delay=SECOND * 10, jitter=0.2)
    assert [seconds(policy, chance=chance) for chance in (0.0, 0.5, 1.0)] == [[10], [9], [8]]


def test_a_hundred_attempts_do_not_overflow():
    assert max(seconds(RetryPolicy(attempts=100, max_delay=SECOND * 60, jitter=0))) == 60


@pytest.mark.parametrize(
    ("reason", "exit_code", "policy", "retried"),
    [
        (Reason.EXIT_CODE, 1, {}, True),
        (Reason.TIMEOUT, None, {}, True),
        (Reason.OUT_OF_MEMORY, 137, {}, True),
        (Reason.IMAGE_UNAVAILABLE, None, {}, True),
        (Reason.HOST_UNREACHABLE, None, {}, True),
        (Reason.HOST_KEY_MISMATCH, None, {}, False),
        (Reason.INVALID, None, {}, False),
        (Reason.LIMIT, None, {}, True),
        (Reason.LOST, None, {}, False),
        (Reason.LOST, None, {"on_lost": True}, True),
        (Reason.LOST, None, {"on_lost": True, "reasons": frozenset({"timeout"})}, True),
        (Reason.EXIT_CODE, 75, {"exit_codes": frozenset({75})}, True),
        (Reason.EXIT_CODE, 1, {"exit_codes": frozenset({75})}, False),
        (Reason.TIMEOUT, None, {"exit_codes": frozenset({75})}, True),
        (Reason.EXIT_CODE, 1, {"reasons": frozenset({"timeout"})}, False),
        (Reason.TIMEOUT, None, {"reasons": frozenset({"timeout"})}, True),
    ],
)
def test_what_is_tried_again(reason, exit_code, policy, retried):
    delay = next_delay(RetryPolicy(attempts=2, **policy), 1, failed(reason, exit_code), chance=0)
    assert (delay is not None) is retried


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.CANCELLED, JobStatus.SKIPPED])
def test_what_did_not_fail_is_not_tried_again(status):
    outcome = replace(failed(), status=status, reason=None)
    assert next_delay(RetryPolicy(attempts=9, on_lost=True), 1, outcome, chance=0) is None


def spec_of(**keys) -> JobSpec:
    return parse_job_spec({"bash": "true", **keys})


def test_a_policy_is_read_as_a_number_or_whole():
    assert spec_of(retry=3).retry == RetryPolicy(attempts=3)
    whole = {
        "attempts": 5,
        "backoff": "fixed",
        "delay": "2s",
        "max_delay": "1m",
        "jitter": 0,
        "exit_codes": [75, 1],
        "reasons": ["timeout", "exit_code"],
        "on_lost": "retry",
    }
    assert spec_of(retry=whole).retry == RetryPolicy(
        attempts=5,
        backoff=Backoff.FIXED,
        delay=SECOND * 2,
        max_delay=SECOND * 60,
        jitter=0.0,
        exit_codes=frozenset({1, 75}),
        reasons=frozenset({"timeout", "exit_code"}),
        on_lost=True,
    )


@pytest.mark.parametrize(
    ("retry", "path"),
    [
        (0, "retry"),
        (True, "retry"),
        ("3", "retry"),
        ({}, "retry"),
        ({"attempts": 101}, "retry.attempts"),
        ({"attempts": 2, "dealy": "1s"}, "retry.dealy"),
        ({"attempts": 2, "delay": "soon"}, "retry.delay"),
        ({"attempts": 2, "backoff": "linear"}, "retry.backoff"),
        ({"attempts": 2, "backoff": []}, "retry.backoff"),
        ({"attempts": 2, "jitter": 2}, "retry.jitter"),
        ({"attempts": 2, "exit_codes": [0]}, "retry.exit_codes"),
        ({"attempts": 2, "exit_codes": [1, 1]}, "retry.exit_codes"),
        ({"attempts": 2, "exit_codes": 75}, "retry.exit_codes"),
        ({"attempts": 2, "reasons": ["lost"]}, "retry.reasons"),
        ({"attempts": 2, "reasons": [[]]}, "retry.reasons"),
        ({"attempts": 2, "on_lost": True}, "retry.on_lost"),
    ],
)
def test_what_is_wrong_with_a_policy_is_named(retry, path):
    with pytest.raises(InvalidError) as refused:
        spec_of(retry=retry)
    assert [fault.path for fault in refused.value.faults] == [path]


def test_timeouts_are_one_or_three():
    one, three = spec_of(timeout="5m"), spec_of(timeout={"queue": "1h", "setup": "30s", "execution": "2m"})
    assert (one.timeout, one.setup_timeout, one.queue_timeout) == (SECOND * 300, None, None)
    assert (three.timeout, three.setup_timeout, three.queue_timeout) == (SECOND * 120, SECOND * 30, SECOND * 3600)
    with pytest.raises(InvalidError) as refused:
        spec_of(timeout={"execution": "never", "exec": 1})
    assert {fault.path for fault in refused.value.faults} == {"timeout.execution", "timeout.exec"}


async def test_a_job_is_tried_again_until_it_succeeds(rig: Rig):
    spec = a_spec(retry=RetryPolicy(attempts=3, delay=SECOND, jitter=0))
    job = await rig.submit(spec)
    async with working(rig.dispatcher()):
        for attempt, code in enumerate((7, 8, 0), start=1):
            processes = await rig.executor.started(attempt)
            processes[-1].end(code)
            if code:
                await rig.changes.until(lambda attempt=attempt: len(rig.again) == attempt)
                rig.clock.advance(rig.again[-1])
        job = await rig.ended(job.id)

    assert (job.status, job.attempt, job.exit_code) == (JobStatus.SUCCEEDED, 3, 0)
    assert rig.again == [SECOND, SECOND * 2]
    kinds = await rig.journal(job.id)
    assert kinds == [
        EntryKind.QUEUED,
        *[EntryKind.CLAIMED, EntryKind.STARTED, EntryKind.RETRYING] * 2,
        *[EntryKind.CLAIMED, EntryKind.STARTED, EntryKind.FINISHED],
    ]
    async with rig.store.store.read() as repos:
        told = [entry.data for entry in await repos.journal.read(job.id) if entry.kind is EntryKind.RETRYING]
    assert [(entry["attempt"], entry["of"], entry["exit_code"], entry["delay_seconds"]) for entry in told] == [
        (1, 3, 7, 1),
        (2, 3, 8, 2),
    ]


async def test_the_last_attempt_decides(rig: Rig):
    job = await rig.submit(a_spec(retry=RetryPolicy(attempts=2, delay=SECOND, jitter=0)))
    async with working(rig.dispatcher()):
        (await rig.executor.started(1))[-1].end(1)
        await rig.changes.until(lambda: rig.again)
        rig.clock.advance(SECOND)
        (await rig.executor.started(2))[-1].end(2)
        job = await rig.ended(job.id)
    assert (job.status, job.reason, job.exit_code, job.attempt) == (JobStatus.FAILED, Reason.EXIT_CODE, 2, 2)
    assert len(rig.observer.finished) == 1


async def test_nobody_starts_the_next_attempt_before_it_is_due(rig: Rig):
    job = await rig.submit(a_spec(retry=RetryPolicy(attempts=2, delay=SECOND * 60, jitter=0)))
    async with working(rig.dispatcher()):
        (await rig.executor.started(1))[-1].end(1)
        await rig.changes.until(lambda: rig.again)
        rig.clock.advance(SECOND * 59)
        assert await rig.claim() == []
        assert (await rig.job(job.id)).status is JobStatus.QUEUED
        rig.clock.advance(SECOND)
        (await rig.executor.started(2))[-1].end(0)
        assert (await rig.ended(job.id)).status is JobStatus.SUCCEEDED


async def test_a_job_that_waits_for_its_next_attempt_can_be_cancelled(rig: Rig):
    job = await rig.submit(a_spec(retry=RetryPolicy(attempts=2, delay=SECOND * 60)))
    dispatcher = rig.dispatcher()
    canceller = Canceller(
        store=rig.store,
        clock=rig.clock,
        observer=rig.observer,
        feed=rig.feed,
        poke=dispatcher.cancel,
        wake=lambda: None,
    )
    async with working(dispatcher):
        (await rig.executor.started(1))[-1].end(1)
        await rig.changes.until(lambda: rig.again)
        job = await canceller.cancel(job.id, by="me")
    assert (job.status, job.attempt) == (JobStatus.CANCELLED, 1)


async def test_what_is_lost_is_run_again_only_where_the_policy_says_so(rig: Rig):
    for on_lost, expected in ((False, JobStatus.FAILED), (True, JobStatus.QUEUED)):
        claim = await rig.claimed(retry=RetryPolicy(attempts=2, on_lost=on_lost, delay=SECOND))
        async with rig.store.begin() as repos:
            await repos.jobs.start_attempt(claim, process="gone", token_digest=claim.job.id.encode())
            await repos.jobs.mark_started(claim, at=rig.clock.now(), setup_ms=0)
        await rig.runner(owner="other").adopt(await rig.adopt(), asyncio.Event())
        job = await rig.job(claim.job.id)
        assert job.status is expected
        assert (job.reason is Reason.LOST) is (not on_lost)


async def test_each_attempt_begins_with_nothing_of_the_one_before(rig: Rig):
    claim = await rig.claimed(retry=RetryPolicy(attempts=2, delay=SECOND))
    async with rig.store.begin() as repos:
        await repos.jobs.start_attempt(claim, process="p", token_digest=b"one")
        await repos.jobs.set_output(claim.job.id, 1, {"half": "done"})
        await repos.jobs.set_condition(claim.job.id, 1, condition=True)
        await repos.jobs.release(claim, after=SECOND)
    rig.clock.advance(SECOND)
    (again,) = await rig.claim()
    assert (again.job.attempt, again.job.has_output, again.job.condition) == (2, False, None)
    async with rig.store.store.read() as repos:
        assert await repos.jobs.owner_of(b"one") is None


async def test_a_job_that_waits_too_long_for_its_turn_is_given_up(rig: Rig):
    patient, impatient = await rig.submit(), await rig.submit(a_spec(queue_timeout=SECOND * 10))
    async with working(rig.dispatcher(slots=dict.fromkeys(rig.executors, 0))):
        rig.clock.advance(SECOND * 10)
        job = await rig.ended(impatient.id)
    assert (job.status, job.reason, job.attempt) == (JobStatus.TIMED_OUT, Reason.TIMEOUT, 0)
    assert "queue timeout" in str(job.message)
    assert (await rig.job(patient.id)).status is JobStatus.QUEUED


async def test_a_queue_timeout_is_about_the_first_attempt_only(rig: Rig):
    claim = await rig.claimed(queue_timeout=SECOND, retry=RetryPolicy(attempts=2, delay=SECOND * 60))
    async with rig.store.begin() as repos:
        await repos.jobs.release(claim, after=SECOND * 60)
    rig.clock.advance(SECOND * 30)
    async with rig.store.store.read() as repos:
        assert await repos.jobs.overdue("q") == []


async def test_a_job_that_was_claimed_just_now_is_not_given_up(rig: Rig):
    claim = await rig.claimed(queue_timeout=SECOND)
    with pytest.raises(ConflictError):
        await give_up_waiting(rig.store, rig.clock, claim.job.id, by="me")


async def test_a_setup_timeout_of_the_job_wins(rig: Rig):
    rig.executor.gate.clear()
    job = await rig.submit(a_spec(setup_timeout=timedelta(milliseconds=30)))
    async with working(rig.dispatcher()):
        job = await rig.ended(job.id)
    assert (job.status, job.reason) == (JobStatus.TIMED_OUT, Reason.TIMEOUT)
    assert "0.03 s" in str(job.message)
