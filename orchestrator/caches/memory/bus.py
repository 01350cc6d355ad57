"""`Bus` in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.caches.documents import pack, text
from orchestrator.caches.mailbox import Mailbox, OnDrop
from orchestrator.contracts.cache import DEFAULT_BUFFER
from orchestrator.model.json import Json


class MemoryBus:
    """`Bus` within this process: a message is in every mailbox before `publish` returns."""

    def __init__(self, on_drop: OnDrop) -> None:
        self._on_drop = on_drop
        self._mailboxes: list[Mailbox] = []

    async def publish(self, channel: str, body: Json) -> bool:
        document = pack(body)
        text(channel)
        listening = [mailbox for mailbox in self._mailboxes if not mailbox.closed and mailbox.first_match(channel)]
        for mailbox in listening:
            mailbox.put(channel, document)
        return bool(listening)

    @asynccontextmanager
    async def subscribe(self, *patterns: str, buffer: int = DEFAULT_BUFFER) -> AsyncIterator[Mailbox]:
        mailbox = Mailbox(patterns, buffer, self._on_drop)
        self._mailboxes.append(mailbox)
        try:
            yield mailbox
        finally:
            mailbox.close()
            self._mailboxes.remove(mailbox)
