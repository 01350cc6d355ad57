"""`Keys` on a server."""

from __future__ import annotations

import logging
import re
from datetime import timedelta

from orchestrator.caches.documents import at_least_one, milliseconds, span, text
from orchestrator.caches.errors import invalid_cursor
from orchestrator.caches.glob import Glob
from orchestrator.caches.valkey import replies
from orchestrator.caches.valkey.names import Names
from orchestrator.caches.valkey.replies import items, number
from orchestrator.caches.valkey.server import Server
from orchestrator.contracts.cache import DEFAULT_PAGE, Page

log = logging.getLogger(__name__)

MOST_AT_ONCE = 10_000
_CURSOR = re.compile(r"[0-9]{1,20}", re.ASCII)


class ValkeyKeys:
    """`Keys`: a cursor is the server's own, and the server keeps nothing for it."""

    def __init__(self, server: Server, names: Names) -> None:
        self._server = server
        self._names = names

    async def page(self, pattern: str = "*", *, cursor: str | None = None, limit: int = DEFAULT_PAGE) -> Page:
        glob = Glob(text(pattern))
        if cursor is not None and not (_CURSOR.fullmatch(cursor) and int(cursor) < 2**64):
            raise invalid_cursor(cursor)
        coarse, count = glob.coarse(self._names.keys), min(at_least_one(limit, "The limit of a page"), MOST_AT_ONCE)
        reply = items(await self._server.command("SCAN", cursor or 0, "MATCH", coarse, "COUNT", count), 2)
        found = [key for key in map(self._key, items(reply[1])) if key is not None and glob.matches(key)]
        return Page(keys=tuple(found), next_cursor=replies.cursor(reply[0]))

    async def remaining(self, key: str) -> timedelta | None:
        left = number(await self._server.command("PTTL", self._names.key(key), about=key))
        if left == -1:  # somebody else wrote it
            return timedelta.max
        return span(left) if left >= 0 else None

    async def expire(self, key: str, ttl: timedelta) -> bool:
        words = ("PEXPIRE", self._names.key(key), max(milliseconds(ttl), 0))
        return number(await self._server.command(*words, about=key)) == 1

    async def delete(self, *keys: str) -> int:
        names = [self._names.key(key) for key in keys]
        return number(await self._server.command("DEL", *names)) if names else 0

    def _key(self, name: object) -> str | None:
        """The key that the server calls `name`; None for one that is not text and so not ours."""
        try:
            return bytes(name).decode()[len(self._names.keys) :] if isinstance(name, bytes) else None
        except UnicodeDecodeError:
            log.warning("somebody else keeps a key under the prefix of this cache", extra={"key": repr(name)})
            return None
