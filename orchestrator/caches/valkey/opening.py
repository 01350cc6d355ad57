"""Opening the cache on a server, if its client library is installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from orchestrator.caches.backing import Backing
from orchestrator.caches.mailbox import OnDrop, ignore_drops
from orchestrator.errors import InvalidError

CONNECT_TIMEOUT = timedelta(seconds=2)
COMMAND_TIMEOUT = timedelta(seconds=5)


@asynccontextmanager
async def open_valkey_cache(
    url: str,
    *,
    prefix: str = "cronium:",
    required: bool = True,
    connect_timeout: timedelta = CONNECT_TIMEOUT,
    command_timeout: timedelta = COMMAND_TIMEOUT,
    on_drop: OnDrop = ignore_drops,
) -> AsyncIterator[Backing]:
    """
    The cache on one Valkey server, or Redis 6.2 or newer; no cluster. Everything is kept under `prefix`.

    `url` is `valkey://`, `valkeys://` (or `redis://`, `rediss://`) or `unix://`; `InvalidError` for another. When it
    is `required`, a server that does not answer is refused at once (`UnavailableError`, `cache_unavailable`); else the
    cache opens, and every call says so until the server is there. No call takes longer than `command_timeout`. Broken
    connections are made again by the next call, those of subscribers by themselves. `on_drop` counts what slow
    subscribers lose.
    """
    try:
        from orchestrator.caches.valkey.cache import connect  # noqa: PLC0415 - its library may be missing
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "valkey":
            raise
        message = "The cache is to be kept on a server, and the library for it is missing: install `cronium[valkey]`."
        raise InvalidError(message) from error
    limits = (connect_timeout.total_seconds(), command_timeout.total_seconds())
    async with connect(url, prefix=prefix, limits=limits, on_drop=on_drop) as cache:
        if required:
            await cache.check()
        yield cache
