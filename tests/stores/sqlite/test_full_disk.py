"""A disk that is full: an error that says so, nothing acknowledged lost, and work again when there is space."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.contracts.store import Store
from orchestrator.errors import UnavailableError
from orchestrator.stores.sqlite import open_sqlite_store
from tests.fakes import FakeClock


async def write(store: Store, key: str, size: int) -> None:
    async with store.begin() as repos:
        await repos.variables.set("global", key, "x" * size, at=FakeClock().now())


async def write_until_refused(store: Store) -> list[str]:
    """Blocks of 16 at once until one is refused; the keys that were acknowledged."""
    kept: list[str] = []
    for batch in range(1000):
        keys = [f"{batch}-{number}" for number in range(16)]
        results = await asyncio.gather(*(write(store, key, 10_000) for key in keys), return_exceptions=True)
        kept += [key for key, result in zip(keys, results, strict=True) if result is None]
        refused = [result for result in results if result is not None]
        if refused:
            assert {type(result) for result in refused} == {UnavailableError}
            assert {result.code for result in refused if isinstance(result, UnavailableError)} == {"store_unavailable"}
            return kept
    raise AssertionError("the disk was never full")


async def assert_stored(store: Store, keys: list[str]) -> None:
    async with store.read() as repos:
        for key in keys:
            assert await repos.variables.get("global", key) is not None


@contextmanager
def mounted(path: Path) -> Iterator[None]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
async def test_a_full_disk_is_named_and_work_goes_on_when_there_is_space(tmp_path):
    disk = tmp_path / "disk"
    with mounted(disk):
        ballast = disk / "ballast"
        ballast.write_bytes(b"\0" * 1024 * 1024)
        async with open_sqlite_store(disk / "cronium.db", clock=FakeClock(), exclusive=True) as store:
            kept = await write_until_refused(store)
            with pytest.raises(UnavailableError, match="space"):
                await write(store, "large", 500_000)
            await assert_stored(store, kept)
            ballast.unlink()
            await write(store, "after", 10_000)
            await store.check()
            await assert_stored(store, [*kept, "after"])


async def test_a_file_that_must_not_grow_is_named_and_work_goes_on_when_it_may(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with open_sqlite_store(tmp_path / "cronium.db", clock=FakeClock(), exclusive=True) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 1024 * 1024, before[1]))
        try:
            kept = await write_until_refused(store)
            with pytest.raises(UnavailableError):
                await write(store, "large", 3_000_000)
            await assert_stored(store, kept)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        await write(store, "after", 10_000)
        await store.check()
        await assert_stored(store, [*kept, "after"])
