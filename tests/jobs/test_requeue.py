"""What has failed for good can be run again, once, as a new job; what has not is left alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.store import JobFilter, Outcome
from orchestrator.errors import ConflictError, NotFoundError
from orchestrator.jobs.requeue import Requeuer
from orchestrator.model.jobs import JobId, JobStatus, Reason, RunId
from orchestrator.model.journal import EntryKind
from tests.fakes import NEW_YEAR
from tests.jobs.scripted import Rig, a_spec, a_submission, open_rig


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts") as rig:
        yield rig


@pytest.fixture
def requeuer(rig: Rig) -> Requeuer:
    return Requeuer(store=rig.store, clock=rig.clock, submitter=rig.submitter())


async def ended(rig: Rig, status: JobStatus, **changes) -> JobId:
    claim = await rig.claimed(**changes)
    reason = None if status is JobStatus.SUCCEEDED else Reason.EXIT_CODE
    async with rig.store.begin() as repos:
        await repos.jobs.finish(claim, Outcome(status=status, finished_at=rig.clock.now(), reason=reason))
    return claim.job.id


async def dead(rig: Rig) -> list[JobId]:
    async with rig.store.read() as repos:
        return [job.id for job in (await repos.jobs.page(JobFilter(dead=True), after=None, limit=100)).items]


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.TIMED_OUT, JobStatus.CANCELLED])
async def test_a_dead_job_runs_again_as_a_new_one(rig: Rig, requeuer: Requeuer, status: JobStatus):
    job_id = await ended(rig, status, name="nightly", input={"day": 1}, env={"A": "b"})
    again = await requeuer.requeue(job_id, by="me")
    before = await rig.job(job_id)
    assert (again.status, again.attempt, again.id != job_id) == (JobStatus.QUEUED, 0, True)
    assert (again.spec, again.input) == (before.spec, before.input)
    assert before.status is status
    assert (await rig.journal(job_id))[-1] is EntryKind.REQUEUED
    assert [claim.job.id for claim in await rig.claim()] == [again.id]


async def test_asked_twice_or_at_once_it_is_one_job(rig: Rig, requeuer: Requeuer):
    job_id = await ended(rig, JobStatus.FAILED)
    jobs = await asyncio.gather(*(requeuer.requeue(job_id, by="me") for _ in range(5)))
    assert len({job.id for job in jobs}) == 1
    assert (await rig.journal(job_id)).count(EntryKind.REQUEUED) == 1


async def test_the_dead_are_listed_until_somebody_sees_to_them(rig: Rig, requeuer: Requeuer):
    failed, late = await ended(rig, JobStatus.FAILED), await ended(rig, JobStatus.TIMED_OUT)
    await ended(rig, JobStatus.SUCCEEDED)
    await ended(rig, JobStatus.CANCELLED)
    await rig.submit()
    assert await dead(rig) == [late, failed]
    again = await requeuer.requeue(failed, by="me")
    assert await dead(rig) == [late]
    (claim,) = [claim for claim in await rig.claim() if claim.job.id == again.id]
    async with rig.store.begin() as repos:
        await repos.jobs.finish(claim, Outcome(status=JobStatus.FAILED, finished_at=rig.clock.now()))
    assert await dead(rig) == [again.id, late]


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, None])
async def test_what_is_not_dead_is_left_alone(rig: Rig, requeuer: Requeuer, status):
    job_id = (await rig.submit()).id if status is None else await ended(rig, status)
    with pytest.raises(ConflictError) as refused:
        await requeuer.requeue(job_id, by="me")
    assert refused.value.code == "job_not_dead"


async def test_a_step_is_its_runs_to_take_further(rig: Rig, requeuer: Requeuer):
    submission = replace(a_submission(a_spec()), run_id=RunId("run_1"), step="a")
    job = await rig.submitter().submit(submission)
    (claim,) = await rig.claim()
    async with rig.store.begin() as repos:
        await repos.jobs.finish(claim, Outcome(status=JobStatus.FAILED, finished_at=rig.clock.now()))
    with pytest.raises(ConflictError) as refused:
        await requeuer.requeue(job.id, by="me")
    assert refused.value.code == "job_of_run"
    assert await dead(rig) == []


async def test_a_job_that_is_not_there_is_named(requeuer: Requeuer):
    with pytest.raises(NotFoundError):
        await requeuer.requeue(JobId("job_x"), by="me")


async def test_what_is_run_again_is_for_the_same_scheduled_time(rig: Rig, requeuer: Requeuer):
    """A script that works on the data of its day works on the same day's."""
    job = await rig.submitter().submit(a_submission(scheduled_at=NEW_YEAR))
    (claim,) = await rig.claim()
    async with rig.store.begin() as repos:
        await repos.jobs.finish(claim, Outcome(status=JobStatus.FAILED, finished_at=rig.clock.now()))
    rig.clock.advance(timedelta(days=1))
    again = await requeuer.requeue(job.id, by="me")
    assert (again.scheduled_at, (await rig.job(again.id)).scheduled_at) == (NEW_YEAR, NEW_YEAR)
