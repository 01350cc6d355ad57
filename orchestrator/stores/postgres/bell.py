"""`Bell` on LISTEN and NOTIFY, over one connection of its own that is made again whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import asyncpg

from orchestrator.contracts.store import EVERYTHING, Bell
from orchestrator.errors import CroniumError
from orchestrator.stores.bell import Listeners
from orchestrator.stores.postgres.connect import Address, connect
from orchestrator.stores.postgres.errors import OURS_TO_HANDLE, translate

CHANNEL = "cronium"
MAX_PAYLOAD_BYTES = 7900  # NOTIFY takes less than 8000
PULSE_SECONDS = 10.0
MAX_RUNG = 10_000
GATHER_SECONDS = 0.005
FIRST_DELAY_SECONDS = 0.1
MAX_DELAY_SECONDS = 5.0

log = logging.getLogger(__name__)

Listening: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(slots=True)
class PostgresBell:
    """Topics are sent together, separated by newlines, outside any transaction: a NOTIFY in one would queue commits up."""

    address: Address
    listeners: Listeners = field(default_factory=Listeners)
    _rung: dict[str, None] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _lost: bool = False

    def ring(self, topic: str) -> None:
        if len(self._rung) >= MAX_RUNG:
            self._rung.clear()  # nobody has been hearing us for long
            topic = EVERYTHING
        self._rung[topic] = None
        self._woken.set()

    def listen(self, heard: Callable[[str], None]) -> AbstractContextManager[None]:
        return self.listeners.listen(heard)

    async def run(self) -> None:
        """Work until cancelled."""
        delay = FIRST_DELAY_SECONDS
        while True:
            try:
                async with self._connection() as connection:
                    delay = FIRST_DELAY_SECONDS
                    await self._work(connection)
            except CroniumError as error:
                self._say_lost(error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_DELAY_SECONDS)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Listening]:
        connection = await connect(self.address)
        try:
            await connection.add_listener(CHANNEL, self._hear)
            connection.add_termination_listener(lambda _connection: self._woken.set())
            yield connection
        except OURS_TO_HANDLE as error:
            raise translate(error, self.address.where) from error
        finally:
            connection.terminate()

    async def _work(self, connection: Listening) -> None:
        if self._lost:
            self._lost = False
            log.info("wake-ups are heard again")
            self.listeners.tell(EVERYTHING)
        while True:
            await self._wait()
            if not self._rung:
                await connection.execute("SELECT 1")  # raises when the connection was lost
                continue
            await asyncio.sleep(GATHER_SECONDS)
            await self._send(connection)

    async def _send(self, connection: Listening) -> None:
        """Send what was rung; what could not be sent is sent over the next connection."""
        rung, self._rung = self._rung, {}
        try:
            for payload in _payloads(rung):
                await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)
        except BaseException:
            self._rung = rung | self._rung
            self._woken.set()
            raise

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(PULSE_SECONDS):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    def _hear(self, connection: object, pid: int, _channel: str, payload: object) -> None:
        if isinstance(connection, asyncpg.Connection) and pid == connection.get_server_pid():
            return  # what was rung here was acted upon here
        for topic in str(payload).split("\n"):
            self.listeners.tell(topic)

    def _say_lost(self, error: CroniumError) -> None:
        if not self._lost:
            log.warning("no wake-ups from other orchestrators; looking unasked instead", extra={"error": str(error)})
        self._lost = True


@asynccontextmanager
async def open_bell(address: Address) -> AsyncIterator[Bell]:
    """A bell that works in the background while the block is open. An error of the block comes out as it is."""
    bell = PostgresBell(address)
    failure: Exception | None = None
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(bell.run())
        try:
            yield bell
        except Exception as error:  # noqa: BLE001 - raised again below, outside the group
            failure = error
        finally:
            working.cancel()
    if failure is not None:
        raise failure


def _payloads(topics: dict[str, None]) -> list[str]:
    """The topics in as few payloads as they fit into."""
    payloads: list[str] = []
    for topic in topics:
        if payloads and len(payloads[-1].encode()) + 1 + len(topic.encode()) <= MAX_PAYLOAD_BYTES:
            payloads[-1] += f"\n{topic}"
        else:
            payloads.append(topic)
    return payloads
