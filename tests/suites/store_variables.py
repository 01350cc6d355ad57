"""Variables - scopes, versions, pages, limits - and the answers to scripts' writes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from orchestrator.errors import ConflictError, LeaseLostError, NotFoundError
from orchestrator.jobs.variables import Condition, remove
from orchestrator.model.variables import MAX_VALUE_BYTES
from tests.suites.store_making import ODD_JSON, ODD_TEXT, StoreOpening, make_job

LEASE = timedelta(seconds=15)


async def claim_one(store, clock):
    async with store.begin() as repos:
        job = await repos.jobs.insert(make_job(clock))
        claims = await repos.jobs.claim("one", "main", {job.executor: 1}, lease=LEASE)
    return claims[0]


class VariableSuite(StoreOpening):
    """Variables, beyond what `RecordSuite` tests of reading and writing one."""

    async def test_a_variable_keeps_its_description_until_it_gets_another(self, store, clock):
        async with store.begin() as repos:
            first = await repos.variables.set("global", "k", 1, at=clock.now(), by="token:x", description=ODD_TEXT)
            second = await repos.variables.set("global", "k", 2, at=clock.now(), by="job_1")
            third = await repos.variables.set("global", "k", 3, at=clock.now(), description="")
        assert (first.description, first.updated_by) == (ODD_TEXT, "token:x")
        assert (second.description, second.updated_by) == (ODD_TEXT, "job_1")
        assert (third.description, third.updated_by) == ("", None)

    async def test_a_variable_that_comes_back_has_no_version_it_had(self, store, clock):
        async with store.begin() as repos:
            for value in range(3):
                await repos.variables.set("global", "k", value, at=clock.now())
            gone = await repos.variables.delete("global", "k")
            assert await repos.variables.get("global", "k") is None
            back = await repos.variables.set("global", "k", 9, at=clock.now())
            other_scope = await repos.variables.set("event:1", "k", 9, at=clock.now())
        assert (gone.version, gone.value) == (3, 2)
        assert (back.version, other_scope.version) == (4, 1)

    async def test_deleting_what_is_not_there_changes_nothing(self, store, clock):
        async with store.begin() as repos:
            assert await repos.variables.delete("global", ODD_TEXT) is None
            assert (await repos.variables.set("global", "k", 1, at=clock.now())).version == 1

    async def test_a_variable_is_deleted_only_in_the_version_that_is_meant(self, store, clock):
        async with store.begin() as repos:
            await repos.variables.set("global", "k", 1, at=clock.now())
            assert await repos.variables.delete("global", "k", version=2) is None
            assert (await repos.variables.get("global", "k")).version == 1
            assert (await repos.variables.delete("global", "k", version=1)).value == 1
            assert await repos.variables.get("global", "k") is None

    async def test_many_that_make_change_and_remove_a_variable_at_once_all_succeed(self, store, clock):
        """In whatever order they take what they need, none of them waits for one that waits for it."""

        async def live(number: int) -> None:
            for _ in range(10):
                async with store.begin() as repos:
                    found = await repos.variables.set("global", "k", number, at=clock.now())
                async with store.begin() as repos:
                    await remove(repos, "global", "k", condition=Condition(version=found.version))
                with suppress(NotFoundError):
                    async with store.begin() as repos:
                        await remove(repos, "global", "k")

        await asyncio.gather(*(live(number) for number in range(8)))
        async with store.read() as repos:
            assert await repos.variables.get("global", "k") is None

    async def test_a_scope_takes_no_more_new_keys_than_it_may_hold(self, store, clock):
        async with store.begin() as repos:
            for key in ("a", "b"):
                await repos.variables.set("global", key, 1, at=clock.now(), most=2)
        with pytest.raises(ConflictError, match="takes no more") as refused:
            async with store.begin() as repos:
                await repos.variables.set("global", "c", 1, at=clock.now(), most=2)
        assert refused.value.code == "too_many_variables"
        async with store.begin() as repos:
            assert (await repos.variables.set("global", "a", 2, at=clock.now(), most=2)).version == 2
            await repos.variables.set("event:1", "c", 1, at=clock.now(), most=2)
            await repos.variables.delete("global", "b")
            await repos.variables.set("global", "c", 1, at=clock.now(), most=2)

    async def test_many_that_create_at_once_do_not_pass_the_limit(self, store, clock):
        async def create(number: int) -> bool:
            try:
                async with store.begin() as repos:
                    await repos.variables.set("global", f"k{number}", number, at=clock.now(), most=5)
            except ConflictError:
                return False
            return True

        assert sum(await asyncio.gather(*(create(number) for number in range(12)))) == 5
        async with store.read() as repos:
            assert len((await repos.variables.page("global", prefix="", after=None, limit=100)).items) == 5

    async def test_what_is_locked_is_changed_by_one_at_a_time(self, store, clock):
        """Each reads, adds and writes: no addition is lost, whether the variable was there or not."""

        async def add() -> None:
            async with store.begin() as repos:
                found = await repos.variables.lock("global", "n")
                await asyncio.sleep(0)
                await repos.variables.set("global", "n", (found.value if found else 0) + 1, at=clock.now())

        await asyncio.gather(*(add() for _ in range(30)))
        async with store.read() as repos:
            found = await repos.variables.get("global", "n")
        assert (found.value, found.version) == (30, 30)

    async def test_pages_list_keys_in_order_by_prefix_without_gaps(self, store, clock):
        keys = ["A", "Z", "a", "a/1", "a/2", "a\\", "a\\0", "b", "é", "\U0001f600"]
        async with store.begin() as repos:
            for key in reversed(keys):
                await repos.variables.set("global", key, {"of": key}, at=clock.now())
            await repos.variables.set("event:1", "elsewhere", 1, at=clock.now())

        async def pages(prefix: str, limit: int) -> list[str]:
            found, cursor = [], None
            while True:
                async with store.read() as repos:
                    page = await repos.variables.page("global", prefix=prefix, after=cursor, limit=limit)
                assert len(page.items) <= limit
                found += [item.key for item in page.items]
                if (cursor := page.next_cursor) is None:
                    return found

        for limit in (1, 3, 100):
            assert await pages("", limit) == keys
            assert await pages("a", limit) == ["a", "a/1", "a/2", "a\\", "a\\0"]
            assert await pages("a\\", limit) == ["a\\", "a\\0"]
            assert await pages("%", limit) == []

    async def test_a_page_of_large_values_is_short_and_goes_on(self, store, clock):
        async with store.begin() as repos:
            for key in "abcdef":
                await repos.variables.set("global", key, key * (MAX_VALUE_BYTES - 2), at=clock.now())
        async with store.read() as repos:
            first = await repos.variables.page("global", prefix="", after=None, limit=100)
            rest = await repos.variables.page("global", prefix="", after=first.next_cursor, limit=100)
        assert 1 <= len(first.items) < 6
        assert [item.key for item in first.items + rest.items] == list("abcdef")

    # What scripts were answered

    async def test_an_answer_is_kept_for_its_attempt_and_key(self, store, clock):
        claim = await claim_one(store, clock)
        job_id, attempt = claim.job.id, claim.job.attempt
        async with store.begin() as repos:
            await repos.variables.hold_attempt(job_id, attempt)
            assert await repos.variables.answer_of(job_id, attempt, ODD_TEXT, b"\0d") is None
            await repos.variables.keep_answer(job_id, attempt, ODD_TEXT, b"\0d", ODD_JSON)
        async with store.read() as repos:
            assert await repos.variables.answer_of(job_id, attempt, ODD_TEXT, b"\0d") == ODD_JSON
            assert await repos.variables.answer_of(job_id, attempt + 1, ODD_TEXT, b"\0d") is None
            with pytest.raises(ConflictError, match="another request") as refused:
                await repos.variables.answer_of(job_id, attempt, ODD_TEXT, b"other")
        assert refused.value.code == "idempotency_key_reused"

    async def test_an_attempt_that_is_over_cannot_be_held(self, store, clock):
        claim = await claim_one(store, clock)
        for attempt in (claim.job.attempt - 1, claim.job.attempt + 1):
            with pytest.raises(LeaseLostError):
                async with store.begin() as repos:
                    await repos.variables.hold_attempt(claim.job.id, attempt)
        async with store.begin() as repos:
            await repos.jobs.release(claim)
        with pytest.raises(LeaseLostError):
            async with store.begin() as repos:
                await repos.variables.hold_attempt(claim.job.id, claim.job.attempt)

    async def test_answers_are_forgotten_with_their_attempt_and_not_before(self, store, clock):
        claims = [await claim_one(store, clock) for _ in range(2)]
        async with store.begin() as repos:
            for claim in claims:
                await repos.variables.keep_answer(claim.job.id, 1, "k", b"d", {"version": 1})
        async with store.begin() as repos:
            assert await repos.variables.forget_answers() == 0
            await repos.jobs.release(claims[0])
        async with store.begin() as repos:
            assert await repos.variables.forget_answers() == 1
            assert await repos.variables.answer_of(claims[0].job.id, 1, "k", b"d") is None
            assert await repos.variables.answer_of(claims[1].job.id, 1, "k", b"d") == {"version": 1}

    async def test_of_the_same_request_at_once_one_is_carried_out(self, store, clock):
        claim = await claim_one(store, clock)
        job_id, attempt = claim.job.id, claim.job.attempt

        async def call() -> dict:
            async with store.begin() as repos:
                await repos.variables.hold_attempt(job_id, attempt)
                earlier = await repos.variables.answer_of(job_id, attempt, "k", b"d")
                if earlier is not None:
                    return earlier
                version = (await repos.variables.set("global", "n", 1, at=clock.now())).version
                await repos.variables.keep_answer(job_id, attempt, "k", b"d", {"version": version})
                return {"version": version}

        assert await asyncio.gather(*(call() for _ in range(10))) == [{"version": 1}] * 10
