"""The connection that hears what is published, for all subscribers of this process."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from orchestrator.caches.documents import unpack
from orchestrator.caches.glob import Glob
from orchestrator.caches.mailbox import Mailbox
from orchestrator.caches.valkey.server import NATIVE_ERRORS, Connection, Reply, Server, Word
from orchestrator.errors import ConflictError, CroniumError

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class _Listener:
    """A mailbox for channels under `prefix`, and what the server is asked for on behalf of each of its patterns."""

    mailbox: Mailbox
    prefix: str
    addresses: dict[Glob, bytes]


class Link:
    """
    Made when somebody listens, made again when it breaks, given up when nobody listens any more.

    An address is a pattern that the server knows. Several listeners may share one, and the server may send a message
    once for each address that matches it: a listener takes the one that belongs to the first of its patterns.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listeners: dict[bytes, list[_Listener]] = {}
        self._connection: Connection | None = None
        self._asked: set[bytes] = set()
        self._unanswered: Counter[bytes] = Counter()
        self._failures = 0
        self._last_failure: CroniumError | None = None
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()

    async def run(self) -> None:
        """Keep the connection, until cancelled."""
        while True:
            self._wake.clear()
            if not self._listeners:
                await self._wake.wait()
                continue
            try:
                await self._converse()
            except NATIVE_ERRORS as error:
                self._lose(error)
                await self._pause()

    @asynccontextmanager
    async def listening(self, mailbox: Mailbox, prefix: str) -> AsyncIterator[None]:
        """Deliver to `mailbox` while the block is open; `UnavailableError` if the server cannot be asked to now."""
        listener = _Listener(mailbox, prefix, {glob: glob.coarse(prefix).encode() for glob in mailbox.globs})
        addresses = set(listener.addresses.values())
        for address in addresses:
            self._listeners.setdefault(address, []).append(listener)
        try:
            await self._heard(addresses)
            yield
        finally:
            mailbox.close()
            for address in [address for address in addresses if self._forget(address, listener)]:
                await self._send("PUNSUBSCRIBE", address)

    async def check(self) -> None:
        """Raises `UnavailableError` if somebody listens and nothing can be heard."""
        await self._heard(set(self._listeners))

    def close(self) -> None:
        """Nothing more is delivered to anybody."""
        for listener in self._everybody():
            listener.mailbox.close()

    async def _heard(self, addresses: Collection[bytes]) -> None:
        """Wait until the server has confirmed all `addresses`, or the next attempt to connect has failed."""
        failures = self._failures
        self._wake.set()
        try:
            async with asyncio.timeout(self._server.command_seconds):
                await self._ask(addresses)
                while not all(map(self._is_heard, addresses)):
                    if self._failures > failures and self._last_failure is not None:
                        raise self._last_failure
                    await self._news.wait()
        except NATIVE_ERRORS as error:
            raise self._server.translate(error) from error

    def _is_heard(self, address: bytes) -> bool:
        """Whether the server has confirmed `address`, or nobody listens to it any more."""
        return address not in self._listeners or (address in self._asked and not self._unanswered[address])

    def _forget(self, address: bytes, listener: _Listener) -> bool:
        """Whether the server is to be told that nobody listens to `address` any more."""
        self._listeners[address].remove(listener)
        if self._listeners[address]:
            return False
        del self._listeners[address]
        asked = address in self._asked
        self._asked.discard(address)
        self._tell_news()
        return asked

    async def _ask(self, addresses: Collection[bytes]) -> None:
        for address in addresses:
            if self._connection is not None and address in self._listeners and address not in self._asked:
                self._asked.add(address)
                self._unanswered[address] += 1
                await self._send("PSUBSCRIBE", address)

    async def _send(self, *words: Word) -> None:
        connection = self._connection
        async with self._writing:
            if connection is None or not connection.is_connected:
                return  # the next one asks for everything anew
            try:
                async with asyncio.timeout(self._server.command_seconds):
                    await connection.send_command(*words)
            except NATIVE_ERRORS as error:  # the library has closed it, which the reader notices
                log.debug("a subscription was not told to the cache", extra={"error": str(error)})

    async def _converse(self) -> None:
        """Connect, ask for all that somebody listens to, and deliver, until nobody listens."""
        connection = self._server.make_connection()
        try:
            async with asyncio.timeout(self._server.command_seconds):
                await connection.connect()
                self._connection = connection
                await self._ask(list(self._listeners))
            self._pause_seconds = FIRST_PAUSE_SECONDS
            await self._deliver(connection)
        finally:
            self._connection = None
            self._asked.clear()
            self._unanswered.clear()
            await connection.disconnect(nowait=True)

    async def _deliver(self, connection: Connection) -> None:
        silent = False
        while self._listeners:
            reply = await connection.read_response(timeout=self._server.command_seconds)
            if reply is not None:
                silent = False
                self._take(reply)
            elif silent:
                raise TimeoutError
            else:
                silent = True
                await self._send("PING")

    def _take(self, reply: Reply) -> None:
        match reply:
            case [b"pmessage", bytes(address), bytes(channel), bytes(document)]:
                try:
                    self._hand_out(address, channel.decode(), document)
                except (UnicodeDecodeError, ConflictError) as error:
                    log.warning("somebody else publishes under the prefix of this cache", extra={"error": str(error)})
            case [b"psubscribe", bytes(address), _]:
                self._unanswered[address] -= 1
                self._tell_news()
            case _:  # the answer to PING or to PUNSUBSCRIBE
                pass

    def _hand_out(self, address: bytes, channel: str, document: bytes) -> None:
        unpack(document, channel)  # so that no subscriber fails on what is no document
        for listener in self._listeners.get(address, []):
            name = channel[len(listener.prefix) :]
            first = listener.mailbox.first_match(name)
            if first is not None and listener.addresses[first] == address:
                listener.mailbox.put(name, document)

    def _lose(self, error: BaseException) -> None:
        failure = self._server.translate(error)
        log.warning("cannot hear what is published; connecting again", extra={"error": str(failure)})
        self._failures += 1
        self._last_failure = failure
        for listener in self._everybody():
            listener.mailbox.interrupt()
        self._tell_news()

    async def _pause(self) -> None:
        """Wait before the next attempt, each time longer, unless somebody asks for one."""
        try:
            async with asyncio.timeout(self._pause_seconds):
                await self._wake.wait()
        except TimeoutError:
            self._pause_seconds = min(self._pause_seconds * 2, LONGEST_PAUSE_SECONDS)

    def _tell_news(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _everybody(self) -> set[_Listener]:
        return {listener for listeners in self._listeners.values() for listener in listeners}
