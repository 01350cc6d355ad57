"""A scrape over HTTP: what it looks up, while the store works and while it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import web

from orchestrator.api import health
from orchestrator.contracts.store import Bell, Repositories, Store
from orchestrator.errors import UnavailableError
from tests.api.door import Door, open_door


@dataclass
class Failing:
    """A store that reads, and cannot be written, or not be read either, or does not answer."""

    store: Store
    reads: bool = True
    answers: bool = True

    @property
    def driver(self) -> str:
        return self.store.driver

    @property
    def bell(self) -> Bell:
        return self.store.bell

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Repositories]:
        await self._refuse()
        async with self.store.begin() as repos:
            yield repos

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Repositories]:
        if not self.reads:
            await self._refuse()
        async with self.store.read() as repos:
            yield repos

    async def check(self) -> None:
        await self._refuse()

    async def _refuse(self) -> None:
        if not self.answers:
            await asyncio.Event().wait()
        raise UnavailableError("The store is away.", code="store_unavailable")


@asynccontextmanager
async def failing_door(path: Path, **how: bool) -> AsyncIterator[Door]:
    """A door whose scrapes find the store failing; tokens and jobs were stored before, and nobody is asked for one."""
    async with open_door(path, metrics_public=True) as door:
        await door.submit()
        app = web.Application()
        app[health.CONTEXT] = replace(door.context, store=Failing(door.store, **how))
        app.router.add_get("/metrics", health.metrics)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield replace(door, url=f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()


async def scrape(door: Door) -> dict[str, float]:
    reply = await door.get("/metrics", who=None)
    assert reply.status == 200
    rows = [line.rpartition(" ") for line in reply.body.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in rows}


async def test_what_waits_is_shown(tmp_path: Path):
    async with open_door(tmp_path, metrics_public=True) as door:
        await door.submit()
        found = await scrape(door)
    assert found['cronium_queue_depth{executor="process"}'] == 1
    assert found['cronium_jobs{executor="process",status="queued"}'] == 1
    assert (found["cronium_store_up"], found["cronium_store_writable"]) == (1, 1)


async def test_a_store_that_can_only_be_read_shows(tmp_path: Path):
    async with failing_door(tmp_path) as door:
        found = await scrape(door)
    assert (found["cronium_store_up"], found["cronium_store_writable"]) == (1, 0)
    assert found['cronium_queue_depth{executor="process"}'] == 1


@pytest.mark.parametrize("answers", [True, False])
async def test_a_scrape_answers_while_the_store_does_not(tmp_path: Path, monkeypatch, answers: bool):
    monkeypatch.setattr(health, "STORE_SECONDS", 0.05)
    async with failing_door(tmp_path, reads=False, answers=answers) as door:
        found = await scrape(door)
    assert (found["cronium_store_up"], found["cronium_store_writable"]) == (0, 0)
    assert not [name for name in found if name.startswith("cronium_jobs{")]
    assert found["process_start_time_seconds"] > 0
