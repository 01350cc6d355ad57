"""Wait for something that may be starting beside us."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator.errors import UnavailableError

FIRST_DELAY_SECONDS = 0.1
MAX_DELAY_SECONDS = 1.0
LIMIT_SECONDS = 5.0

Sleep = Callable[[float], Awaitable[None]]


async def until_ready(
    attempt: Callable[[], Awaitable[UnavailableError | None]],
    *,
    what: str,
    code: str,
    limit_seconds: float = LIMIT_SECONDS,
    sleep: Sleep = asyncio.sleep,
    now: Callable[[], float] | None = None,
) -> None:
    """
    Attempt again after 100 ms, 200 ms, ... 1 s until it succeeds: returns None instead of an error.

    Raises `UnavailableError` with `code`, naming `what`, after `limit_seconds`, also while an
    attempt hangs. Whatever else an attempt raises is raised at once.
    """
    clock = now or asyncio.get_running_loop().time
    deadline, delay = clock() + limit_seconds, FIRST_DELAY_SECONDS
    last: UnavailableError | None = None
    while (left := deadline - clock()) > 0:
        try:
            async with asyncio.timeout(left):
                last = await attempt()
        except TimeoutError:
            break
        if last is None:
            return
        await sleep(min(delay, max(0.0, deadline - clock())))
        delay = min(delay * 2, MAX_DELAY_SECONDS)
    raise UnavailableError(f"{what} did not answer within {limit_seconds:g} s{_said(last)}", code=code)


def _said(last: UnavailableError | None) -> str:
    return "." if last is None else f"; last: {last.message}"
