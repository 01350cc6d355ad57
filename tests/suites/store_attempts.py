"""What a script says while its attempt lasts."""

from __future__ import annotations

import pytest

from orchestrator.errors import ConflictError, LeaseLostError
from orchestrator.model.jobs import JobStatus
from tests.suites.store_making import LEASE, ODD_JSON, StoreOpening, claim_all, claim_one, get, outcome


class AttemptSuite(StoreOpening):
    """What a script says while its attempt lasts."""

    async def test_a_token_speaks_for_its_attempt_until_the_job_ends(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.start_attempt(claim, process="p", token_digest=b"\0token")
            owner = await repos.jobs.owner_of(b"\0token")
            assert owner is not None
            assert (owner.job.id, owner.attempt) == (claim.job.id, 1)
            assert await repos.jobs.owner_of(b"other") is None
            [adopted] = await repos.jobs.adopt("two", "main", lease=LEASE, alone=True)
            assert await repos.jobs.owner_of(b"\0token") is not None
            await repos.jobs.finish(adopted, outcome(clock))
            assert await repos.jobs.owner_of(b"\0token") is None

    async def test_two_attempts_never_share_a_token(self, store, clock):
        first, second = await claim_one(store, clock), await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.start_attempt(first, process="p1", token_digest=b"t")
        with pytest.raises(ConflictError):
            async with store.begin() as repos:
                await repos.jobs.start_attempt(second, process="p2", token_digest=b"t")

    async def test_what_the_script_says_is_kept(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.set_output(claim.job.id, 1, ODD_JSON)
            await repos.jobs.set_output(claim.job.id, 1, None)
            await repos.jobs.set_condition(claim.job.id, 1, condition=True)
            await repos.jobs.set_condition(claim.job.id, 1, condition=False)
            await repos.jobs.set_progress(claim.job.id, 1, ODD_JSON)
            job = await repos.jobs.finish(claim, outcome(clock))
        assert (job.output, job.has_output, job.condition, job.progress) == (None, True, False, ODD_JSON)

    async def test_an_attempt_that_was_never_begun_keeps_its_number_and_is_counted(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.start_attempt(claim, process="p1", token_digest=b"t1")
            job = await repos.jobs.release(claim, begun=False)
        assert (job.status, job.attempt, job.given_back) == (JobStatus.QUEUED, 1, 1)
        [again] = await claim_all(store)
        assert (again.job.attempt, again.job.given_back, again.process) == (2, 1, None)
        async with store.begin() as repos:
            with pytest.raises(LeaseLostError):
                await repos.jobs.release(claim, begun=False)
        assert (await get(store, job.id)).given_back == 1

    async def test_what_an_attempt_says_after_its_end_is_refused(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.jobs.release(claim)
        [again] = await claim_all(store)

        async def refused(attempt: int) -> None:
            async with store.begin() as repos:
                with pytest.raises(LeaseLostError):
                    await repos.jobs.set_output(again.job.id, attempt, 1)
                with pytest.raises(LeaseLostError):
                    await repos.jobs.set_condition(again.job.id, attempt, condition=True)
                with pytest.raises(LeaseLostError):
                    await repos.jobs.set_progress(again.job.id, attempt, 1)

        await refused(1)
        await refused(3)
        async with store.begin() as repos:
            ended = await repos.jobs.finish(again, outcome(clock))
        await refused(2)
        assert await get(store, ended.id) == ended
        assert not ended.has_output
