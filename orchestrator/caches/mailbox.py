"""A subscriber's buffer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from orchestrator.caches.documents import at_least_one, text, unpack
from orchestrator.caches.glob import Glob
from orchestrator.contracts.cache import Message
from orchestrator.errors import InvalidError

OnDrop: TypeAlias = Callable[[int], None]
"""Told how many messages a slow subscriber has just lost; must neither raise nor block."""


def ignore_drops(_count: int) -> None:
    """For those who count nothing."""


class Mailbox:
    """`Subscription`. When `buffer` messages wait, the oldest makes room for a new one."""

    def __init__(self, patterns: tuple[str, ...], buffer: int, on_drop: OnDrop) -> None:
        if not patterns:
            raise InvalidError("A subscription needs at least one pattern.")
        self.globs = [Glob(text(pattern)) for pattern in patterns]
        self.dropped = 0
        self._waiting: deque[tuple[str, bytes, bool]] = deque(maxlen=at_least_one(buffer, "The buffer"))
        self._on_drop = on_drop
        self._gap = False  # something was lost before what waits
        self._interrupted = False  # something was lost behind it
        self._changed = asyncio.Event()
        self._closed = False

    def first_match(self, channel: str) -> Glob | None:
        """The first of the patterns that matches."""
        return next((glob for glob in self.globs if glob.matches(channel)), None)

    def put(self, channel: str, document: bytes, *, gap: bool = False) -> None:
        """Deliver a message, unless closed."""
        if self._closed:
            return
        if len(self._waiting) == self._waiting.maxlen:
            self._waiting.popleft()
            self._gap = True
            self.dropped += 1
            self._on_drop(1)
        self._waiting.append((channel, document, gap or self._interrupted))
        self._interrupted = False
        self._changed.set()

    def interrupt(self) -> None:
        """Messages may have been lost from now on: the next to be put comes after a gap."""
        self._interrupted = True

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._waiting.clear()
        self._changed.set()

    def __aiter__(self) -> Mailbox:
        return self

    async def __anext__(self) -> Message:
        while not self._waiting and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        if self._closed:
            raise StopAsyncIteration
        channel, document, gap = self._waiting.popleft()
        gap, self._gap = gap or self._gap, False
        return Message(channel=channel, body=unpack(document, channel), gap=gap)
