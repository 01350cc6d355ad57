"""What holds for every method of every repository: outside of its block, through `read`, on a closed store."""

from __future__ import annotations

import pytest

from orchestrator.errors import ConflictError, CroniumError, UnavailableError
from orchestrator.model.jobs import Claim
from tests.suites.store_calls import fenced_calls, promised_methods, reading_calls, writing_calls
from tests.suites.store_making import BoomError, StoreOpening, claim_one, make_event, make_job, make_run, row_counts


class FaultSuite(StoreOpening):
    """What holds for every method of every repository: outside of its block, through `read`, on a closed store."""

    async def test_every_promised_method_is_among_the_calls(self, store, clock):
        """M14: a method that is new in the contract fails here until the suites call it."""
        claim, run, event = Claim(job=make_job(clock), fence=1), make_run(clock), make_event(clock)
        assert {*reading_calls(claim, run, event), *writing_calls(claim, run, event, clock)} == promised_methods()
        assert set(fenced_calls(claim, clock)) == promised_methods(fenced=True)

    async def test_on_a_closed_store_every_method_says_that_it_is_unavailable(self, tmp_path, clock):
        """M16, M29: nothing of a driver escapes. What a block need not wait for is refused at its end."""
        claim, run, event = Claim(job=make_job(clock), fence=1), make_run(clock), make_event(clock)
        async with self.open_store(tmp_path, clock) as store:
            await store.check()
        for call in (reading_calls(claim, run, event) | writing_calls(claim, run, event, clock)).values():
            with pytest.raises(UnavailableError):
                async with store.begin() as repos:
                    await call(repos)
        for name, call in reading_calls(claim, run, event).items():
            with pytest.raises(UnavailableError):
                async with store.read() as repos:
                    await call(repos)
                    pytest.fail(f"{name} worked on a closed store")
        with pytest.raises(UnavailableError):
            await store.check()

    async def test_repositories_are_refused_after_their_block_has_ended(self, store, clock):
        """M16: whether it was committed or rolled back, nothing reads or writes through it any more."""
        claim, run, event = await claim_one(store, clock), make_run(clock), make_event(clock)
        async with store.begin() as committed:
            await committed.runs.insert(run)
            await committed.events.insert(event)
        with pytest.raises(BoomError):
            async with store.begin() as failed:
                await failed.runs.get(run.id)
                raise BoomError
        async with store.begin() as unused:
            pass
        before = await row_counts(store)
        for repos in (committed, failed, unused):
            for name, call in (reading_calls(claim, run, event) | writing_calls(claim, run, event, clock)).items():
                with pytest.raises(ConflictError):
                    await call(repos)
                    pytest.fail(f"{name} worked after the end of its block")
        assert await row_counts(store) == before
        async with store.read() as repos:
            assert await repos.jobs.get(claim.job.id) == claim.job
            assert await repos.runs.get(run.id) == run

    async def test_through_read_every_question_is_answered_and_every_write_is_refused(self, store, clock):
        """M16: what is not in a transaction changes nothing."""
        claim, run, event = await claim_one(store, clock), make_run(clock), make_event(clock)
        async with store.begin() as repos:
            await repos.runs.insert(run)
            await repos.events.insert(event)
        before = await row_counts(store)
        async with store.begin() as repos:
            answers = {name: await call(repos) for name, call in reading_calls(claim, run, event).items()}
        async with store.read() as repos:
            for name, call in writing_calls(claim, run, event, clock).items():
                with pytest.raises(CroniumError):
                    await call(repos)
                    pytest.fail(f"{name} wrote without a transaction")
            for name, call in reading_calls(claim, run, event).items():
                assert await call(repos) == answers[name], name
        assert await row_counts(store) == before
