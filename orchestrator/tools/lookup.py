"""Look up the addresses of a host, in a few threads of its own: one slow name server must not hold up the rest."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TypeAlias

from orchestrator.errors import UnavailableError
from orchestrator.model.outbound import Address

UNKNOWN = "outbound_unresolved"
THREADS = 4

# All addresses of a host, in the order to try them. Raises `UnavailableError` (`outbound_unresolved`) where it has none.
Lookup: TypeAlias = Callable[[str], Awaitable[Sequence[Address]]]


@asynccontextmanager
async def open_lookup() -> AsyncIterator[Lookup]:
    """The system's own: its name servers and its hosts file."""
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="cronium-lookup")

    async def look_up(host: str) -> Sequence[Address]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(threads, _look_up, host)
        except (OSError, UnicodeError):
            raise unresolved(host) from None

    try:
        yield look_up
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def unresolved(host: str) -> UnavailableError:
    return UnavailableError(f"{host} cannot be resolved: no address is known for it.", code=UNKNOWN)


def _look_up(host: str) -> Sequence[Address]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(place[0]).partition("%")[0]) for *_, place in found))
