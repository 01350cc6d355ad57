"""How many requests one attempt may make of the runtime API."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from orchestrator.contracts.cache import Counters, Keys
from orchestrator.contracts.observer import Observer
from orchestrator.contracts.store import AttemptOwner
from orchestrator.errors import LimitExceededError

MINUTE = timedelta(minutes=1)


class Counting(Protocol):
    """The roles of a cache that a limit needs."""

    @property
    def counters(self) -> Counters: ...
    @property
    def keys(self) -> Keys: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeLimit:
    """A budget of `requests` per window that begins with the first request in it."""

    cache: Counting
    observer: Observer
    requests: int
    window: timedelta = MINUTE

    async def spend(self, owner: AttemptOwner) -> None:
        """Count a request. Raises `LimitExceededError` (`rate_limited`) with the time to wait."""
        key = f"limit:runtime:{owner.job.id}:{owner.attempt}"
        if await self.cache.counters.increment(key, ttl=self.window) <= self.requests:
            return
        left = await self.cache.keys.remaining(key) or timedelta()
        self.observer.request_limited("runtime")
        seconds = max(1, math.ceil(left.total_seconds()))
        raise LimitExceededError(
            f"More than {self.requests} runtime requests in {self.window.total_seconds():g} s; try again in {seconds} s.",
            code="rate_limited",
            retry_after_seconds=seconds,
        )
