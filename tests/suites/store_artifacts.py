"""Which files jobs left."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from orchestrator.contracts.store import Store
from orchestrator.errors import LeaseLostError
from orchestrator.model.artifacts import Artifact
from orchestrator.model.jobs import JobId
from tests.suites.store_making import (
    ODD_TEXT,
    StoreOpening,
    assert_same,
    claim_one,
    insert,
    make_artifact,
    make_job,
    outcome,
)

NAMES = ["A", "a", "a/b", "a0", "ab", "ä", "日本", "\U0001f600"]  # in the order of code points


async def put(store: Store, job_id: JobId, artifacts: Sequence[Artifact]) -> None:
    async with store.begin() as repos:
        await repos.artifacts.replace(job_id, artifacts)


async def listed(store: Store, job_id: JobId) -> list[Artifact]:
    async with store.read() as repos:
        return (await repos.artifacts.page(job_id, after=None, limit=1000)).items


class ArtifactSuite(StoreOpening):
    """Which files jobs left."""

    async def test_an_artifact_comes_back_as_it_was_stored(self, store, clock):
        job = make_job(clock)
        await insert(store, job)
        odd = make_artifact(
            clock,
            job.id,
            name=ODD_TEXT,
            size=2**53,
            attempt=7,
            media_type=ODD_TEXT,
            place=ODD_TEXT,
            folder=ODD_TEXT,
        )
        await put(store, job.id, [odd])
        async with store.read() as repos:
            found = await repos.artifacts.get(job.id, ODD_TEXT)
            assert await repos.artifacts.get(job.id, "other") is None
            assert await repos.artifacts.get(JobId("other"), ODD_TEXT) is None
        assert_same([found], [odd])
        assert_same(await listed(store, job.id), [odd])

    async def test_artifacts_are_listed_by_name_page_by_page(self, store, clock):
        job, other = make_job(clock), make_job(clock)
        await insert(store, job, other)
        await put(store, job.id, [make_artifact(clock, job.id, name=name) for name in reversed(NAMES)])
        await put(store, other.id, [make_artifact(clock, other.id, name="of another")])
        seen: list[str] = []
        after = None
        for _ in range(3):
            async with store.read() as repos:
                page = await repos.artifacts.page(job.id, after=after, limit=3)
            seen += [artifact.name for artifact in page.items]
            after = page.next_cursor
        assert seen == NAMES
        assert after is None

    async def test_what_a_later_attempt_left_takes_the_place_of_what_was_there(self, store, clock):
        job = make_job(clock)
        await insert(store, job)
        await put(store, job.id, [make_artifact(clock, job.id, name=name) for name in ("a", "b")])
        await put(store, job.id, [make_artifact(clock, job.id, name="b", attempt=2)])
        assert [(artifact.name, artifact.attempt) for artifact in await listed(store, job.id)] == [("b", 2)]
        await put(store, job.id, [])
        assert await listed(store, job.id) == []

    async def test_artifacts_are_forgotten_where_the_result_is_refused(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.adopt("two", "main", lease=timedelta(seconds=15), alone=True)
        with pytest.raises(LeaseLostError):
            async with store.begin() as repos:
                await repos.artifacts.replace(claim.job.id, [make_artifact(clock, claim.job.id)])
                await repos.jobs.finish(claim, outcome(clock))
        assert await listed(store, claim.job.id) == []

    async def test_jobs_with_old_artifacts_come_the_oldest_first(self, store, clock):
        jobs = [make_job(clock) for _ in range(3)]
        await insert(store, *jobs)
        for days, job in zip((2, 3, 1), jobs, strict=True):
            made = clock.now() - timedelta(days=days)
            await put(store, job.id, [make_artifact(clock, job.id, name=name, created_at=made) for name in "ab"])
        before = clock.now() - timedelta(days=1)
        async with store.read() as repos:
            assert await repos.artifacts.made_before(before, limit=10) == [jobs[1].id, jobs[0].id]
            assert await repos.artifacts.made_before(before, limit=2) == [jobs[1].id]
        async with store.begin() as repos:
            await repos.artifacts.forget(jobs[1].id)
            await repos.artifacts.forget(JobId("nobody"))
        async with store.read() as repos:
            assert await repos.artifacts.made_before(before, limit=10) == [jobs[0].id]
        assert [artifact.name for artifact in await listed(store, jobs[2].id)] == ["a", "b"]
