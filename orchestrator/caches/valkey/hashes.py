"""`Hashes` on a server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from orchestrator.caches.documents import addend, integer, lifetime, pack, text, unpack
from orchestrator.caches.valkey.names import Names
from orchestrator.caches.valkey.replies import data, documents, number, value
from orchestrator.caches.valkey.scripts import HASH_INCREMENT, HASH_SET
from orchestrator.caches.valkey.server import Server, Word
from orchestrator.model.json import Json


class ValkeyHashes:
    """`Hashes`: those of the server, with documents in their fields."""

    def __init__(self, server: Server, names: Names) -> None:
        self._server = server
        self._names = names

    async def set(self, key: str, fields: Mapping[str, Json], *, ttl: timedelta) -> int:
        words: list[Word] = [lifetime(ttl)]
        for field, content in fields.items():
            words += [text(field), pack(content)]
        if not fields:
            return 0 * number(await self._server.command("HLEN", self._names.key(key), about=key))
        return number(await self._server.script(HASH_SET, [self._names.key(key)], words, about=key))

    async def get(self, key: str, field: str) -> Json:
        return value(await self._server.command("HGET", self._names.key(key), text(field), about=key), key)

    async def all(self, key: str) -> dict[str, Json]:
        kept = documents(await self._server.command("HGETALL", self._names.key(key), about=key))
        return {field: unpack(document, key) for field, document in kept.items()}

    async def delete(self, key: str, *fields: str) -> int:
        words = [text(field) for field in fields]
        if not words:
            return 0
        return number(await self._server.command("HDEL", self._names.key(key), *words, about=key))

    async def increment(self, key: str, field: str, by: int = 1, *, ttl: timedelta) -> int:
        words: list[Word] = [text(field), addend(by, key), lifetime(ttl)]
        total = await self._server.script(HASH_INCREMENT, [self._names.key(key)], words, about=key)
        return integer(data(total) or b"0", key)
