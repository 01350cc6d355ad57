"""How many requests one caller may make: counted in windows that begin with the first request in each."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from aiohttp import web

from orchestrator.contracts.cache import Counters, Keys
from orchestrator.contracts.observer import Observer
from orchestrator.errors import LimitExceededError

MINUTE = timedelta(minutes=1)


class Counting(Protocol):
    """The roles of a cache that limits need. Where it is decides who shares a budget: a process, or all on a server."""

    @property
    def counters(self) -> Counters: ...
    @property
    def keys(self) -> Keys: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """
    Budgets per window: `requests` of one token, or of one address on routes that need none; `failed_logins` of one
    address. Twice the budget can pass within one window's length, around the end of a window.
    """

    cache: Counting
    observer: Observer
    requests: int
    failed_logins: int
    window: timedelta = MINUTE

    async def spend_request(self, who: str) -> None:
        """Count a request. Raises `LimitExceededError` (`rate_limited`) with the time to wait."""
        await self._spend("requests", who, self.requests)

    async def spend_failed_login(self, address: str) -> None:
        """Count a refused token. Raises `LimitExceededError` (`rate_limited`)."""
        await self._spend("failed_logins", address, self.failed_logins)

    async def _spend(self, budget: str, who: str, limit: int) -> None:
        key = f"limit:{budget}:{who}"
        if await self.cache.counters.increment(key, ttl=self.window) <= limit:
            return
        left = await self.cache.keys.remaining(key) or timedelta()
        self.observer.request_limited(budget)
        seconds = max(1, math.ceil(left.total_seconds()))
        raise LimitExceededError(
            f"More than {limit} {budget.replace('_', ' ')} in {self.window.total_seconds():g} s; "
            f"try again in {seconds} s.",
            code="rate_limited",
            retry_after_seconds=seconds,
        )


def address_of(request: web.Request) -> str:
    """The address that a request came from, as it is counted: of IPv6 the network, since a host has all of it."""
    text = request.remote or "local"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return text
