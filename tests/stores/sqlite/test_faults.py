"""What can go wrong below SQLite comes out as an error of ours, and nothing that was acknowledged is lost (M16, M29)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw
import pytest

from orchestrator.errors import ConflictError, CroniumError, LeaseLostError, NotFoundError, UnavailableError
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.stores.sqlite.errors import translate
from tests.fakes import FakeClock
from tests.suites.store_calls import reading_calls, writing_calls
from tests.suites.store_making import claim_one, get, insert, make_event, make_job, make_run

REAL_DISK = apsw.vfs_names()[0]
EVERY_ERROR = [error for error in vars(apsw).values() if isinstance(error, type) and issubclass(error, apsw.Error)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "cronium.db"


@pytest.fixture
def clock():
    return FakeClock()


def test_every_error_of_the_driver_has_one_of_ours():
    """M29: with a code, a message that names the database, and no text of a driver's class where it is known."""
    for error in EVERY_ERROR:
        ours = translate(error("what SQLite said"), "/data/cronium.db")
        assert isinstance(ours, CroniumError)
        assert not isinstance(ours, apsw.Error)
        assert ours.message
    assert len(EVERY_ERROR) > 20


def wreck(path: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    with closing(apsw.Connection(str(path))) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
        size = int(str(connection.pragma("page_size")))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek((int(str(page)) - 1) * size)
        file.write(b"\xa5" * size)


async def test_a_damaged_page_is_named_and_the_rest_can_be_read(path, clock):
    """M29: the file is not written to by looking."""
    job = make_job(clock)
    async with open_sqlite_store(path, clock=clock, exclusive=True) as store:
        await insert(store, job)
        async with store.begin() as repos:
            await repos.variables.set("global", "k", 1, at=clock.now())
    wreck(path, "variables")
    async with open_sqlite_store(path, clock=clock, exclusive=True) as store:
        async with store.read() as repos:
            with pytest.raises(UnavailableError, match=r"cronium\.db is damaged") as refused:
                await repos.variables.get("global", "k")
        assert refused.value.code == "store_unavailable"
        with pytest.raises(UnavailableError, match="damaged"):
            async with store.begin() as repos:
                await repos.jobs.insert(make_job(clock))
                await repos.variables.set("global", "k", 1, at=clock.now())
        async with store.read() as repos:
            assert len(await repos.jobs.queues()) == 1
            assert sum((await repos.jobs.count()).values()) == 1
        assert await get(store, job.id) == job
        await store.check()


async def test_a_damaged_schema_is_refused_when_it_is_opened(path, clock):
    """M29"""
    async with open_sqlite_store(path, clock=clock, exclusive=True) as store:
        await store.check()
    wreck(path, "migrations")
    with pytest.raises(UnavailableError, match="damaged"):
        async with open_sqlite_store(path, clock=clock, exclusive=True):
            pass


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """A disk that cannot be written to: root needs a real one, for everybody else a mode is enough."""
    if os.geteuid() != 0:
        modes = {path: path.stat().st_mode for path in (directory, *directory.iterdir())}
        for path in modes:
            path.chmod(0o500 if path.is_dir() else 0o400)
        try:
            yield
        finally:
            for path, mode in modes.items():
                path.chmod(mode)
        return
    for options in ("bind", "remount,bind,ro"):
        subprocess.run(["mount", "-o", options, str(directory), str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def may_mount() -> bool:
    """Root of a container is often not allowed to."""
    return os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="root may not mount here, and no mode of a file stops root")
async def test_a_disk_that_is_read_only_is_named_and_later_all_is_there(path, clock):
    """M29: with and without the lock that a server takes."""
    job = make_job(clock)
    async with open_sqlite_store(path, clock=clock, exclusive=True) as store:
        await insert(store, job)
    with read_only(path.parent):
        for exclusive in (True, False):
            with pytest.raises(UnavailableError, match=r"cronium\.db") as refused:
                async with open_sqlite_store(path, clock=clock, exclusive=exclusive):
                    pass
            assert refused.value.code == "store_unavailable"
    async with open_sqlite_store(path, clock=clock, exclusive=True) as store:
        assert await get(store, job.id) == job


async def test_a_directory_where_the_file_should_be_is_named(path, clock):
    """M29"""
    path.mkdir(parents=True)
    with pytest.raises(UnavailableError, match=r"cronium\.db"):
        async with open_sqlite_store(path, clock=clock, exclusive=True):
            pass


class BrokenDisk(apsw.VFS):
    """SQLite's file system while it is registered; what is in `broken` fails."""

    def __init__(self) -> None:
        super().__init__("broken-disk", REAL_DISK, makedefault=True)
        self.broken: set[str] = set()

    def xOpen(self, name, flags):  # noqa: N802
        return BrokenFile(self, name, flags)


class BrokenFile(apsw.VFSFile):
    def __init__(self, disk, name, flags) -> None:
        super().__init__(REAL_DISK, name, flags)
        self.disk = disk

    def _fail(self, what):
        if what in self.disk.broken:
            raise apsw.IOError(f"no {what} today")

    def xWrite(self, data, offset):  # noqa: N802
        self._fail("write")
        super().xWrite(data, offset)

    def xSync(self, flags):  # noqa: N802
        self._fail("sync")
        super().xSync(flags)

    def xRead(self, amount, offset):  # noqa: N802
        self._fail("read")
        return super().xRead(amount, offset)

    def xTruncate(self, size):  # noqa: N802
        self._fail("write")
        super().xTruncate(size)


@pytest.fixture
def disk():
    disk = BrokenDisk()
    yield disk
    disk.unregister()


@pytest.mark.parametrize("broken", ["write", "sync", "read"])
async def test_with_a_broken_disk_every_method_raises_errors_of_ours_only(path, clock, disk, broken):
    """M29: every method of every repository; afterwards what was acknowledged is there, and what was refused is not."""
    promised = (UnavailableError, ConflictError, LeaseLostError, NotFoundError)
    acknowledged = []
    async with open_sqlite_store(path, clock=clock, exclusive=True) as store:
        claim, run, event = await claim_one(store, clock), make_run(clock), make_event(clock)
        async with store.begin() as repos:
            await repos.runs.insert(run)
            await repos.events.insert(event)
        disk.broken = {broken}
        for call in (reading_calls(claim, run, event) | writing_calls(claim, run, event, clock)).values():
            with suppress(*promised):
                async with store.begin() as repos:
                    await call(repos)
        for call in reading_calls(claim, run, event).values():
            with suppress(*promised):
                async with store.read() as repos:
                    await call(repos)
        refused = []
        for _ in range(20):
            job = make_job(clock)
            try:
                await insert(store, job)
            except UnavailableError as error:
                assert error.code == "store_unavailable"
                refused.append(job)
                disk.broken = set()
            else:
                acknowledged.append(job)
                disk.broken = {broken}
        disk.broken = set()
        await store.check()
        for job in acknowledged:
            assert await get(store, job.id) == job
        for job in refused:
            with pytest.raises(NotFoundError):
                await get(store, job.id)
        assert refused or broken == "read"  # what was read before lies in memory
        assert acknowledged
    async with open_sqlite_store(path, clock=clock, exclusive=True) as store:
        for job in acknowledged:
            assert await get(store, job.id) == job
