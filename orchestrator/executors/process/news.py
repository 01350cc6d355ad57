"""The FIFO by which a supervisor says that there is more to read, and that it has ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.executors.process.shortage import is_shortage

POLL_SECONDS = 1.0  # beneath the wake-ups


class News:
    """One descriptor however many listen, and none while nobody does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fifo: int | None = None
        self._hung_up = False
        self._reading: set[asyncio.Event] = set()
        self._waiting: set[asyncio.Event] = set()

    @property
    def hung_up(self) -> bool:
        """Whether the supervisor was seen to end since listening began."""
        return self._hung_up

    @contextmanager
    def of_output(self) -> Iterator[asyncio.Event]:
        """An event that is set when there is more to read, and at the end."""
        with self._listening(self._reading) as event:
            yield event

    @contextmanager
    def of_end(self) -> Iterator[asyncio.Event]:
        """An event that is set at the end."""
        with self._listening(self._waiting) as event:
            yield event

    async def heard(self, event: asyncio.Event) -> bool:
        """Wait for news, at most as long as it may take to notice without; whether there is any. Clears the event."""
        self._open()  # where it could not be until now
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await event.wait()
        except TimeoutError:
            return False
        event.clear()
        return True

    @contextmanager
    def _listening(self, listeners: set[asyncio.Event]) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        listeners.add(event)
        try:
            self._open()
            yield event
        finally:
            listeners.discard(event)
            if not self._reading and not self._waiting:
                self._close()

    def _open(self) -> None:
        if self._fifo is not None:
            return
        try:
            fifo = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # removed: the poll sees the rest
        except OSError as error:
            if not is_shortage(error):
                raise
            return  # each poll tries again
        self._hung_up = False
        try:
            asyncio.get_running_loop().add_reader(fifo, self._readable)
        except OSError as error:
            os.close(fifo)
            if not is_shortage(error):
                raise
            return
        self._fifo = fifo

    def _close(self) -> None:
        if self._fifo is not None:
            asyncio.get_running_loop().remove_reader(self._fifo)
            os.close(self._fifo)
            self._fifo = None

    def _readable(self) -> None:
        if self._fifo is None:
            return
        try:
            self._hung_up = not os.read(self._fifo, 65536)
        except BlockingIOError:
            return
        if self._hung_up:  # and readable for ever from now on
            asyncio.get_running_loop().remove_reader(self._fifo)
            for event in self._waiting:
                event.set()
        for event in self._reading:
            event.set()
