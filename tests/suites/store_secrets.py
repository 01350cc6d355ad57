"""Secrets: versions, sealed values, who was given which, and the key in force."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.model.secrets import GLOBAL_SCOPE, Grant, SealedValue, Secret
from tests.suites.store_making import ODD_TEXT, StoreOpening, claim_one, outcome, sealed


async def put(store, clock, name: str, *, scope: str = GLOBAL_SCOPE, key_id: str = "k1", **changes) -> Secret:
    async with store.begin() as repos:
        given = {"description": None, "at": clock.now()} | changes
        secret = await repos.secrets.write(scope, name, **given)
        await repos.secrets.keep(sealed(name, secret.version, key_id=key_id, scope=scope))
    return secret


async def give(store, clock, claim, name: str) -> Secret:
    async with store.begin() as repos:
        secret = await repos.secrets.use(GLOBAL_SCOPE, name, at=clock.now())
        grant = Grant(variable="V", scope=GLOBAL_SCOPE, name=name, version=secret.version)
        await repos.secrets.grant(claim.job.id, claim.job.attempt, [grant])
    return secret


async def prune(store) -> None:
    async with store.begin() as repos:
        await repos.secrets.prune()


async def granted(store, claim) -> list[tuple[str, SealedValue]]:
    async with store.read() as repos:
        return await repos.secrets.granted(claim.job.id, claim.job.attempt)


class SecretSuite(StoreOpening):
    async def test_a_secret_comes_back_and_its_version_grows(self, store, clock):
        first = await put(store, clock, ODD_TEXT, description=ODD_TEXT)
        second = await put(store, clock, ODD_TEXT)
        async with store.read() as repos:
            found = await repos.secrets.get(GLOBAL_SCOPE, ODD_TEXT)
            assert await repos.secrets.get("evt_1", ODD_TEXT) is None
        assert (first.version, second.version) == (1, 2)
        assert found == second
        assert found.description == ODD_TEXT
        assert found.last_used_at is None

    async def test_secrets_are_listed_by_scope_and_name_page_by_page(self, store, clock):
        for scope, name in [("evt_b", "a"), (GLOBAL_SCOPE, "b"), (GLOBAL_SCOPE, "B"), ("evt_a", "z")]:
            await put(store, clock, name, scope=scope)
        found, cursor = [], None
        async with store.read() as repos:
            while True:
                page = await repos.secrets.page(None, after=cursor, limit=2)
                found += [(secret.scope, secret.name) for secret in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    break
            of_one = await repos.secrets.page("evt_a", after=None, limit=10)
        assert found == [("evt_a", "z"), ("evt_b", "a"), (GLOBAL_SCOPE, "B"), (GLOBAL_SCOPE, "b")]
        assert [secret.name for secret in of_one.items] == ["z"]

    async def test_an_attempt_keeps_the_version_it_was_given_until_it_is_over(self, store, clock):
        await put(store, clock, "K")
        claim = await claim_one(store, clock)
        await give(store, clock, claim, "K")
        await put(store, clock, "K")
        await prune(store)
        assert await granted(store, claim) == [("V", sealed("K", 1))]
        async with store.begin() as repos:
            assert await repos.secrets.delete(GLOBAL_SCOPE, "K")
            assert not await repos.secrets.delete(GLOBAL_SCOPE, "K")
        await prune(store)
        assert await granted(store, claim) == [("V", sealed("K", 1))]
        async with store.begin() as repos:
            await repos.jobs.finish(claim, outcome(clock))
        await prune(store)
        assert await granted(store, claim) == []
        async with store.read() as repos:
            assert await repos.secrets.key_ids() == frozenset()

    async def test_a_version_that_an_attempt_still_has_is_not_given_out_again(self, store, clock):
        await put(store, clock, "K")
        claim = await claim_one(store, clock)
        await give(store, clock, claim, "K")
        async with store.begin() as repos:
            await repos.secrets.delete(GLOBAL_SCOPE, "K")
            await repos.secrets.prune()
        again = await put(store, clock, "K")
        assert again.version == 2
        assert (await granted(store, claim))[0][1].version == 1

    async def test_granting_again_replaces_and_marks_as_used(self, store, clock):
        await put(store, clock, "K")
        claim = await claim_one(store, clock)
        await give(store, clock, claim, "K")
        await put(store, clock, "K")
        used = await give(store, clock, claim, "K")
        assert used.last_used_at == clock.now()
        assert [value.version for _, value in await granted(store, claim)] == [2]

    async def test_one_key_is_in_force_and_another_only_where_nothing_needs_the_first(self, store, clock):
        async with store.begin() as repos:
            assert await repos.secrets.occupy_key("k1") == "k1"
            assert await repos.secrets.occupy_key("k2") == "k2"  # no value was sealed with the first
        await put(store, clock, "K", key_id="k2")
        async with store.begin() as repos:
            assert await repos.secrets.occupy_key("k3") == "k2"
            await repos.secrets.set_key("k3")
            assert await repos.secrets.occupy_key("k1") == "k3"
            assert await repos.secrets.key_ids() == {"k2"}

    async def test_values_are_wrapped_by_another_key_batch_by_batch(self, store, clock):
        for number in range(5):
            await put(store, clock, f"K{number}")
        sizes = []
        for _ in range(3):
            async with store.begin() as repos:
                batch = await repos.secrets.under_other_keys("k2", limit=3)
                sizes.append(len(batch))
                for value in batch:
                    await repos.secrets.rewrap(sealed(value.name, value.version, key_id="k2"))
        assert sizes == [3, 2, 0]
        async with store.read() as repos:
            assert await repos.secrets.key_ids() == {"k2"}

    async def test_two_writers_at_once_make_two_versions(self, store, clock):
        secrets = await asyncio.gather(*(put(store, clock, "K") for _ in range(8)))
        assert sorted(secret.version for secret in secrets) == [*range(1, 9)]

    async def test_a_value_that_is_being_granted_is_not_pruned(self, store, clock):
        """Whoever grants keeps others from writing until it is recorded; so pruning sees the grant."""
        await put(store, clock, "K")
        claim = await claim_one(store, clock)

        async def change() -> None:
            for _ in range(5):
                await put(store, clock, "K")
                await prune(store)

        await asyncio.gather(change(), *(give(store, clock, claim, "K") for _ in range(5)))
        assert len(await granted(store, claim)) == 1

    async def test_nothing_is_granted_twice_under_one_name(self, store, clock):
        await put(store, clock, "K")
        claim = await claim_one(store, clock)
        twice = [Grant(variable="V", scope=GLOBAL_SCOPE, name="K", version=1)] * 2
        with pytest.raises(Exception, match=r".") as caught:
            async with store.begin() as repos:
                await repos.secrets.grant(claim.job.id, claim.job.attempt, twice)
        assert type(caught.value).__name__ == "ConflictError"
        assert await granted(store, claim) == []
