"""Talking to the server: connections, limits of time, and its errors in our words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol, TypeAlias, TypeVar, cast

from valkey.asyncio.connection import ConnectionPool, SSLConnection, parse_url
from valkey.exceptions import NoScriptError, OutOfMemoryError, ResponseError, ValkeyError

from orchestrator.caches.errors import overflow, unavailable, wrong_kind
from orchestrator.caches.valkey.scripts import OVERFLOW, Script
from orchestrator.errors import CroniumError, InvalidError, LimitExceededError

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 16
Word: TypeAlias = str | bytes | int
Reply: TypeAlias = "bytes | int | list[Reply] | None"
Result = TypeVar("Result")

NATIVE_ERRORS = (ValkeyError, OSError, EOFError, ValueError)
"""All that the library raises when a server is away, refuses, or is none. `ValueError`: what it reads is no reply."""

_UNREACHABLE = "cannot be reached, or broke the connection off: check that it runs, and its host and port."
_WRONG = {
    "ConnectionError": _UNREACHABLE,
    "ConnectionResetError": _UNREACHABLE,
    "BrokenPipeError": _UNREACHABLE,
    "AuthenticationError": "refuses the account or password in its URL: correct them.",
    "NoPermissionError": "does not allow the account in its URL to do what is needed: give it all of `+@all ~* &*`.",
    "ReadOnlyError": "is a replica, which only reads: use the address of its primary.",
    "BusyLoadingError": "is still loading its data: wait until it has.",
}
_WRONG_KIND = ("WRONGTYPE", "not an integer")
_OVERFLOW = ("would overflow", OVERFLOW)


class Connection(Protocol):
    """What we use of the library's connections, which have no types of their own."""

    @property
    def is_connected(self) -> bool: ...

    async def connect(self) -> None: ...

    async def disconnect(self, nowait: bool = False) -> None: ...

    async def send_command(self, *words: Word) -> None: ...

    async def read_response(self, *, timeout: float | None = None) -> Reply:  # noqa: ASYNC109 - the library's name
        """The next reply; None when none came within `timeout` seconds, if that is given."""
        ...

    def repr_pieces(self) -> Iterable[tuple[str, str | int]]:
        """Where it leads to, without password."""
        ...


class Pool(Protocol):
    """What we use of the library's pool."""

    def make_connection(self) -> Connection: ...

    async def get_connection(self, command_name: str) -> Connection: ...

    async def release(self, connection: Connection) -> None: ...

    async def disconnect(self) -> None: ...


class Server:
    """At most `MAX_CONNECTIONS` commands at once, each with a limit of time that includes waiting for its turn."""

    def __init__(self, pool: Pool, address: str, command_seconds: float) -> None:
        self._pool = pool
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS)
        self.address = address
        self.command_seconds = command_seconds

    async def command(self, *words: Word, about: str = "") -> Reply:
        """The reply to one command; `about` names the key in an error."""
        return await self._talk(lambda connection: _exchange(connection, *words), about)

    async def script(self, script: Script, keys: list[str], arguments: list[Word], *, about: str) -> Reply:
        """What a script answers; the server is sent its text only when it does not know it."""
        words: list[Word] = [len(keys), *keys, *arguments]

        async def talk(connection: Connection) -> Reply:
            try:
                return await _exchange(connection, "EVALSHA", script.digest, *words)
            except NoScriptError:
                return await _exchange(connection, "EVAL", script.text, *words)

        return await self._talk(talk, about)

    def make_connection(self) -> Connection:
        """A connection beside the others, not yet made; whoever asks for it closes it."""
        return self._pool.make_connection()

    def translate(self, error: BaseException, about: str = "") -> CroniumError:
        """The error of ours for one of `NATIVE_ERRORS`."""
        if isinstance(error, OutOfMemoryError):
            return LimitExceededError(
                f"The cache at {self.address} is full: give it more memory, or let it evict (maxmemory-policy).",
                code="cache_full",
            )
        if isinstance(error, ResponseError):
            text = str(error)
            if any(mark in text for mark in _WRONG_KIND):
                return wrong_kind(about)
            if any(mark in text for mark in _OVERFLOW):
                return overflow(about)
        return unavailable(f"The cache at {self.address} {_what_is_wrong(error, self)}")

    async def _talk(self, talk: Callable[[Connection], Awaitable[Result]], about: str) -> Result:
        try:
            async with asyncio.timeout(self.command_seconds), self._turns:
                connection = await self._pool.get_connection("")
                try:
                    return await talk(connection)
                finally:
                    await self._pool.release(connection)
        except NATIVE_ERRORS as error:
            raise self.translate(error, about) from error


@asynccontextmanager
async def open_server(url: str, *, limits: tuple[float, float]) -> AsyncIterator[Server]:
    """A server to talk to, not yet connected. `limits`: seconds for connecting and for a command."""
    pool = _make_pool(url, limits)
    try:
        probe = pool.make_connection()  # opens nothing, but says what is wrong with the URL
        place = dict(probe.repr_pieces())
    except (TypeError, ValueError, ValkeyError) as error:
        raise _bad_url(error) from None
    try:
        yield Server(pool, str(place.get("path") or f"{place['host']}:{place['port']}"), limits[1])
    finally:
        try:
            await pool.disconnect()
        except NATIVE_ERRORS as error:  # it is gone, or does not take what was last sent
            log.debug("a connection to the cache was cut off", extra={"error": str(error)})


def _make_pool(url: str, limits: tuple[float, float]) -> Pool:
    try:
        options = dict(parse_url(url))
    except ValueError as error:
        raise _bad_url(error) from None
    if options.get("connection_class") is SSLConnection:
        options.setdefault("ssl_check_hostname", True)
    options |= {"socket_connect_timeout": limits[0], "decode_responses": False}
    # The library waits for its own limit with `wait_for`, which until Python 3.12 may lose a cancellation: ours is used.
    options |= {"socket_timeout": None}
    options |= {"protocol": 2, "lib_name": None, "lib_version": None, "max_connections": None}
    return cast("Pool", ConnectionPool(**options))


def _bad_url(error: Exception) -> InvalidError:
    # The error may hold the whole URL, and so its password.
    return InvalidError(
        f"The URL of the cache is not understood ({type(error).__name__}): "
        "write valkey://HOST:PORT/0, valkeys:// for TLS, or unix:///PATH."
    )


async def _exchange(connection: Connection, *words: Word) -> Reply:
    await connection.send_command(*words)
    return await connection.read_response()


def _what_is_wrong(error: BaseException, server: Server) -> str:
    kind = type(error).__name__  # the library's own names hide built-in ones
    if kind == "TimeoutError":
        return f"did not answer within {server.command_seconds:g} s: check that it runs and has not too much to do."
    return _WRONG.get(kind, f"cannot be used ({kind}): check that it is Valkey or Redis, and not part of a cluster.")
