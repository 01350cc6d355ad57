"""Writing until the store takes it, and how much is said meanwhile."""

from __future__ import annotations

import asyncio
import logging

import pytest

from orchestrator.errors import ConflictError, UnavailableError
from orchestrator.jobs import persist as module
from orchestrator.jobs.persist import Outage, persist


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(module, "MAX_DELAY_SECONDS", 0.0)


class Full:
    """A store that refuses so many writes, then takes them."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.writes = 0

    async def write(self) -> int:
        self.writes += 1
        if self.writes <= self.refusals:
            raise UnavailableError("There is no space left.", code="store_unavailable")
        return self.writes


async def test_a_write_is_repeated_until_the_store_takes_it(caplog: pytest.LogCaptureFixture):
    """One warning and one word of its end, however often it was refused."""
    caplog.set_level(logging.INFO, logger=module.__name__)
    full = Full(500)

    assert await persist(full.write) == 501
    warning, over = caplog.records
    assert (warning.levelname, vars(warning)["error"]) == ("WARNING", "There is no space left.")
    assert (over.levelname, vars(over)["refused"]) == ("INFO", 500)


async def test_a_write_that_is_taken_says_nothing(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger=module.__name__)
    assert await persist(Full(0).write) == 1
    assert caplog.records == []


async def test_another_error_goes_to_the_caller():
    async def write() -> None:
        raise ConflictError("It is final already.")

    with pytest.raises(ConflictError):
        await persist(write)


async def test_an_outage_that_lasts_is_told_again_every_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """With the number of refusals so far; the next outage begins anew."""
    caplog.set_level(logging.INFO, logger=module.__name__)
    now = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    error = UnavailableError("There is no space left.")
    outage = Outage("trying again")
    for now in range(130):  # noqa: B007 - the loop's clock reads it
        outage.refused(error)
    assert [vars(record)["refused"] for record in caplog.records] == [1, 61, 121]
    outage.over()
    outage.over()
    assert [record.message for record in caplog.records[3:]] == ["the store works again"]
    assert vars(caplog.records[3])["seconds"] == 129
    outage.refused(error)
    assert vars(caplog.records[4])["refused"] == 1
