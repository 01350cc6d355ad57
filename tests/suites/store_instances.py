"""Instances, and which of them are gone while jobs of theirs run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from orchestrator.contracts.store import Store
from orchestrator.model.instances import Instance
from orchestrator.model.jobs import Claim
from orchestrator.model.specs import ExecutorKind
from tests.suites.store_making import LEASE, ODD_TEXT, StoreOpening, insert, make_instance, make_job, outcome

ODD_IDS = ["a", "a_", "a%", "aa", "ab", "A", "", "\\", "a\\", "\0", "a\0", "a\\0", "é", "\U0001f600", ODD_TEXT]


async def register(store: Store, *instances: Instance) -> None:
    async with store.begin() as repos:
        for instance in instances:
            await repos.instances.register(instance)


async def claim_for(store: Store, owner: str, clock, *, queue: str = "main") -> Claim:
    """A new job, claimed by an owner of this name."""
    await insert(store, make_job(clock, queue=queue))
    async with store.begin() as repos:
        [claim] = await repos.jobs.claim(owner, queue, {ExecutorKind.PROCESS: 1}, lease=LEASE)
    return claim


async def bereft(store: Store, queue: str = "main") -> list[Instance]:
    async with store.read() as repos:
        return await repos.instances.bereft(queue)


class InstanceSuite(StoreOpening):
    """Instances, and which of them are gone while jobs of theirs run."""

    async def test_what_is_known_of_an_instance_is_what_was_said_last(self, store, clock):
        first = make_instance(clock, id=ODD_TEXT)
        last = replace(
            first, state=ODD_TEXT, sockets=ODD_TEXT, boot_id=ODD_TEXT, seen_at=clock.now() + timedelta(microseconds=1)
        )
        await register(store, first, last)
        await claim_for(store, f"{ODD_TEXT}:1", clock)
        await self.pass_time(clock, LEASE)
        assert await bereft(store) == [last]
        await register(store, first)
        assert await bereft(store) == [first]

    async def test_an_instance_is_bereft_while_it_has_an_expired_lease_on_a_running_job(self, store, clock):
        instance = make_instance(clock, id="ins_1")
        await register(store, instance)
        assert await bereft(store) == []
        claim = await claim_for(store, "ins_1:7", clock)
        released = await claim_for(store, "ins_1:7", clock)
        await self.pass_time(clock, LEASE - timedelta(microseconds=1))
        assert await bereft(store) == []
        async with store.begin() as repos:
            await repos.jobs.release(released)
        await self.pass_time(clock, timedelta(microseconds=1))
        assert await bereft(store) == [instance]
        assert await bereft(store, "other") == []
        async with store.begin() as repos:
            await repos.jobs.renew("ins_1:7", lease=LEASE)
            assert await repos.instances.bereft("main") == []
        await self.pass_time(clock, LEASE)
        assert await bereft(store) == [instance]
        async with store.begin() as repos:
            await repos.jobs.finish(claim, outcome(clock))
            assert await repos.instances.bereft("main") == []

    async def test_whose_jobs_were_adopted_is_bereft_no_more(self, store, clock):
        dead, alive = make_instance(clock, id="dead"), make_instance(clock, id="alive")
        await register(store, dead, alive)
        await claim_for(store, "dead:1", clock)
        await claim_for(store, "dead:2", clock)
        await self.pass_time(clock, LEASE)
        assert await bereft(store) == [dead]
        async with store.begin() as repos:
            assert len(await repos.jobs.adopt("alive:1", "main", lease=LEASE, alone=False, kin="dead:")) == 2
            assert await repos.instances.bereft("main") == []
        await self.pass_time(clock, LEASE)
        assert await bereft(store) == [alive]

    async def test_the_name_of_an_owner_names_its_instance_up_to_the_colon(self, store, clock):
        """No pattern, no part of it, and no other case; in each queue the ones that lost something there."""
        instances = {id_: make_instance(clock, id=id_) for id_ in ODD_IDS}
        await register(store, *instances.values())
        for number, id_ in enumerate(ODD_IDS):
            await claim_for(store, f"{id_}:{number}", clock, queue=f"q{number}")
        for number, owner in enumerate(("a", "ab-", "nobody:1", "xa:1", "a_b:1", "a%%:1")):
            await claim_for(store, owner, clock, queue=f"none{number}")
        await self.pass_time(clock, LEASE)
        for number, id_ in enumerate(ODD_IDS):
            assert await bereft(store, f"q{number}") == [instances[id_]], id_
        for number in range(6):
            assert await bereft(store, f"none{number}") == []

    async def test_each_bereft_instance_is_named_once(self, store, clock):
        instances = [make_instance(clock, id=f"ins_{number}") for number in range(5)]
        await register(store, *instances)
        for number in range(12):
            await claim_for(store, f"ins_{number % 4}:{number}", clock)
        await self.pass_time(clock, LEASE)
        assert await bereft(store) == instances[:4]
