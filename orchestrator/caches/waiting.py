"""Waiting for a lock that somebody holds."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from orchestrator.contracts.cache import Lock, Locks

FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.1


async def wait_for_lock(locks: Locks, name: str, *, ttl: timedelta, within: timedelta) -> Lock | None:
    """`Locks.wait` by asking again: nothing tells that the time of a lock is over."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within.total_seconds()
    pause = FIRST_PAUSE_SECONDS
    while (lock := await locks.acquire(name, ttl=ttl)) is None:
        left = deadline - loop.time()
        if left <= 0:
            return None
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
    return lock
