"""Connections to Postgres: where to, with which settings, and the pool of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import unquote, urlsplit

import asyncpg

from orchestrator.errors import InvalidError, UnavailableError
from orchestrator.stores.postgres.errors import OURS_TO_HANDLE, is_refusal, translate
from orchestrator.waiting import until_ready

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 30.0
_STATEMENTS_KEPT = 256
# The server lets go of what a client held that died without a word.
_SESSION = {
    "application_name": "cronium",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a database is: `url` to connect with, which may hold a password, and `where` to speak of it."""

    url: str = field(repr=False)
    where: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises `InvalidError` for what is no URL of a Postgres database, without repeating it."""
        try:
            parts = urlsplit(url)
            if "," not in parts.netloc:  # several hosts are fine, and have no `port`
                parts.port  # noqa: B018 - raises for one that is none
        except ValueError:
            raise InvalidError("The database URL is not a valid URL; write postgresql://user@host:5432/name.") from None
        if parts.scheme not in ("postgresql", "postgres"):
            raise InvalidError(f"A URL of Postgres starts with postgresql://, not {parts.scheme!r}.")
        hosts = parts.netloc.rpartition("@")[2] or "its usual socket"
        name = unquote(parts.path.removeprefix("/")) or "its default database"
        return cls(url=url, where=f"Postgres at {hosts}/{name}")


async def connect(
    address: Address, *, command_seconds: float | None = COMMAND_SECONDS
) -> asyncpg.Connection[asyncpg.Record]:
    """One connection outside the pool; None: a statement may take as long as it does. Raises errors of ours."""
    try:
        return await asyncpg.connect(
            address.url, timeout=CONNECT_SECONDS, command_timeout=command_seconds, server_settings=_SESSION
        )
    except OURS_TO_HANDLE as error:
        raise translate(error, address.where) from error


@asynccontextmanager
async def open_pool(address: Address, *, size: int) -> AsyncIterator[asyncpg.Pool[asyncpg.Record]]:
    """A pool of at most `size` connections."""
    pool = asyncpg.create_pool(
        address.url,
        min_size=0,
        max_size=size,
        max_inactive_connection_lifetime=300,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS,
        statement_cache_size=_STATEMENTS_KEPT,
        server_settings=_SESSION,
        reset=_keep_session,
    )
    try:
        await pool
    except OURS_TO_HANDLE as error:
        raise translate(error, address.where) from error
    try:
        yield pool
    finally:
        await _close(pool)


async def _keep_session(_connection: object) -> None:
    """No statement of ours leaves anything in a session, so a connection goes back as it is."""


async def _close(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    """Wait for what still runs, briefly; then break off."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await pool.close()
    except (TimeoutError, *OURS_TO_HANDLE):
        pool.terminate()


async def wait_for(address: Address, patience: timedelta) -> None:
    """Return when the server takes connections. What waiting will not change is raised at once."""
    await until_ready(
        lambda: _attempt(address), what=address.where, code="store_unavailable", limit_seconds=patience.total_seconds()
    )


async def _attempt(address: Address) -> UnavailableError | None:
    """Connect and hang up; the error if that was not possible yet. What waiting will not change is raised."""
    try:
        connection = await connect(address)
    except UnavailableError as error:
        if is_refusal(error.__cause__):
            raise
        return error
    try:
        await connection.close(timeout=CONNECT_SECONDS)
    except OURS_TO_HANDLE:
        connection.terminate()
    return None
