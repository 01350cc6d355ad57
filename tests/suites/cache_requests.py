"""What every cache promises about requests."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest

from orchestrator.contracts.cache import Message
from orchestrator.errors import ConflictError, CroniumError, NotFoundError, UnavailableError
from orchestrator.model.json import Json
from tests.suites.cache_bus import PATIENCE, take
from tests.suites.cache_opening import CacheOpening

LONG = timedelta(seconds=PATIENCE)


async def double(body: Json) -> Json:
    assert isinstance(body, int)
    return body * 2


class RequestSuite(CacheOpening):
    """Questions and answers."""

    async def test_a_request_is_answered(self, cache, other):
        """M27"""
        async with cache.requests.serve("double", double):
            assert await other.requests.call("double", 21, within=LONG) == 42
            answers = await asyncio.gather(*[cache.requests.call("double", n, within=LONG) for n in range(30)])
            assert answers == [n * 2 for n in range(30)]

    @pytest.mark.parametrize("body", [None, False, "", {"z": [1, None]}])
    async def test_any_value_goes_there_and_back(self, cache, body):
        async def echo(asked: Json) -> Json:
            return asked

        async with cache.requests.serve("echo * ?", echo):
            assert await cache.requests.call("echo * ?", body, within=LONG) == body

    async def test_an_error_of_ours_comes_back_as_it_was_raised(self, cache):
        """M27"""

        async def refuse(body: Json) -> Json:
            raise ConflictError(f"not {body}", code="job_running")

        async with cache.requests.serve("stop", refuse):
            with pytest.raises(ConflictError, match="not now") as refused:
                await cache.requests.call("stop", "now", within=LONG)
        assert refused.value.code == "job_running"

    async def test_any_other_error_is_told_without_what_it_says_and_logged(self, cache, caplog):
        """M27"""

        async def fail(body: Json) -> Json:
            raise ValueError("a secret")

        async def answer_with_what_is_not_json(body: Json) -> Json:
            return float("nan")

        async with cache.requests.serve("fail", fail), cache.requests.serve("nan", answer_with_what_is_not_json):
            with caplog.at_level(logging.ERROR), pytest.raises(CroniumError) as refused:
                await cache.requests.call("fail", None, within=LONG)
            assert refused.value.code == "request_failed"
            assert "secret" not in str(refused.value)
            assert "a secret" in caplog.text
            with pytest.raises(CroniumError, match="finite"):
                await cache.requests.call("nan", None, within=LONG)

    async def test_a_request_that_nobody_serves_is_refused_at_once(self, cache):
        """M27"""
        with pytest.raises(NotFoundError, match="double") as refused:
            await cache.requests.call("double", 1, within=timedelta(days=1))
        assert refused.value.code == "request_no_handler"
        async with cache.requests.serve("double", double):
            assert await cache.requests.call("double", 1, within=LONG) == 2
        with pytest.raises(NotFoundError):
            await cache.requests.call("double", 1, within=timedelta(days=1))

    async def test_a_request_that_is_not_answered_in_time_is_given_up(self, cache):
        """M27: and its handler is cancelled."""
        cancelled = asyncio.Event()

        async def never(body: Json) -> Json:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with cache.requests.serve("never", never):
            with pytest.raises(UnavailableError, match="never") as refused:
                await cache.requests.call("never", None, within=timedelta(seconds=1))
            assert refused.value.code == "request_timeout"
            async with asyncio.timeout(PATIENCE):
                await cancelled.wait()

    async def test_a_handler_is_cancelled_with_its_caller(self, cache):
        """M27"""
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def never(body: Json) -> Json:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with cache.requests.serve("never", never), asyncio.timeout(PATIENCE):
            async with asyncio.TaskGroup() as tasks:
                calling = tasks.create_task(cache.requests.call("never", None, within=LONG))
                await started.wait()
                calling.cancel()
            await cancelled.wait()
        assert calling.cancelled()

    async def test_a_handler_ends_with_its_block(self, cache):
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def never(body: Json) -> Json:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with asyncio.TaskGroup() as tasks:
            async with cache.requests.serve("never", never):
                calling = tasks.create_task(cache.requests.call("never", None, within=LONG))
                await started.wait()
            calling.cancel()
        assert cancelled.is_set()

    async def test_several_may_serve_a_name(self, cache, other):
        asked: list[str] = []

        def answering(name: str):
            async def answer(body: Json) -> Json:
                asked.append(name)
                return name

            return answer

        async with cache.requests.serve("who", answering("a")), other.requests.serve("who", answering("b")):
            assert await cache.requests.call("who", None, within=LONG) in {"a", "b"}
        assert 1 <= len(asked) <= 2

    async def test_subscribers_do_not_hear_requests(self, cache):
        async with cache.bus.subscribe("*") as everything, cache.requests.serve("double", double):
            assert await cache.requests.call("double", 1, within=LONG) == 2
            await cache.bus.publish("c", "only this")
            assert await take(everything, 1) == [Message(channel="c", body="only this")]

    async def test_an_error_where_it_is_served_comes_out_as_it_is(self, cache):
        with pytest.raises(LookupError, match="mine"):
            async with cache.requests.serve("double", double):
                raise LookupError("mine")
