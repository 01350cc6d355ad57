"""A measured store: it is the store, and says how long that takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.errors import ConflictError, UnavailableError
from orchestrator.stores.sqlite import open_sqlite_store
from orchestrator.telemetry.measured import MeasuredStore
from tests.fakes import FakeClock


@dataclass
class Notes:
    """A meter that writes down what it is told."""

    told: list[tuple[str, str | None]] = field(default_factory=list)
    took: list[timedelta] = field(default_factory=list)

    def store_worked(self, operation: str, took: timedelta, error: str | None) -> None:
        self.told.append((operation, error))
        self.took.append(took)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def store(tmp_path: Path, notes: Notes) -> AsyncIterator[MeasuredStore]:
    async with open_sqlite_store(tmp_path / "cronium.db", clock=FakeClock(), exclusive=True) as opened:
        yield MeasuredStore(opened, notes)


async def test_what_is_written_is_there_and_each_operation_is_told(store: MeasuredStore, notes: Notes):
    async with store.begin() as repos:
        await repos.variables.set("global", "k", 1, at=FakeClock().now())
    async with store.read() as repos:
        found = await repos.variables.get("global", "k")
    await store.check()

    assert found is not None
    assert found.value == 1
    assert notes.told == [("begin", None), ("read", None), ("check", None)]
    assert all(took > timedelta() for took in notes.took)
    assert store.driver == "sqlite"


async def test_an_outage_is_told_by_its_code_and_raised(store: MeasuredStore, notes: Notes):
    with pytest.raises(UnavailableError):
        async with store.begin():
            raise UnavailableError("away", code="store_busy")

    assert notes.told == [("begin", "store_busy")]


async def test_an_error_of_the_caller_is_none_of_the_store(store: MeasuredStore, notes: Notes):
    with pytest.raises(ConflictError):
        async with store.begin() as repos:
            await repos.variables.set("global", "k", 1, at=FakeClock().now())
            raise ConflictError("no")

    async with store.read() as repos:
        assert await repos.variables.get("global", "k") is None
    assert notes.told == [("begin", None), ("read", None)]
