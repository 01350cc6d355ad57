"""Submitting: which executor a job gets, what is stored, and one job per step of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ConflictError, InvalidError, UnavailableError
from orchestrator.jobs.submit import choose_executor
from orchestrator.model.jobs import JobStatus, RunId, TriggerKind
from orchestrator.model.journal import EntryKind
from orchestrator.model.specs import ExecutorKind
from tests.fakes import NEW_YEAR
from tests.jobs.scripted import Rig, a_spec, a_submission, open_rig

PROCESS, DOCKER = ExecutorKind.PROCESS, ExecutorKind.DOCKER


@pytest.fixture
async def rig(tmp_path: Path):
    async with open_rig(tmp_path / "attempts", [PROCESS, DOCKER]) as rig:
        yield rig


@pytest.mark.parametrize(
    ("named", "image", "default", "chosen"),
    [
        (None, None, PROCESS, PROCESS),
        (None, None, DOCKER, DOCKER),
        (None, "debian", PROCESS, DOCKER),
        (DOCKER, None, PROCESS, DOCKER),
        (PROCESS, None, DOCKER, PROCESS),
        (PROCESS, "debian", DOCKER, PROCESS),
    ],
)
def test_the_executor_is_the_named_one_then_that_of_an_image_then_the_default(named, image, default, chosen):
    assert choose_executor(a_spec(executor=named, image=image), default) is chosen


async def test_a_job_is_stored_as_queued_with_its_journal_entry(rig: Rig):
    spec = a_spec(input={"day": "today"}, priority=3)
    woken = []

    job = await rig.submitter(wake=lambda: woken.append(True)).submit(a_submission(spec, by="token:ci"))

    assert job == await rig.job(job.id)
    assert (job.status, job.attempt, job.queue, job.created_at) == (JobStatus.QUEUED, 0, "q", NEW_YEAR)
    assert (job.spec, job.input, job.priority, job.trigger) == (spec, {"day": "today"}, 3, TriggerKind.API)
    async with rig.store.read() as repos:
        (entry,) = await repos.journal.read(job.id)
    assert (entry.kind, entry.by, entry.data) == (EntryKind.QUEUED, "token:ci", {"executor": PROCESS, "trigger": "api"})
    assert woken == [True]
    assert rig.observer.submitted == [job]


async def test_an_executor_that_is_not_in_use_is_refused_with_those_that_are(rig: Rig):
    submitter = rig.submitter(executors=frozenset({PROCESS}))

    with pytest.raises(InvalidError, match=r"docker executor is not in use here \(in use: process\)") as refused:
        await submitter.submit(a_submission(a_spec(image="debian")))

    assert refused.value.code == "executor_missing"
    assert [fault.path for fault in refused.value.faults] == ["executor"]
    async with rig.store.read() as repos:
        assert await repos.jobs.count() == {}


async def test_a_step_of_a_run_has_one_job_however_often_it_is_submitted(rig: Rig):
    first = await rig.submitter().submit(a_submission(run_id=RunId("run_1"), step="extract"))
    again = await rig.submitter().submit(a_submission(a_spec("other"), run_id=RunId("run_1"), step="extract"))
    other = await rig.submitter().submit(a_submission(run_id=RunId("run_1"), step="load"))

    assert again == first
    assert other.id != first.id
    assert await rig.journal(first.id) == [EntryKind.QUEUED]
    async with rig.store.read() as repos:
        assert [job.step for job in await repos.jobs.of_run(RunId("run_1"))] == ["extract", "load"]


async def test_jobs_without_a_run_are_never_the_same(rig: Rig):
    assert (await rig.submit()).id != (await rig.submit()).id


async def test_a_job_that_was_not_stored_is_not_announced(rig: Rig):
    woken = []
    rig.store.is_away = True

    with pytest.raises(UnavailableError):
        await rig.submitter(wake=lambda: woken.append(True)).submit(a_submission())

    assert (woken, rig.observer.submitted) == ([], [])


async def test_a_transaction_of_the_caller_that_fails_stores_no_job(rig: Rig):
    with pytest.raises(ConflictError):
        async with rig.store.begin() as repos:
            await rig.submitter().enqueue(repos, a_submission())
            raise ConflictError("The caller changed its mind.")

    async with rig.store.read() as repos:
        assert await repos.jobs.count() == {}
    assert await rig.journal("job_1") == []
