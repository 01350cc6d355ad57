"""A server is opened store, cache, engine, doors, and closed the other way round, also when it never opens."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest

from orchestrator.config import load_settings
from orchestrator.errors import UnavailableError
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.server import STAGES, Stages, open_server, serve

ORDER = ["store", "cache", "engine", "doors"]


class BoomError(Exception):
    """What a stage fails with."""


class Recording:
    """The real stages, each of which says when it is opened and closed; one may fail instead."""

    def __init__(self, failing: str | None = None, error: Exception | None = None) -> None:
        self.said: list[str] = []
        self._failing, self._error = failing, error or BoomError()

    def stages(self) -> Stages:
        return replace(STAGES, **{name: self._recorded(name, getattr(STAGES, name)) for name in ORDER})

    def _recorded(self, name, opening):
        @asynccontextmanager
        async def stage(*args):
            if name == self._failing:
                self.said.append(f"{name} fails")
                raise self._error
            async with opening(*args) as opened:
                self.said.append(f"open {name}")
                try:
                    yield opened
                finally:
                    self.said.append(f"close {name}")

        return stage


@pytest.fixture
def settings(tmp_path):
    return load_settings({"data_dir": tmp_path / "data", "port": 0}, env={"HOME": str(tmp_path)}, cwd=tmp_path)


async def test_stages_open_in_order_and_close_in_reverse(settings):
    """M10"""
    recording = Recording()
    async with open_server(settings, stages=recording.stages()):
        assert recording.said == [f"open {name}" for name in ORDER]
    assert recording.said[len(ORDER) :] == [f"close {name}" for name in reversed(ORDER)]


@pytest.mark.parametrize("failing", ORDER)
async def test_a_stage_that_fails_closes_those_before_it(settings, failing):
    """M10"""
    recording = Recording(failing)
    with pytest.raises((BoomError, BaseExceptionGroup)) as refused:
        async with open_server(settings, stages=recording.stages()):
            pytest.fail("it was opened")
    opened = ORDER[: ORDER.index(failing)]
    closed = [f"close {name}" for name in reversed(opened)]
    assert recording.said == [*(f"open {name}" for name in opened), f"{failing} fails", *closed]
    assert _leaf(refused.value) is recording._error
    assert not (settings.data_dir / "server.json").exists()


def _leaf(error):
    while isinstance(error, BaseExceptionGroup):
        [error] = error.exceptions
    return error


async def test_a_server_that_failed_to_open_can_be_opened_again(settings):
    with pytest.raises((BoomError, BaseExceptionGroup)):
        async with open_server(settings, stages=Recording("doors").stages()):
            pytest.fail("it was opened")
    async with open_server(settings) as url, aiohttp.ClientSession() as http, http.get(f"{url}/readyz") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("failing", "env", "origin"),
    [
        ("store", {"DATABASE_URL": "postgresql://me:hidden@db/x"}, "database_url (environment DATABASE_URL)"),
        ("cache", {"VALKEY_URL": "redis://:hidden@cache/0"}, "valkey_url (environment VALKEY_URL)"),
    ],
)
async def test_a_backend_that_is_away_is_named_by_the_setting_that_asks_for_it(tmp_path, failing, env, origin):
    """M4"""
    settings = load_settings(
        {"data_dir": tmp_path / "data", "port": 0}, env={"HOME": str(tmp_path), **env}, cwd=tmp_path
    )
    away = UnavailableError("It is away.", code="store_unavailable")
    stages = Recording(failing, away).stages()
    if failing == "cache":

        async def refuse(_settings):
            raise away

        stages = replace(stages, wait=refuse)
    with pytest.raises(UnavailableError) as refused:
        async with open_server(settings, stages=stages):
            pytest.fail("it was opened")
    assert str(refused.value) == f"It is away. It is asked for by {origin}."
    assert refused.value.code == "store_unavailable"


async def test_it_answers_but_is_not_ready_until_it_knows_what_was_running(settings):
    """M11: `/readyz` is 503 until the engine has recovered, `/healthz` is 200 throughout."""
    engines, urls = [], asyncio.Queue()

    @asynccontextmanager
    async def engine_that_looks_for_long(*args):
        async with STAGES.engine(*args) as engine:
            await engine.dispatcher.recovered.wait()
            engine.dispatcher.recovered.clear()
            engines.append(engine)
            yield engine

    @asynccontextmanager
    async def doors(*args):
        async with STAGES.doors(*args) as url:
            urls.put_nowait(url)
            yield url

    opening = open_server(settings, stages=replace(STAGES, engine=engine_that_looks_for_long, doors=doors))
    entering = asyncio.ensure_future(opening.__aenter__())
    url = await urls.get()
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{url}/healthz") as answer:
            assert answer.status == 200
        async with http.get(f"{url}/readyz") as answer:
            assert answer.status == 503
            assert (await answer.json())["details"]["engine"] == "looking for what was running"
        assert not (settings.data_dir / "server.json").exists()
        engines[0].dispatcher.recovered.set()
        assert await entering == url
        async with http.get(f"{url}/readyz") as answer:
            assert answer.status == 200
            assert (await answer.json())["details"] == {"store": "ok", "cache": "memory", "engine": "ok"}
    assert json.loads((settings.data_dir / "server.json").read_text())["url"] == url
    await opening.__aexit__(None, None, None)


async def test_a_server_whose_engine_breaks_down_ends_instead_of_answering_for_ever(settings, monkeypatch):
    """Whoever started it notices and starts it again; a server that answers and runs nothing looks healthy."""
    broken = asyncio.Event()

    async def break_down(self, tasks):
        broken.set()
        raise BoomError

    monkeypatch.setattr(Dispatcher, "_claim", break_down)
    async with asyncio.timeout(30) as limit:
        with pytest.raises(BaseExceptionGroup) as refused:
            await serve(settings)
    assert not limit.expired()
    assert broken.is_set()
    assert isinstance(_leaf(refused.value), BoomError)
