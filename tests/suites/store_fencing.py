"""Fences: who is not, or no more, the supervisor of a job changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.contracts.store import Store
from orchestrator.errors import LeaseLostError
from orchestrator.model.jobs import Claim, JobStatus
from orchestrator.model.logs import Cursor, Position
from tests.fakes import FakeClock
from tests.suites.store_calls import Call, fenced_calls, saying_calls
from tests.suites.store_making import LEASE, StoreOpening, claim_all, claim_one, get, make_lines, outcome


async def claim_and_work(store: Store, clock: FakeClock) -> Claim:
    """A claimed job whose attempt has started and put out a line."""
    claim = await claim_one(store, clock)
    async with store.begin() as repos:
        await repos.jobs.start_attempt(claim, process="p", token_digest=b"t")
        await repos.jobs.mark_started(claim, at=clock.now(), setup_ms=1)
        await repos.logs.append(claim, make_lines(clock, 1, ["a"]), Cursor(stdout=Position(bytes=2, newlines=1)))
    return replace(claim, job=await get(store, claim.job.id), process="p")


async def all_about(store: Store, claim: Claim) -> list[object]:
    """Everything a supervisor can change."""
    async with store.read() as repos:
        return [
            await repos.jobs.get(claim.job.id),
            await repos.logs.read(claim.job.id, after=0, limit=100),
            await repos.logs.cursor(claim.job.id),
            [await repos.jobs.owner_of(digest) for digest in (b"t", b"late")],
        ]


async def assert_refused(store: Store, claim: Claim, calls: dict[str, Call]) -> None:
    """Each call raises `LeaseLostError`, also where the caller catches it inside its block, and changes nothing."""
    before = await all_about(store, claim)
    for name, call in calls.items():
        with pytest.raises(LeaseLostError):
            async with store.begin() as repos:
                await call(repos)
                pytest.fail(f"{name} was not refused")
        async with store.begin() as repos:
            with pytest.raises(LeaseLostError):
                await call(repos)
                pytest.fail(f"{name} was not refused")
    assert await all_about(store, claim) == before


class FencingSuite(StoreOpening):
    """Fences: who is not, or no more, the supervisor of a job changes nothing."""

    async def test_after_its_lease_expired_and_was_adopted_a_supervisor_is_refused(self, store, clock):
        """M40, M43: the late one is refused everywhere, the adopter and the script go on."""
        late = await claim_and_work(store, clock)
        await self.pass_time(clock, LEASE)
        async with store.begin() as repos:
            [adopted] = await repos.jobs.adopt("two", "main", lease=LEASE, alone=False)
        await assert_refused(store, late, fenced_calls(late, clock))
        async with store.begin() as repos:
            for say in saying_calls(late).values():  # the attempt is the same one
                await say(repos)
            ended = await repos.jobs.finish(adopted, outcome(clock))
        assert (ended.status, ended.output, ended.log.lines) == (JobStatus.SUCCEEDED, "late", 1)

    async def test_an_expired_lease_that_nobody_adopted_is_still_good(self, store, clock):
        claim = await claim_and_work(store, clock)
        await self.pass_time(clock, LEASE + timedelta(days=1))
        for name, call in fenced_calls(claim, clock).items():
            if name not in ("jobs.release", "jobs.finish"):
                async with store.begin() as repos:
                    await call(repos)
        async with store.begin() as repos:
            assert await repos.jobs.renew("one", lease=LEASE) == {claim.job.id}
            assert (await repos.jobs.finish(claim, outcome(clock))).log.lines == 2

    async def test_after_the_end_supervisor_and_script_are_refused(self, store, clock):
        claim = await claim_and_work(store, clock)
        async with store.begin() as repos:
            await repos.jobs.finish(claim, outcome(clock, JobStatus.FAILED))
        await assert_refused(store, claim, fenced_calls(claim, clock) | saying_calls(claim))

    async def test_after_its_release_supervisor_and_script_are_refused(self, store, clock):
        claim = await claim_and_work(store, clock)
        async with store.begin() as repos:
            await repos.jobs.release(claim)
        await assert_refused(store, claim, fenced_calls(claim, clock) | saying_calls(claim))

    async def test_when_another_attempt_runs_the_one_before_is_refused(self, store, clock):
        late = await claim_and_work(store, clock)
        async with store.begin() as repos:
            await repos.jobs.release(late)
        [claim] = await claim_all(store, "two")
        await assert_refused(store, late, fenced_calls(late, clock) | saying_calls(late))
        async with store.begin() as repos:
            await repos.jobs.start_attempt(claim, process="p2", token_digest=b"t2")
            assert await repos.jobs.owner_of(b"t") is None

    async def test_a_fence_that_was_never_given_out_is_refused(self, store, clock):
        claim = await claim_and_work(store, clock)
        for fence in (0, -1, claim.fence + 1, 2**62):
            await assert_refused(store, claim, fenced_calls(replace(claim, fence=fence), clock))

    async def test_every_fenced_write_of_the_latest_claim_is_kept(self, store, clock):
        for name in fenced_calls(await claim_one(store, clock), clock):
            claim = await claim_and_work(store, clock)
            before = await all_about(store, claim)
            async with store.begin() as repos:
                await fenced_calls(claim, clock)[name](repos)
            assert await all_about(store, claim) != before, name
            async with store.begin() as repos:  # the next one has the same token
                if name == "jobs.release":
                    await repos.jobs.finish_queued(claim.job.id, outcome(clock))
                elif name != "jobs.finish":
                    await repos.jobs.finish(claim, outcome(clock))
