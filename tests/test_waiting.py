"""Waiting for what may be starting beside us: again and again, less and less often, and not for ever."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.errors import ConflictError, UnavailableError
from orchestrator.waiting import until_ready


class Time:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.seconds += seconds


async def wait(attempt, time: Time) -> None:
    await until_ready(attempt, what="The engine", code="engine_starting", sleep=time.sleep, now=time.now)


async def test_delays_double_until_it_is_ready():
    """M11"""
    time, answers = Time(), iter([*[UnavailableError("not yet", code="engine_starting")] * 3, None])

    async def attempt():
        return next(answers)

    await wait(attempt, time)
    assert time.slept == [0.1, 0.2, 0.4]


async def test_what_never_gets_ready_is_named_after_five_seconds():
    """M11: delays are capped at one second, and the last one ends with the limit."""
    time = Time()

    async def attempt():
        return UnavailableError("it is busy", code="store_unavailable")

    with pytest.raises(UnavailableError) as refused:
        await wait(attempt, time)
    assert str(refused.value) == "The engine did not answer within 5 s; last: it is busy"
    assert refused.value.code == "engine_starting"
    assert time.slept == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 0.5]
    assert time.seconds == pytest.approx(5)


async def test_an_attempt_that_hangs_is_given_up_with_the_limit():
    with pytest.raises(UnavailableError) as refused:
        await until_ready(asyncio.Event().wait, what="It", code="gone", limit_seconds=0.05)
    assert str(refused.value) == "It did not answer within 0.05 s."


async def test_what_waiting_cannot_change_is_raised_at_once():
    async def attempt():
        raise ConflictError("wrong password")

    time = Time()
    with pytest.raises(ConflictError):
        await wait(attempt, time)
    assert time.slept == []
