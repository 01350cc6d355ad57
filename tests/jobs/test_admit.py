"""Concurrency keys: so many under way as the limit says; the others wait, are skipped, or take a place."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.store import OutboxItem, Outcome
from orchestrator.jobs.admit import Admitter
from orchestrator.jobs.cancel import Canceller
from orchestrator.jobs.finish import ADMIT, finish, retry
from orchestrator.jobs.submit import Submission
from orchestrator.model.jobs import Claim, Job, JobId, JobStatus, Reason, RunId
from orchestrator.model.journal import EntryKind
from orchestrator.model.specs import Concurrency, WhenFull
from tests.jobs.scripted import Rig, a_spec, a_submission, open_rig


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


@pytest.fixture
def woken() -> list[bool]:
    return []


@pytest.fixture
def admitter(rig: Rig, woken: list[bool]) -> Admitter:
    return Admitter(store=rig.store, clock=rig.clock, wake=lambda: woken.append(True))


def limited(limit: int = 1, when_full: WhenFull = WhenFull.QUEUE, key: str = "db") -> dict[str, Concurrency]:
    return {"concurrency": Concurrency(limit=limit, key=key, when_full=when_full)}


def a_replacing(limit: int = 1) -> Submission:
    return a_submission(a_spec(**limited(limit, WhenFull.REPLACE)))


async def claimed_ids(rig: Rig) -> list[JobId]:
    return [claim.job.id for claim in await rig.claim()]


async def end(rig: Rig, claim: Claim, status: JobStatus = JobStatus.SUCCEEDED) -> None:
    await finish(rig.store, rig.clock, claim, Outcome(status=status, finished_at=rig.clock.now()), by="me")


async def items(rig: Rig) -> list[OutboxItem]:
    async with rig.store.read() as repos:
        return [item for item in await repos.outbox.due("q", at=rig.clock.now(), limit=100) if item.kind == ADMIT]


async def follow(rig: Rig, admitter: Admitter) -> None:
    """Do what the follower does with what is in the outbox."""
    for item in await items(rig):
        await admitter.follow(item)
        async with rig.store.begin() as repos:
            await repos.outbox.delivered(item.id, at=rig.clock.now())


async def test_a_job_beyond_the_limit_waits_until_another_has_ended(rig: Rig, admitter: Admitter, woken: list[bool]):
    first, second, third = [await rig.submit(**limited()) for _ in range(3)]
    assert [first.held, second.held, third.held] == [False, True, True]
    (claim,) = await rig.claim()
    assert claim.job.id == first.id
    await follow(rig, admitter)
    assert await claimed_ids(rig) == []

    await end(rig, claim)
    await follow(rig, admitter)

    assert woken == [True]
    assert await claimed_ids(rig) == [second.id]
    assert await rig.journal(second.id) == [EntryKind.QUEUED, EntryKind.HELD, EntryKind.ADMITTED]
    assert (await rig.job(third.id)).held


async def test_keys_do_not_count_each_other_and_jobs_without_one_are_free(rig: Rig):
    held = [
        (await rig.submit(**changes)).held
        for changes in (limited(key="a"), limited(key="b"), {}, {}, limited(key="a"), limited(2, key="b"))
    ]
    assert held == [False, False, False, False, True, False]


async def test_the_limit_is_that_of_the_job_that_comes(rig: Rig, admitter: Admitter):
    await rig.submit(**limited(1))
    assert (await rig.submit(**limited(1))).held
    wide = await rig.submit(**limited(3))
    assert wide.held  # none overtakes those that wait
    await follow(rig, admitter)
    assert (await rig.job(wide.id)).held


async def test_the_higher_priority_is_admitted_first(rig: Rig, admitter: Admitter):
    await rig.submit(**limited())
    low, high = await rig.submit(**limited()), await rig.submit(priority=5, **limited())
    (claim,) = await rig.claim()
    await end(rig, claim)
    await follow(rig, admitter)
    assert (await rig.job(low.id)).held
    assert await claimed_ids(rig) == [high.id]


async def test_a_job_between_two_attempts_keeps_its_place(rig: Rig, admitter: Admitter):
    first = await rig.submit(**limited())
    second = await rig.submit(**limited())
    (claim,) = await rig.claim()
    failed = Outcome(status=JobStatus.FAILED, reason=Reason.EXIT_CODE, exit_code=1, finished_at=rig.clock.now())
    await retry(rig.store, rig.clock, claim, failed, timedelta(0), by="me")
    await admitter.admit(first.concurrency_key or "")
    assert (await rig.job(second.id)).held
    assert await claimed_ids(rig) == [first.id]


async def test_a_job_to_be_skipped_is_final_at_once_and_says_why(rig: Rig):
    await rig.submit(**limited())
    skipped = await rig.submit(**limited(when_full=WhenFull.SKIP))
    assert (skipped.status, skipped.reason) == (JobStatus.SKIPPED, Reason.LIMIT)
    assert "had not ended" in (skipped.message or "")
    assert await rig.journal(skipped.id) == [EntryKind.QUEUED, EntryKind.FINISHED]
    assert len(await claimed_ids(rig)) == 1


async def test_what_replaces_ends_the_oldest_and_what_waited(rig: Rig, admitter: Admitter):
    running = await rig.submit(**limited())
    (claim,) = await rig.claim()
    waiting = await rig.submit(**limited())
    told: list[Job] = []

    newest = await rig.submitter(ended=told.append).submit(a_replacing())

    assert newest.held
    assert [job.id for job in told] == [running.id, waiting.id]
    assert (await rig.job(running.id)).cancel_requested_at is not None
    replaced = await rig.job(waiting.id)
    assert (replaced.status, replaced.reason) == (JobStatus.CANCELLED, Reason.CANCELLED)
    assert newest.id in (replaced.message or "")
    assert EntryKind.REPLACED in await rig.journal(running.id)
    await end(rig, claim, JobStatus.CANCELLED)
    await follow(rig, admitter)
    assert await claimed_ids(rig) == [newest.id]


async def test_of_many_that_replace_each_other_the_newest_remains(rig: Rig, admitter: Admitter):
    for _ in range(5):
        newest = await rig.submitter().submit(a_replacing())
    await follow(rig, admitter)
    assert await claimed_ids(rig) == [newest.id]


async def test_with_two_places_only_the_oldest_makes_place(rig: Rig):
    oldest, other = [await rig.submit(**limited(2)) for _ in range(2)]
    await rig.claim()
    await rig.submitter().submit(a_replacing(2))
    assert (await rig.job(oldest.id)).cancel_requested_at is not None
    assert (await rig.job(other.id)).cancel_requested_at is None


async def test_a_held_job_can_be_cancelled_and_leaves_the_others_in_order(rig: Rig, admitter: Admitter):
    _, second, third = [await rig.submit(**limited()) for _ in range(3)]
    (claim,) = await rig.claim()
    canceller = Canceller(
        store=rig.store, clock=rig.clock, observer=rig.observer, feed=rig.feed, poke=lambda _: None, wake=rig.follow
    )
    cancelled = await canceller.cancel(second.id, by="me")
    assert cancelled.status is JobStatus.CANCELLED
    await end(rig, claim)
    await follow(rig, admitter)
    assert await claimed_ids(rig) == [third.id]


async def test_however_many_come_and_end_at_once_the_limit_holds(rig: Rig, admitter: Admitter):
    jobs = await asyncio.gather(*(rig.submit(**limited(3)) for _ in range(20)))
    done: list[JobId] = []
    while len(done) < len(jobs):
        claims = await rig.claim()
        assert 0 < len(claims) <= 3
        await asyncio.gather(*(end(rig, claim) for claim in claims))
        done += [claim.job.id for claim in claims]
        await asyncio.gather(follow(rig, admitter), admitter.admit(jobs[0].concurrency_key or ""))
    assert done == [job.id for job in sorted(jobs, key=lambda job: done.index(job.id))]
    assert await claimed_ids(rig) == []


async def test_admitting_twice_admits_once(rig: Rig, admitter: Admitter):
    _, second, third = [await rig.submit(**limited()) for _ in range(3)]
    (claim,) = await rig.claim()
    await end(rig, claim)
    (item,) = await items(rig)
    await admitter.follow(item)
    await admitter.follow(item)
    assert [(await rig.job(job.id)).held for job in (second, third)] == [False, True]


@pytest.mark.parametrize("when_full", WhenFull)
async def test_a_step_that_is_known_already_changes_nothing(rig: Rig, when_full: WhenFull):
    """Who makes the steps of a run may die between storing one and noting that, and then makes it again."""
    spec = a_spec(**limited(when_full=when_full))
    submission = a_submission(spec, run_id=RunId("run_1"), step="a")
    step = await rig.submitter().submit(submission)
    before = await rig.job(step.id)

    again = await rig.submitter().submit(submission)

    assert again.id == step.id
    assert await rig.job(step.id) == before
    assert await rig.journal(step.id) == [EntryKind.QUEUED]
    assert await items(rig) == []
    assert await claimed_ids(rig) == [step.id]
