"""How figures are taken and printed: rates in windows, percentiles, and one row for each with its floor beside it."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count

WINDOW_SECONDS = float(os.environ.get("CRONIUM_BENCH_SECONDS", "1"))
WINDOWS = 3


def row(what: str, figure: str, floor: str = "", aim: str = "") -> None:
    print(f"{what:<58} {figure:<14} {floor:<46} {aim}", flush=True)


def milliseconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def interleaved(*works: Callable[[], object], rounds: int) -> list[list[float]]:
    """Time each work in turn, so that a noisy moment hits all of them."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for kept, work in zip(times, works, strict=True):
            kept.append(milliseconds(work))
    return times


def p50(times: Sequence[float]) -> float:
    return statistics.median(times)


def percentile(times: Sequence[float], percent: int) -> float:
    """The time that `percent` of all stay below."""
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)]


async def rate(work: Callable[[int], Awaitable[int]], *, callers: int, seconds: float = WINDOW_SECONDS) -> float:
    """How much is done per second by `callers` at once, each calling again; `work` says how much one call did."""
    done = 0
    started = time.perf_counter()

    async def call(caller: int) -> None:
        nonlocal done
        for turn in count(1):
            amount = await work(caller)  # by itself: `done +=` would read `done` before it waits
            done += amount
            if time.perf_counter() >= started + seconds:
                return
            if turn % 64 == 0:
                await asyncio.sleep(0)  # what never waits lets the other callers in

    async with asyncio.TaskGroup() as tasks:
        for caller in range(callers):
            tasks.create_task(call(caller))
    return done / (time.perf_counter() - started)


async def medians(*measures: Callable[[], Awaitable[float]], windows: int = WINDOWS) -> list[float]:
    """The median of each measure, taken in turn, so that a noisy moment hits all of them."""
    taken: list[list[float]] = [[] for _ in measures]
    for _ in range(windows):
        for kept, measure in zip(taken, measures, strict=True):
            kept.append(await measure())
    return [statistics.median(kept) for kept in taken]
