"""Whatever happens to jobs, and wherever an orchestrator dies, a SQLite file holds what the model says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.stores.sqlite import open_sqlite_store
from tests.fakes import FakeClock
from tests.suites.life_machine import LifeSuite

pytestmark = pytest.mark.torture


class SqliteHome:
    """A directory. Killed, the files go on as they are at that moment, in another directory."""

    def __init__(self, place: Path, clock: FakeClock) -> None:
        self._place, self._clock, self._killed = place, clock, 0

    @property
    def _directory(self) -> Path:
        return self._place / str(self._killed)

    def open_store(self):
        if self._killed:
            shutil.rmtree(self._place / str(self._killed - 1), ignore_errors=True)
        return open_sqlite_store(self._directory / "cronium.db", clock=self._clock, exclusive=True)

    async def kill(self, store):
        """The index of the write-ahead log is memory that processes share: it dies with them."""
        before = self._directory
        self._killed += 1
        shutil.copytree(before, self._directory, ignore=shutil.ignore_patterns("*-shm", "*.lock"))


class TestSqliteLife(LifeSuite):
    def open_home(self, tmp_path, clock):
        return SqliteHome(tmp_path, clock)
