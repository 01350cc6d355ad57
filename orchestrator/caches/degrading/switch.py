"""Which of two caches answers: the primary, or memory while the primary is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

from orchestrator.caches.backing import Backing
from orchestrator.caches.memory import MemoryCache
from orchestrator.contracts.cache import Cache
from orchestrator.contracts.clock import Clock
from orchestrator.errors import UnavailableError

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
STEADY_SECONDS = 10.0
LOOK_SECONDS = 5.0

OnChange: TypeAlias = Callable[[bool], None]
"""Told whether the cache is degraded now; must neither raise nor block."""

Result = TypeVar("Result")


class Switch:
    """Leaves the primary when it says `cache_unavailable`, asks for it in the background, and returns to it."""

    def __init__(self, primary: Backing, fallback: MemoryCache, clock: Clock, on_change: OnChange) -> None:
        self.primary = primary
        self.fallback = fallback
        self.here = asyncio.Event()
        self._clock = clock
        self._on_change = on_change
        self._away = asyncio.Event()
        self._times_left = 0
        self._changed_at = clock.monotonic()
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self.here.set()

    @property
    def degraded(self) -> bool:
        return self._away.is_set()

    async def call(self, operation: Callable[[Cache], Awaitable[Result]]) -> Result:
        """What the primary answers; what memory answers if the primary is away, also if that turns out only now."""
        if not self.degraded:
            times_left = self._times_left
            try:
                return await operation(self.primary)
            except UnavailableError as error:
                if error.code != "cache_unavailable":
                    raise
                self.leave(error, times_left)
        return await operation(self.fallback)

    def leave(self, error: UnavailableError, times_left: int | None = None) -> None:
        """Go on in memory, which is empty then, unless this has happened since `times_left` were counted."""
        if self.degraded or (times_left is not None and times_left != self._times_left):
            return
        if self._clock.monotonic() - self._changed_at >= STEADY_SECONDS:
            self._pause_seconds = FIRST_PAUSE_SECONDS
        self.fallback.clear()  # what it held from another time would be old news
        self._times_left += 1
        self._changed_at = self._clock.monotonic()
        self.here.clear()
        self._away.set()
        log.warning("the cache is away; going on in the memory of this process", extra={"error": str(error)})
        self._on_change(True)

    async def run(self) -> None:
        """Notice that the primary is away, also when nobody uses it; return when it is there again. Until cancelled."""
        while True:
            await self._leave_in_time()
            await asyncio.sleep(self._pause_seconds)
            self._pause_seconds = min(self._pause_seconds * 2, LONGEST_PAUSE_SECONDS)
            try:
                await self.primary.check()
            except UnavailableError as error:
                log.debug("the cache is still away", extra={"error": str(error)})
                continue
            self._return()

    async def _leave_in_time(self) -> None:
        while not self.degraded:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._away.wait()
            except TimeoutError:
                await self.call(lambda cache: cache.check())

    def _return(self) -> None:
        now = self._clock.monotonic()
        self._away.clear()
        self.here.set()
        self.fallback.clear()
        log.warning("the cache is back", extra={"away_seconds": round(now - self._changed_at, 3)})
        self._changed_at = now
        self._on_change(False)
