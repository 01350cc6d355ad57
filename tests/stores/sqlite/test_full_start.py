"""Opening a database on a disk that is full or read-only: an error that names the want, and later everything there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import apsw
import pytest

from orchestrator.errors import ConflictError, UnavailableError
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.stores.sqlite.errors import translate
from orchestrator.stores.sqlite.lock import hold_lock
from tests.fakes import FakeClock
from tests.stores.sqlite.test_full_disk import assert_stored, mounted, write

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")


def fill(disk: Path) -> None:
    size = 1024 * 1024
    with (disk / "ballast").open("ab", buffering=0) as file:
        while size:
            try:
                written = file.write(b"\0" * size)
            except OSError:
                written = 0
            if written < size:
                size //= 2


@only_root
@pytest.mark.parametrize("gone", [(), ("cronium.db-shm",)], ids=["after a kill", "without its index"])
async def test_a_database_that_finds_no_room_when_it_is_opened_names_the_want(tmp_path: Path, gone: tuple[str, ...]):
    """M16, M29: SQLite itself calls it an I/O error when the index of its log finds no room."""
    disk = tmp_path / "disk"
    with mounted(disk):
        path = disk / "cronium.db"
        killed = tmp_path / "killed"
        killed.mkdir()
        async with open_sqlite_store(path, clock=FakeClock(), exclusive=True) as store:
            await write(store, "kept", 1000)
            # What lies there when the process is killed now: a log that was not folded into the database.
            subprocess.run(["cp", "-a", f"{disk}/.", str(killed)], check=True)
        subprocess.run(["cp", "-a", f"{killed}/.", str(disk)], check=True)
        for name in gone:
            (disk / name).unlink()
        fill(disk)
        with pytest.raises(UnavailableError, match=r"no space left for .*cronium\.db"):
            async with open_sqlite_store(path, clock=FakeClock(), exclusive=True) as store:
                await write(store, "large", 1_000_000)
        (disk / "ballast").unlink()
        async with open_sqlite_store(path, clock=FakeClock(), exclusive=True) as store:
            await store.check()
            await assert_stored(store, ["kept"])


@only_root
def test_a_lock_is_taken_again_on_a_full_disk_and_named_where_there_is_none_yet(tmp_path: Path):
    """M29: the pid of its holder is written over the one before."""
    disk = tmp_path / "disk"
    with mounted(disk):
        with hold_lock(disk / "old.db"):
            pass
        fill(disk)
        in_use = pytest.raises(ConflictError, match=f"process {os.getpid()}:")
        with hold_lock(disk / "old.db"), in_use, hold_lock(disk / "old.db"):
            pass
        no_room = pytest.raises(UnavailableError, match=r"new\.db\.lock .*No space left on device")
        with no_room, hold_lock(disk / "new.db"):
            pass


def test_a_database_that_is_read_only_is_called_so(tmp_path: Path):
    """M29"""
    where = str(tmp_path / "cronium.db")
    error = translate(apsw.ReadOnlyError("attempt to write a readonly database"), where)
    assert isinstance(error, UnavailableError)
    assert (error.code, where in error.message) == ("store_unavailable", True)
    assert "mounted read-only" in error.message


def test_an_error_of_the_disk_is_no_want_of_space_where_there_is_some(tmp_path: Path):
    """M29"""
    error = translate(apsw.IOError("disk I/O error"), str(tmp_path / "cronium.db"))
    assert "check its disk" in error.message
    assert "space" not in error.message
