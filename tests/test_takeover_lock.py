"""The lock on a data directory: one owner, an heir who gives way to it, and what is said to those who are refused."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.errors import ConflictError
from orchestrator.stores.sqlite.lock import hold_lock, is_wanted, reclaim_lock

LONG = timedelta(hours=1)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "cronium.db"


async def wanted(database: Path) -> None:
    async with asyncio.timeout(30):
        while not is_wanted(database):
            await asyncio.sleep(0.01)


async def owning(database: Path, held: asyncio.Event, release: asyncio.Event, patience: timedelta = LONG) -> None:
    async with reclaim_lock(database, patience=patience):
        held.set()
        await release.wait()


async def test_a_free_lock_is_had_at_once_and_let_go_of(database: Path):
    for _ in range(2):
        async with reclaim_lock(database, patience=LONG):
            with pytest.raises(ConflictError, match=f"process {os.getpid()}: stop that one first") as refused:
                hold_lock(database).__enter__()
            assert refused.value.code == "store_in_use"
    assert not is_wanted(database)


async def test_an_owner_is_not_asked_to_give_way(database: Path):
    with hold_lock(database):
        with pytest.raises(ConflictError, match=f"in use by process {os.getpid()}: stop that one first"):
            async with reclaim_lock(database, patience=LONG):  # refused long before that
                pytest.fail("two have it")
        assert not is_wanted(database)


async def test_an_heir_gives_way_when_the_owner_wants_it(database: Path):
    held, release = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        with hold_lock(database, as_heir=True):
            assert not is_wanted(database)
            tasks.create_task(owning(database, held, release))
            await wanted(database)
            assert not held.is_set()
        await held.wait()
        assert not is_wanted(database)
        release.set()


async def test_an_heir_that_does_not_let_go_is_named(database: Path):
    with hold_lock(database, as_heir=True):
        with pytest.raises(ConflictError, match=f"process {os.getpid()}, another server that goes on") as refused:
            async with reclaim_lock(database, patience=timedelta(seconds=0.2)):
                pytest.fail("two have it")
        assert refused.value.code == "store_in_use"


async def test_nobody_inherits_what_an_owner_waits_for(database: Path):
    held, release = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        with hold_lock(database, as_heir=True):
            tasks.create_task(owning(database, held, release))
            await wanted(database)
            with pytest.raises(ConflictError, match="is coming back"):
                hold_lock(database, as_heir=True).__enter__()
        await held.wait()
        release.set()


async def test_of_two_owners_that_wait_for_an_heir_the_later_is_refused(database: Path):
    held, release = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        with hold_lock(database, as_heir=True):
            tasks.create_task(owning(database, held, release))
            await wanted(database)
            with pytest.raises(ConflictError):
                async with reclaim_lock(database, patience=LONG):
                    pytest.fail("two have it")
            assert is_wanted(database)
        await held.wait()
        release.set()


async def test_the_wish_of_an_owner_that_gave_up_is_forgotten(database: Path):
    with hold_lock(database, as_heir=True):
        with pytest.raises(ConflictError):
            async with reclaim_lock(database, patience=timedelta()):
                pytest.fail("two have it")
        assert not is_wanted(database)
    with hold_lock(database, as_heir=True):
        assert (database.parent / "cronium.db.lock").read_text().split() == [str(os.getpid()), "heir"]
    with hold_lock(database):
        assert (database.parent / "cronium.db.lock").read_text().split() == [str(os.getpid())]
