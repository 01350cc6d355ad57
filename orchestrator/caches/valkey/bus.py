"""`Bus` on a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.caches.documents import pack, text
from orchestrator.caches.mailbox import Mailbox, OnDrop
from orchestrator.caches.valkey.link import Link
from orchestrator.caches.valkey.replies import number
from orchestrator.caches.valkey.server import Server
from orchestrator.contracts.cache import DEFAULT_BUFFER
from orchestrator.model.json import Json


class ValkeyBus:
    """`Bus` of all that share the server: every message goes there, and comes back over one connection per process."""

    def __init__(self, server: Server, link: Link, prefix: str, on_drop: OnDrop) -> None:
        self._server = server
        self._link = link
        self._prefix = prefix
        self._on_drop = on_drop

    async def publish(self, channel: str, body: Json) -> bool:
        words = ("PUBLISH", self._prefix + text(channel), pack(body))
        return number(await self._server.command(*words, about=channel)) > 0

    @asynccontextmanager
    async def subscribe(self, *patterns: str, buffer: int = DEFAULT_BUFFER) -> AsyncIterator[Mailbox]:
        mailbox = Mailbox(patterns, buffer, self._on_drop)
        async with self._link.listening(mailbox, self._prefix):
            yield mailbox
